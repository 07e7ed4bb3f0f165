import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.training.data.balance import BalancedOrder

LABELS = np.repeat([0, 1, 2], [30, 10, 2])


def indexes(order, cycle, count):
    return [order(cycle, place) for place in range(count)]


# 5.48, 3.16 and 1.41 are the square roots of 30, 10 and 2.
@pytest.mark.parametrize(("balance", "shares"), [(0.0, [30, 10, 2]), (0.5, [5.48, 3.16, 1.41]), (1.0, [1, 1, 1])])
def test_classes_come_in_proportion(balance, shares):
    order = BalancedOrder(LABELS, balance, (1,))
    found = [index for cycle in range(10) for index in indexes(order, cycle, 42)]
    assert np.bincount(LABELS[found]) == pytest.approx(420 * np.array(shares) / sum(shares), abs=1.0)


class_counts = st.lists(st.integers(1, 40), min_size=1, max_size=8)


@given(counts=class_counts, balance=st.floats(0, 1), cycles=st.integers(1, 12))
@settings(max_examples=100, deadline=None)
def test_no_image_is_lost_and_none_comes_twice_before_the_others(counts, balance, cycles):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)) * 3, counts))
    order = BalancedOrder(labels, balance, (5,))
    found = [index for cycle in range(cycles) for index in indexes(order, cycle, len(labels))]
    seen = np.bincount(found, minlength=len(labels))
    assert seen.sum() == cycles * len(labels)
    for each in np.unique(labels):
        own = seen[labels == each]
        assert own.max() - own.min() <= 1


def test_seed_decides_the_order_within_a_class():
    orders = [indexes(BalancedOrder(LABELS, 0.5, (seed,)), 0, 42) for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
