"""Raw layouts and label formats, translated to one form."""
