"""Boxes in another form than their format's, over a whole dataset."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.prepare.formats.forms import check_forms
from panvision.prepare.formats.layout import BoxLabels, OutlineLabels, Sample

SIZE = (640, 480)
WRITTEN = {
    "fractions": lambda x, y, w, h: (x / 640, y / 480, w / 640, h / 480),
    "two corners": lambda x, y, w, h: (x, y, x + w, y + h),
    "x, y, width, height": lambda x, y, w, h: (x, y, w - x, h - y),  # read as two corners
    "the centre": lambda x, y, w, h: (x + w / 2, y + h / 2, w, h),
    "y, x, height": lambda x, y, w, h: (y, x, h, w),
}
# Some are thin, none is a speck.
EDGE = st.tuples(st.floats(0, 0.8), st.floats(0.01, 0.95)).map(lambda edge: (edge[0], min(edge[1], 1 - edge[0])))


def boxes(count, seed=0, first=0.0):
    """Sound boxes x, y, width, height, spread over the image, or over its lower right part."""
    random = np.random.default_rng(seed)
    sizes = random.uniform(0.1, 0.4, (count, 2))
    places = random.uniform(first, 1 - sizes)
    return (np.concatenate([places, sizes], axis=1) * np.tile(SIZE, 2)).tolist()


def check(given, *, relative=False, size=SIZE):
    samples = [Sample(f"{n}.jpg", "", f"{n}.jpg", boxes=BoxLabels(None, (tuple(box),), (0,), ("1",), relative))
               for n, box in enumerate(given)]  # fmt: skip
    return check_forms(samples, [size] * len(samples))


@pytest.mark.parametrize("form", WRITTEN)
def test_check_forms_names_the_likely_form(form):
    (found,) = check([WRITTEN[form](*box) for box in boxes(40, seed=3, first=0.55)])
    assert found.code == "boxes_other_form" and found.severity == "error" and form in found.reason
    assert "of the dataset's 40 boxes" in found.reason and found.file.endswith(".jpg")


@pytest.mark.parametrize(
    ("form", "written"),
    [
        ("two corners", lambda x, y, w, h: (x, y, x + w, y + h)),
        ("x, y, width, height", lambda x, y, w, h: (x, y, w, h)),
    ],
)
def test_check_forms_of_fractions(form, written):
    """YOLO's reader takes the first two numbers for the centre."""
    files = [written(*(np.array(box) / np.tile(SIZE, 2))) for box in boxes(40, seed=1)]
    (found,) = check([(x - w / 2, y - h / 2, w, h) for x, y, w, h in files], relative=True)
    assert form in found.reason


def test_check_forms_of_fractions_divided_twice():
    (found,) = check([np.array(box) / np.tile(SIZE, 2) ** 2 for box in boxes(10)], relative=True)
    assert "smaller than a pixel" in found.reason and "divided by the image's sides twice" in found.reason


@given(edges=st.lists(st.tuples(EDGE, EDGE), max_size=20), relative=st.booleans())
@settings(max_examples=100, deadline=None)
def test_check_forms_accepts_every_box_inside_its_image(edges, relative):
    scale = (1, 1) if relative else SIZE
    given = [(x * scale[0], y * scale[1], w * scale[0], h * scale[1]) for (x, w), (y, h) in edges]
    assert check(given, relative=relative) == []


def test_check_forms_accepts_some_boxes_over_the_edge():
    given = boxes(40)
    for box in given[:15]:
        box[0], box[2] = 600, 90
    assert check(given) == []


def test_check_forms_few_corners_leave_the_image():
    """Boxes in the upper left quarter stay inside when corners are taken for sizes; all fit as corners."""
    given = [(x / 2, y / 2, (x + w) / 2, (y + h) / 2) for x, y, w, h in boxes(40, seed=5)]
    given += [WRITTEN["two corners"](*box) for box in [(300, 250, 200, 150)] * 6]
    assert "two corners" in check(given)[0].reason


def test_check_forms_without_sizes_or_with_few_boxes():
    given = [WRITTEN["fractions"](*box) for box in boxes(20)]
    assert check(given, size=None) == [] and check(given[:3]) == []


def test_check_forms_of_another_image():
    (found,) = check([(700 + n, 500, 50, 50) for n in range(6)])
    assert "belong to other images" in found.reason


def test_check_forms_outlines_in_fractions():
    outline = OutlineLabels(None, ((0.1, 0.1, 0.9, 0.1, 0.9, 0.9),))
    samples = [Sample(f"{n}.jpg", "", f"{n}.jpg", outlines=outline) for n in range(4)]
    assert "fractions" in check_forms(samples, [SIZE] * 4)[0].reason
