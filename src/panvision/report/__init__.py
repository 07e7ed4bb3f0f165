"""Drawings and the self-contained HTML report."""
