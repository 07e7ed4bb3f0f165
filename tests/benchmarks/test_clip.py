import itertools

import numpy as np
import pytest

from benchmarks.clip import ClipScript, render_clip, state_at
from panvision.scenes.onions import STATES
from panvision.scenes.settings import SceneSettings

SETTINGS = SceneSettings(width=64, height=64, units=2)
SCRIPT = ClipScript(seconds=5, fps=2, stirrer_away=(1, 2), pan_away=(3, 4))


@pytest.fixture(scope="module")
def clip():
    return list(render_clip(SETTINGS, 1, SCRIPT))


def test_the_same_arguments_give_the_same_bytes(clip):
    again = render_clip(SETTINGS, 1, SCRIPT)
    assert all((one.frame.photo == other.frame.photo).all() for one, other in zip(clip, again, strict=True))


def test_the_truth_follows_the_script(clip):
    assert [shown.time for shown in clip] == [number / 2 for number in range(10)]
    assert [shown.stirrer for shown in clip] == [True] * 2 + [False] * 2 + [True] * 6
    for shown in clip:
        categories = [thing.category for thing in shown.frame.things]
        assert ("stirrer" in categories) is shown.stirrer
        assert ("pan" in categories) is (shown.state is not None)
    assert [number for number, shown in enumerate(clip) if shown.state is None] == [6, 7]
    states = [STATES.index(shown.state) for shown in clip if shown.state is not None]
    assert states == sorted(states) and set(states) == set(range(5))


def test_frames_follow_each_other_smoothly_but_none_is_the_same():
    slow = list(render_clip(SETTINGS, 0, ClipScript(seconds=0.7, fps=10, doneness=(0.5, 0.52))))
    steps = [np.abs(one.frame.photo.astype(int) - other.frame.photo).mean() for one, other in itertools.pairwise(slow)]
    other_unit = next(render_clip(SETTINGS, 1, SCRIPT)).frame.photo
    assert min(steps) > 0 and max(steps) < 0.5 * np.abs(slow[0].frame.photo.astype(int) - other_unit).mean()


def test_states_meet_at_equal_parts_of_doneness():
    assert [state_at(value) for value in (0, 0.19, 0.2, 0.5, 0.8, 1)] == [
        "raw",
        "raw",
        "translucent",
        "golden",
        "burnt",
        "burnt",
    ]
