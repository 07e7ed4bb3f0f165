"""Outlines become masks: held to pycocotools, and to what the picture's size and orientation say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from panvision.photos.orientation import turn_mask
from panvision.photos.pixels import Picture
from panvision.prepare.formats.layout import OutlineLabels, RunLengths
from panvision.prepare.formats.outlines import check_polygon, draw_mask, ellipse_polygon, outline_box, rectangle_polygon
from panvision.prepare.formats.runlengths import (
    OutlineError,
    check_run_lengths,
    decode_run_lengths,
    encode_run_lengths,
    run_lengths_bounds,
)

WIDTH, HEIGHT = 40, 30
SQUARE = (10.0, 5.0, 30.0, 5.0, 30.0, 25.0, 10.0, 25.0)


def picture(width=WIDTH, height=HEIGHT, orientation=1):
    """An upright picture of this size, whose file has the orientation."""
    stored = (height, width) if orientation in (5, 6, 7, 8) else (width, height)
    return Picture(Image.new("RGB", (width, height)), stored, orientation)


def draw(polygons=(), run_lengths=(), of=None, **stated):
    labels = OutlineLabels(stated.get("size"), tuple(polygons), tuple(run_lengths), stated.get("relative", False))
    return draw_mask(labels, of or picture(), "a.jpg")


def square_mask():
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[5:25, 10:30] = 1
    return mask


def overlap(first, second):
    return (first & second).sum() / (first | second).sum()


def coco_polygon(polygon, width, height):
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([list(polygon)], height, width)))


def ring(seed, corners, low, high, centre=(100, 75)):
    """A star-shaped polygon with corners at random angles and distances."""
    random = np.random.default_rng(seed)
    angles = np.sort(random.uniform(0, 2 * np.pi, corners))
    away = random.uniform(low, high, corners)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return tuple((np.array(centre) + away).ravel().tolist())


def test_a_square_has_its_pixels_and_no_more():
    mask, problems = draw([SQUARE])
    assert problems == [] and mask.dtype == np.uint8
    assert np.array_equal(mask, square_mask())


def test_a_pixel_belongs_to_the_outline_around_its_centre():
    mask, _ = draw([(10.4, 5.4, 12.6, 5.4, 12.6, 7.6, 10.4, 7.6)])
    assert mask.sum() == 9
    mask, _ = draw([(10.6, 5.6, 12.4, 5.6, 12.4, 7.4, 10.6, 7.4)])
    assert mask.sum() == 1 and mask[6, 11] == 1


def test_neighbours_share_no_pixel():
    left, right = ((0.0, 0.0, 15.5, 0.0, 20.25, 30.0, 0.0, 30.0), (15.5, 0.0, 40.0, 0.0, 40.0, 30.0, 20.25, 30.0))
    (first, _), (second, _) = draw([left]), draw([right])
    assert not (first & second).any() and (first | second).all()


def test_even_and_odd():
    """An area that a polygon winds around twice is out."""
    twice = (5.0, 5.0, 25.0, 5.0, 25.0, 25.0, 10.0, 25.0, 10.0, 10.0, 20.0, 10.0, 20.0, 20.0, 5.0, 20.0)
    mask, _ = draw([twice])
    assert mask[7, 7] == 1 and mask[15, 15] == 0


def test_all_outlines_together():
    mask, _ = draw([SQUARE, (0.0, 0.0, 12.0, 0.0, 12.0, 7.0, 0.0, 7.0)])
    assert mask.sum() == 400 + 84 - 4
    assert mask.max() == 1


@given(seed=st.integers(0, 10**6), corners=st.integers(12, 40))
@settings(max_examples=60, deadline=None)
def test_pans_agree_with_pycocotools(seed, corners):
    polygon = ring(seed, corners, 55, 65)
    mask, _ = draw([polygon], of=picture(200, 150))
    assert overlap(mask, coco_polygon(polygon, 200, 150)) > 0.98


@given(seed=st.integers(0, 10**6), corners=st.integers(3, 12))
@settings(max_examples=60, deadline=None)
def test_draw_mask_differs_from_pycocotools_only_at_edges(seed, corners):
    polygon = ring(seed, corners, 5, 70)
    mask, _ = draw([polygon], of=picture(200, 150))
    points = np.array(polygon).reshape(-1, 2)
    for row, column in np.argwhere(mask != coco_polygon(polygon, 200, 150)):
        assert distance_to_edges(np.array([column + 0.5, row + 0.5]), points) < 1


def distance_to_edges(point, corners):
    along = np.roll(corners, -1, axis=0) - corners
    share = np.clip(((point - corners) * along).sum(axis=1) / np.maximum((along**2).sum(axis=1), 1e-12), 0, 1)
    return np.linalg.norm(corners + share[:, None] * along - point, axis=1).min()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_outlines_on_the_unturned_file_are_turned(orientation):
    stored = (HEIGHT, WIDTH) if orientation in (5, 6, 7, 8) else (WIDTH, HEIGHT)
    of = picture(orientation=orientation)
    corner = (0.0, 0.0, 10.0, 0.0, 10.0, 4.0, 0.0, 4.0)
    mask, problems = draw([corner], of=of, size=(float(stored[0]), float(stored[1])))
    drawn = np.zeros(stored[::-1], np.uint8)
    drawn[:4, :10] = 1
    if orientation in (5, 6, 7, 8):
        assert np.array_equal(mask, turn_mask(drawn, orientation))
        assert [(found.code, found.severity) for found in problems] == [("mask_rotated", "fixed")]
    else:
        # The sizes are equal: as with masks and boxes, the annotations count as upright.
        assert np.array_equal(mask, drawn) and problems == []
    assert mask.shape == (HEIGHT, WIDTH)


def test_run_lengths_on_the_unturned_file_are_turned():
    stored = turn_mask(square_mask(), 8)
    given_mask = check_run_lengths(list(stored.shape), coco_mask.encode(np.asfortranarray(stored))["counts"].decode())
    mask, problems = draw(run_lengths=[given_mask], of=picture(orientation=6))
    assert np.array_equal(mask, square_mask()) and [found.code for found in problems] == ["mask_rotated"]


@pytest.mark.parametrize("factor", [0.5, 2, 3])
def test_outlines_of_another_size_are_scaled(factor):
    polygon = tuple(value * factor for value in SQUARE)
    mask, problems = draw([polygon], size=(WIDTH * factor, HEIGHT * factor))
    assert np.array_equal(mask, square_mask())
    assert [(found.code, found.severity) for found in problems] == [("boxes_scaled", "warning")]


@pytest.mark.parametrize("factor", [2, 3])
def test_run_lengths_of_another_size_are_scaled(factor):
    large = np.kron(square_mask(), np.ones((factor, factor), np.uint8))
    given_mask = encode_run_lengths(large.astype(bool), 0, 0, large.shape)
    mask, problems = draw(run_lengths=[given_mask])
    assert np.array_equal(mask, square_mask()) and [found.code for found in problems] == ["boxes_scaled"]


def test_fractions_are_of_the_upright_picture():
    fractions = tuple(value / (WIDTH, HEIGHT)[place % 2] for place, value in enumerate(SQUARE))
    mask, problems = draw([fractions], of=picture(orientation=6), relative=True)
    assert np.array_equal(mask, square_mask()) and problems == []


@pytest.mark.parametrize(
    ("size", "code"), [((30.0, 40.0), "image_size_swapped"), ((40.0, 40.0), "image_size"), ((1e308, 1.0), "image_size")]
)
def test_sizes_that_contradict_the_picture(size, code):
    mask, problems = draw([SQUARE], size=size)
    assert mask is None
    assert [(found.code, found.severity, found.file) for found in problems] == [(code, "error", "a.jpg")]


def test_outlines_of_one_picture_that_contradict_each_other():
    run_lengths = RunLengths((60, 80), (100, 100, 4600))
    mask, problems = draw([SQUARE], [run_lengths], size=(40.0, 30.0))
    assert mask is None and problems[0].reason == "its outlines were annotated as 40x30 and 80x60"


def test_outlines_outside_the_picture_are_reported():
    beside = (50.0, 5.0, 60.0, 5.0, 60.0, 25.0)
    mask, problems = draw([SQUARE, beside, tuple(-value for value in SQUARE)])
    assert np.array_equal(mask, square_mask())
    assert [(found.code, found.severity) for found in problems] == [("outline_broken", "warning")]
    assert problems[0].reason.startswith("2 of its outlines")


def test_outlines_that_reach_out_are_cut_off():
    mask, problems = draw([(-10.0, -10.0, 20.0, -10.0, 20.0, 15.0, -10.0, 15.0)])
    assert problems == [] and mask[:15, :20].all() and mask.sum() == 300


COORDINATE = st.floats(allow_nan=False, allow_infinity=False) | st.floats(-50, 90) | st.integers(-5, 45).map(float)


@given(points=st.lists(st.tuples(COORDINATE, COORDINATE), min_size=3, max_size=12), relative=st.booleans())
@settings(max_examples=200, deadline=None)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_any_polygon_can_be_drawn(points, relative):
    polygon = check_polygon([value for point in points for value in point])
    mask, problems = draw([polygon], relative=relative)
    assert mask.shape == (HEIGHT, WIDTH) and set(np.unique(mask)) <= {0, 1}
    assert {found.code for found in problems} <= {"outline_broken"}
    left, top, width, height = outline_box([polygon])
    assert left <= min(polygon[::2]) and top <= min(polygon[1::2]) and width >= 0 and height >= 0


def test_many_corners_are_drawn_in_little_memory():
    """More crossings than are held at a time."""
    points = np.stack([np.linspace(1, 39, 200_001), np.tile([2.0, 28.0], 100_001)[:200_001]], axis=1)
    mask, _ = draw([tuple(points.ravel().tolist())])
    assert mask.shape == (HEIGHT, WIDTH) and not mask[:2].any() and not mask[28:].any()


@pytest.mark.parametrize(
    "values",
    [[1, 2, 3, 4], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5, "6"], [1, 2, 3, 4, 5, True], [1, 2, 3, 4, 5, float("nan")],
     [1, 2, 3, 4, 5, 10**400], "123456", None, []],
)  # fmt: skip
def test_lists_that_are_no_polygon(values):
    with pytest.raises(OutlineError, match="outline"):
        check_polygon(values)


def test_boxes_around_outlines():
    assert outline_box([SQUARE]) == (10, 5, 20, 20)
    assert outline_box([SQUARE, (0.5, 7.0, 1.0, 7.0, 1.0, 9.0)]) == (0.5, 5, 29.5, 20)
    assert outline_box([], encode_run_lengths(square_mask() > 0, 0, 0, (HEIGHT, WIDTH))) == (10, 5, 20, 20)


def test_turned_rectangles_and_ellipses():
    corners = np.array(rectangle_polygon((0.0, 0.0, 4.0, 2.0), 90)).reshape(-1, 2)
    # The left top corner goes to the right, as a clock's hand does.
    assert np.allclose(corners, [[3, -1], [3, 3], [1, 3], [1, -1]])
    assert np.allclose(outline_box([ellipse_polygon((10.0, 20.0), (5.0, 3.0))]), (5, 17, 10, 6))
    assert np.allclose(outline_box([ellipse_polygon((10.0, 20.0), (5.0, 3.0), 90)]), (7, 15, 6, 10))


MASKS = st.tuples(st.integers(1, 20), st.integers(1, 20)).flatmap(
    lambda size: st.lists(st.booleans(), min_size=size[0] * size[1], max_size=size[0] * size[1]).map(
        lambda values: np.array(values, np.uint8).reshape(size)
    )
)


@given(mask=MASKS.filter(np.any))
@settings(max_examples=100, deadline=None)
def test_run_lengths_agree_with_pycocotools(mask):
    encoded = coco_mask.encode(np.asfortranarray(mask))
    own = encode_run_lengths(mask > 0, 0, 0, mask.shape)
    as_text = check_run_lengths(list(mask.shape), encoded["counts"].decode())
    for run_lengths in (own, as_text, check_run_lengths(list(mask.shape), list(own.counts))):
        assert np.array_equal(decode_run_lengths(run_lengths, mask.shape[1], mask.shape[0]), mask)
        left, top, right, bottom = run_lengths_bounds(run_lengths)
        assert [left, top, right - left, bottom - top] == coco_mask.toBbox(encoded).tolist()


@given(mask=MASKS.filter(np.any), left=st.integers(0, 5), top=st.integers(0, 5), more=st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_a_part_of_the_picture_as_run_lengths(mask, left, top, more):
    height, width = top + mask.shape[0] + more, left + mask.shape[1] + more
    whole = np.zeros((height, width), np.uint8)
    whole[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    run_lengths = encode_run_lengths(mask > 0, left, top, (height, width))
    assert np.array_equal(decode_run_lengths(run_lengths, width, height), whole)


@pytest.mark.parametrize(
    ("left", "top", "size"), [(-1, 0, (9, 9)), (0, 8, (9, 9)), (8, 0, (9, 9)), (0, 0, (10**300, 40)), (0, 0, (0, 0))]
)
def test_parts_that_do_not_lie_in_the_picture(left, top, size):
    with pytest.raises(OutlineError, match="reaches out"):
        encode_run_lengths(np.ones((2, 2), bool), left, top, size)


def test_long_counts_as_text():
    """A picture of many pixels needs counts of several characters."""
    mask = np.zeros((3000, 4000), np.uint8)
    mask[100:2900, 1000:3000] = 1
    encoded = coco_mask.encode(np.asfortranarray(mask))["counts"].decode()
    assert np.array_equal(decode_run_lengths(check_run_lengths([3000, 4000], encoded), 4000, 3000), mask)


@pytest.mark.parametrize(
    ("size", "counts"),
    [(None, [1]), ([2, 2], None), ([2, 2], [1, "3x"]), ([2, 2], [1, 2]), ([2, 2], [1, 4]), ([2, 2], [4]),
     ([2, 2], [-1, 5]), ([2, 2], []), ([2, 2], ""), ([2, 2], "\ud800"), ([2, 2], "P" * 100), ([2, 2], "O" * 3),
     ([2, 2], "13P"), ([0, 2], [0]), ([2.5, 2.0], [1, 3]), ([True, 2], [1, 1]), ([10**9, 10**9], [10**18 - 1, 1]),
     ([2, 2], [10**400])],
)  # fmt: skip
def test_run_lengths_that_cannot_be_used(size, counts):
    with pytest.raises(OutlineError, match="its run"):
        check_run_lengths(size, counts)


@given(size=st.lists(st.integers(0, 9), min_size=2, max_size=2), counts=st.text(st.characters(max_codepoint=120)))
@settings(max_examples=200, deadline=None)
def test_any_text_as_counts_is_checked(size, counts):
    try:
        run_lengths = check_run_lengths(size, counts)
    except OutlineError:
        return
    assert decode_run_lengths(run_lengths, size[1], size[0]).any()


def test_a_claimed_size_takes_no_memory():
    side = 2**20
    run_lengths = check_run_lengths([side, side], [side * side // 2, side * side // 2])
    mask, problems = draw(run_lengths=[run_lengths], of=picture(30, 30))
    assert mask[:, 15:].all() and not mask[:, :15].any() and [found.code for found in problems] == ["boxes_scaled"]
