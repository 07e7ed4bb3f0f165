"""The nearest images of other groups are those of a plain search."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.validate.checks import neighbours
from panvision.validate.checks.neighbours import find_neighbours


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def plain_search(vectors, groups, count=5):
    """Compare each image with each one in float64, after the same rounding to whole numbers."""
    whole = np.rint(vectors * np.float32(2047)).astype(np.float64)
    found = []
    for row in range(len(vectors)):
        similar = whole @ whole[row]
        best = [(-similar[groups == group].max(), group) for group in set(groups.tolist()) - {int(groups[row])}]
        members = [np.flatnonzero(groups == group) for _, group in sorted(best)[:count]]
        found.append([own[similar[own].argmax()] for own in members])
    return np.array(found)


def test_find_neighbours_equals_a_plain_search(monkeypatch):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(70, 20)).astype(np.float32)
    vectors[10:20] = vectors[30]  # ties
    vectors = unit(vectors)
    groups = np.unique(rng.integers(0, 25, 70), return_inverse=True)[1]
    expected = plain_search(vectors, groups)
    rows, nearness = find_neighbours(vectors, groups, 5)
    np.testing.assert_array_equal(rows, expected)
    exact = [(vectors[row] @ vectors[own].T).mean() for row, own in enumerate(expected)]
    np.testing.assert_allclose(nearness, exact, atol=2e-3)
    monkeypatch.setattr(neighbours, "_BLOCK_ELEMENTS", 200)
    np.testing.assert_array_equal(find_neighbours(vectors, groups, 5)[0], rows)


@given(st.integers(0, 2**32 - 1), st.integers(6, 60), st.integers(1, 4), st.booleans())
@settings(max_examples=30, deadline=None)
def test_find_neighbours_any_groups(seed, count, copies, single):
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.concatenate([np.arange(6), rng.integers(0, count, count)]))
    groups = np.arange(len(groups)) if single else np.unique(groups, return_inverse=True)[1]
    vectors = unit(np.abs(rng.normal(size=(len(groups), 8))))
    vectors[rng.integers(0, len(vectors), copies)] = vectors[0]
    np.testing.assert_array_equal(find_neighbours(vectors, groups, 5)[0], plain_search(vectors, groups))


def test_find_neighbours_same_in_any_order_and_on_one_core(monkeypatch):
    vectors, groups = unit(np.abs(np.random.default_rng(0).normal(size=(500, 30)))), np.arange(500)
    rows, nearness = find_neighbours(vectors, groups, 5)
    turned = np.random.default_rng(1).permutation(500)
    others, mean = find_neighbours(vectors[turned], groups[turned], 5)
    np.testing.assert_array_equal(turned[others], rows[turned])
    np.testing.assert_array_equal(mean, nearness[turned])
    monkeypatch.setattr("panvision.core.cores.count_cores", lambda: 1)
    np.testing.assert_array_equal(find_neighbours(vectors, groups, 5)[0], rows)
