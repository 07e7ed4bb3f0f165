"""What can go wrong in this room."""


class ExportError(ValueError):
    """A model that cannot be shipped; the message names the file, the reason and the remedy."""
