"""Predictions compared with truth: one implementation of each metric, in NumPy."""
