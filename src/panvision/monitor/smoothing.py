"""Exponential smoothing over uneven times, and decisions without flicker."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from panvision.decoding.classification import evidence

Floats = npt.NDArray[np.float64]

# One frame alone must not decide, however long the gap before it.
MAX_WEIGHT = 0.5


def weight_of(elapsed: float, half_life: float) -> float:
    """Return the weight of a new value in an exponential average: 1 - 2^(-elapsed / half_life), at most `MAX_WEIGHT`.

    Both in seconds, elapsed ≥ 0; with half_life 0 the weight is 1.
    """
    return min(1.0 - 2.0 ** (-elapsed / half_life), MAX_WEIGHT) if half_life > 0 else 1.0


class StateSmoother:
    """The state of the food, by smoothed probabilities with hysteresis.

    Without an order, a state is taken when its smoothed probability exceeds the present one's by `margin`. With an
    order, the states up to the present one are compared with those beyond it, as in ordinal regression: the state moves
    one step when the smoothed probability beyond exceeds the rest by `margin`, at most once in `half_life` seconds. A
    state further away is taken at once only if its smoothed probability reaches `strong`.

    Args:
        names: of the C states.
        order: the same names in their order; empty: none.
        half_life: seconds.
        margin: 0 to 0.9.
        strong: 0.5 to 1.
        costs: (C, C) of mistakes, by `names`, as in `ModelShape`: smoothed probabilities are then compared after
            `decoding.classification.evidence`; empty: all mistakes cost the same.
    """

    def __init__(
        self,
        names: Sequence[str],
        order: Sequence[str],
        *,
        half_life: float,
        margin: float,
        strong: float,
        costs: Sequence[Sequence[float]] = (),
    ) -> None:
        self.names = tuple(order or names)
        places = [list(names).index(name) for name in self.names]
        self._costs = [[costs[true][said] for said in places] for true in places] if costs else []
        self._ordered = bool(order)
        self._half_life, self._margin, self._strong = half_life, margin, strong
        self.restart()

    def restart(self) -> None:
        """Forget everything."""
        self._smoothed: Floats | None = None  # (C,)
        self._state: int | None = None
        self._began = self._time = self._moved = 0.0

    @property
    def state(self) -> str | None:
        """The present state; None for the first `half_life` seconds."""
        return None if self._state is None else self.names[self._state]

    @property
    def likeliest(self) -> str | None:
        """The present state, before that the most likely one; None before the first frame."""
        if self._state is None and self._smoothed is not None:
            return self.names[int(np.argmax(evidence(self._smoothed, self._costs)))]
        return self.state

    @property
    def probabilities(self) -> dict[str, float]:
        """Smoothed probability of each state; empty before the first frame."""
        return {} if self._smoothed is None else dict(zip(self.names, self._smoothed.tolist(), strict=True))

    def update(self, probabilities: dict[str, float], time: float) -> bool:
        """Take in a frame's probabilities; returns True if the state changes."""
        new = np.array([probabilities[name] for name in self.names])  # (C,)
        if self._smoothed is None:
            self._smoothed, self._began = new, time
        else:
            self._smoothed += weight_of(time - self._time, self._half_life) * (new - self._smoothed)
        self._time = time
        chosen = self._choose(evidence(self._smoothed, self._costs))
        if chosen == self._state:
            return False
        self._state, self._moved = chosen, time
        return True

    def _choose(self, smoothed: Floats) -> int | None:
        best = int(np.argmax(smoothed))
        if self._state is None:
            return best if self._time - self._began >= self._half_life else None
        if not self._ordered:
            return best if smoothed[best] - smoothed[self._state] > self._margin else self._state
        if abs(best - self._state) > 1 and smoothed[best] >= self._strong:
            return best
        if self._time - self._moved < self._half_life:
            return self._state
        below, above = float(smoothed[: self._state].sum()), float(smoothed[self._state + 1 :].sum())
        if above - (1.0 - above) > self._margin:
            return self._state + 1
        return self._state - 1 if below - (1.0 - below) > self._margin else self._state


class Presence:
    """Presence of an object: smoothed detections, with a change only after it has lasted.

    Args:
        half_life: of the smoothing, seconds.
        hold: seconds that a change must last.
    """

    def __init__(self, *, half_life: float, hold: float) -> None:
        self._half_life, self._hold = half_life, hold
        self.there = True  # so that an object missing from the start is reported
        self._smoothed: float | None = None
        self._time = 0.0
        self._since: float | None = None

    @property
    def confidence(self) -> float:
        """Confidence in `there`, 0 to 1."""
        smoothed = 1.0 if self._smoothed is None else self._smoothed
        return smoothed if self.there else 1.0 - smoothed

    def update(self, *, seen: bool, time: float) -> bool:
        """Take in a frame; returns True if `there` changes."""
        if self._smoothed is None:
            self._smoothed = float(seen)
        else:
            self._smoothed += weight_of(time - self._time, self._half_life) * (float(seen) - self._smoothed)
        self._time = time
        if (self._smoothed > 0.5) is self.there:
            self._since = None
            return False
        self._since = time if self._since is None else self._since
        if time - self._since < self._hold:
            return False
        self.there, self._since = not self.there, None
        return True
