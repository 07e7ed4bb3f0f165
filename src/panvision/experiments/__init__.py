"""Results of many runs read side by side: revisions, experiments, folds and single-task baselines."""
