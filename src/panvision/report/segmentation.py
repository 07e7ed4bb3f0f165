"""The section on masks."""

from collections.abc import Mapping
from typing import Any

from panvision.evaluation.results import Results
from panvision.report.mistakes import (
    FALSE_ALARM,
    FOUND,
    MISSED,
    RAGGED_EDGE,
    RAGGED_IOU,
    RAGGED_MASK,
    Mistake,
    Mistakes,
    Verdict,
    percent,
)
from panvision.report.section import Section, ShownMetric

# A mask that covers less of the pan, or with less pan in it, is more than ragged.
HALF = 0.5


def verdict(image: Mapping[str, Any], results: Results) -> Verdict:
    """Return the IoU of the pan."""
    tp, fp, fn, _ = image["pixels"]
    if not tp + fp + fn:
        return Verdict("no pan, none found", right=True)
    iou = tp / (tp + fp + fn)
    return Verdict(f"IoU {iou:.2f}", right=iou >= FOUND)


def mistakes(image: Mapping[str, Any], results: Results) -> Mistakes | None:
    """Find the mistake of a mask; the lower the IoU, the worse, and a mask without a pan counts as IoU 0."""
    tp, fp, fn, tn = image["pixels"]
    iou = tp / max(tp + fp + fn, 1)
    edge = image["boundary"]
    found = None
    if not tp + fn:
        if fp:
            text = f"There is no pan, and {fp} pixels are marked, {percent(fp / (fp + tn))} of the image."
            found = Mistake(FALSE_ALARM, text)
    elif tp < HALF * (tp + fn):
        covered = f"covers {percent(tp / (tp + fn))} of the pan" if tp + fp else "is empty, and there is a pan"
        found = Mistake(MISSED, f"The mask {covered}.")
    elif tp < HALF * (tp + fp):
        found = Mistake(FALSE_ALARM, f"Of the mask, {percent(fp / (tp + fp))} is not the pan.")
    elif iou < RAGGED_IOU or (edge and edge["p95"] > RAGGED_EDGE * (image["width"] ** 2 + image["height"] ** 2) ** 0.5):
        off = f"; its boundary is off by {edge['mean']:.1f} px on average, {edge['p95']:.1f} px at p95" if edge else ""
        text = f"The mask covers {percent(tp / (tp + fn))} of the pan, and {percent(fp / (tp + fp))} of it is not pan"
        found = Mistake(RAGGED_MASK, f"{text}{off}.")
    return Mistakes(image["file"], 1.0 - iou, [found]) if found else None


SECTION = Section(
    intro="Where the pan is: a mask, scored over all pixels of {images}.",
    metrics=(
        ShownMetric("miou"),
        ShownMetric("iou.pan", "IoU of the pan"),
        ShownMetric("iou.background", "IoU of the background"),
        ShownMetric("dice", "Dice of the pan"),
        ShownMetric("precision", "precision of the pan's pixels"),
        ShownMetric("recall", "recall of the pan's pixels"),
        ShownMetric("boundary_mean_px", "boundary error, mean", pixels=True, bar=False, smaller=True),
        ShownMetric("boundary_p95_px", "boundary error, p95", pixels=True, bar=False, smaller=True),
    ),
    verdict=verdict,
    mistakes=mistakes,
    color=8,
    errors=True,
)
