import numpy as np
import pytest
from hypothesis import given, settings

from panvision.scoring.table import SCORERS, score
from tests.scoring.coco import coco_average_precision, images

NAMES = ["stirrer", "pipe"]
STIRRER, OTHER, PIPE = (10, 10, 30, 30, 0), (50, 50, 60, 60, 0), (40, 40, 60, 60, 1)


def part(*rows, scores=None):
    """Boxes from rows (x1, y1, x2, y2, label)."""
    table = np.array(rows, np.float64).reshape(-1, 5)
    boxes = {"boxes": table[:, :4].tolist(), "labels": table[:, 4].astype(int).tolist()}
    return boxes | ({} if scores is None else {"scores": list(scores)})


def scored(*pairs):
    """Metrics of images, each the true rows, the predicted rows and their scores."""
    compared = [
        SCORERS["detection"].compare(part(*found, scores=scores), part(*truth)) for truth, found, scores in pairs
    ]
    return score("detection", compared, NAMES)


def test_detection_of_perfect_predictions():
    found = scored(([STIRRER], [STIRRER], [0.9]), ([OTHER, PIPE], [OTHER, PIPE], [0.9, 0.9]), ([], [], []))
    assert [found[key] for key in ("map50", "map50_95", "ap50.stirrer", "ap50.pipe")] == [1.0] * 4


@pytest.mark.parametrize(
    ("truth", "found", "stirrer", "pipe"),
    [
        ([STIRRER], [], 0.0, None),
        ([STIRRER, PIPE], [STIRRER], 1.0, 0.0),
        ([STIRRER], [STIRRER, PIPE], 1.0, None),
        ([], [STIRRER], None, None),
    ],
)
def test_detection_of_classes_without_truth_or_prediction(truth, found, stirrer, pipe):
    metrics = scored((truth, found, [0.8] * len(found)))
    assert (metrics["ap50.stirrer"], metrics["ap50.pipe"]) == (stirrer, pipe)
    known = [value for value in (stirrer, pipe) if value is not None]
    assert metrics["map50"] == (sum(known) / len(known) if known else None)


def test_detection_of_no_image():
    assert set(score("detection", [], NAMES).values()) == {None}


def test_average_precision_by_hand():
    # By descending score: hit, miss, hit of two true boxes. Precision 1 up to recall 0.5, then 2/3.
    rows = [STIRRER, (80, 80, 90, 90, 0), OTHER]
    metrics = scored(([STIRRER, OTHER], rows, [0.9, 0.8, 0.01]))
    assert metrics["map50"] == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)


def test_iou_thresholds_are_those_of_coco():
    # IoU 0.8: a hit at 0.50, 0.55 .. 0.80, a miss at 0.85, 0.90, 0.95.
    metrics = scored(([(0, 0, 10, 10, 0)], [(0, 0, 10, 8, 0)], [0.9]))
    assert (metrics["map50"], metrics["map50_95"]) == (1.0, pytest.approx(0.7))


@settings(max_examples=30, deadline=None)
@given(images())
def test_detection_means_are_pycocotools(drawn):
    compared = [
        SCORERS["detection"].compare(
            dict(zip(("boxes", "labels", "scores"), found, strict=True)),
            dict(zip(("boxes", "labels", "crowds", "crowd_labels"), truth, strict=True)),
        )
        for truth, found in drawn
    ]
    expected = coco_average_precision(drawn)  # (K, A, T)
    known = expected[~np.isnan(expected[:, 0, 0])]
    found = score("detection", compared, NAMES)
    assert found["map50"] == (pytest.approx(known[:, 0, 0].mean(), abs=1e-9) if len(known) else None)
    assert found["map50_95"] == (pytest.approx(known[:, 0].mean(), abs=1e-9) if len(known) else None)
