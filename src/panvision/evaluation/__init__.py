"""The shipped predictor, scored on the test split."""
