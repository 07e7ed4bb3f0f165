"""Hobs and worktops as textures, drawn once per cooking unit."""

import itertools
from collections.abc import Callable

import numpy as np

from panvision.scenes.draw import (
    Canvas,
    Color,
    Field,
    Matrix,
    Shape,
    arc,
    direction,
    mix,
    noise,
    paint,
    tint,
    tube,
)

Rng = np.random.Generator
Painter = Callable[[Rng, tuple[int, int], Matrix], Canvas]

_LIGHT = np.array([-0.5, -0.7])


def _colored(base: Color, field: Field) -> Canvas:
    """A colour multiplied by a brightness field (H, W)."""
    return np.clip(field[..., None] * np.array(base, np.float32), 0, 255).astype(np.uint8)


def induction(rng: Rng, size: tuple[int, int], matrix: Matrix) -> Canvas:
    """Dark glass with printed cooking zones, a touch strip and a soft reflection."""
    base = mix((26, 27, 31), (48, 46, 47), rng.random())
    slope = (
        np.linspace(-1, 1, size[1], dtype=np.float32)[None, :] + np.linspace(-1, 1, size[0], dtype=np.float32)[:, None]
    )
    sheen = np.exp(-((slope - rng.uniform(-0.8, 0.8)) ** 2) * 6)
    canvas = _colored(base, 1 + 0.5 * sheen + 0.04 * noise(rng, size, (5, 5), 3))
    ink: Color = (118, 116, 114)
    centre = rng.uniform(-0.05, 0.05, 2)
    marks = [Shape(arc(radius) + centre, ink, 0.006) for radius in (0.3, 0.45)]
    for quarter in range(4):
        out = direction(quarter * np.pi / 2)
        marks.append(Shape(np.stack([centre + out * 0.42, centre + out * 0.52]), ink, 0.008))
    for step in range(-3, 4):
        place = np.array([step * 0.085, 0.455])
        marks.append(Shape(arc(0.02, count=20) + place, tint(ink, 0.8), 0.004))
    marks.append(Shape(np.array([[-0.02, 0.455], [0.02, 0.455]]), (235, 60, 40), 0.01))
    paint(canvas, marks, matrix)
    return canvas


def gas(rng: Rng, size: tuple[int, int], matrix: Matrix) -> Canvas:
    """Enamelled or steel tray, burner with its flames, cast-iron grate."""
    steel = bool(rng.integers(2))
    base: Color = (172, 174, 176) if steel else (44, 44, 47)
    canvas = _colored(base, 1 + 0.06 * noise(rng, size, (3, 90), 2) + 0.08 * noise(rng, size, (3, 3)))
    turn = rng.uniform(0, np.pi / 4)
    shapes = [Shape(arc(0.33), tint(base, 0.72)), Shape(arc(0.3), tint(base, 0.85)), Shape(arc(0.2), (70, 66, 60))]
    for angle in np.linspace(0, 2 * np.pi, 36, endpoint=False):
        ray = direction(angle)
        shapes.append(Shape(np.stack([ray * 0.2, ray * rng.uniform(0.24, 0.3)]), (70, 130, 235), 0.012))
    shapes += [Shape(arc(0.17), (150, 118, 66)), Shape(arc(0.13), (38, 36, 36))]
    iron: Color = (46, 45, 46)
    for angle in turn + np.arange(4) * np.pi / 2:
        ray = direction(angle)
        shapes += _bar(np.stack([ray * 0.12, ray * 0.62]), iron)
    for corner in range(4):
        ends = np.array([[-0.62, -0.47], [0.62, -0.47], [0.62, 0.47], [-0.62, 0.47], [-0.62, -0.47]])[
            corner : corner + 2
        ]
        shapes += _bar(ends, iron)
    paint(canvas, shapes, matrix)
    return canvas


def _bar(ends: np.ndarray, color: Color) -> list[Shape]:
    """One bar of a grate with its shadow."""
    return [Shape(ends + 0.015, (18, 18, 19), 0.05), *tube(ends, 0.042, color, gloss=0.25, light=_LIGHT)]


def brushed_steel(rng: Rng, size: tuple[int, int], matrix: Matrix) -> Canvas:
    """Worktop of brushed steel with scratches, a seam and water spots."""
    brush = noise(rng, size, (size[0] / 2, 4), 1) * 0.035 + noise(rng, size, (40, 2), 2) * 0.04
    sheen = noise(rng, size, (1.5, 3)) * 0.1
    canvas = _colored((168, 172, 176), 1 + brush + sheen)
    shapes = [Shape(np.array([[-1.5, y], [1.5, y]]), (92, 95, 99), 0.012) for y in (rng.uniform(0.4, 0.47),)]
    for _ in range(26):
        start = rng.uniform(-0.8, 0.8, 2)
        ends = np.stack([start, start + direction(rng.normal(0, 0.5)) * rng.uniform(0.03, 0.2)])
        shapes.append(Shape(ends, (196, 199, 203) if rng.random() < 0.6 else (140, 143, 148), 0.003))
    for _ in range(9):
        place = rng.uniform(-0.75, 0.75, 2)
        radius = rng.uniform(0.006, 0.018)
        shapes += [
            Shape(arc(radius) + place, (132, 137, 143)),
            Shape(arc(radius * 0.75) + place + 0.002, (188, 192, 197)),
        ]
    paint(canvas, shapes, matrix)
    return canvas


def wood(rng: Rng, size: tuple[int, int], matrix: Matrix) -> Canvas:
    """Planks with their own tone, grain and knots."""
    base = mix((176, 126, 78), (112, 74, 46), rng.random())
    grain = noise(rng, size, (70, 3), 2) * 0.07 + noise(rng, size, (size[0] / 3, 6), 1) * 0.05
    count = int(rng.integers(5, 8))
    edges = np.linspace(0, size[0], count + 1).astype(int)
    for top, bottom in itertools.pairwise(edges):
        grain[top:bottom] = np.roll(grain[top:bottom], int(rng.integers(size[1])), axis=1) + rng.normal(0, 0.07)
        grain[top : top + max(2, size[0] // 250)] -= 0.4
        joint = int(rng.integers(size[1]))
        grain[top:bottom, joint : joint + max(2, size[1] // 300)] -= 0.4
    canvas = _colored(base, 1 + grain)
    knots = []
    for _ in range(4):
        place = rng.uniform(-0.7, 0.7, 2)
        knots += [
            Shape(arc(0.022 * ring) * [1.7, 0.8] + place, tint(base, 0.62 + 0.25 * (ring % 2)), 0.006)
            for ring in (1, 2)
        ]
    paint(canvas, knots, matrix)
    return canvas


def stone(rng: Rng, size: tuple[int, int], matrix: Matrix) -> Canvas:
    """Polished granite or veined marble tiles with grout."""
    if rng.random() < 0.5:
        base: Color = mix((92, 94, 98), (150, 142, 134), rng.random())
        field = 1 + 0.16 * noise(rng, size, (size[0] / 5, size[1] / 5), 1) + 0.1 * noise(rng, size, (9, 12), 2)
        field += 0.35 * (noise(rng, size, (size[0] / 4, size[1] / 4), 1) > 2.1)
    else:
        base = mix((214, 210, 203), (196, 200, 202), rng.random())
        veins = np.abs(noise(rng, size, (3, 4), 4))
        field = 1 - 0.28 * np.exp(-(veins**2) * 60) + 0.04 * noise(rng, size, (4, 4), 2)
    canvas = _colored(base, field.astype(np.float32))
    grout = tint(base, 0.66)
    step = rng.uniform(0.42, 0.6)
    shift = rng.uniform(0, step, 2)
    lines = []
    for place in np.arange(-3, 4) * step:
        lines.append(Shape(np.array([[-2.0, place + shift[1]], [2.0, place + shift[1]]]), grout, 0.01))
        lines.append(Shape(np.array([[place + shift[0], -2.0], [place + shift[0], 2.0]]), grout, 0.01))
    paint(canvas, lines, matrix)
    return canvas


SURFACES: tuple[Painter, ...] = (induction, brushed_steel, wood, gas, stone)
