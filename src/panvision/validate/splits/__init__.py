"""Train, val and test, or folds, over all three sets at once."""
