"""Ground floor: settings, files, locks and the list of tasks."""
