"""One photo of one unit, with its truth.

Rules of the labels, the same for every set:

- The pan is its body: rim, inner and outer wall and everything inside the rim. The handle and the shadow are not
  part of it, neither in the mask nor in the box. Stirrer and pipes in front of it cut nothing out of it.
- A box is the tight box of the whole object as far as it is in the frame, parts hidden by another object included.
- An object of which fewer than `MIN_PIXELS` pixels are in the frame has no box.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from panvision.scenes.draw import (
    Canvas,
    Matrix,
    Shape,
    direction,
    paint,
    rotation,
    scale_of,
    scaling,
    shade,
    silhouette,
    transform,
    translation,
    warp,
)
from panvision.scenes.onions import Opening, Serving, draw_doneness, draw_fond, draw_pieces, serve, stick
from panvision.scenes.photo import take_photo
from panvision.scenes.tools import pipe_shapes, stirrer_shapes
from panvision.scenes.units import Raster, Unit

CATEGORIES = ("pan", "stirrer", "inlet_pipe")
MIN_PIXELS = 24

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Presence:
    """The objects in a frame."""

    pan: bool
    stirrer: bool
    pipes: tuple[bool, ...]


@dataclass(frozen=True)
class Thing:
    """A labelled object: its category and the pixels that it covers, (H, W), hidden ones included."""

    category: str
    mask: Mask

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Tight box x, y, width, height in whole pixels."""
        columns, rows = np.flatnonzero(self.mask.any(axis=0)), np.flatnonzero(self.mask.any(axis=1))
        left, top = int(columns[0]), int(rows[0])
        return left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top


@dataclass(frozen=True)
class Frame:
    """A photo (H, W, 3) uint8 RGB and its labelled objects."""

    photo: Canvas
    things: tuple[Thing, ...]


def draw_presence(rng: np.random.Generator, unit: Unit, *, pan_may_lack: bool) -> Presence:
    """Draw the objects of a frame: now and then the stirrer, a pipe or the pan is missing."""
    pan = not (pan_may_lack and rng.random() < 0.06)
    stirrer = bool(rng.random() > 0.14)
    pipes = tuple(bool(present) for present in rng.random(len(unit.pipes)) > 0.14)
    return Presence(pan, stirrer, pipes)


@dataclass(frozen=True)
class Tool:
    """A tool in a frame: its shapes, and the place of food on it, if any, in units."""

    category: str
    shapes: list[Shape]
    food: Floats | None = None


@dataclass(frozen=True)
class Arrangement:
    """The arrangement of a frame before it is drawn.

    Attributes:
        view: matrix from units to canvas pixels.
        pan_view: matrix from the pan's own units to canvas pixels.
        serving: the onions.
        tools: stirrer and pipes, as far as they are present.
        pan: whether the pan is there.
    """

    view: Matrix
    pan_view: Matrix
    serving: Serving
    tools: list[Tool]
    pan: bool


def render_frame(rng: np.random.Generator, unit: Unit, *, state: str, presence: Presence, difficulty: float) -> Frame:
    """Render a photo of a unit whose onions are in a state."""
    return draw_frame(rng, unit, arrange(rng, unit, state=state, presence=presence), difficulty=difficulty)


def arrange(rng: np.random.Generator, unit: Unit, *, state: str, presence: Presence, turn: float = 0.0) -> Arrangement:
    """Draw a random arrangement of a frame; `turn` is the further rotation of the stirrer, radians.

    The same draws, in number and in order, for all objects and states.
    """
    view = _camera(rng, unit.raster)
    spot = np.array(unit.place) + rng.normal(0, 0.018, 2)
    pan_view = view @ translation(*spot) @ rotation(rng.normal(0, 0.09)) @ scaling(*np.full(2, rng.normal(1, 0.012)))
    serving = serve(
        rng,
        doneness=draw_doneness(rng, state),
        floor=unit.form.radius * unit.form.floor,
        cut=unit.cut,
        amount=rng.uniform(0.8, 1.35),
    )
    return Arrangement(view, pan_view, serving, _tools(rng, unit, spot, presence, turn), presence.pan)


def draw_frame(
    rng: np.random.Generator,
    unit: Unit,
    arranged: Arrangement,
    *,
    difficulty: float,
    light: np.random.Generator | None = None,
    grain: np.random.Generator | None = None,
) -> Frame:
    """Draw an arrangement and photograph it.

    Args:
        rng: of all that the drawing leaves to chance.
        unit: what is drawn.
        arranged: its position and rotation.
        difficulty: 0 to 1.
        light: of the photograph's light, steam and blur; by default `rng`.
        grain: of its noise; by default `light`.
    """
    raster, view, pan_view = unit.raster, arranged.view, arranged.pan_view
    to_surface = unit.surface_matrix @ np.linalg.inv(view)
    canvas = cv2.warpAffine(
        unit.surface,
        to_surface[:2],
        raster.canvas[::-1],
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )
    silhouettes = []
    opening = None
    if arranged.pan:
        silhouettes.append(("pan", _lay_pan(canvas, unit, pan_view)))
        outline = transform(pan_view, unit.form.inside)
        opening = Opening.of(canvas, outline, pan_view @ unit.form.level(0.0))
        draw_fond(rng, opening, arranged.serving.doneness)
        draw_pieces(rng, opening, arranged.serving)
    _shade_under(canvas, [shape for tool in arranged.tools for shape in tool.shapes], view)
    for tool in arranged.tools:
        paint(canvas, tool.shapes, view)
        silhouettes.append((tool.category, silhouette(raster.canvas, tool.shapes, view)))
        if opening is not None and tool.food is not None:
            place = transform(np.linalg.inv(pan_view @ unit.form.level(0.0)) @ view, tool.food)
            draw_pieces(rng, opening, stick(rng, arranged.serving, place, int(rng.integers(3, 9))), layers=1)
    photo = take_photo(
        light or rng,
        _shrink(canvas, raster),
        difficulty=difficulty,
        warmth=unit.warmth,
        lamp=unit.lamp,
        pan=_steaming(raster, unit, pan_view) if arranged.pan else None,
        grain=grain,
    )
    masks = [(category, _shrink(cover, raster) >= 128) for category, cover in silhouettes]
    return Frame(photo, tuple(Thing(category, mask) for category, mask in masks if mask.sum() >= MIN_PIXELS))


def _camera(rng: np.random.Generator, raster: Raster) -> Matrix:
    """Matrix from units to canvas pixels, with the camera's small moves."""
    height, width = raster.canvas
    zoom = raster.scale * rng.normal(1, 0.025)
    middle = translation((width - 1) / 2, (height - 1) / 2)
    return middle @ scaling(zoom, zoom) @ rotation(rng.normal(0, 0.03)) @ translation(*rng.normal(0, 0.015, 2))


def _lay_pan(canvas: Canvas, unit: Unit, pan_view: Matrix) -> Canvas:
    """Draw the empty pan into the canvas; return its body's coverage (H, W) uint8."""
    size = (canvas.shape[0], canvas.shape[1])
    matrix = pan_view @ np.linalg.inv(unit.pan.matrix)
    alpha = warp(unit.pan.alpha, matrix, size)
    keep = cv2.bitwise_not(alpha)
    cv2.multiply(canvas, cv2.merge([keep, keep, keep]), dst=canvas, scale=1 / 255)
    cv2.add(canvas, warp(unit.pan.color, matrix, size), dst=canvas)
    return warp(unit.pan.body, matrix, size)


def _tools(rng: np.random.Generator, unit: Unit, spot: Floats, presence: Presence, turn: float) -> list[Tool]:
    """Place stirrer and pipes in this frame. Random numbers are drawn for absent tools too."""
    tools = []
    style = unit.stirrer
    angle, lean = rng.uniform(0, 2 * np.pi) + turn, rng.normal(0, 0.4)
    tip = spot + direction(angle) * unit.form.radius * rng.uniform(0.15, 0.55)
    shapes = stirrer_shapes(
        replace(style, beam=style.beam + rng.normal(0, 0.04)),
        tip=tip,
        angle=angle + lean,
        centre=spot + rng.normal(0, 0.01, 2),
    )
    if presence.stirrer:
        food = None if style.kind == "paddle" else tip - direction(angle + lean) * style.length * 0.42
        tools.append(Tool("stirrer", shapes, food))
    for pipe, present in zip(unit.pipes, presence.pipes, strict=True):
        entry = pipe.angle + rng.normal(0, 0.06)
        mouth = np.array(unit.place) + direction(entry) * unit.form.radius * pipe.reach + rng.normal(0, 0.012, 2)
        shapes = pipe_shapes(pipe, tip=mouth, angle=entry)
        if present:
            tools.append(Tool("inlet_pipe", shapes))
    return tools


def _shade_under(canvas: Canvas, shapes: list[Shape], view: Matrix) -> None:
    """Draw the soft shadow of the tools, in place."""
    if not shapes:
        return
    quarter = 4
    size = (canvas.shape[0] // quarter, canvas.shape[1] // quarter)
    offset = translation(0.03 * scale_of(view), 0.042 * scale_of(view))
    cover = silhouette(size, shapes, scaling(1 / quarter, 1 / quarter) @ offset @ view)
    soft = cv2.GaussianBlur(cover, (0, 0), 0.018 * scale_of(view) / quarter)
    factor = 1 - soft.astype(np.float32) * np.float32(0.5 / 255)
    shade(canvas, cv2.resize(factor, canvas.shape[1::-1], interpolation=cv2.INTER_LINEAR))


def _shrink(canvas: Canvas, raster: Raster) -> Canvas:
    """Canvas to photo size."""
    if raster.samples == 1:
        return canvas
    return cv2.resize(canvas, (raster.width, raster.height), interpolation=cv2.INTER_AREA)


def _steaming(raster: Raster, unit: Unit, pan_view: Matrix) -> tuple[float, float, float]:
    """Centre and radius of the pan in photo pixels."""
    x, y = pan_view[:2, 2] / raster.samples
    return float(x), float(y), unit.form.radius * scale_of(pan_view) / raster.samples
