import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from panvision.photos.orientation import turn_boxes, turn_mask
from panvision.photos.pixels import Picture
from panvision.prepare.formats.boxes import place_boxes
from panvision.prepare.formats.layout import BoxLabels


def blank(width, height, orientation=1):
    stored = (height, width) if orientation > 4 else (width, height)
    return Picture(Image.new("RGB", (width, height)), stored, orientation)


def place(boxes, width=40, height=30, *, size=None, orientation=1, zero_area="drop", relative=False):
    numbers = range(len(boxes))
    given_boxes = BoxLabels(size, tuple(boxes), tuple(numbers), tuple(map(str, numbers)), relative)
    return place_boxes(given_boxes, blank(width, height, orientation), "a.jpg", zero_area=zero_area)


# Each costs one box.
LOST = ("box_not_finite", "box_negative", "box_zero_area", "box_outside")

coordinate = st.floats(-1e7, 1e7, allow_nan=False)
length = st.floats(0, 1e7, allow_nan=False)


@given(
    boxes=st.lists(st.tuples(coordinate, coordinate, length, length), max_size=8),
    width=st.integers(1, 5000),
    height=st.integers(1, 5000),
)
@settings(max_examples=200, deadline=None)
def test_kept_boxes_lie_inside_and_have_area(boxes, width, height):
    placed, problems = place(boxes, width, height)
    narrow = placed.xyxy.astype(np.float32)
    assert (narrow[:, :2] >= 0).all() and (narrow[:, 2:] <= [width, height]).all()
    assert (narrow[:, 2:] > narrow[:, :2]).all()
    lost = sum(found.code in ("box_zero_area", "box_outside") for found in problems)
    assert len(placed.labels) + lost == len(boxes)
    # Labels stay with their boxes.
    for label, (left, top, *_) in zip(placed.labels, placed.xyxy, strict=True):
        assert left == np.clip(boxes[label][0], 0, width) and top == np.clip(boxes[label][1], 0, height)


@given(
    boxes=st.lists(st.tuples(*[st.floats(0, 40) | st.integers(0, 40)] * 4), max_size=4),
    size=st.none() | st.sampled_from([(40, 30), (30, 40), (80, 60)]),
    orientation=st.integers(1, 8),
)
@settings(max_examples=400, deadline=None)
def test_place_boxes_shortcut_equals_the_full_way(boxes, size, orientation):
    short, problems = place(boxes, 40, 30, size=size, orientation=orientation)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("panvision.prepare.formats.boxes._all_inside", lambda *_: False)
        long, faults = place(boxes, 40, 30, size=size, orientation=orientation)
    assert problems == faults
    assert short.xyxy.tolist() == long.xyxy.tolist() and short.labels.tolist() == long.labels.tolist()
    assert (short.xyxy.dtype, short.labels.dtype) == (long.xyxy.dtype, long.labels.dtype)


anything = (
    st.floats(allow_nan=True, allow_infinity=True) | st.floats(-50, 50) | st.sampled_from([1e308, -1e308, 5e-324])
)


@pytest.mark.filterwarnings("error")
@given(
    boxes=st.lists(st.tuples(anything, anything, anything, anything), max_size=8),
    size=st.none()
    | st.tuples(st.floats(1, 1e300), st.floats(1, 1e300))
    | st.sampled_from([(40.0, 30.0), (80.0, 60.0)]),
    orientation=st.integers(1, 8),
    relative=st.booleans(),
    zero_area=st.sampled_from(["drop", "refuse"]),
)
@settings(max_examples=400, deadline=None)
def test_any_numbers_end_in_boxes_inside_or_in_problems(boxes, size, orientation, relative, zero_area):
    placed, problems = place(boxes, 40, 30, size=size, orientation=orientation, relative=relative, zero_area=zero_area)
    assert np.isfinite(placed.xyxy).all() and len(placed.labels) == len(placed.xyxy)
    assert (placed.xyxy >= 0).all() and (placed.xyxy <= [40, 30, 40, 30]).all()
    assert (placed.xyxy[:, 2:] > placed.xyxy[:, :2]).all()
    assert all("nan pixels" not in found.reason for found in problems)
    if not any(found.code.startswith("image_size") for found in problems):
        lost = sum(found.code in LOST for found in problems)
        assert len(placed.labels) + lost == len(boxes) and sorted(set(placed.labels)) == placed.labels.tolist()
    # Placed once more they stay where they are.
    again, _ = place([(x1, y1, x2 - x1, y2 - y1) for x1, y1, x2, y2 in placed.xyxy.tolist()])
    assert again.xyxy == pytest.approx(placed.xyxy, abs=1e-9)


@given(
    box=st.tuples(*[st.floats(-0.5, 1.5)] * 2, *[st.floats(0, 1)] * 2),
    width=st.integers(1, 4000),
    height=st.integers(1, 4000),
    orientation=st.integers(1, 8),
)
@settings(deadline=None)
def test_fractions_are_of_the_upright_picture(box, width, height, orientation):
    x, y, w, h = box
    in_pixels = (x * width, y * height, w * width, h * height)
    placed, problems = place([box], width, height, orientation=orientation, relative=True)
    expected, faults = place([in_pixels], width, height, orientation=orientation)
    assert placed.xyxy.tolist() == expected.xyxy.tolist()
    assert [found.code for found in problems] == [found.code for found in faults]


def test_fractions_of_a_stated_size_turn_with_the_picture():
    placed, problems = place([(0.1, 0.1, 0.25, 0.2)], 30, 40, size=(40.0, 30.0), orientation=6, relative=True)
    expected, _ = place([(4, 3, 10, 6)], 30, 40, size=(40.0, 30.0), orientation=6)
    assert placed.xyxy.tolist() == expected.xyxy.tolist()
    assert [found.code for found in problems] == ["boxes_rotated"]


@given(
    x=st.integers(0, 39),
    y=st.integers(0, 29),
    w=st.integers(1, 40),
    h=st.integers(1, 30),
    orientation=st.integers(1, 8),
)
@settings(deadline=None)
def test_boxes_and_masks_turn_as_pillow_turns_pictures(x, y, w, h, orientation):
    mask = np.zeros((30, 40), np.uint8)
    mask[y : y + h, x : x + w] = 255
    image = Image.fromarray(mask)
    image.getexif()[0x0112] = orientation
    expected = np.array(ImageOps.exif_transpose(image))
    assert (turn_mask(mask, orientation) == expected).all()
    box = np.array([[x, y, min(x + w, 40), min(y + h, 30)]], float)
    rows, columns = np.nonzero(expected)
    turned = turn_boxes(box, orientation, width=40, height=30)
    assert turned.tolist() == [[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]


def test_boxes_inside_are_untouched_to_the_last_bit():
    placed, problems = place([(0.1, 0.2, 39.9, 29.8), (0, 0, 40, 30)])
    assert placed.xyxy.tolist() == [[0.1, 0.2, 0.1 + 39.9, 0.2 + 29.8], [0, 0, 40, 30]] and problems == []


def test_clipping_is_stated_but_not_rounding():
    placed, problems = place([(-3, 5, 10, 10), (5, 5, 35.001, 10), (30, 20, 30, 10)])
    assert placed.xyxy.tolist() == [[0, 5, 7, 15], [5, 5, 40, 15], [30, 20, 40, 30]]
    (found,) = problems
    assert (found.code, found.severity) == ("box_clipped", "fixed")
    assert found.reason == "2 boxes reach out of the image, by up to 20.0 pixels"


@pytest.mark.parametrize(
    ("box", "code"),
    [
        ((5, 5, 0, 10), "box_zero_area"),
        ((5, 5, 1e-9, 10), "box_zero_area"),
        ((40, 5, 3, 3), "box_outside"),
        ((-9, 5, 9, 3), "box_outside"),
        ((float("inf"), 5, 9, 3), "box_not_finite"),
        ((5, 5, 9, float("nan")), "box_not_finite"),
        ((5, 5, -1, 3), "box_negative"),
    ],
)
def test_unusable_boxes_go_and_the_others_stay(box, code):
    placed, problems = place([(1, 1, 2, 2), box, (3, 3, 4, 4)])
    assert placed.labels.tolist() == [0, 2] and placed.xyxy[1].tolist() == [3, 3, 7, 7]
    assert [found.code for found in problems] == [code]
    assert "annotation 1" in problems[0].reason


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_size_before_rotation_turns_the_boxes(orientation):
    placed, problems = place([(4, 3, 10, 6)], 30, 40, size=(40.0, 30.0), orientation=orientation)
    assert [found.code for found in problems] == ["boxes_rotated"]
    assert sorted(placed.xyxy[0, 2:] - placed.xyxy[0, :2]) == [6, 10]
    assert placed.xyxy[0, 3] - placed.xyxy[0, 1] == 10


def test_size_after_rotation_leaves_them():
    placed, problems = place([(4, 3, 10, 6)], 30, 40, size=(30.0, 40.0), orientation=6)
    assert problems == [] and placed.xyxy.tolist() == [[4, 3, 14, 9]]


def test_same_shape_scales():
    placed, problems = place([(4, 3, 10, 6)], size=(80.0, 60.0))
    assert [found.code for found in problems] == ["boxes_scaled"] and placed.xyxy.tolist() == [[2, 1.5, 7, 4.5]]


@pytest.mark.parametrize(
    ("size", "code"),
    [
        ((30.0, 40.0), "image_size_swapped"),
        ((40.0, 40.0), "image_size"),
        ((float("inf"), 30.0), "image_size"),
        ((float("nan"), float("nan")), "image_size"),
    ],
)
def test_sizes_that_contradict_the_picture(size, code):
    # The place of the boxes is unknown then, so the one outside is not reported.
    placed, problems = place([(4, 3, 10, 6), (90, 90, 5, 5)], size=size)
    assert [(found.code, found.severity) for found in problems] == [(code, "error")] and len(placed.xyxy) == 0
