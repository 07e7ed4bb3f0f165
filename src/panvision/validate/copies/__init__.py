"""Groups of images that show one photo: equal pixels, names, times and copies by their look."""
