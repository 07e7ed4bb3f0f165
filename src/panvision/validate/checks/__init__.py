"""Checks for suspicious labels."""
