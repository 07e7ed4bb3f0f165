"""Raw head outputs to boxes, mask and class, in NumPy."""
