"""Backbone, feature pyramid and the three heads."""
