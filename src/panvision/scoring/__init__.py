"""Predictions against truth, as pure functions."""
