"""What training stops with."""


class TrainingError(RuntimeError):
    """Training cannot go on; the message says what happened and what to turn."""
