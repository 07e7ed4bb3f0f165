"""The nearest pictures of other groups: those of a plain search in a small set, nearly all of them in a large one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.validate.checks import neighbours
from panvision.validate.checks.neighbours import find_neighbours


def unit(looks):
    return (looks / np.linalg.norm(looks, axis=1, keepdims=True)).astype(np.float32)


def rounded(looks):
    """What is compared: whole numbers, multiplied and rounded in float32."""
    return np.rint(looks * np.float32(2047)).astype(np.float64)


def plain_search(looks, groups, count=5):
    """The same, each picture compared with each one in float64."""
    whole = rounded(looks)
    found = []
    for row in range(len(looks)):
        alike = whole @ whole[row]
        best = [(-alike[groups == group].max(), group) for group in set(groups.tolist()) - {int(groups[row])}]
        members = [np.flatnonzero(groups == group) for _, group in sorted(best)[:count]]
        found.append([own[alike[own].argmax()] for own in members])
    return np.array(found)


def colours(count, seed, scenes=40):
    """Descriptors as those of photos: non-negative, most of them near to some others."""
    rng = np.random.default_rng(seed)
    scene = rng.dirichlet(np.full(30, 0.3), scenes)[rng.integers(0, scenes, count)]
    return unit(np.sqrt(np.maximum(scene + rng.normal(0, 0.01, scene.shape), 0.0)))


@pytest.fixture
def small_leaves(monkeypatch):
    """What makes the search of 8,000 pictures and more, for some hundreds."""
    monkeypatch.setattr(neighbours, "_SMALL_SET", 0)
    monkeypatch.setattr(neighbours, "_LEAF", 48)
    monkeypatch.setattr(neighbours, "_OF_A_GROUP", 3)


def test_neighbours_are_those_of_a_plain_search(monkeypatch):
    rng = np.random.default_rng(0)
    looks = rng.normal(size=(70, 20)).astype(np.float32)
    looks[10:20] = looks[30]  # ties
    looks = unit(looks)
    groups = np.unique(rng.integers(0, 25, 70), return_inverse=True)[1]
    expected = plain_search(looks, groups)
    rows, nearness = find_neighbours(looks, groups, 5)
    np.testing.assert_array_equal(rows, expected)
    exact = [(looks[row] @ looks[own].T).mean() for row, own in enumerate(expected)]
    np.testing.assert_allclose(nearness, exact, atol=2e-3)
    monkeypatch.setattr(neighbours, "_BLOCK_ELEMENTS", 200)
    np.testing.assert_array_equal(find_neighbours(looks, groups, 5)[0], rows)


@given(st.integers(0, 2**32 - 1), st.integers(6, 60), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_any_small_set_is_searched_exactly(seed, count, copies):
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.concatenate([np.arange(6), rng.integers(0, count, count)]))
    groups = np.unique(groups, return_inverse=True)[1]
    looks = unit(np.abs(rng.normal(size=(len(groups), 8))))
    looks[rng.integers(0, len(looks), copies)] = looks[0]  # equal ones
    np.testing.assert_array_equal(find_neighbours(looks, groups, 5)[0], plain_search(looks, groups))


@given(st.integers(0, 2**32 - 1), st.integers(200, 400), st.integers(20, 400))
@settings(max_examples=10, deadline=None)
def test_a_forest_finds_others_of_five_groups_and_says_how_like_they_are(seed, count, kinds):
    with pytest.MonkeyPatch.context() as patch:
        small_leaves.__wrapped__(patch)
        groups = np.unique(np.random.default_rng(seed).integers(0, kinds, count), return_inverse=True)[1]
        looks = colours(count, seed)
        rows, nearness = find_neighbours(looks, groups, 5)
    whole = rounded(looks)
    for row, own in enumerate(rows):
        assert len({int(groups[row]), *groups[own].tolist()}) == 6
        alike = whole[own] @ whole[row]
        assert (np.diff(alike) <= 0).all()
        assert nearness[row] == pytest.approx(alike.mean() / 2047**2, abs=1e-12)


def test_a_forest_finds_nearly_what_a_plain_search_finds(small_leaves):
    looks = colours(1500, 0, scenes=150)
    rows, nearness = find_neighbours(looks, np.arange(1500), 5)
    alike = rounded(looks)
    alike = alike @ alike.T
    np.fill_diagonal(alike, -np.inf)
    expected = np.argsort(-alike, axis=1, kind="stable")[:, :5]
    found = np.mean([len(set(own) & set(best)) / 5 for own, best in zip(rows.tolist(), expected.tolist(), strict=True)])
    assert found >= 0.97
    exact = np.take_along_axis(alike, expected, axis=1).mean(axis=1) / 2047**2
    assert np.mean(exact - nearness) < 1e-3


def test_a_burst_larger_than_a_leaf_knows_other_groups(small_leaves):
    looks, groups = colours(400, 0), np.arange(400)
    groups[:200] = 0
    looks[:200] = unit(looks[:1] + np.random.default_rng(0).normal(0, 1e-3, (200, 30)))
    groups = np.unique(groups, return_inverse=True)[1]
    rows, _ = find_neighbours(looks, groups, 5)
    expected = plain_search(looks, groups)
    assert (groups[rows[:200]] > 0).all()
    assert np.mean([len(set(rows[row]) & set(expected[row])) / 5 for row in range(200)]) > 0.9


def test_pictures_that_are_all_equal_are_neighbours(small_leaves):
    looks = np.repeat(colours(1, 0), 300, axis=0)
    rows, nearness = find_neighbours(looks, np.arange(300), 5)
    assert all(row not in own and len(set(own)) == 5 for row, own in enumerate(rows.tolist()))
    np.testing.assert_allclose(nearness, 1.0, atol=2e-3)


def test_a_forest_is_the_same_in_any_order_and_on_any_cores(small_leaves, monkeypatch):
    looks, groups = colours(500, 0), np.arange(500)
    rows, nearness = find_neighbours(looks, groups, 5)
    turned = np.random.default_rng(1).permutation(500)
    others, like = find_neighbours(looks[turned], groups[turned], 5)
    np.testing.assert_array_equal(turned[others], rows[turned])
    np.testing.assert_array_equal(like, nearness[turned])
    monkeypatch.setattr("panvision.core.cores.count_cores", lambda: 1)
    np.testing.assert_array_equal(find_neighbours(looks, groups, 5)[0], rows)


def test_the_work_for_one_picture_does_not_grow_with_the_set(small_leaves, monkeypatch):
    compare, counted = neighbours._compare, []

    def counting(points, asking, compared, count):
        counted.append(len(asking) * len(compared))
        return compare(points, asking, compared, count)

    monkeypatch.setattr(neighbours, "_compare", counting)
    work = {}
    for size in (300, 1200):
        counted.clear()
        find_neighbours(colours(size, 0), np.arange(size), 5)
        work[size] = sum(counted) / size
    assert work[1200] < 1.1 * work[300] < 48 * 16 * 1.1


def test_the_search_changes_where_all_are_compared_at_the_same_cost():
    """Below it a picture is compared with no more others than the leaves of all trees hold."""
    assert neighbours._SMALL_SET == neighbours._LEAF * neighbours._TREES
    assert neighbours._LEAF // 2 // neighbours._OF_A_GROUP - 1 >= 7
