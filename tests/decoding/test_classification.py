import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from panvision.decoding.classification import DECODER, evidence, softmax
from panvision.decoding.decoder import ModelShape, Thresholds

STATES = ("raw", "golden", "burnt")
# Golden food that is called burnt is thrown away.
COSTLY = ((0.0, 1.0, 1.0), (1.0, 0.0, 5.0), (1.0, 1.0, 0.0))


@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=9))
def test_softmax_sums_to_one_and_keeps_the_order(logits: list[float]) -> None:
    probabilities = softmax(np.array(logits))
    assert abs(probabilities.sum() - 1.0) < 1e-12
    assert np.all(probabilities >= 0.0)
    assert probabilities[int(np.argmax(logits))] == probabilities.max()


def test_softmax_by_hand() -> None:
    np.testing.assert_allclose(softmax([[0.0, np.log(3.0)], [5.0, 5.0]]), [[0.25, 0.75], [0.5, 0.5]])


@given(st.integers(0, 2**32 - 1), st.floats(0.0, 20.0))
def test_evidence_is_largest_where_the_cost_is_least(seed: int, largest: float) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(4))
    costs = rng.uniform(0.0, largest, (4, 4)) * (1.0 - np.eye(4))
    found = evidence(probabilities, costs.tolist())
    assert abs(found.sum() - 1.0) < 1e-9 and found.min() >= 0.0
    expected = probabilities @ costs
    assert expected[int(found.argmax())] <= expected.min() + 1e-9


@given(st.integers(0, 2**32 - 1))
def test_evidence_without_own_costs_is_the_probability(seed: int) -> None:
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(3))
    assert evidence(probabilities, ()) is probabilities
    np.testing.assert_allclose(evidence(probabilities, (1.0 - np.eye(3)).tolist()), probabilities, atol=1e-12)


def test_decode_answers_with_the_least_expected_cost() -> None:
    model = ModelShape(64, (8,), (), STATES, Thresholds(0.3, 0.5, 100), costs=COSTLY)
    outputs = {"state_logits": np.log(np.array([0.1, 0.3, 0.6], np.float32))}
    # Burnt would cost 0.1 + 5 * 0.3, golden 0.1 + 0.6.
    found = DECODER.decode(outputs, model, (64, 64))
    assert (found["class_idx"], found["class_name"]) == (1, "golden")
    assert list(found["probabilities"]) == list(STATES)
    np.testing.assert_allclose(list(found["probabilities"].values()), [0.1, 0.3, 0.6], atol=1e-6)
    outputs = {"state_logits": np.log(np.array([0.05, 0.05, 0.9], np.float32))}
    assert DECODER.decode(outputs, model, (64, 64))["class_name"] == "burnt"
