"""Balanced order of a dataset: rare classes come more often than there are images of them."""

import numpy as np

from panvision.training.data.batches import Rows


class BalancedOrder:
    """The sample at each place of each cycle, so that a class with n images comes in proportion to n^(1 - balance).

    Within a class every image comes once before any comes again. Place and cycle alone decide, so any first step will
    do.

    Args:
        labels: (N,) class of each sample.
        balance: 0 as often as there are images, 1 every class equally often.
        seed: decides the order within the classes.
    """

    def __init__(self, labels: Rows, balance: float, seed: tuple[int, ...]) -> None:
        classes, counts = np.unique(labels, return_counts=True)
        shares = counts ** (1.0 - balance)
        self._ends = shares.cumsum() / shares.sum()  # where each class ends in a cycle from 0 to 1, (C,)
        shuffled = np.random.default_rng(seed).permutation(len(labels))
        self._members = [shuffled[labels[shuffled] == each] for each in classes]

    def __call__(self, cycle: int, place: int) -> int:
        """Return the index of the sample. Places in order have the classes in order: shuffle them.

        Args:
            cycle: from 0.
            place: 0 to N - 1.
        """
        before = self._taken(cycle)
        ends = (self._taken(cycle + 1) - before).cumsum()  # of the classes in this cycle, (C,)
        number = int(np.searchsorted(ends, place, side="right"))
        first = ends[number - 1] if number else 0
        own = self._members[number]
        return int(own[(before[number] + place - first) % len(own)])

    def _taken(self, cycle: int) -> Rows:
        """Return how many samples of each class come in all cycles before this one, (C,).

        They add up to `cycle` · N, and none is ever more than one from its share.
        """
        samples = cycle * sum(len(own) for own in self._members)
        # Rounded ends, not counts, add up. A class has at least one sample a cycle on average, so none is taken back.
        return np.diff(np.rint(self._ends * samples).astype(np.int64), prepend=0)
