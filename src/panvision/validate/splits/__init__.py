"""Train, val and test, or folds, over all datasets at once."""
