"""Cooking units: everything that stays the same from one photo of a unit to the next."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from panvision.scenes.draw import (
    Canvas,
    Color,
    Matrix,
    Shape,
    arc,
    direction,
    mix,
    paint,
    scaling,
    silhouette,
    tint,
    translation,
)
from panvision.scenes.pans import MATERIALS, PanForm, PanPicture, draw_pan
from panvision.scenes.settings import SceneSettings
from panvision.scenes.surfaces import SURFACES
from panvision.scenes.tools import PipeStyle, StirrerStyle

UNIT_STREAM = 1_000  # keeps the units' random numbers apart from the frames'

_SUPERSAMPLED_SIDE = 1024  # larger photos are drawn at their own size: their edges are fine enough
_MARGIN = 0.16  # of worktop beyond each edge of the frame, in units; the camera moves within it


@dataclass(frozen=True)
class Raster:
    """Size of the photos and of the canvas that they are drawn on.

    Attributes:
        width, height: of the photo in pixels.
        samples: canvas pixels per photo pixel, along each axis.
    """

    width: int
    height: int
    samples: int

    @property
    def canvas(self) -> tuple[int, int]:
        """(height, width) of the canvas."""
        return self.height * self.samples, self.width * self.samples

    @property
    def scale(self) -> float:
        """Canvas pixels per unit."""
        return min(self.height, self.width * 0.75) * self.samples

    @classmethod
    def of(cls, settings: SceneSettings) -> "Raster":
        """The raster for some settings."""
        small = max(settings.width, settings.height) <= _SUPERSAMPLED_SIDE
        return cls(settings.width, settings.height, 2 if small else 1)


@dataclass(frozen=True)
class Unit:
    """One cooking unit under its camera.

    Attributes:
        raster: size of its photos.
        surface: (H, W, 3) worktop, larger than the frame.
        surface_matrix: from units to the surface's pixels.
        form, pan: the pan.
        place: position of the pan, in units.
        stirrer, pipes: the tools.
        cut: shares of slices, rings and dice among its onions.
        warmth: of its lamp, -1 (cold) to 1 (warm).
        lamp: direction of its light, radians.
    """

    raster: Raster
    surface: Canvas
    surface_matrix: Matrix
    form: PanForm
    pan: PanPicture
    place: tuple[float, float]
    stirrer: StirrerStyle
    pipes: tuple[PipeStyle, ...]
    cut: tuple[float, float, float]
    warmth: float
    lamp: float


def make_unit(settings: SceneSettings, number: int) -> Unit:
    """Build unit `number` (from 0) of a set of demo scenes; the same settings give the same unit."""
    rng = np.random.default_rng([settings.seed, UNIT_STREAM, number])
    raster = Raster.of(settings)
    surface, matrix = _make_surface(rng, raster, number)
    form = _make_form(rng, number)
    pan = draw_pan(rng, form, MATERIALS[number % len(MATERIALS)], scale=raster.scale)
    x, y = rng.uniform(-0.05, 0.05, 2)
    cuts = ((0.75, 0.15, 0.1), (0.25, 0.05, 0.7), (0.4, 0.5, 0.1), (0.5, 0.2, 0.3))
    return Unit(
        raster,
        surface,
        matrix,
        form,
        pan,
        (float(x), float(y)),
        _make_stirrer(rng, number, form),
        _make_pipes(rng, number, form),
        cuts[number % len(cuts)],
        warmth=float(rng.uniform(-0.7, 0.9)),
        lamp=float(rng.uniform(0, 2 * np.pi)),
    )


def _make_surface(rng: np.random.Generator, raster: Raster, number: int) -> tuple[Canvas, Matrix]:
    """Draw the worktop and the things on it."""
    scale = raster.scale
    half_width = raster.canvas[1] / 2 / scale + _MARGIN
    half_height = raster.canvas[0] / 2 / scale + _MARGIN
    size = (int(np.ceil(2 * half_height * scale)), int(np.ceil(2 * half_width * scale)))
    matrix = scaling(scale, scale) @ translation(half_width, half_height)
    surface = SURFACES[number % len(SURFACES)](rng, size, matrix)
    corners = rng.permutation(4)[: int(rng.integers(1, 3))]
    for corner in corners:
        sign = np.array([1 - 2 * (corner % 2), 1 - 2 * (corner // 2)])
        centre = sign * [rng.uniform(0.55, 0.66), rng.uniform(0.38, 0.48)]
        prop = _bowl(rng, centre) if rng.random() < 0.55 else _cloth(rng, centre)
        shadow = silhouette(size, prop, matrix @ translation(0.012, 0.018))
        surface[shadow > 127] = surface[shadow > 127] // 2
        paint(surface, prop, matrix)
    return surface, matrix


def _bowl(rng: np.random.Generator, centre: np.ndarray) -> list[Shape]:
    """A small bowl of salt, herbs or spice."""
    glaze = mix((232, 230, 224), (96, 110, 126), rng.random())
    contents: Color = ((240, 238, 232), (72, 112, 48), (176, 74, 34))[int(rng.integers(3))]
    radius = rng.uniform(0.07, 0.1)
    shapes = [
        Shape(arc(radius * share) + centre, tint(color, factor))
        for share, color, factor in ((1.0, glaze, 0.8), (0.93, glaze, 1.05), (0.82, glaze, 0.7), (0.7, contents, 0.85))
    ]
    for _ in range(45):
        spot = centre + direction(rng.uniform(0, 2 * np.pi)) * radius * 0.66 * np.sqrt(rng.random())
        shapes.append(Shape(arc(0.006, count=6) + spot, tint(contents, rng.uniform(0.65, 1.25))))
    return shapes


def _cloth(rng: np.random.Generator, centre: np.ndarray) -> list[Shape]:
    """A folded kitchen cloth with stripes."""
    turn = rng.uniform(-0.4, 0.4)
    along, across = direction(turn) * 0.17, direction(turn + np.pi / 2) * 0.12
    base = mix((222, 218, 208), (170, 180, 184), rng.random())
    stripe: Color = ((64, 90, 140), (160, 52, 48), (66, 110, 86))[int(rng.integers(3))]
    outline = np.stack([-along - across, along - across * 0.94, along * 1.03 + across, -along * 0.97 + across]) + centre
    shapes = [Shape(outline, tint(base, 0.82)), Shape((outline - centre) * 0.97 + centre - 0.004, base)]
    shapes += [
        Shape(np.stack([-along * 0.95, along * 0.95]) + centre + across * share, stripe, 0.014)
        for share in (-0.7, -0.55, 0.5, 0.72)
    ]
    fold = np.stack([-along * 0.96, along * 0.96]) + centre + across * 0.05
    shapes.append(Shape(fold, tint(base, 0.72), 0.009))
    return shapes


def _make_form(rng: np.random.Generator, number: int) -> PanForm:
    """Measures of a unit's pan: frying pan, wok or casserole in turn."""
    radius = rng.uniform(0.34, 0.41)
    depth, floor = ((0.2, 0.84), (0.26, 0.8), (0.34, 0.66), (0.4, 0.86))[number % 4]
    looped = number % 4 == 3
    grips: tuple[Color, ...] = ((34, 33, 35), (158, 160, 163), (142, 92, 52), (52, 50, 50))
    return PanForm(
        radius=radius,
        depth=radius * depth,
        floor=floor,
        lip=rng.uniform(0.012, 0.022),
        tilt=np.radians(rng.uniform(6, 30)),
        roll=rng.uniform(-0.5, 0.5),
        handle=rng.uniform(0, 2 * np.pi),
        handle_length=0.0 if looped else rng.uniform(0.38, 0.55),
        handle_color=grips[number % len(grips)],
    )


def _make_stirrer(rng: np.random.Generator, number: int, form: PanForm) -> StirrerStyle:
    """A unit's stirrer: spatula, paddle wheel or spoon in turn, in its own colours."""
    kinds: tuple[Literal["spatula", "paddle", "spoon"], ...] = ("spatula", "paddle", "spoon")
    kind = kinds[number % 3]
    colors: dict[str, tuple[tuple[Color, Color], ...]] = {
        "spatula": (((184, 186, 190), (38, 38, 40)), ((196, 62, 44), (170, 172, 176)), ((60, 62, 66), (176, 132, 84))),
        "paddle": (((228, 226, 220), (150, 153, 158)), ((206, 86, 40), (112, 114, 120))),
        "spoon": (((196, 146, 92), (186, 136, 84)), ((126, 82, 48), (118, 76, 44))),
    }
    blade, handle = colors[kind][(number // 3) % len(colors[kind])]
    length, width, handle_width = {
        "spatula": (rng.uniform(0.2, 0.25), rng.uniform(0.14, 0.18), 0.046),
        "paddle": (form.radius * form.floor * rng.uniform(0.72, 0.82), rng.uniform(0.17, 0.23), 0.05),
        "spoon": (rng.uniform(0.19, 0.23), rng.uniform(0.12, 0.145), 0.04),
    }[kind]
    return StirrerStyle(
        kind,
        blade,
        handle,
        gloss=0.15 if kind == "spoon" else rng.uniform(0.4, 0.8),
        length=length,
        width=width,
        handle_width=handle_width,
        handle_length=rng.uniform(0.65, 0.95),
        arms=int(rng.integers(2, 4)),
        beam=rng.uniform(0, 2 * np.pi),
    )


def _make_pipes(rng: np.random.Generator, number: int, form: PanForm) -> tuple[PipeStyle, ...]:
    """One to three pipes from well-spread directions, clear of the handle."""
    kinds: tuple[Literal["tube", "hose", "funnel"], ...] = ("tube", "hose", "funnel")
    looks: tuple[tuple[Color, Color], ...] = (
        ((176, 179, 184), (150, 152, 156)),
        ((222, 224, 220), (64, 66, 70)),
        ((196, 116, 72), (170, 96, 58)),
        ((62, 104, 168), (196, 198, 200)),
        ((70, 72, 76), (188, 150, 60)),
    )
    count = (2, 1, 3)[number % 3]
    start = form.handle + rng.uniform(0.8, 1.2)
    spread = (2 * np.pi - 1.9) / count
    pipes = []
    for place in range(count):
        color, nozzle = looks[(number + 2 * place) % len(looks)]
        kind = kinds[(number + place) % 3]
        pipes.append(
            PipeStyle(
                kind,
                color,
                nozzle,
                gloss=0.25 if kind == "hose" else rng.uniform(0.5, 0.9),
                width=rng.uniform(0.06, 0.085),
                angle=start + spread * (place + rng.uniform(0.1, 0.6)),
                reach=rng.uniform(0.5, 0.85),
                bend=rng.uniform(-0.25, 0.25),
            )
        )
    return tuple(pipes)
