"""Raw outputs of one image to its result, in NumPy; one module per task."""
