"""Random detection datasets, and their average precision by pycocotools, the oracle."""

import contextlib
import io

import numpy as np
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from panvision.scoring.detection import BoxColumns
from panvision.scoring.matching import AREA_RANGES, MAX_DETECTIONS, Matching, match_boxes
from panvision.scoring.ranking import RankedClass

CLASSES = 2
# Few positions, sizes on both sides of COCO's limits and few scores, so that everything can tie.
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
def images(draw):
    """A list of (truth, prediction): boxes and labels, and those of crowds; boxes, labels and scores."""
    drawn = []
    for _ in range(draw(st.integers(1, 4))):
        truth, (corners, labels) = draw(boxes(3)), draw(boxes(5))
        # Some predicted boxes are true ones, or nearly.
        if len(truth[0]) and draw(st.booleans()):
            corners = np.concatenate([corners, truth[0] + draw(st.sampled_from((0.0, 1.5)))])
            labels = np.concatenate([labels, truth[1]])
        scores = np.array([draw(st.sampled_from(SCORES)) for _ in labels])
        drawn.append(((*truth, *draw(boxes(2))), (corners, labels, scores)))
    return drawn


def random_images(seed, count, *, noise):
    """Images with many true and predicted boxes near each other, and no equal scores."""
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(count):
        size = random.integers(0, 6)
        corners = random.uniform(0, 80, (size, 2))
        true = np.concatenate([corners, corners + random.uniform(10, 110, (size, 2))], axis=1)
        labels = random.integers(0, 2, size)
        found = np.concatenate([true + random.normal(0, noise, true.shape) for _ in range(2)])
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2])
        crowd = random.uniform(0, 60, (1, 4)) + np.array([0, 0, 60, 60])
        prediction = (found, np.tile(labels, 2), random.uniform(0, 1, 2 * size))
        drawn.append(((true, labels, crowd, random.integers(0, 2, 1)), prediction))
    return drawn


def coco_precision(drawn) -> np.ndarray:
    """Precision (T, 101, K, A) by pycocotools, NaN where undefined."""
    truth, found = (list(side) for side in zip(*drawn, strict=True))
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(_coco_truth(truth), _coco(found), iouType="bbox")
        evaluation.params.maxDets = [MAX_DETECTIONS]
        evaluation.evaluate()
        evaluation.accumulate()
    assert evaluation.params.areaRngLbl == list(AREA_RANGES)
    precision = evaluation.eval["precision"][..., 0]
    return np.where(precision < 0, np.nan, precision)


def coco_average_precision(drawn) -> np.ndarray:
    """(K, A, T) by pycocotools, NaN where undefined."""
    return coco_precision(drawn).mean(axis=1).transpose(1, 2, 0)


def ranked_classes(drawn) -> list[RankedClass]:
    """Our own matching of the same images, by class."""
    columns = BoxColumns([matched(*pair) for pair in drawn])
    return [columns.ranked(label) for label in range(CLASSES)]


def matched(truth, found) -> Matching:
    """Our own matching of one image."""
    return match_boxes(*truth[:2], *found, **dict(zip(("crowds", "crowd_labels"), truth[2:], strict=False)))


def _coco_truth(images) -> COCO:
    """True boxes, and after them the crowds."""
    coco = _coco([(boxes, labels) for boxes, labels, *_ in images])
    crowds = _coco([(crowds[0], crowds[1]) if crowds else ((), ()) for _, _, *crowds in images])
    first = len(coco.dataset["annotations"])
    coco.dataset["annotations"] += [
        each | {"id": each["id"] + first, "iscrowd": 1} for each in crowds.dataset["annotations"]
    ]
    coco.createIndex()
    return coco


def _coco(images) -> COCO:
    annotations = []
    for number, (corners, labels, *scores) in enumerate(images, start=1):
        for row, (x1, y1, x2, y2) in enumerate(np.asarray(corners, float).reshape(-1, 4).tolist()):
            annotation = {
                "id": len(annotations) + 1,  # from 1: pycocotools uses id 0 for "no match"
                "image_id": number,
                "category_id": int(labels[row]) + 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
            }
            annotations.append(annotation | ({"score": float(scores[0][row])} if scores else {}))
    coco = COCO()
    coco.dataset = {
        "images": [{"id": number} for number in range(1, len(images) + 1)],
        "categories": [{"id": index} for index in range(1, CLASSES + 1)],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco
