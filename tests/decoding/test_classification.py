import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from panvision.decoding.classification import softmax


@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=9))
def test_softmax_sums_to_one_and_keeps_the_order(logits: list[float]) -> None:
    probabilities = softmax(np.array(logits))
    assert abs(probabilities.sum() - 1.0) < 1e-12
    assert np.all(probabilities >= 0.0)
    assert probabilities[int(np.argmax(logits))] == probabilities.max()


def test_softmax_by_hand() -> None:
    np.testing.assert_allclose(softmax([[0.0, np.log(3.0)], [5.0, 5.0]]), [[0.25, 0.75], [0.5, 0.5]])
