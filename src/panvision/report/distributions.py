"""Distributions of the raw data: images per class, and histograms of image sizes and box sizes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from panvision.core.tasks import DATASETS
from panvision.dataset.packed import PackedSet
from panvision.report.charts import Chart, Series, line_chart
from panvision.report.inputs import DataMetrics

BINS = 24


@dataclass(frozen=True)
class Share:
    """Images that show a class, and their fraction of the images of the largest class of the dataset."""

    dataset: str
    name: str
    images: int
    fraction: float


def class_balance(data: DataMetrics) -> list[Share]:
    """Return the classes of each dataset, in their order."""
    shares = []
    for dataset in DATASETS:
        classes = getattr(data, dataset).classes
        images = {name: own.train + own.val + own.test for name, own in classes.items()}
        most = max([1, *images.values()])
        shares += [Share(dataset, name, count, count / most) for name, count in images.items()]
    return shares


def histograms(packed: Sequence[PackedSet]) -> list[Chart]:
    """Draw how large the images of each dataset and the boxes of each class are; without images or boxes no chart.

    The size of an image or of a box is the side of a square of its area: of images in pixels, of boxes as a fraction
    of the same side of their image.
    """
    images: dict[str, npt.NDArray[np.float64]] = {
        own.task: np.sqrt(own.sizes.astype(np.float64).prod(axis=1)) for own in packed if len(own)
    }
    charts = []
    if images:
        limits = 0.0, 1.05 * max(float(sides.max()) for sides in images.values())
        charts.append(_histogram("Image sizes", images, limits, ("√(width × height), pixels", "images")))
    boxes = {name: sides for own in packed if own.boxes is not None for name, sides in _box_sides(own).items()}
    if boxes:
        names = "√(area of the box / area of the image)", "boxes"
        charts.append(_histogram("Box sizes", boxes, (0.0, 1.0), names))
    return charts


def _box_sides(packed: PackedSet) -> dict[str, npt.NDArray[np.float64]]:
    sides: dict[str, list[float]] = {name: [] for name in packed.classes}
    for size, boxes, labels in zip(packed.sizes, packed.boxes or [], packed.labels or [], strict=True):
        for (left, top, right, bottom), label in zip(boxes.tolist(), labels.tolist(), strict=True):
            area = max(0.0, right - left) * max(0.0, bottom - top)
            sides[packed.classes[label]].append((area / float(np.prod(size, dtype=np.float64))) ** 0.5)
    return {name: np.array(own) for name, own in sides.items() if own}


def _histogram(
    title: str, values: dict[str, npt.NDArray[np.float64]], limits: tuple[float, float], names: tuple[str, str]
) -> Chart:
    """Draw the counts of BINS bins as steps, a line for each name; values beyond the limits count at the ends."""
    series = []
    for color, (name, own) in enumerate(values.items()):
        counts, edges = np.histogram(np.clip(own, *limits), bins=BINS, range=limits)
        steps = [(float(edges[0]), 0.0)]
        for number, count in enumerate(counts.tolist()):
            steps += [(float(edges[number]), float(count)), (float(edges[number + 1]), float(count))]
        series.append(Series(name, [[*steps, (float(edges[-1]), 0.0)]], note=f"({len(own)})", color=color))
    return line_chart(title, series, names=names, x_range=limits)
