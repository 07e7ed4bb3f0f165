import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from panvision.scoring.classification import classification_scores, confusion_matrix

NAMES = ["raw", "browned", "burnt"]
PAIRS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=30)


def test_confusion_matrix_has_truth_in_rows() -> None:
    matrix = confusion_matrix([0, 0, 1, 2], [0, 1, 1, 0], 3)
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]


def test_scores_by_hand() -> None:
    scores = classification_scores([0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 0], NAMES)
    assert scores["accuracy"] == pytest.approx(4 / 6)
    assert scores["recall"] == {"raw": 0.75, "browned": 0.5, "burnt": None}
    assert scores["balanced_accuracy"] == pytest.approx(0.625)


def test_nothing_to_score_is_none() -> None:
    scores = classification_scores([], [], NAMES)
    assert scores == {"accuracy": None, "balanced_accuracy": None, "recall": dict.fromkeys(NAMES)}


def test_perfect_predictions_score_one() -> None:
    scores = classification_scores([2, 0, 1, 1], [2, 0, 1, 1], NAMES)
    assert scores == {"accuracy": 1.0, "balanced_accuracy": 1.0, "recall": dict.fromkeys(NAMES, 1.0)}


@pytest.mark.parametrize(("truth", "predicted"), [([0, 1], [0]), ([0, 3], [0, 0]), ([0], [-1])])
def test_impossible_labels_are_refused(truth, predicted) -> None:
    with pytest.raises(ValueError, match=r"predictions|indexes"):
        confusion_matrix(truth, predicted, 3)


@given(PAIRS, st.randoms())
def test_scores_agree_with_plain_counting(pairs, random) -> None:
    random.shuffle(pairs)
    truth, predicted = [a for a, _ in pairs], [b for _, b in pairs]
    scores = classification_scores(np.array(truth), np.array(predicted), NAMES)
    if pairs:
        assert scores["accuracy"] == pytest.approx(sum(a == b for a, b in pairs) / len(pairs))
    recalls = []
    for index, name in enumerate(NAMES):
        of_class = [b for a, b in pairs if a == index]
        expected = sum(b == index for b in of_class) / len(of_class) if of_class else None
        assert scores["recall"][name] == (None if expected is None else pytest.approx(expected))
        recalls += [] if expected is None else [expected]
    assert scores["balanced_accuracy"] == (pytest.approx(np.mean(recalls)) if recalls else None)
