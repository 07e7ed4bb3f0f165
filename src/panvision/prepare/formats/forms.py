"""Labels in another form than their format's, found over a whole dataset: fractions, two corners, swapped axes.

One box in another form is as plausible as any other. Over a dataset the wrong form shows: most boxes leave their image,
or are smaller than a pixel.
"""

from collections.abc import Iterable
from math import isfinite
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from panvision.dataset.problems import Problem, problem
from panvision.prepare.formats.layout import BoxLabels, Sample
from panvision.prepare.formats.outlines import Box, outline_box

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

# Fewer boxes have no usual form.
_FEWEST = 4
# A form explains the boxes if this fraction of them fits into the image.
_EXPLAINED = 0.95
# Boxes reach out of their image by rounding and by habit: by this fraction of its side and this number of pixels.
_SLACK, _SLACK_PIXELS = 0.02, 2.0
# With this number of boxes, all of which fit in another form, this fraction that leaves the image is enough.
_MANY, _SOME = 6, 0.1


class _Boxes(NamedTuple):
    """Boxes as annotated, `given` (M, 4) x, y, width, height, in the units of `sides` (M, 2); rows of `files` (M,)."""

    given: Floats
    sides: Floats
    relative: Flags
    files: list[str]


def check_forms(samples: Iterable[Sample], sizes: Iterable[tuple[int, int] | None]) -> list[Problem]:
    """Return an error if most boxes or outlines have another form than their format's.

    Args:
        samples: of one dataset.
        sizes: width and height of each upright image in pixels; None if it was not decoded.
    """
    boxes = _collect(samples, sizes)
    if len(boxes.given) < _FEWEST:
        return []
    with np.errstate(over="ignore", invalid="ignore"):
        pixels = boxes.given * np.where(boxes.relative[:, None], np.tile(boxes.sides, 2), 1.0)
        tiny: Flags = np.asarray((np.abs(pixels[:, 2:]) <= 1.0).all(axis=1))
        leaving = ~_fits(pixels, boxes.sides)
    count = len(pixels)
    if tiny.sum() * 2 > count:
        fractions = (np.abs(boxes.given) <= 1.0 + _SLACK)[tiny].all(axis=1).mean() >= _EXPLAINED
        if boxes.relative[tiny].any():
            why = "they were divided by the image's sides twice"
        else:
            why = (
                "they are fractions of the image's sides where pixels belong" if fractions else "they are not in pixels"
            )
        return [_finding(boxes, tiny, "are smaller than a pixel", why)]
    name, explained = _explain(pixels, boxes)
    if leaving.sum() * 2 > count:
        why = f"they fit as {name}" if explained >= _EXPLAINED else "they belong to other images, or have another form"
        return [_finding(boxes, leaving, "leave their image", why)]
    if count >= _MANY and leaving.sum() > count * _SOME and explained == 1.0 and name in _PLAIN_FORMS:
        return [_finding(boxes, leaving, "leave their image", f"all fit as {name}")]
    return []


def _collect(samples: Iterable[Sample], sizes: Iterable[tuple[int, int] | None]) -> _Boxes:
    given: list[Box] = []
    sides: list[tuple[float, float]] = []
    relative: list[bool] = []
    files: list[str] = []
    for sample, size in zip(samples, sizes, strict=True):
        labels = sample.boxes or sample.outlines
        drawn_on = None if labels is None else labels.size or size
        if labels is None or drawn_on is None:
            continue
        own = labels.xywh if isinstance(labels, BoxLabels) else [outline_box([each]) for each in labels.polygons]
        own = [box for box in own if all(map(isfinite, box))]
        given += own
        sides += [drawn_on] * len(own)
        relative += [labels.relative] * len(own)
        files += [sample.file] * len(own)
    return _Boxes(np.array(given).reshape(-1, 4), np.array(sides).reshape(-1, 2), np.array(relative, bool), files)


def _fits(xywh: Floats, sides: Floats) -> Flags:
    """Return (M,) flags of boxes (M, 4) that have a size and are in their image, (M, 2) width and height."""
    slack = sides * _SLACK + _SLACK_PIXELS
    inside = (xywh[:, :2] >= -slack) & (xywh[:, :2] + xywh[:, 2:] <= sides + slack) & (xywh[:, 2:] >= 0)
    return np.asarray(inside.all(axis=1))


# Forms that correct boxes hardly fit by chance.
_CORNERS, _SIZES = "two corners x1, y1, x2, y2", "x, y, width, height"
_PLAIN_FORMS = (_CORNERS, _SIZES)


def _explain(pixels: Floats, boxes: _Boxes) -> tuple[str, float]:
    """Return the form in which most boxes fit into their image, and the fraction of the boxes that do."""
    place, size = pixels[:, :2], pixels[:, 2:]
    # The numbers as they are in the file: YOLO's place is the centre.
    written = np.where(boxes.relative[:, None], place + size / 2, place)
    forms = {
        _CORNERS: (written, size - written),
        _SIZES: (written, np.where(boxes.relative[:, None], size, place + size)),
        "the centre, width and height": (written - size / 2, size),
        "y, x, height, width": (place[:, ::-1], size[:, ::-1]),
    }
    with np.errstate(over="ignore", invalid="ignore"):
        shares = {name: _fits(np.concatenate(form, axis=1), boxes.sides).mean() for name, form in forms.items()}
    best = max(shares, key=lambda name: shares[name])
    return best, float(shares[best])


def _finding(boxes: _Boxes, wrong: Flags, what: str, why: str) -> Problem:
    row = int(np.flatnonzero(wrong)[0])
    box = ", ".join(f"{value:.4g}" for value in boxes.given[row])
    count = f"{wrong.sum()} of the dataset's {len(wrong)} boxes or outlines {what}, here x, y, width, height {box}"
    return problem("boxes_other_form", boxes.files[row], f"{count}: {why}")
