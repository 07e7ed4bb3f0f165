"""Errors of watching."""


class MonitorError(ValueError):
    """Invalid options or times; the message names them and the allowed range."""


class SourceError(ValueError):
    """A source cannot be opened; the message names it, the reason and the remedy."""
