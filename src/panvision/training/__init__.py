"""Target assignment, losses and the two training phases."""
