"""A local web page to try a model on an image, a clip or a camera."""
