import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.decoding.detection import decode_ltrb
from panvision.training.data.batches import NO_OBJECT
from panvision.training.losses.targets import assign_targets, make_points

SIZE, STRIDES = 128, (8, 16, 32)
POINTS = make_points(SIZE, STRIDES)


def assign(*boxes, labels=None, radius=1.5):
    """Targets of one image with these boxes."""
    box_tensor = torch.tensor([boxes], dtype=torch.float32).reshape(1, -1, 4)
    label_tensor = torch.tensor([labels if labels is not None else range(len(boxes))], dtype=torch.int64)
    return assign_targets(POINTS, box_tensor, label_tensor.reshape(1, -1), center_radius=radius)


def positive_points(targets) -> torch.Tensor:
    return (targets.labels[0] != NO_OBJECT).nonzero()[:, 0]


def levels(targets) -> set[float]:
    return set(POINTS.strides[positive_points(targets)].tolist())


def test_points_stand_in_cell_centres_of_all_levels():
    assert len(POINTS.xy) == 16 * 16 + 8 * 8 + 4 * 4
    assert (
        POINTS.xy[0].tolist() == [4, 4] and POINTS.xy[256].tolist() == [8, 8] and POINTS.xy[-1].tolist() == [112, 112]
    )
    assert POINTS.strides[[0, 256, -1]].tolist() == [8, 16, 32]


def test_levels_cover_all_distances_without_a_gap():
    reach = {stride: POINTS.reach[POINTS.strides == stride][0].tolist() for stride in STRIDES}
    assert reach == {8: [0, 32], 16: [32, 64], 32: [64, math.inf]}
    # Derived from the input's size: at 256 px they are the paper's.
    assert make_points(256, STRIDES).reach[0].tolist() == [0, 64]
    assert make_points(256, (16,)).reach[0].tolist() == [0, math.inf]


@pytest.mark.parametrize(("side", "stride"), [(40, 8), (60, 16), (120, 32), (128, 32)])
def test_a_boxs_size_decides_its_level(side, stride):
    low = (SIZE - side) / 2
    assert levels(assign((low, low, low + side, low + side))) == {stride}


def test_only_points_inside_a_box_are_positive():
    targets = assign((30, 50, 54, 58))
    for point in positive_points(targets):
        x, y = POINTS.xy[point].tolist()
        assert 30 < x < 54 and 50 < y < 58


def test_a_point_on_the_edge_is_outside():
    # The cell centre (12, 12) is the box's corner; (20, 20) is inside.
    targets = assign((12, 12, 28, 28), radius=10)
    assert [POINTS.xy[point].tolist() for point in positive_points(targets)] == [[20.0, 20.0]]


@pytest.mark.parametrize(("radius", "expected"), [(0.4, 1), (0.6, 4), (1.6, 16), (10, 36)])
def test_center_sampling_keeps_points_near_the_centre(radius, expected):
    # A box of 48 px around a corner of four cells, on one level only, so that no other rule decides.
    points = make_points(SIZE, (8,))
    boxes, labels = torch.tensor([[[40.0, 40, 88, 88]]]), torch.tensor([[0]])
    targets = assign_targets(points, boxes, labels, center_radius=radius)
    assert int((targets.labels != NO_OBJECT).sum()) == expected


def test_center_sampling_counts_in_strides_of_the_level():
    box = (0, 0, 128, 128)  # P5's: its farthest edge is at least 64 px away
    for radius, expected in ((0.4, 1), (0.6, 4), (1.4, 4), (1.6, 16)):
        assert len(positive_points(assign(box, radius=radius))) == expected


def test_of_several_boxes_the_smallest_wins():
    points = make_points(SIZE, (8,))
    boxes = torch.tensor([[[16.0, 16, 44, 44], [22, 22, 38, 38]]])
    for order in ([0, 1], [1, 0]):
        targets = assign_targets(points, boxes[:, order], torch.tensor([order]), center_radius=1.5)
        small = ((points.xy > 22) & (points.xy < 38)).all(1)
        assert small.any() and (targets.labels[0, small] == 1).all()
        assert (targets.labels[0, ~small] != 1).all() and (targets.labels == 0).any()


def test_nearly_equal_areas_do_not_tie():
    # 1e8 - area would be the same float32 for both.
    small, large = (40.0, 40.0, 56.0, 56.0), (39.9, 40.0, 56.0, 56.0)
    for order in ((small, large), (large, small)):
        targets = assign(*order, labels=[0, 0])
        point = int(positive_points(targets)[0])
        x = POINTS.xy[point, 0]
        assert targets.ltrb[0, point, 0] * POINTS.strides[point] == pytest.approx(float(x - 40.0), abs=1e-4)


def test_unused_rows_match_nothing():
    assert len(positive_points(assign((0, 0, 20, 20), labels=[NO_OBJECT]))) == 0
    # Nor does one hide a real, larger box behind it.
    hidden = assign((20, 20, 60, 60), (30, 30, 50, 50), labels=[1, NO_OBJECT])
    assert hidden.labels.equal(assign((20, 20, 60, 60), labels=[1]).labels)
    targets = assign((0, 0, 0, 0), labels=[NO_OBJECT])
    assert targets.ltrb.isfinite().all() and targets.centerness.isfinite().all()


def test_images_of_a_batch_do_not_see_each_other():
    boxes = torch.tensor([[[10.0, 10, 30, 30]], [[60.0, 60, 120, 120]]])
    labels = torch.tensor([[0], [1]])
    both = assign_targets(POINTS, boxes, labels, center_radius=1.5)
    for row in (0, 1):
        alone = assign_targets(POINTS, boxes[row : row + 1], labels[row : row + 1], center_radius=1.5)
        assert torch.equal(both.labels[row], alone.labels[0]) and torch.equal(both.ltrb[row], alone.ltrb[0])


@pytest.mark.parametrize(("point", "expected"), [((64, 64), 1.0), ((56, 64), math.sqrt(8 / 24))])
def test_centerness_is_one_in_the_middle_and_falls_to_the_edge(point, expected):
    points = make_points(SIZE, (8,))._replace(xy=torch.tensor([point], dtype=torch.float32))
    points = points._replace(strides=torch.tensor([8.0]), reach=points.reach[:1])
    boxes, labels = torch.tensor([[[48.0, 48, 80, 80]]]), torch.tensor([[0]])
    targets = assign_targets(points, boxes, labels, center_radius=10)
    assert float(targets.centerness[0, 0]) == pytest.approx(expected)


def test_thin_boxes_that_contain_a_location_have_a_positive_one():
    """A stirrer of 8 × 70 px belongs to P4, whose grid of 16 px has no location in it at most places."""
    for x in range(0, SIZE - 8):
        box = (x, 20.0, x + 8.0, 90.0)
        contained = ((POINTS.xy > torch.tensor(box[:2])) & (POINTS.xy < torch.tensor(box[2:]))).all(1)
        assert len(positive_points(assign(box))) >= min(1, int(contained.sum()))


def test_nearest_free_location_serves_boxes_without_one():
    thin, large = (30.0, 20.0, 38.0, 90.0), (10.0, 10.0, 70.0, 100.0)
    alone, both = assign(thin, labels=[0]), assign(large, thin, labels=[1, 0])
    without = positive_points(assign(large, labels=[1]))
    assert len(positive_points(alone)) == 1
    (point,) = (both.labels[0] == 0).nonzero()[:, 0].tolist()
    assert point not in without and set(positive_points(both).tolist()) == {*without.tolist(), point}
    assert (POINTS.xy[point] > torch.tensor(thin[:2])).all() and (POINTS.xy[point] < torch.tensor(thin[2:])).all()


def test_boxes_between_all_locations_stay_background():
    assert len(positive_points(assign((5.0, 5.0, 7.5, 7.5)))) == 0


boxes_strategy = st.lists(
    st.tuples(*[st.floats(0, SIZE, width=32) for _ in range(4)]).filter(
        lambda box: abs(box[0] - box[2]) > 1 and abs(box[1] - box[3]) > 1
    ),
    min_size=1,
    max_size=6,
)


@settings(deadline=None, max_examples=60)
@given(boxes_strategy)
def test_positive_locations_decode_to_the_smallest_fitting_box(drawn):
    boxes = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in drawn]
    targets = assign(*boxes)
    for point in positive_points(targets).tolist():
        number = int(targets.labels[0, point])
        decoded = decode_ltrb(
            POINTS.xy[[point]].numpy(), POINTS.strides[[point]].numpy(), targets.ltrb[0, [point]].numpy()
        )[0]
        assert np.allclose(decoded, boxes[number], atol=1e-3)
        assert 0 < float(targets.centerness[0, point]) <= 1
        areas = [area(boxes[other]) for other in range(len(boxes)) if matches(point, boxes[other])]
        assert area(boxes[number]) <= min(areas, default=math.inf) * (1 + 1e-5)


def area(box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def matches(point: int, box) -> bool:
    """The three rules, for one point and one box, without tensors; a hair narrower, for rounding."""
    (x, y), stride = POINTS.xy[point].tolist(), float(POINTS.strides[point])
    low, high = POINTS.reach[point].tolist()
    sides = (x - box[0], y - box[1], box[2] - x, box[3] - y)
    off = max(abs(x - (box[0] + box[2]) / 2), abs(y - (box[1] + box[3]) / 2))
    return min(sides) > 0 and off < 1.5 * stride - 1e-4 and low + 1e-4 < max(sides) <= high - 1e-4
