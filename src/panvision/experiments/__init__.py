"""Results of many runs read side by side."""
