"""The tables that the plots are drawn from."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from panvision.evaluation.boxes import BoxColumns
from panvision.evaluation.calibration import confidence_bins, scale
from panvision.evaluation.results import Results
from panvision.scoring.ranking import RECALL_POINTS, RankedClass

FloatArray = npt.NDArray[np.float64]


def precision_recall_rows(results: Results) -> list[tuple[str, float, float]]:
    """The precision-recall curve at IoU 0.5 of each class that has true boxes.

    Returns:
        Rows (class name, recall, precision): 101 recall points from 0 to 1 per class.
    """
    columns = BoxColumns(results)
    rows = []
    for label, name in enumerate(results.classes):
        curve = precision_curve(columns.ranked(label))
        if curve is not None:
            rows += [(name, point / 100, float(precision)) for point, precision in enumerate(curve)]
    return rows


def confusion_rows(results: Results) -> list[tuple[str, str]]:
    """True and likeliest state of each picture."""
    return [
        (results.classes[image["truth"]], results.classes[int(np.argmax(image["probabilities"]))])
        for image in results.images
    ]


def reliability_rows(results: Results) -> list[tuple[str, float, float, int]]:
    """How often states are right, by how sure the model is: as shipped and, with a temperature, scaled.

    Returns:
        Rows (probabilities, mean confidence, accuracy, images), one per bin that has a picture.
    """
    if not results.images:
        return []
    shipped = np.array([image["probabilities"] for image in results.images], np.float64)
    truth = np.array([image["truth"] for image in results.images])
    kinds = {"as shipped": shipped}
    if results.temperature is not None:
        kinds["scaled"] = scale(shipped, results.temperature)
    return [row for kind, probabilities in kinds.items() for row in _bins(kind, probabilities, truth)]


def _bins(
    kind: str, probabilities: npt.NDArray[np.float64], truth: npt.NDArray[np.int64]
) -> Iterator[tuple[str, float, float, int]]:
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    bins = confidence_bins(confidence)
    for number in np.unique(bins):
        own = bins == number
        yield kind, float(confidence[own].mean()), float(right[own].mean()), int(own.sum())


def precision_curve(ranked: RankedClass) -> FloatArray | None:
    """Precision at each of the 101 recall points, every picture counted once, at the first threshold over all areas.

    Returns:
        (101,); None without a true box.
    """
    total = int(ranked.truths[0].sum())
    if not total:
        return None
    hit = ranked.hits[0, 0]
    found, number = np.cumsum(hit)[hit], np.cumsum(ranked.counted[0, 0])[hit]
    best = np.maximum.accumulate((found / number)[::-1])[::-1]
    first = np.searchsorted(found / total, RECALL_POINTS, side="left")
    return np.append(best, 0.0)[first]
