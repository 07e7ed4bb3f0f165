"""PyTorch datasets over the packed arrays."""
