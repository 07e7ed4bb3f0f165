"""A clip of one unit: the onions fry through their states while the stirrer turns, with the truth of every frame."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from panvision.scenes.draw import rotation, transform, translation
from panvision.scenes.frames import Arrangement, Frame, Presence, arrange, draw_frame
from panvision.scenes.onions import STATES, Serving
from panvision.scenes.settings import SceneSettings
from panvision.scenes.units import Unit, make_unit

CLIP_STREAM = 2_000  # keeps a clip's random numbers apart from the photos' and the units'

_TURN_SECONDS = 8.0  # of the stirrer, once round
_CARRIED = 0.15  # of the stirrer's way, by the onions
_LIGHT_SECONDS = 0.8  # after which light, steam and blur are others
_SHAKE = 0.4  # of the camera from frame to frame, in canvas pixels

Span = tuple[float, float]


@dataclass(frozen=True)
class ClipScript:
    """Events of a clip; times in seconds from its start.

    Attributes:
        seconds: length.
        fps: frames per second.
        doneness: at the start and at the end, 0 raw to 1 burnt; it rises evenly between.
        stirrer_away, pan_away: from when to when each is out of the frame, or None.
    """

    seconds: float = 20.0
    fps: float = 10.0
    doneness: Span = (0.1, 0.9)
    stirrer_away: Span | None = None
    pan_away: Span | None = None

    @property
    def frames(self) -> int:
        """Number of frames of the clip."""
        return round(self.seconds * self.fps)


@dataclass(frozen=True)
class ClipFrame:
    """One frame with its truth.

    Attributes:
        time: seconds from the clip's start.
        frame: photo and labelled objects.
        state: of the onions; None while the pan is away.
        stirrer: whether the stirrer is there.
    """

    time: float
    frame: Frame
    state: str | None
    stirrer: bool


def render_clip(settings: SceneSettings, number: int, script: ClipScript) -> Iterator[ClipFrame]:
    """Render a clip frame by frame; the same arguments give the same bytes.

    From frame to frame the stirrer goes round and carries the onions along, the camera trembles and the grain is new;
    light, steam and blur change now and then.

    Args:
        settings: size, seed and difficulty; its counts of photos do not matter.
        number: of the unit, from 0.
        script: what happens.
    """
    unit = make_unit(settings, number)
    seed = [settings.seed, CLIP_STREAM, number]
    for index in range(script.frames):
        time = index / script.fps
        presence = _presence(unit, script, time)
        # The same numbers for every frame: what the script does not change stays.
        arranged = arrange(
            np.random.default_rng([*seed, 0]),
            unit,
            state=STATES[0],
            presence=presence,
            turn=2 * np.pi * time / _TURN_SECONDS,
        )
        doneness = float(np.interp(time, (0.0, script.seconds), script.doneness))
        grain = np.random.default_rng([*seed, 2, index])
        frame = draw_frame(
            np.random.default_rng([*seed, 1]),
            unit,
            _moved(arranged, doneness, time, grain),
            difficulty=settings.difficulty,
            light=np.random.default_rng([*seed, 3, int(time / _LIGHT_SECONDS)]),
            grain=grain,
        )
        yield ClipFrame(time, frame, state_at(doneness) if presence.pan else None, presence.stirrer)


def state_at(doneness: float) -> str:
    """The state of a doneness, 0 raw to 1 burnt."""
    return STATES[min(int(doneness * len(STATES)), len(STATES) - 1)]


def _presence(unit: Unit, script: ClipScript, time: float) -> Presence:
    def away(span: Span | None) -> bool:
        return span is not None and span[0] <= time < span[1]

    return Presence(not away(script.pan_away), not away(script.stirrer_away), (True,) * len(unit.pipes))


def _moved(arranged: Arrangement, doneness: float, time: float, rng: np.random.Generator) -> Arrangement:
    """An arrangement with its onions done so far and carried along, seen by a camera that trembles."""
    shake = translation(*rng.normal(0, _SHAKE, 2))
    serving = arranged.serving
    carried: Serving = replace(
        serving,
        doneness=doneness,
        donenesses=np.clip(serving.donenesses - serving.doneness + doneness, 0, 1),
        places=transform(rotation(_CARRIED * 2 * np.pi * time / _TURN_SECONDS), serving.places),
    )
    return replace(arranged, view=shake @ arranged.view, pan_view=shake @ arranged.pan_view, serving=carried)
