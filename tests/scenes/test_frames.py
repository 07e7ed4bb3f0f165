from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.scenes.frames import CATEGORIES, MIN_PIXELS, Presence, Thing, draw_presence, render_frame
from panvision.scenes.onions import STATES, doneness_range, draw_doneness
from panvision.scenes.settings import SceneSettings
from panvision.scenes.units import make_unit

SETTINGS = SceneSettings(width=128, height=96, units=4)
UNITS = [make_unit(SETTINGS, number) for number in range(4)]


def all_there(unit, *, pan=True, stirrer=True, pipes=True):
    return Presence(pan, stirrer, (pipes,) * len(unit.pipes))


def frame(unit, presence, *, seed=0, state="golden", difficulty=0.0):
    return render_frame(np.random.default_rng(seed), unit, state=state, presence=presence, difficulty=difficulty)


@given(number=st.integers(0, 3), seed=st.integers(0, 10**6), state=st.sampled_from(STATES))
@settings(max_examples=25, deadline=None)
def test_boxes_are_the_tight_boxes_of_the_masks(number, seed, state):
    unit = UNITS[number]
    shown = frame(unit, all_there(unit), seed=seed, state=state, difficulty=0.5)
    assert shown.photo.shape == (96, 128, 3) and shown.photo.dtype == np.uint8
    assert {thing.category for thing in shown.things} <= set(CATEGORIES)
    for thing in shown.things:
        x, y, width, height = thing.box
        assert thing.mask.shape == (96, 128) and thing.mask.sum() >= MIN_PIXELS
        assert thing.mask[y : y + height, x : x + width].sum() == thing.mask.sum()
        inside = thing.mask[y : y + height, x : x + width]
        assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()


@pytest.mark.parametrize("unit", UNITS)
def test_only_what_is_present_is_labelled(unit):
    full = [thing.category for thing in frame(unit, all_there(unit)).things]
    assert sorted(full) == sorted(["pan", "stirrer", *["inlet_pipe"] * len(unit.pipes)])
    for absent, category in (("pan", "pan"), ("stirrer", "stirrer"), ("pipes", "inlet_pipe")):
        found = [thing.category for thing in frame(unit, all_there(unit, **{absent: False})).things]
        assert found == [name for name in full if name != category]
    assert frame(unit, all_there(unit, pan=False, stirrer=False, pipes=False)).things == ()


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("category", ["pan", "stirrer", "inlet_pipe"])
def test_masks_lie_where_the_photo_shows_the_object(unit, category):
    """A thing's pixels differ from those of the same frame without it, and pixels far from it do not."""
    keys = {"pan": "pan", "stirrer": "stirrer", "inlet_pipe": "pipes"}
    alone = {"pan": False, "stirrer": False, "pipes": False}
    shown = frame(unit, all_there(unit, **{**alone, keys[category]: True}))
    empty = frame(unit, all_there(unit, **alone))
    covered = np.any([thing.mask for thing in shown.things], axis=0)
    difference = np.abs(shown.photo.astype(int) - empty.photo).max(axis=2)
    assert np.median(difference[covered]) > 4 * max(1.0, np.median(difference[~covered]))


def test_objects_of_few_pixels_are_not_labelled(monkeypatch):
    things = frame(UNITS[0], all_there(UNITS[0])).things
    pixels = sorted(int(thing.mask.sum()) for thing in things)
    monkeypatch.setattr("panvision.scenes.frames.MIN_PIXELS", pixels[1])
    assert sorted(int(thing.mask.sum()) for thing in frame(UNITS[0], all_there(UNITS[0])).things) == pixels[1:]


@pytest.mark.parametrize("unit", UNITS)
def test_tools_cut_nothing_out_of_the_pan(unit):
    with_tools = frame(unit, all_there(unit)).things[0]
    bare = frame(unit, all_there(unit, stirrer=False, pipes=False)).things[0]
    assert with_tools.category == bare.category == "pan" and (with_tools.mask == bare.mask).all()


@pytest.mark.parametrize("unit", UNITS)
def test_onions_darken_from_state_to_state(unit):
    presence = all_there(unit, stirrer=False, pipes=False)
    levels = []
    for state in ("raw", "golden", "browned", "burnt"):
        frames = [frame(unit, presence, seed=seed, state=state) for seed in range(6)]
        levels.append(np.mean([shown.photo.max(axis=2)[shown.things[0].mask].mean() for shown in frames]))
    assert levels[0] == max(levels) and levels[-1] == min(levels)


def test_a_unit_is_the_same_each_time_and_unlike_the_others():
    again = [make_unit(SETTINGS, number) for number in range(4)]
    for one, two in zip(UNITS, again, strict=True):
        assert (one.surface == two.surface).all() and (one.pan.color == two.pan.color).all() and one.form == two.form
    assert len({unit.form for unit in UNITS}) == 4


def test_units_do_not_depend_on_their_number_or_difficulty():
    other = make_unit(SETTINGS.model_copy(update={"units": 1, "difficulty": 1.0}), 0)
    assert (other.surface == UNITS[0].surface).all() and other.form == UNITS[0].form


def test_presence_is_drawn_at_its_rates():
    rng = np.random.default_rng(0)
    drawn = [draw_presence(rng, UNITS[0], pan_may_lack=True) for _ in range(3000)]
    assert np.mean([presence.pan for presence in drawn]) == pytest.approx(0.94, abs=0.02)
    assert np.mean([presence.stirrer for presence in drawn]) == pytest.approx(0.86, abs=0.03)
    assert np.mean([presence.pipes for presence in drawn]) == pytest.approx(0.86, abs=0.03)
    assert all(draw_presence(rng, UNITS[0], pan_may_lack=False).pan for _ in range(300))


def test_states_part_the_doneness_without_gap_or_overlap():
    ranges = [doneness_range(state) for state in STATES]
    assert ranges[0][0] == 0.0 and ranges[-1][1] == 1.0
    assert all(left[1] == right[0] for left, right in pairwise(ranges))
    rng = np.random.default_rng(0)
    for state, (low, high) in zip(STATES, ranges, strict=True):
        drawn = [draw_doneness(rng, state) for _ in range(200)]
        assert low <= min(drawn) and max(drawn) <= high and max(drawn) - min(drawn) > 0.6 * (high - low)


def test_box_of_a_single_pixel():
    mask = np.zeros((5, 7), bool)
    mask[3, 6] = True
    assert Thing("pan", mask).box == (6, 3, 1, 1)
