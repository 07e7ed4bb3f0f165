"""Rendered demo sets of cooking pans, with exact truth."""
