import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from panvision.core.boxes import box_areas, box_iou

BOXES = st.lists(st.tuples(*[st.integers(0, 12)] * 4), max_size=4).map(
    lambda rows: [[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in rows]
)


@given(BOXES, BOXES)
def test_box_iou_counts_unit_squares(one, other):
    def squares(box):
        return {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}

    found = box_iou(one, other)
    assert found.shape == (len(one), len(other))
    for row, first in enumerate(one):
        for column, second in enumerate(other):
            shared, union = squares(first) & squares(second), squares(first) | squares(second)
            assert found[row, column] == (len(shared) / len(union) if union else 0.0)


def test_box_iou_of_float32_is_computed_in_float64():
    assert box_iou(np.float32([0, 0, 1, 1]), np.float32([0, 0, 1, 0.1]))[0, 0] == pytest.approx(np.float32(0.1))
    assert box_areas(np.float32([[0, 0, 1e5, 1e5]])).dtype == np.float64
