"""Random detection sets, and what pycocotools says of them."""

import contextlib
import io

import numpy as np
from hypothesis import strategies as st
from pycocotools.cocoeval import COCOeval

from panvision.scoring.detection import _coco
from panvision.scoring.matching import AREA_RANGES, MAX_DETECTIONS, box_areas, in_ranges, match_boxes
from panvision.scoring.ranking import RankedClass, rank

CLASSES = 2
# Few places, sizes on both sides of COCO's limits and few scores, so that everything can tie.
EDGES, SIDES, SCORES = (0, 4, 30, 60), (8, 30, 32, 34, 96, 120), (0.2, 0.5, 0.9)


@st.composite
def boxes(draw, most: int):
    def box():
        x, y = draw(st.sampled_from(EDGES)), draw(st.sampled_from(EDGES))
        return [x, y, x + draw(st.sampled_from(SIDES)), y + draw(st.sampled_from(SIDES))]

    count = draw(st.integers(0, most))
    coordinates = np.array([box() for _ in range(count)], np.float64).reshape(-1, 4)
    return coordinates, np.array([draw(st.integers(0, CLASSES - 1)) for _ in range(count)], np.int64)


@st.composite
def pictures(draw):
    """A list of (truth, prediction) of some pictures, as `coco_scores` takes them."""
    drawn = []
    for _ in range(draw(st.integers(1, 4))):
        truth, (corners, labels) = draw(boxes(3)), draw(boxes(5))
        # Some found boxes are true ones, or nearly.
        if len(truth[0]) and draw(st.booleans()):
            corners = np.concatenate([corners, truth[0] + draw(st.sampled_from((0.0, 1.5)))])
            labels = np.concatenate([labels, truth[1]])
        scores = np.array([draw(st.sampled_from(SCORES)) for _ in labels])
        drawn.append((truth, (corners, labels, scores)))
    return drawn


def coco_average_precision(drawn) -> np.ndarray:
    """(K, A, T) by pycocotools, NaN where undefined."""
    truth, found = (list(side) for side in zip(*drawn, strict=True))
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(_coco(truth, CLASSES), _coco(found, CLASSES), iouType="bbox")
        evaluation.params.maxDets = [MAX_DETECTIONS]
        evaluation.evaluate()
        evaluation.accumulate()
    assert evaluation.params.areaRngLbl == list(AREA_RANGES)
    precision = evaluation.eval["precision"][..., 0]  # (T, 101, K, A)
    return np.where(precision < 0, np.nan, precision).mean(axis=1).transpose(1, 2, 0)


def ranked_classes(drawn) -> list[RankedClass]:
    """Our own matching of the same, by class."""
    matchings = [match_boxes(*truth, *found) for truth, found in drawn]
    image = np.concatenate([np.full(len(found[1]), number) for number, (_, found) in enumerate(drawn)])
    labels = np.concatenate([found[1] for _, found in drawn])
    scores = np.concatenate([found[2] for _, found in drawn])
    hits, ignored = (np.concatenate([getattr(m, name) for m in matchings], axis=2) for name in ("hits", "ignored"))
    ranked = []
    for label in range(CLASSES):
        own = labels == label
        truths = [in_ranges(box_areas(truth[0][truth[1] == label])).sum(axis=1) for truth, _ in drawn]
        ranked.append(rank(scores[own], image[own], hits[:, :, own], ignored[:, :, own], np.array(truths).T))
    return ranked
