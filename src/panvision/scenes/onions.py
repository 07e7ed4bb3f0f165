"""Onions: from a frame's doneness to pieces with colour, size, opacity and gloss."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from panvision.scenes.draw import (
    Canvas,
    Color,
    Field,
    Matrix,
    blend,
    fill,
    noise,
    scale_of,
    shade,
    stroke,
    subpixels,
    transform,
    translation,
)

STATES = ("raw", "translucent", "golden", "browned", "burnt")

Floats = npt.NDArray[np.float64]
Outline = npt.NDArray[np.int32]

_LAYERS = 4
_LIGHT = np.array([-0.6, -0.8])

# Looks at the middle of each state; between the middles' plateaus they run into each other.
_COLORS = np.array([(243, 240, 229), (222, 207, 150), (224, 168, 72), (146, 82, 34), (46, 33, 28)], np.float64)
_OPACITY = np.array([0.98, 0.7, 0.9, 0.96, 0.98])
_SHRINK = np.array([1.0, 0.94, 0.82, 0.7, 0.58])
_GLOSS = np.array([0.12, 0.9, 0.75, 0.5, 0.06])
_FOND = np.array([0.0, 0.06, 0.25, 0.5, 0.8])
_PLATEAU = 0.055


@dataclass(frozen=True)
class Look:
    """Appearance at given donenesses.

    Attributes:
        color: (n, 3) RGB, 0 to 255.
        opacity, shrink, gloss, fond: (n,); shrink is the size relative to raw, fond the browning of the pan's floor.
    """

    color: Floats
    opacity: Floats
    shrink: Floats
    gloss: Floats
    fond: Floats


def doneness_range(state: str) -> tuple[float, float]:
    """Lowest and highest doneness (0 raw to 1 burnt) of a state; neighbours touch."""
    number = STATES.index(state)
    return number / len(STATES), (number + 1) / len(STATES)


def draw_doneness(rng: np.random.Generator, state: str) -> float:
    """Draw a frame's doneness in the class's range, more often near its middle."""
    low, high = doneness_range(state)
    return low + (high - low) * float(rng.beta(2.0, 2.0))


def look(doneness: Floats) -> Look:
    """Appearance at doneness 0 to 1: steady around each state's middle, continuous between."""
    middles = (np.arange(len(STATES)) + 0.5) / len(STATES)
    knots = np.stack([middles - _PLATEAU, middles + _PLATEAU], axis=1).ravel()

    def at(values: Floats) -> Floats:
        return np.interp(doneness, knots, np.repeat(values, 2))

    color = np.stack([at(_COLORS[:, channel]) for channel in range(3)], axis=-1)
    return Look(color, at(_OPACITY), at(_SHRINK), at(_GLOSS), at(_FOND))


@dataclass(frozen=True)
class Serving:
    """A frame's onions, on the pan's floor.

    Attributes:
        doneness: of the whole frame, 0 to 1.
        places: (n, 2) on the floor's plane in units around its centre, the lowest piece first.
        kinds: (n,) 0 slice, 1 ring, 2 dice.
        sizes: (n,) radius of the piece when raw, units.
        turns: (n,) radians.
        donenesses: (n,) of each piece.
        tones: (n,) brightness factors.
    """

    doneness: float
    places: Floats
    kinds: npt.NDArray[np.int64]
    sizes: Floats
    turns: Floats
    donenesses: Floats
    tones: Floats


def serve(
    rng: np.random.Generator, *, doneness: float, floor: float, cut: tuple[float, float, float], amount: float
) -> Serving:
    """Throw onions into a pan.

    Args:
        rng: where the randomness comes from.
        doneness: 0 to 1.
        floor: radius of the pan's floor in units.
        cut: shares of slices, rings and dice.
        amount: how full, about 1.
    """
    kinds = rng.choice(3, size=int(rng.integers(80, 140) * amount * (floor / 0.3) ** 2) + 12, p=cut)
    count = len(kinds)
    sizes = np.array([0.052, 0.047, 0.024])[kinds] * rng.uniform(0.75, 1.2, count)
    reach = floor * np.sqrt(rng.random(count)) * 0.97
    angles = rng.uniform(0, 2 * np.pi, count)
    places = np.stack([np.cos(angles), np.sin(angles)], axis=1) * reach[:, None]
    heap_angle, heap_reach = rng.uniform(0, 2 * np.pi), floor * rng.uniform(0.15, 0.6)
    heap = heap_reach * np.array([np.cos(heap_angle), np.sin(heap_angle)])
    heaped = rng.random(count) < rng.uniform(0.15, 0.6)
    places[heaped] = heap + rng.normal(0, floor * 0.27, (int(heaped.sum()), 2))
    distance = np.hypot(*places.T)
    places *= np.minimum(1.0, floor * 0.96 / np.maximum(distance, 1e-9))[:, None]
    hot = places @ rng.normal(0, 0.02 / floor, 2)
    donenesses = np.clip(doneness + hot + rng.normal(0, 0.028, count), 0, 1)
    return Serving(
        doneness, places, kinds, sizes, rng.uniform(0, 2 * np.pi, count), donenesses, rng.normal(1, 0.06, count)
    )


def stick(rng: np.random.Generator, serving: Serving, place: Floats, count: int) -> Serving:
    """Return a few more pieces like those of a serving around one place: food on a stirrer."""
    count = min(count, len(serving.kinds))
    return replace(
        serving,
        places=place + rng.normal(0, 0.035, (count, 2)),
        kinds=serving.kinds[:count],
        sizes=serving.sizes[:count],
        turns=rng.uniform(0, 2 * np.pi, count),
        donenesses=serving.donenesses[:count],
        tones=serving.tones[:count],
    )


@dataclass(frozen=True)
class Opening:
    """The part of a canvas inside a pan's rim.

    Attributes:
        area: (h, w, 3) RGB, a view of the canvas: drawing here draws there.
        inside: (h, w) float32, 1 inside the rim, 0 outside.
        floor: matrix from the pan floor's plane to the area's pixels.
        pixel: size of a fine detail in pixels, at least 1.
    """

    area: Canvas
    inside: Field
    floor: Matrix
    pixel: float

    @classmethod
    def of(cls, canvas: Canvas, outline: Floats, floor: Matrix) -> "Opening":
        """Cut the opening with this outline (n, 2) out of a canvas; outline and floor in the canvas's pixels."""
        low = np.clip(np.floor(outline.min(axis=0)) - 2, 0, [canvas.shape[1] - 1, canvas.shape[0] - 1]).astype(int)
        high = np.maximum(low + 1, np.ceil(outline.max(axis=0)).astype(int) + 3)
        area = canvas[low[1] : high[1], low[0] : high[0]]
        mask = np.zeros(area.shape[:2], np.uint8)
        fill(mask, [subpixels(outline - low)], 255)
        return cls(
            area, mask * np.float32(1 / 255), translation(-low[0], -low[1]) @ floor, max(1.0, scale_of(floor) / 300)
        )


def draw_fond(rng: np.random.Generator, opening: Opening, doneness: float) -> None:
    """Draw the remains of frying on the pan's floor, in place: brown film, crumbs, pools of oil."""
    size = opening.area.shape[:2]
    strength = float(look(np.array([doneness])).fond[0])
    film = noise(rng, size, (6, 6), 3)
    alpha = np.clip(strength * (0.42 + 0.3 * film), 0, 0.8) * opening.inside
    blend(opening.area, (84.0 - 46 * strength, 50.0 - 26 * strength, 24.0 - 8 * strength), alpha)
    crumbs = noise(rng, size, (size[0] / 5, size[1] / 5)) > 2.9 - 1.5 * strength
    blend(opening.area, (64.0, 38.0, 20.0), (0.7 * strength) * crumbs * opening.inside)
    pools = np.clip(0.5 - np.roll(film, size[1] // 3, axis=1), 0, 1)
    shine = np.clip(noise(rng, size, (22, 22)) - 1.9, 0, 1) * pools
    blend(opening.area, (238.0, 226.0, 190.0), ((0.07 * pools + 0.55 * shine) * opening.inside).astype(np.float32))


def draw_pieces(rng: np.random.Generator, opening: Opening, serving: Serving, *, layers: int = _LAYERS) -> None:
    """Draw the pieces of a serving in place, in layers that shade each other."""
    size = opening.area.shape[:2]
    browning = float(look(np.array([serving.doneness])).fond[0])
    mottle = 1 + np.float32(0.05 + 0.16 * browning) * noise(rng, size, (size[0] / 9, size[1] / 9), 2)
    glints = np.zeros(size, np.uint8)
    pieces = _cut(rng, serving, opening)
    step = max(1, -(-len(pieces) // layers))
    for start in range(0, len(pieces), step):
        _draw_layer(opening, pieces[start : start + step], mottle, glints)
    shine = cv2.GaussianBlur(glints, (0, 0), 0.5 * opening.pixel).astype(np.float32) * (opening.inside / 255)
    blend(opening.area, (255.0, 252.0, 240.0), shine)


@dataclass(frozen=True)
class _Piece:
    """One piece in pixels.

    Attributes:
        outline: one polygon, or two: a ring and its hole.
        body: the lit part, as one or two polygons.
        line: a vein, or the bow along which it shines.
        edge, color, vein: RGB.
        opacity, gloss: 0 to 1.
    """

    outline: list[Outline]
    body: list[Outline]
    line: Outline
    edge: Color
    color: Color
    vein: Color
    opacity: float
    gloss: float


def _draw_layer(opening: Opening, pieces: list[_Piece], mottle: Field, glints: Canvas) -> None:
    """Draw one layer of pieces with its soft shadow, in place; add its highlights to `glints`."""
    size, pixel = opening.area.shape[:2], opening.pixel
    lift = np.rint(_LIGHT * 16 * pixel).astype(np.int32)
    colors = np.zeros((*size, 3), np.uint8)
    cover = np.zeros(size, np.uint8)
    for piece in pieces:
        fill(colors, piece.outline, piece.edge)
        fill(colors, [part + lift // 2 for part in piece.body], piece.color)
        stroke(colors, piece.line, piece.vein, pixel)
        fill(cover, piece.outline, 255 * piece.opacity)
        fill(glints, piece.outline, 0)
        if piece.gloss > 0.04:
            stroke(glints, piece.line + lift, 255 * piece.gloss, pixel)
    moved = np.roll(cover, (round(2 * pixel), round(1.4 * pixel)), (0, 1))
    shadow = cv2.GaussianBlur(moved, (0, 0), 1.7 * pixel).astype(np.float32)
    shade(opening.area, 1 - np.float32(0.55 / 255) * shadow * opening.inside)
    shade(colors, mottle)
    blend(opening.area, colors, cover.astype(np.float32) * (opening.inside / 255))


def _cut(rng: np.random.Generator, serving: Serving, opening: Opening) -> list[_Piece]:
    """All pieces of a serving in pixels, the lowest first."""
    looks = look(serving.donenesses)
    tones = serving.tones[:, None]
    colors = np.clip(looks.color * tones, 0, 255)
    # Edges brown first, but charred ones turn to ash.
    ash = 0.66 + 0.75 * np.clip((serving.donenesses - 0.78) * 8, 0, 1)[:, None]
    edges = np.clip(look(np.clip(serving.donenesses + 0.07, 0, 1)).color * ash * tones, 0, 255)
    veins = 0.6 * colors + 0.4 * edges
    gleams = looks.gloss * rng.uniform(0.3, 1.0, len(serving.kinds))
    pieces: dict[int, _Piece] = {}
    for kind, form in enumerate(_FORMS):
        rows = np.flatnonzero(serving.kinds == kind)
        wobble = rng.normal(0, 0.035 + 0.06 * serving.doneness, (len(rows), 24, 1))
        sweeps = rng.uniform(1.3, 2.9, (len(rows), 1))
        turns = serving.turns[rows]
        cos, sin = np.cos(turns), np.sin(turns)
        turn = np.stack([np.stack([cos, sin], axis=1), np.stack([-sin, cos], axis=1)], axis=1)  # (n, 2, 2)
        turn *= (serving.sizes * looks.shrink)[rows, None, None]
        parts = [
            subpixels(transform(opening.floor, points @ turn + serving.places[rows, None, :]))
            for points in form(sweeps, wobble)
        ]
        half = len(parts) // 2
        for place, row in enumerate(rows):
            own = [part[place] for part in parts]
            edge, color, vein = (_as_color(values[row]) for values in (edges, colors, veins))
            pieces[int(row)] = _Piece(
                own[:half], own[half:-1], own[-1], edge, color, vein, float(looks.opacity[row]), float(gleams[row])
            )
    return [pieces[row] for row in sorted(pieces)]


def _as_color(values: Floats) -> Color:
    red, green, blue = values.tolist()
    return (red, green, blue)


def _slices(sweeps: Floats, wobble: Floats) -> list[Floats]:
    """Crescents of radius 1: outlines (n, 24, 2), bodies (n, 24, 2), middle lines (n, 8, 2).

    Args:
        sweeps: (n, 1) angle that a crescent spans, radians.
        wobble: (n, 24, 1) irregularity.
    """
    parts = []
    for thickness, share in ((0.3, 1.0), (0.24, 0.96)):
        along = np.linspace(-0.5, 0.5, 12) * share
        width = thickness * np.sqrt(np.maximum(0.08, np.cos(along * 2.7)))[:, None]
        ray = _rays(sweeps * along)
        bow = ray * (1 + wobble[:, :12]) - [0.75, 0.0]
        parts.append(np.concatenate([bow + ray * width, (bow - ray * width)[:, ::-1]], axis=1))
    line = _rays(sweeps * np.linspace(-0.4, 0.4, 8)) * 1.06 - [0.75, 0.0]
    return [*parts, line]


def _rings(sweeps: Floats, wobble: Floats) -> list[Floats]:
    """Rings: outlines and holes, bodies and their holes, each (n, 24, 2), and an arc (n, 12, 2); see `_slices`."""
    ray = _rays(np.linspace(0, 2 * np.pi, 24, endpoint=False)[None]) * [1.0, 0.85] * (1 + wobble * 0.8)
    arcs = _rays(sweeps + np.linspace(0, 3.5, 12)) * [0.8, 0.68]
    return [ray, ray * 0.56, ray * 0.96, ray * 0.62, arcs]


def _dice(sweeps: Floats, wobble: Floats) -> list[Floats]:
    """Curved blocks: outlines and bodies (n, 6, 2), layer lines (n, 3, 2); see `_slices`."""
    corners = np.array([[-1.0, -0.7], [-0.1, -0.86], [0.95, -0.72], [1.0, 0.7], [0.05, 0.9], [-0.95, 0.72]])
    aspect = np.stack([np.ones_like(sweeps), 0.62 + 0.14 * sweeps], axis=2)  # (n, 1, 2)
    blocks = corners * aspect + wobble[:, :6] * 1.8
    lines = np.broadcast_to(np.array([[-0.8, 0.1], [0.0, -0.08], [0.85, 0.1]]), (len(sweeps), 3, 2))
    return [blocks, blocks * 0.86, lines]


def _rays(angles: Floats) -> Floats:
    """Unit vectors (..., 2) at angles (...)."""
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


_FORMS = (_slices, _rings, _dice)
