"""A local web page on which a model can be tried: a picture, a clip or a camera in; mask, boxes and state out."""
