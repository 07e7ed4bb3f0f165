"""Labels worth a second look."""
