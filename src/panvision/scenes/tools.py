"""Tools over the pan: stirrers that turn in it, and pipes for ingredients."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from panvision.scenes.draw import (
    Color,
    Points,
    Shape,
    arc,
    curve,
    direction,
    mix,
    rotation,
    scaling,
    tint,
    transform,
    translation,
    tube,
)

_LIGHT = np.array([-0.55, -0.75])
FAR = 1.6  # beyond every frame's edge, in units


@dataclass(frozen=True)
class StirrerStyle:
    """A unit's stirrer; lengths in units.

    Attributes:
        kind: flat spatula, spoon, or a paddle wheel that hangs from a beam.
        blade_color, handle_color: colours.
        gloss: 0 to 1.
        length, width: of the blade, the spoon's bowl, or one arm of the wheel.
        handle_width: of the handle or the beam.
        handle_length: from the blade to the end of the grip; beyond the frame where long enough.
        arms: of a paddle wheel.
        beam: direction from which a paddle's beam comes, radians.
    """

    kind: Literal["spatula", "spoon", "paddle"]
    blade_color: Color
    handle_color: Color
    gloss: float
    length: float
    width: float
    handle_width: float
    handle_length: float
    arms: int
    beam: float


@dataclass(frozen=True)
class PipeStyle:
    """One inlet pipe; lengths in units.

    Attributes:
        kind: steel tube, corrugated hose, or smooth tube with a wide funnel nozzle.
        color, nozzle_color: colours.
        gloss: 0 to 1.
        width: of the tube.
        angle: direction from the pan's centre to where it enters, radians.
        reach: distance of the nozzle from the pan's centre, as a share of the rim's radius.
        bend: sideways bow.
    """

    kind: Literal["tube", "hose", "funnel"]
    color: Color
    nozzle_color: Color
    gloss: float
    width: float
    angle: float
    reach: float
    bend: float


def stirrer_shapes(style: StirrerStyle, *, tip: Points, angle: float, centre: Points) -> list[Shape]:
    """Shapes of a stirrer.

    Args:
        style: the unit's stirrer.
        tip: where the blade touches the pan, in units (a paddle turns round `centre` instead).
        angle: direction from the blade to the handle, or of a paddle's first arm, radians.
        centre: the pan's centre in units.
    """
    if style.kind == "paddle":
        return _paddle(style, angle, centre)
    place = translation(*tip) @ rotation(angle)
    grip_end = style.length / 2 + style.handle_length
    neck = style.length * 0.45
    handle = [
        *_rod(place, neck, neck + style.handle_length * 0.45, style.handle_width * 0.62, style, style.blade_color),
        *_rod(place, neck + style.handle_length * 0.4, grip_end, style.handle_width, style, style.handle_color),
    ]
    blade = _spatula(style, place) if style.kind == "spatula" else _spoon(style, place)
    return [*handle, *blade]


def _rod(place: np.ndarray, start: float, end: float, width: float, style: StirrerStyle, color: Color) -> list[Shape]:
    """A straight piece of handle along the stirrer's own x axis."""
    path = transform(place, np.stack([np.linspace(start, end, 4), np.zeros(4)], axis=1))
    return tube(path, width, color, gloss=style.gloss, light=_LIGHT)


def _spatula(style: StirrerStyle, place: np.ndarray) -> list[Shape]:
    """A flat blade with bevelled edge and slots; the blade's far end is at negative x."""
    half, wide = style.length / 2, style.width / 2
    right = np.array([[-0.96, 0.9], [-0.6, 0.98], [0.2, 0.82], [0.62, 0.42], [1.0, 0.22]]) * [half, wide]
    left = right[::-1] * [1, -1]
    outline = np.concatenate([right, left, [[-1.0 * half, -0.8 * wide], [-1.0 * half, 0.8 * wide]]])
    shapes = [
        Shape(transform(place, outline), tint(style.blade_color, 0.58)),
        Shape(transform(place, outline * [0.94, 0.9]), tint(style.blade_color, 0.9)),
        Shape(transform(place, outline * [0.88, 0.78] + [-0.02 * half, 0]), style.blade_color),
    ]
    shine = mix(style.blade_color, (255, 255, 255), 0.25 + 0.55 * style.gloss)
    edge = np.array([[-0.93 * half, -0.78 * wide], [-0.93 * half, 0.78 * wide]])
    shapes.append(Shape(transform(place, edge), shine, 0.008))
    for offset in (-0.45, 0.0, 0.45):
        slot = np.array([[-0.55 * half, offset * wide], [0.15 * half, offset * wide * 0.8]])
        shapes.append(Shape(transform(place, slot), tint(style.blade_color, 0.32), 0.016))
    return shapes


def _spoon(style: StirrerStyle, place: np.ndarray) -> list[Shape]:
    """An oval bowl with a hollow, and grain along it."""
    half, wide = style.length / 2, style.width / 2
    oval = arc(1.0, count=40) * [half, wide]
    shapes = [
        Shape(transform(place, oval), tint(style.blade_color, 0.6)),
        Shape(transform(place, oval * 0.93), style.blade_color),
        Shape(transform(place, oval * [0.78, 0.74] + [-0.04 * half, 0]), tint(style.blade_color, 0.78)),
        Shape(transform(place, oval * [0.66, 0.56] + [-0.1 * half, 0]), tint(style.blade_color, 0.9)),
    ]
    for offset in (-0.3, 0.05, 0.35):
        grain = np.array([[-0.6 * half, offset * wide], [0.5 * half, offset * wide * 0.7]])
        shapes.append(Shape(transform(place, grain), tint(style.blade_color, 0.72), 0.004))
    glint = arc(0.84, start=2.6, sweep=1.3, count=16) * [half, wide]
    shapes.append(
        Shape(transform(place, glint), mix(style.blade_color, (255, 255, 255), 0.3 + 0.5 * style.gloss), 0.007)
    )
    return shapes


def _paddle(style: StirrerStyle, angle: float, centre: Points) -> list[Shape]:
    """A wheel of curved arms with scrapers, hub and the beam that carries it."""
    shapes: list[Shape] = []
    place = translation(*centre)
    for turn in angle + np.arange(style.arms) * (2 * np.pi / style.arms):
        arm = place @ rotation(turn)
        path = curve(np.zeros(2), np.array([0.55, 0.2]) * style.length, np.array([0.95, 0.05]) * style.length)
        shapes += tube(
            transform(arm, path), style.handle_width * 0.72, style.handle_color, gloss=style.gloss, light=_LIGHT
        )
        scraper = np.array([[0.9, -0.5], [1.0, -0.46], [1.08, 0.42], [0.98, 0.5]]) * [style.length, style.width]
        shapes.append(Shape(transform(arm, scraper), tint(style.blade_color, 0.62)))
        inset = np.array([[0.915, -0.44], [0.985, -0.4], [1.06, 0.38], [0.99, 0.44]]) * [style.length, style.width]
        shapes.append(Shape(transform(arm, inset), style.blade_color))
    beam = np.stack([centre, centre + direction(style.beam) * FAR])
    shapes += tube(beam, style.handle_width * 1.5, style.handle_color, gloss=style.gloss, light=_LIGHT)
    hub = style.handle_width * 1.35
    for share, factor in ((1.0, 0.5), (0.92, 0.85), (0.7, 1.1), (0.42, 0.6), (0.34, 1.0)):
        shapes.append(Shape(arc(hub * share, count=32) + centre, tint(style.handle_color, factor)))
    return shapes


def pipe_shapes(style: PipeStyle, *, tip: Points, angle: float) -> list[Shape]:
    """Shapes of a pipe that enters from `angle` and ends at `tip` (units)."""
    ray = direction(angle)
    side = np.array([-ray[1], ray[0]])
    end = tip + ray * FAR + side * style.bend
    path = curve(tip + ray * style.width * 0.3, tip + ray * FAR * 0.3, end, count=28)
    shapes = tube(path, style.width, style.color, gloss=style.gloss, light=_LIGHT)
    if style.kind == "hose":
        shapes += _rings(path, style)
    return [*shapes, *_nozzle(style, tip, angle)]


def _rings(path: Points, style: PipeStyle) -> list[Shape]:
    """Corrugation: short strokes across the hose."""
    lengths = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
    places = np.arange(0.03, lengths[-1], 0.028)
    spots = np.stack([np.interp(places, lengths, path[:, axis]) for axis in (0, 1)], axis=1)
    along = np.gradient(spots, axis=0)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1) / np.hypot(*along.T)[:, None] * style.width * 0.4
    dark = tint(style.color, 0.62)
    return [Shape(np.stack([spot - half, spot + half]), dark, 0.007) for spot, half in zip(spots, across, strict=True)]


def _nozzle(style: PipeStyle, tip: Points, angle: float) -> list[Shape]:
    """Collar and mouth: the elbow points down, so its end shows as a disc."""
    place = translation(*tip) @ rotation(angle)
    wide = style.width * (0.95 if style.kind == "funnel" else 0.66)
    collar = transform(place, np.array([[style.width * 0.9, 0.0], [style.width * 1.35, 0.0]]))
    across = np.array([[0.0, -0.5], [0.0, 0.5]]) * style.width * 1.16
    shapes = [
        Shape(
            transform(place @ translation(style.width * offset, 0.0), across), tint(style.nozzle_color, factor), 0.022
        )
        for offset, factor in ((1.45, 0.7), (1.25, 1.05))
    ]
    shapes += tube(collar, style.width * 1.02, style.nozzle_color, gloss=style.gloss, light=_LIGHT)
    disc = arc(1.0, count=36)
    for radius, shift, factor in (
        (1.0, 0.0, 0.5),
        (0.93, 0.0, 0.95),
        (0.8, -0.05, 1.15),
        (0.62, 0.02, 0.55),
        (0.5, 0.04, 0.24),
    ):
        shapes.append(
            Shape(
                disc @ scaling(wide * radius, wide * radius)[:2, :2] + tip + shift * wide,
                tint(style.nozzle_color, factor),
            )
        )
    return shapes
