"""The `panvision` command."""
