import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.inference.predictor import Predictor
from panvision.photos.drawing import class_color
from panvision.photos.heat import COLUMNS, GAP, SIDE, draw_explanation, overlay_heat, resize_heat
from tests.tiny import HeatBackend, picture

SIZES = st.integers(1, 40)


def test_overlay_heat_is_grey_where_nothing_is_marked() -> None:
    image = picture(box=(4, 4, 30, 30))
    heat = np.zeros(image.shape[:2], np.float32)
    heat[:, 50:] = 1.0
    before = image.copy()
    drawn = overlay_heat(image, heat).astype(int)
    assert np.array_equal(image, before)
    assert (np.ptp(drawn[:, :50], axis=2) == 0).all(), "a grey pixel"
    marked = drawn[:, 50:]
    assert (marked[:, :, 0] - marked[:, :, 2] > 40).all(), "a yellow one"


@settings(max_examples=25, deadline=None)
@given(width=SIZES, height=SIZES, cells=st.tuples(SIZES, SIZES), seed=st.integers(0, 9))
def test_resized_maps_stay_within_their_values(width, height, cells, seed) -> None:
    heat = np.random.default_rng(seed).random(cells, np.float32)
    resized = resize_heat(heat, width, height)
    assert resized.shape == (height, width)
    assert heat.min() - 1e-6 <= resized.min() and resized.max() <= heat.max() + 1e-6
    assert np.allclose(resize_heat(np.full(cells, 0.5, np.float32), width, height), 0.5)


def explained(image):
    return Predictor(HeatBackend()).predict(image, explain=True)


def test_draw_explanation_has_a_panel_for_the_state_and_each_box() -> None:
    image = picture(200, 100, box=(40, 20, 120, 80))
    result = explained(image)
    drawn = draw_explanation(image, result, result["explanation"])
    assert drawn.shape == (100, 2 * 200 + GAP, 3)
    panel = drawn[:, 200 + GAP :]
    assert (panel[50, 36:44] == class_color(1)).all(axis=1).any(), "the edge of the box"
    assert np.ptp(panel[50, 80].astype(int)) > 20 and np.ptp(panel[50, 5].astype(int)) == 0


def test_draw_explanation_shrinks_and_wraps_panels() -> None:
    image = picture(2 * SIDE, SIDE)
    result = explained(image)
    box = {"boxes": [[10.0, 10.0, 400.0, 400.0]] * 3, "labels": [0] * 3, "scores": [0.5] * 3, "class_names": ["a"] * 3}
    maps = {"classification": result["explanation"]["classification"], "detection": [np.eye(4, dtype=np.float32)] * 3}
    drawn = draw_explanation(image, {**result, "detection": box}, maps)
    assert drawn.shape == (2 * (SIDE // 2) + GAP, COLUMNS * (SIDE + GAP) - GAP, 3)


def test_draw_explanation_of_nothing_is_the_grey_image() -> None:
    image = picture(64, 48)
    drawn = draw_explanation(image, {"detection": {"boxes": []}}, {"detection": []})
    assert drawn.shape == image.shape and (np.ptp(drawn, axis=2) == 0).all()
