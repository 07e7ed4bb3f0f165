"""What can go wrong in this room."""

INT8_REMEDY = "set export.int8: false in params.yaml to ship without INT8"


class ExportError(ValueError):
    """A model that cannot be shipped; the message names the file, the reason and the remedy."""
