"""Raw layouts and label formats, brought to one form."""
