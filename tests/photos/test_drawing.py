import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.inference.predictor import Predictor
from panvision.photos.drawing import MASK_COLOR, class_color, draw_result, overlay_mask
from tests.tiny import ColourBackend, picture


def grey(width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), 100, dtype=np.uint8)


def test_overlay_mask_inside_edge_and_outside() -> None:
    mask = np.zeros((60, 80), np.uint8)
    mask[20:40, 30:60] = 255
    drawn = overlay_mask(grey(80, 60), mask, line=2)
    assert np.all(drawn[mask == 0] == 100)
    assert np.all(drawn[20:22, 30:60] == MASK_COLOR)
    assert np.all(drawn[20:40, 58:60] == MASK_COLOR)
    assert drawn[30, 45].tolist() == [70, 127, 146]
    outlined = overlay_mask(grey(80, 60), mask, line=2, fill=False)
    line = np.all(drawn == MASK_COLOR, axis=2)
    assert np.all(outlined[line] == MASK_COLOR) and np.all(outlined[~line] == 100)


def test_a_mask_that_reaches_the_border_has_no_line_there() -> None:
    drawn = overlay_mask(grey(20, 20), np.full((20, 20), 255, np.uint8), line=2)
    assert not np.any(np.all(drawn == MASK_COLOR, axis=2))


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="same"):
        overlay_mask(grey(20, 10), np.zeros((20, 10), np.uint8))


def test_boxes_are_drawn_at_their_edges_in_their_classs_colour() -> None:
    detection = {"boxes": [[50.0, 60.0, 150.0, 160.0]], "labels": [2], "scores": [0.5], "class_names": ["pipe"]}
    drawn = draw_result(grey(200, 200), {"detection": detection})
    for y, x in ((60, 100), (159, 100), (110, 50), (110, 149)):
        assert tuple(drawn[y, x].tolist()) == class_color(2)
    assert np.all(drawn[100:120, 90:110] == 100)


def test_the_picture_itself_is_not_changed() -> None:
    image = picture(box=(4, 4, 30, 30))
    before = image.copy()
    drawn = draw_result(image, Predictor(ColourBackend()).predict(image))
    assert np.array_equal(image, before)
    assert not np.array_equal(drawn, before)
    assert drawn.flags.writeable


def test_a_truth_needs_neither_scores_nor_probabilities() -> None:
    truth = {
        "detection": {"boxes": [[5, 5, 30, 30]], "labels": [0], "class_names": ["lid"]},
        "classification": {"class_idx": 0, "class_name": "raw"},
    }
    assert draw_result(grey(100, 80), truth).shape == (80, 100, 3)
    assert np.array_equal(draw_result(grey(100, 80), {}), grey(100, 80))


def test_a_state_without_an_answer_is_not_drawn() -> None:
    def drawn(**changes):
        state = {"class_name": "golden", "probabilities": {"golden": 0.9}, "answered": True, "reason": None} | changes
        return draw_result(grey(200, 100), {"classification": state})

    refused = drawn(answered=False, reason="no pan")
    assert not np.array_equal(refused, drawn())
    assert np.array_equal(refused, drawn(answered=False, reason="no pan", class_name="raw"))


def test_colours_of_classes_differ() -> None:
    assert len({class_color(label) for label in range(60)}) == 60


def test_letters_grow_with_the_picture() -> None:
    state = {"classification": {"class_name": "golden"}}
    heights = []
    for side in (300, 1200):
        changed = np.any(draw_result(grey(side, side), state) != 100, axis=(1, 2))
        heights.append(np.count_nonzero(changed))
    assert heights[1] > 3 * heights[0]


@settings(deadline=None, max_examples=30)
@given(
    st.integers(1, 80),
    st.integers(1, 80),
    st.lists(st.tuples(*[st.floats(0, 1)] * 4, st.integers(0, 20)), max_size=6),
)
def test_any_result_fits_any_picture(width: int, height: int, rows) -> None:
    boxes = [[min(a, c) * width, min(b, d) * height, max(a, c) * width, max(b, d) * height] for a, b, c, d, _ in rows]
    result = {
        "segmentation": {"mask": np.full((height, width), 255, np.uint8)},
        "detection": {
            "boxes": boxes,
            "labels": [row[4] for row in rows],
            "scores": [0.5] * len(rows),
            "class_names": ["a long name of a class"] * len(rows),
        },
        "classification": {"class_name": "é", "probabilities": {"é": 1.0}},
    }
    assert draw_result(grey(width, height), result).shape == (height, width, 3)
