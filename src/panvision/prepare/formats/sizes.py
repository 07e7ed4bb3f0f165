"""Comparison of the size that annotations state with their image's; one rule for boxes and for outlines."""

from typing import Literal, NamedTuple

from panvision.photos.pixels import Picture

# Two sizes have the same shape if their sides' ratios differ by no more than this share.
_SAME_SHAPE = 0.01


class Fit(NamedTuple):
    """The relation of a stated size to the image.

    Attributes:
        kind: `same` as the upright image's; `turned`: the file's before its EXIF rotation; `scaled`: another size
            of the same shape; `swapped`: width and height are swapped; `contradictory`: none of these.
        scale: factors that bring x and y into the upright image's pixels; (1, 1) unless `scaled`.
        text: the two sizes, for messages.
    """

    kind: Literal["same", "turned", "scaled", "swapped", "contradictory"]
    scale: tuple[float, float]
    text: str


def fit_size(stated: tuple[float, float] | None, picture: Picture) -> Fit:
    """Compare the width and height that annotations state, if they do, with a decoded image's."""
    width, height = picture.size
    if stated is None or stated == (width, height):
        return Fit("same", (1.0, 1.0), f"{width}x{height}")
    text = f"annotated as {stated[0]:g}x{stated[1]:g}, the image is {width}x{height}"
    if stated == picture.stored_size:
        return Fit("turned", (1.0, 1.0), text)
    if stated == (height, width):
        return Fit("swapped", (1.0, 1.0), f"{text}, and no EXIF rotation turns it")
    same_shape = abs(stated[0] * height - stated[1] * width) <= _SAME_SHAPE * stated[1] * width
    if same_shape and min(stated) >= 1:
        return Fit("scaled", (width / stated[0], height / stated[1]), text)
    return Fit("contradictory", (1.0, 1.0), text)
