import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panvision.monitor.smoothing import MAX_WEIGHT, Presence, StateSmoother, weight_of

NAMES = ("a", "b", "c", "d")


def smoother(*, ordered=True, half_life=1.0, margin=0.2, strong=0.9):
    return StateSmoother(NAMES, NAMES if ordered else (), half_life=half_life, margin=margin, strong=strong)


def sure_of(name, value=0.97):
    return {other: value if other == name else (1 - value) / 3 for other in NAMES}


def run(states, words, *, step=0.25, start=0.0):
    """Return the state after each frame, frames `step` seconds apart."""
    seen = []
    for number, word in enumerate(words):
        states.update(sure_of(*word) if isinstance(word, tuple) else sure_of(word), start + number * step)
        seen.append(states.state)
    return seen


@given(st.floats(0, 0.4), st.floats(0, 0.4), st.floats(0.9, 10))
def test_weight_of_two_short_steps_is_that_of_one_long(first, second, half_life):
    kept = (1 - weight_of(first, half_life)) * (1 - weight_of(second, half_life))
    assert kept == pytest.approx(1 - weight_of(first + second, half_life))
    assert weight_of(half_life, half_life) == pytest.approx(0.5)


def test_one_frame_after_a_gap_does_not_decide():
    assert weight_of(1e9, 1.0) == MAX_WEIGHT
    states = smoother(ordered=False)
    run(states, "aaaaaa")
    assert run(states, "b", start=1000.0) == ["a"]


@pytest.mark.parametrize("order", [(), ("d", "c", "b", "a")])
def test_a_costly_state_needs_more_evidence(order):
    costs = [[0.0 if true == said else 1.0 for said in range(4)] for true in range(4)]
    costs[2][3] = 5.0  # c that is called d

    def states(costs):
        return StateSmoother(NAMES, order, half_life=1.0, margin=0.2, strong=0.9, costs=costs)

    unsure = {"a": 0.0, "b": 0.0, "c": 0.3, "d": 0.7}
    plain, careful = states(()), states(costs)
    for number in range(24):
        for each in (plain, careful):
            each.update(sure_of("c") if number < 8 else unsure, number * 0.25)
    assert (plain.state, careful.state) == ("d", "c")
    assert careful.likeliest == "c" and careful.probabilities == plain.probabilities
    for number in range(24, 60):
        careful.update(sure_of("d"), number * 0.25)
    assert careful.state == "d"


def test_no_state_before_a_half_life():
    states = smoother()
    assert states.likeliest is None and states.probabilities == {}
    assert run(states, "aaaaa") == [None, None, None, None, "a"]
    assert sum(states.probabilities.values()) == pytest.approx(1.0)


@pytest.mark.parametrize("ordered", [True, False])
def test_a_state_does_not_flicker(ordered):
    states = smoother(ordered=ordered)
    seen = run(states, "aaaaa" + "babababababbaaabbabb" + "bbbbbbb")
    assert len(list(itertools.groupby(seen[4:]))) == 2  # a, then b, once
    assert seen[-1] == "b"


def test_the_margin_keeps_a_state_slightly_behind():
    narrow, wide = smoother(margin=0.0), smoother(margin=0.4)
    for states in (narrow, wide):
        run(states, "aaaaa")
    half = {"a": 0.4, "b": 0.6, "c": 0.0, "d": 0.0}
    for number in range(40):
        narrow.update(half, 10 + number * 0.25)
        wide.update(half, 10 + number * 0.25)
    assert (narrow.state, wide.state) == ("b", "a")


def test_ordered_states_move_one_step_at_a_time():
    states = smoother()
    run(states, "aaaaa")
    # Evidence for d is clear, but never strong.
    seen = run(states, [("d", 0.85)] * 24, start=2.0)
    assert [name for name, _ in itertools.groupby(seen)] == ["a", "b", "c", "d"]
    durations = [len(list(group)) * 0.25 for name, group in itertools.groupby(seen) if name in "bc"]
    assert min(durations) >= 1.0
    back = run(states, [("a", 0.85)] * 24, start=10.0)
    assert [name for name, _ in itertools.groupby(back)] == ["d", "c", "b", "a"]


def test_strong_evidence_skips_states():
    for strong, expected in ((0.75, ["a", "b", "d"]), (1.0, ["a", "b", "c", "d"])):
        states = smoother(strong=strong, half_life=0.5)
        run(states, "aaaaa")
        seen = run(states, [("d", 0.999)] * 20, start=2.0, step=0.125)
        assert [name for name, _ in itertools.groupby(seen)] == expected


def test_unordered_states_skip_states():
    states = smoother(ordered=False)
    run(states, "aaaaa")
    seen = run(states, [("d", 0.85)] * 12, start=2.0)
    assert [name for name, _ in itertools.groupby(seen)] == ["a", "d"]


def test_restart_forgets():
    states = smoother()
    run(states, "aaaaa")
    states.restart()
    assert states.state is None
    assert run(states, "ddddd", start=3.0)[-1] == "d"


def presence(hold=1.0, half_life=0.3):
    return Presence(half_life=half_life, hold=hold)


def changes(thing, seen, step=0.1, start=0.0):
    found = []
    for number, there in enumerate(seen):
        if thing.update(seen=there == "1", time=start + number * step):
            found.append((round(start + number * step, 3), thing.there))
    return found


def test_absence_counts_after_the_hold():
    thing = presence()
    (change,) = changes(thing, "1" * 20 + "0" * 30)
    when, there = change
    # Detections fall below one half after half a half-life; then comes the hold.
    assert not there and 3.0 <= when <= 3.6
    assert thing.confidence > 0.9
    ((when, there),) = changes(thing, "1" * 30, start=5.0)
    assert there and 6.0 <= when <= 6.6


def test_an_object_missed_now_and_then_is_present():
    assert changes(presence(), "1110" * 20 + "11000" * 2 + "1" * 5) == []


def test_absence_from_the_start_is_reported():
    assert changes(presence(), "0" * 15) == [(1.0, False)]
