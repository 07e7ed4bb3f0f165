import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.scoring.detection import coco_precision, coco_scores

NAMES = ["stirrer", "pipe"]
NOTHING = (np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32))


def picture(*rows):
    """(boxes, labels) from rows (x1, y1, x2, y2, label); with a sixth entry also scores."""
    table = np.array(rows, dtype=np.float64)
    parts = (table[:, :4].astype(np.float32), table[:, 4].astype(np.int64))
    return (*parts, table[:, 5].astype(np.float32)) if table.shape[1] == 6 else parts


def random_set(seed: int, pictures: int = 4):
    """Truth and predictions that are the truth, moved and with false ones among them."""
    rng = np.random.default_rng(seed)
    truth, predictions = [], []
    for _ in range(pictures):
        count = int(rng.integers(0, 4))
        corner = rng.uniform(0, 80, (count, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(5, 20, (count, 2))], axis=1)
        labels = rng.integers(0, 2, count)
        extra = int(rng.integers(0, 3))
        moved = np.concatenate([boxes + rng.normal(0, 2, boxes.shape), np.tile([[80.0, 80, 99, 99]], (extra, 1))])
        truth.append((boxes, labels))
        guesses = np.concatenate([labels, rng.integers(0, 2, extra)])
        predictions.append((moved, guesses, rng.permutation(count + extra) / 10 + rng.uniform(0, 0.05)))
    return truth, predictions


def test_perfect_predictions_score_one() -> None:
    # Annotation ids from 0 would give 0.25 here: pycocotools takes id 0 for "no match".
    truth = [picture((10, 10, 30, 30, 0)), picture((5, 5, 25, 45, 0)), picture((0, 0, 9, 9, 1)), NOTHING[:2]]
    predictions = [(boxes, labels, np.full(len(boxes), 0.9)) for boxes, labels in truth]
    scores = coco_scores(truth, predictions, NAMES)
    assert scores == {
        "map50": pytest.approx(1.0),
        "map50_95": pytest.approx(1.0),
        "ap50": {"stirrer": pytest.approx(1.0), "pipe": pytest.approx(1.0)},
    }


def test_no_prediction_at_all_scores_zero() -> None:
    scores = coco_scores([picture((10, 10, 30, 30, 0))], [NOTHING], NAMES)
    assert scores == {"map50": 0.0, "map50_95": 0.0, "ap50": {"stirrer": 0.0, "pipe": None}}


def test_a_class_without_a_prediction_counts_zero_in_the_mean() -> None:
    truth = [picture((10, 10, 30, 30, 0), (40, 40, 60, 60, 1))]
    scores = coco_scores(truth, [picture((10, 10, 30, 30, 0, 0.8))], NAMES)
    assert scores["ap50"] == {"stirrer": pytest.approx(1.0), "pipe": 0.0}
    assert scores["map50"] == pytest.approx(0.5)


def test_a_class_without_truth_is_none_and_left_out_of_the_mean() -> None:
    truth = [picture((10, 10, 30, 30, 0))]
    predictions = [picture((10, 10, 30, 30, 0, 0.8), (40, 40, 60, 60, 1, 0.9))]
    scores = coco_scores(truth, predictions, NAMES)
    assert scores["ap50"] == {"stirrer": pytest.approx(1.0), "pipe": None}
    assert scores["map50"] == pytest.approx(1.0)


@pytest.mark.parametrize("truth", [[], [NOTHING[:2], NOTHING[:2]]])
def test_without_any_true_box_everything_is_none(truth) -> None:
    scores = coco_scores(truth, [NOTHING] * len(truth), NAMES)
    assert scores == {"map50": None, "map50_95": None, "ap50": {"stirrer": None, "pipe": None}}


def test_average_precision_by_hand() -> None:
    # By falling score: hit, miss, hit out of two true boxes. Precision 1 up to recall 0.5, then 2/3.
    truth = [picture((0, 0, 10, 10, 0), (50, 50, 60, 60, 0))]
    predictions = [picture((0, 0, 10, 10, 0, 0.9), (20, 20, 30, 30, 0, 0.8), (50, 50, 60, 60, 0, 0.7))]
    scores = coco_scores(truth, predictions, NAMES)
    assert scores["map50"] == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)


def test_the_iou_thresholds_are_cocos() -> None:
    # IoU 0.8: a hit at 0.50, 0.55 .. 0.80, a miss at 0.85, 0.90, 0.95.
    truth, predictions = [picture((0, 0, 10, 10, 0))], [picture((0, 0, 10, 8, 0, 0.9))]
    scores = coco_scores(truth, predictions, NAMES)
    assert scores["map50"] == pytest.approx(1.0)
    assert scores["map50_95"] == pytest.approx(0.7)


def test_big_boxes_count_as_small_ones_do() -> None:
    truth, predictions = [picture((0, 0, 9000, 9000, 0))], [picture((0, 0, 9000, 9000, 0, 0.9))]
    assert coco_scores(truth, predictions, NAMES)["map50"] == pytest.approx(1.0)


def test_low_scores_enter_the_average() -> None:
    truth = [picture((0, 0, 10, 10, 0), (50, 50, 60, 60, 0))]
    both = [picture((0, 0, 10, 10, 0, 0.9), (50, 50, 60, 60, 0, 0.01))]
    assert coco_scores(truth, both, NAMES)["map50"] == pytest.approx(1.0)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_scores_are_fractions_and_ignore_the_order_of_pictures(seed: int) -> None:
    truth, predictions = random_set(seed)
    scores = coco_scores(truth, predictions, NAMES)
    for value in (scores["map50"], scores["map50_95"], *scores["ap50"].values()):
        assert value is None or 0.0 <= value <= 1.0 + 1e-12
    order = np.random.default_rng(seed).permutation(len(truth))
    shuffled = coco_scores([truth[i] for i in order], [predictions[i] for i in order], NAMES)
    flat, other = ([s["map50"], s["map50_95"], *s["ap50"].values()] for s in (scores, shuffled))
    assert flat == [None if value is None else pytest.approx(value) for value in other]


def test_one_prediction_per_picture_is_asked_for() -> None:
    with pytest.raises(ValueError, match="one per picture"):
        coco_precision([NOTHING[:2]], [], 2)


def test_pycocotools_prints_nothing(capsys) -> None:
    coco_scores(*random_set(1), NAMES)
    assert capsys.readouterr().out == ""
