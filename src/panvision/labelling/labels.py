"""The proposed labels of one image, in the form that all writers take."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from panvision.core.tasks import Dataset
from panvision.prepare.formats.outlines import Polygon

# The class of the mask's outlines.
PAN = "pan"

Corners = tuple[float, float, float, float]


@dataclass(frozen=True)
class Marked:
    """One object.

    Attributes:
        name: its class.
        confidence: 0 to 1.
        box: x1, y1, x2, y2 in the image's pixels.
        polygons: its outline, in one part or more; none for a box.
    """

    name: str
    confidence: float
    box: Corners
    polygons: tuple[Polygon, ...] = ()


@dataclass(frozen=True)
class Labels:
    """The proposed labels of one image.

    Attributes:
        file: name of the image in the written dataset.
        size: width and height in pixels.
        boxes: of detection.
        outlines: the pan as one object with polygons; none if the image shows none.
        mask: (H, W) uint8, 0 or 255; None once the image's own files are written.
        label: the class of classification; "" if the model gives none.
        confidence: of the class, 0 to 1.
    """

    file: str
    size: tuple[int, int]
    boxes: tuple[Marked, ...] = ()
    outlines: tuple[Marked, ...] = ()
    mask: npt.NDArray[np.uint8] | None = None
    label: str = ""
    confidence: float = 0.0

    def marked(self, task: Dataset) -> tuple[Marked, ...]:
        """Return the objects of detection or of segmentation."""
        return self.boxes if task == "detection" else self.outlines


@dataclass(frozen=True)
class Classes:
    """The class names of each dataset, in the model's order."""

    detection: tuple[str, ...] = ()
    classification: tuple[str, ...] = ()
    segmentation: tuple[str, ...] = (PAN,)

    def of(self, task: Dataset) -> tuple[str, ...]:
        """Return the names of one dataset."""
        names: tuple[str, ...] = getattr(self, task)
        return names
