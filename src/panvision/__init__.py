"""One model for a cooking pan: where it is, what is in and over it, what state the onions are in."""

__version__ = "0.1.0"
