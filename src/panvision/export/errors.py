"""Errors of export."""

INT8_REMEDY = "set export.int8: false in params.yaml to ship without INT8"


class ExportError(ValueError):
    """Raised for a model that cannot be shipped; the message names the file, the reason and the remedy."""
