import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.decoding.decoder import Thresholds
from panvision.decoding.detection import decode_ltrb, nms, scale_boxes, select, sigmoid
from panvision.decoding.points import level_points

SIZE = 64
POINTS = level_points(SIZE, (8, 16, 32))
TOTAL = len(POINTS[0])
OPEN = Thresholds(score=0.0, nms=1.0, max_detections=10_000)


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    corners = rng.uniform(0, SIZE, (count, 2, 2)).astype(np.float32)
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(float(width), 0.0) * max(float(height), 0.0)
    union = sum(float(box[2] - box[0]) * float(box[3] - box[1]) for box in (one, other)) - shared
    return shared / union if union > 0 else 0.0


def brute_force(boxes, scores, labels, threshold, limit) -> list[int]:
    """Keep the best box and drop what overlaps it, without array operations."""
    rows = sorted(range(len(boxes)), key=lambda row: (-scores[row], row))
    kept: list[int] = []
    for row in rows:
        clash = any(labels[row] == labels[other] and iou(boxes[row], boxes[other]) > threshold for other in kept)
        if not clash:
            kept.append(row)
    return kept[:limit]


def outputs(classes: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Raw outputs without a box."""
    shapes = ((TOTAL, classes), (TOTAL, 4), (TOTAL,))
    class_logits, ltrb, centerness = (np.full(shape, -20.0, dtype=np.float32) for shape in shapes)
    return class_logits, np.abs(ltrb), centerness


@given(st.integers(0, 2**32 - 1))
def test_decode_ltrb_inverts_encoding(seed: int) -> None:
    boxes = random_boxes(np.random.default_rng(seed), TOTAL)
    points, strides = POINTS
    ltrb = np.concatenate([points - boxes[:, :2], boxes[:, 2:] - points], axis=1) / strides[:, None]
    np.testing.assert_allclose(decode_ltrb(points, strides, ltrb), boxes, atol=1e-4)
    batch = decode_ltrb(points, strides, np.stack([ltrb, ltrb]))
    assert batch.shape == (2, TOTAL, 4)
    assert batch.dtype == np.float32


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.floats(0.0, 1.0), st.integers(1, 50))
def test_nms_equals_brute_force(seed: int, count: int, threshold: float, limit: int) -> None:
    rng = np.random.default_rng(seed)
    boxes = random_boxes(rng, count)
    # Few distinct scores: ties are common.
    scores = (rng.integers(1, 6, count) / 5).astype(np.float32)
    labels = rng.integers(0, 3, count)
    kept = nms(boxes, scores, labels, iou_threshold=threshold, max_detections=limit)
    assert kept.tolist() == brute_force(boxes.astype(np.float64), scores, labels, threshold, limit)


@pytest.mark.parametrize("seed", range(5))
def test_nms_agrees_with_torchvision(seed: int) -> None:
    torch = pytest.importorskip("torch")
    ops = pytest.importorskip("torchvision.ops")
    rng = np.random.default_rng(seed)
    boxes, labels = random_boxes(rng, 300), rng.integers(0, 4, 300)
    scores = rng.permutation(300).astype(np.float32) / 300
    kept = nms(boxes, scores, labels, iou_threshold=0.5, max_detections=300)
    expected = ops.batched_nms(torch.tensor(boxes), torch.tensor(scores), torch.tensor(labels), 0.5)
    assert kept.tolist() == expected.tolist()


def test_nms_keeps_an_overlap_at_the_threshold() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 5]], dtype=np.float32)  # IoU exactly 1/2
    pair = np.array([0.9, 0.8], dtype=np.float32), np.zeros(2, dtype=np.int64)
    assert nms(boxes, *pair, iou_threshold=0.5, max_detections=9).tolist() == [0, 1]
    assert nms(boxes, *pair, iou_threshold=0.499, max_detections=9).tolist() == [0]


def test_nms_of_nothing() -> None:
    empty = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
    assert nms(*empty, iou_threshold=0.5, max_detections=10).shape == (0,)


def test_select_scores_are_geometric_means() -> None:
    class_logits, ltrb, centerness = outputs()
    class_logits[5, 1], centerness[5] = 2.0, 1.0
    ltrb[5] = [0.5, 0.25, 1.0, 2.0]  # strides of 8 around the point (44, 4)
    found = select(class_logits, ltrb, centerness, points=POINTS, image_size=SIZE, thresholds=Thresholds(0.3, 0.5, 100))
    assert found.boxes.tolist() == [[40.0, 2.0, 52.0, 20.0]]
    assert found.labels.tolist() == [1]
    expected = np.sqrt(1 / (1 + np.exp(-2.0)) / (1 + np.exp(-1.0)))
    np.testing.assert_allclose(found.scores, [expected], rtol=1e-6)
    assert found.boxes.dtype == found.scores.dtype == np.float32
    assert found.labels.dtype == np.int64


def test_select_of_nothing() -> None:
    found = select(*outputs(), points=POINTS, image_size=SIZE, thresholds=Thresholds(0.3, 0.5, 100))
    assert found.boxes.shape == (0, 4)
    assert found.scores.shape == found.labels.shape == (0,)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.95), st.integers(1, 30))
def test_select_respects_limits(seed: int, score: float, limit: int) -> None:
    rng = np.random.default_rng(seed)
    found = select(
        rng.normal(0, 3, (TOTAL, 3)).astype(np.float32),
        rng.exponential(3, (TOTAL, 4)).astype(np.float32),
        rng.normal(0, 3, TOTAL).astype(np.float32),
        points=POINTS,
        image_size=SIZE,
        thresholds=Thresholds(score, 0.5, limit),
    )
    assert len(found.boxes) <= limit
    assert np.all(found.scores >= score)
    assert np.all(np.diff(found.scores) <= 0)
    assert found.boxes.min(initial=0) >= 0
    assert found.boxes.max(initial=0) <= SIZE
    assert np.all(found.boxes[:, 2:] > found.boxes[:, :2])


def test_select_orders_equal_scores_by_location() -> None:
    class_logits, ltrb, centerness = outputs()
    class_logits[[3, 9]] = 1.0
    centerness[[3, 9]] = 1.0
    ltrb[:] = 0.25
    found = select(class_logits, ltrb, centerness, points=POINTS, image_size=SIZE, thresholds=Thresholds(0.3, 0.5, 9))
    assert found.labels.tolist() == [0, 1, 0, 1]
    assert found.boxes[:, 0].tolist() == [26.0, 26.0, 10.0, 10.0]  # point 3 at x = 28, point 9 at x = 12


@pytest.mark.filterwarnings("ignore:invalid value")  # of the planted NaN
def test_select_drops_boxes_without_area_and_nan() -> None:
    class_logits, ltrb, centerness = outputs(classes=1)
    class_logits[:3], centerness[:3] = 5.0, 5.0
    ltrb[0] = 0.0
    class_logits[1] = np.nan
    found = select(class_logits, ltrb, centerness, points=POINTS, image_size=SIZE, thresholds=Thresholds(0.3, 0.5, 9))
    assert found.boxes.tolist() == [[0.0, 0.0, SIZE, SIZE]]


def test_sigmoid_does_not_overflow() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = sigmoid(np.array([-1000.0, -20.0, 0.0, 1000.0]))
    np.testing.assert_allclose(values, [0.0, np.exp(-20.0), 0.5, 1.0], rtol=1e-6)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(0, 2**32 - 1))
def test_scale_boxes_stay_in_the_image(width: int, height: int, seed: int) -> None:
    boxes = random_boxes(np.random.default_rng(seed), 6)
    boxes[0] = [0, 0, SIZE, SIZE]
    scaled = scale_boxes(boxes, SIZE, width, height)
    assert scaled[0].tolist() == [0, 0, width, height]
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled[:, 0::2] / width, boxes[:, 0::2] / SIZE, atol=1e-5)
    np.testing.assert_allclose(scaled[:, 1::2] / height, boxes[:, 1::2] / SIZE, atol=1e-5)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    limits=st.lists(st.one_of(st.floats(0.0, 1.0), st.sampled_from((0.0, 0.25, 0.5))), min_size=3, max_size=3),
    ties=st.booleans(),
)
def test_select_by_class_equals_filtering_afterwards(seed: int, limits: list[float], ties: bool) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (TOTAL, 3)).astype(np.float32)
    class_logits = np.round(logits) if ties else logits
    raw = class_logits, rng.exponential(3, (TOTAL, 4)).astype(np.float32), np.zeros(TOTAL, np.float32)

    def found(score: float | tuple[float, ...]):
        return select(*raw, points=POINTS, image_size=SIZE, thresholds=Thresholds(score, 0.5, 10_000))

    every, own = found(0.0), found(tuple(limits))
    kept = [row for row, label in enumerate(every.labels) if float(every.scores[row]) >= limits[label]]
    for before, after in zip(every, own, strict=True):
        np.testing.assert_array_equal(before[kept], after)
    one = found(limits[0])
    np.testing.assert_array_equal(one.boxes, found((limits[0],) * 3).boxes)
