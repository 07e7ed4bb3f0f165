import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.scoring.detection import coco_precision, coco_scores
from panvision.scoring.ranking import average_precision, best_threshold, precision_curve
from tests.scoring.coco import coco_average_precision, pictures, ranked_classes


@settings(max_examples=40, deadline=None)
@given(pictures())
def test_a_set_scores_as_pycocotools_says(drawn):
    once = np.ones((1, len(drawn)), np.int32)
    found = np.array([average_precision(ranked, once)[..., 0] for ranked in ranked_classes(drawn)])
    np.testing.assert_allclose(found, coco_average_precision(drawn), rtol=0, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(pictures(), st.data())
def test_weights_score_as_pictures_that_are_really_repeated(drawn, data):
    often = st.lists(st.integers(0, 4), min_size=len(drawn), max_size=len(drawn)).filter(any)
    weights = np.array(data.draw(st.lists(often, min_size=2, max_size=2)), np.int32)
    found = np.array([average_precision(ranked, weights) for ranked in ranked_classes(drawn)])
    for number, counts in enumerate(weights):
        repeated = [picture for picture, count in zip(drawn, counts, strict=True) for _ in range(count)]
        np.testing.assert_allclose(found[..., number], coco_average_precision(repeated), rtol=0, atol=1e-9)


def random_pictures(seed, count, *, noise):
    """Pictures with many true and found boxes, near each other, scores all different."""
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(count):
        size = random.integers(0, 6)
        corners = random.uniform(0, 80, (size, 2))
        true = np.concatenate([corners, corners + random.uniform(10, 110, (size, 2))], axis=1)
        labels = random.integers(0, 2, size)
        found = np.concatenate([true + random.normal(0, noise, true.shape) for _ in range(2)])
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2])
        drawn.append(((true, labels), (found, np.tile(labels, 2), random.uniform(0, 1, 2 * size))))
    return drawn


@pytest.mark.parametrize("seed", range(3))
def test_larger_sets_agree_too(seed):
    drawn = random_pictures(seed, 40, noise=2 + 3 * seed)
    weights = np.random.default_rng(seed).multinomial(40, np.full(40, 1 / 40), 2).astype(np.int32)
    found = np.array([average_precision(ranked, weights) for ranked in ranked_classes(drawn)])
    for number, counts in enumerate(weights):
        repeated = [picture for picture, count in zip(drawn, counts, strict=True) for _ in range(count)]
        np.testing.assert_allclose(found[..., number], coco_average_precision(repeated), rtol=0, atol=1e-9)
    once = np.array([average_precision(ranked, np.ones((1, 40), np.int32)) for ranked in ranked_classes(drawn)])
    truth, predictions = (list(side) for side in zip(*drawn, strict=True))
    scores = coco_scores(truth, predictions, ["a", "b"])
    assert once[:, 0, 0].mean() == pytest.approx(scores["map50"], abs=1e-9)
    assert once[:, 0].mean() == pytest.approx(scores["map50_95"], abs=1e-9)
    curves = np.array([precision_curve(ranked) for ranked in ranked_classes(drawn)])
    np.testing.assert_allclose(curves.T, coco_precision(truth, predictions, 2)[0], rtol=0, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from((0.1, 0.3, 0.5, 0.7)), st.booleans()), max_size=12),
    st.integers(0, 5),
)
def test_no_threshold_has_a_better_f1_than_the_best(boxes, missed):
    scores, hits = np.array([score for score, _ in boxes]), np.array([hit for _, hit in boxes], bool)
    positives = int(hits.sum()) + missed

    def f1(threshold):
        kept = scores >= threshold
        return 2 * (hits & kept).sum() / (kept.sum() + positives)

    best = best_threshold(scores, hits, positives)
    if best is None:
        assert not hits.any()
    else:
        assert f1(best) == pytest.approx(max(f1(score) for score in scores), abs=1e-12)


def test_the_best_threshold_lies_between_what_is_kept_and_what_is_not():
    assert best_threshold([0.9, 0.6, 0.2], [True, True, False], 2) == pytest.approx(0.4)
    assert best_threshold([0.9, 0.9, 0.2], [False, True, False], 1) == pytest.approx(0.55)
    assert best_threshold([0.8], [True], 1) == pytest.approx(0.4)
