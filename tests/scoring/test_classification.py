import pytest
from hypothesis import given
from hypothesis import strategies as st

from panvision.scoring.classification import Labels
from panvision.scoring.table import SCORERS, score

NAMES = ["raw", "browned", "burnt"]
LABELS = st.integers(0, 2)


def test_compare_gives_true_and_predicted_label():
    part = {"class_idx": 2, "probabilities": {"raw": 0.1, "browned": 0.2, "burnt": 0.7}}
    assert SCORERS["classification"].compare(part, {"class_idx": 1}) == (1, 2, (0.1, 0.2, 0.7))


def test_metrics_by_hand():
    labels = [Labels(*pair, ()) for pair in ((0, 0), (0, 0), (0, 0), (0, 1), (1, 1), (1, 0))]
    found = score("classification", labels, NAMES)
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert [found[f"recall.{name}"] for name in NAMES] == [0.75, 0.5, None]
    assert found["balanced_accuracy"] == pytest.approx(0.625)
    assert found["precision.raw"] == 0.75 and found["f1.browned"] == 0.5


def test_metrics_of_no_image_are_undefined():
    assert set(score("classification", [], NAMES).values()) == {None}


@pytest.mark.parametrize("labels", [(3, 0), (0, -1)])
def test_impossible_labels_are_refused(labels):
    with pytest.raises(ValueError, match=r"must be 0 to 2, found"):
        score("classification", [Labels(*labels, ())], NAMES)


@given(st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=30))
def test_metrics_agree_with_plain_counting(pairs):
    found = score("classification", [Labels(*pair, ()) for pair in pairs], NAMES)
    assert found["accuracy"] == pytest.approx(sum(a == b for a, b in pairs) / len(pairs))
    recalls = []
    for index, name in enumerate(NAMES):
        of_class = [b for a, b in pairs if a == index]
        expected = sum(b == index for b in of_class) / len(of_class) if of_class else None
        assert found[f"recall.{name}"] == (None if expected is None else pytest.approx(expected))
        recalls += [] if expected is None else [expected]
    assert found["balanced_accuracy"] == pytest.approx(sum(recalls) / len(recalls))
