"""What shows one photo: how pictures look, when they were taken, and which belong together."""
