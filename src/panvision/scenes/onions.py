"""Onions: from a frame's doneness to pieces with colour, size, opacity and gloss."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from panvision.scenes.draw import (
    Canvas,
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
)

STATES = ("raw", "translucent", "golden", "browned", "burnt")

Floats = npt.NDArray[np.float64]
Outline = npt.NDArray[np.int32]

_LAYERS = 4
_LIGHT = np.array([-0.6, -0.8])

# Looks at the middle of each state; between the middles' plateaus they run into each other.
_COLORS = np.array([(243, 240, 229), (213, 208, 160), (224, 168, 72), (146, 82, 34), (46, 33, 28)], np.float64)
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
    """A frame's doneness, anywhere in the state's range, more often near its middle."""
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
    kinds = rng.choice(3, size=int(rng.integers(70, 130) * amount * (floor / 0.3) ** 2) + 12, p=cut)
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


def draw_onions(rng: np.random.Generator, canvas: Canvas, serving: Serving, *, floor: Matrix, opening: Outline) -> None:
    """Draw fond, oil and pieces in place, cut to the pan's opening.

    Args:
        rng: where the randomness of outlines and stains comes from.
        canvas: (H, W, 3) RGB.
        serving: the onions.
        floor: matrix from the floor's plane to pixels.
        opening: outline of the pan's opening as `subpixels`.
    """
    left, top = np.maximum(0, opening.min(axis=0) // 16 - 2)
    right, bottom = opening.max(axis=0) // 16 + 3
    area = canvas[top:bottom, left:right]
    if area.size == 0:
        return
    shift = np.array([left, top])
    size = area.shape[:2]
    mask = np.zeros(size, np.uint8)
    fill(mask, [opening - shift * 16], 255)
    inside = mask.astype(np.float32) / 255
    frame_look = look(np.array([serving.doneness]))
    _draw_fond(rng, area, inside, float(frame_look.fond[0]))
    pieces = _outlines(rng, serving, floor=floor, shift=shift)
    mottle = 1 + float(0.05 + 0.2 * frame_look.fond[0]) * noise(rng, size, (size[0] / 9, size[1] / 9), 2)
    glints = np.zeros(size, np.uint8)
    for layer in range(_LAYERS):
        _draw_layer(area, _portion(pieces, layer), inside, mottle, glints)
    shine = cv2.GaussianBlur(glints, (0, 0), 0.8).astype(np.float32) * (inside * np.float32(1 / 255))
    blend(area, (255.0, 252.0, 240.0), shine)


@dataclass(frozen=True)
class _Piece:
    """One piece in pixels: outlines, colours, opacity, and the width and strength of its glint."""

    outer: list[Outline]
    inner: list[Outline]
    line: Outline
    glint: Outline
    color: tuple[float, float, float]
    edge: tuple[float, float, float]
    vein: tuple[float, float, float]
    opacity: float
    gloss: float
    pixel: float


def _portion(pieces: list[_Piece], layer: int) -> list[_Piece]:
    """The pieces of one layer of the heap."""
    step = -(-len(pieces) // _LAYERS)
    return pieces[layer * step : (layer + 1) * step]


def _draw_fond(rng: np.random.Generator, area: Canvas, inside: Field, strength: float) -> None:
    """Brown film on the floor and patches of oil that catch the light, in place."""
    size = area.shape[:2]
    film = noise(rng, size, (6, 6), 3)
    alpha = np.clip(0.5 * strength + 0.22 * strength * film, 0, 0.85).astype(np.float32) * inside
    blend(area, (70.0 - 30 * strength, 42.0 - 20 * strength, 22.0 - 8 * strength), alpha)
    oil = np.clip(np.abs(np.roll(film, 17, axis=1)) * -2.2 + 0.35, 0, 0.28).astype(np.float32) * inside
    blend(area, (236.0, 222.0, 176.0), oil)


def _draw_layer(area: Canvas, pieces: list[_Piece], inside: Field, mottle: Field, glints: Canvas) -> None:
    """One layer of pieces with its soft shadow on what lies below, in place; adds its highlights to `glints`."""
    size = area.shape[:2]
    colors = np.zeros((*size, 3), np.uint8)
    cover = np.zeros(size, np.uint8)
    for piece in pieces:
        fill(glints, piece.outer, 0)
        fill(colors, piece.outer, piece.edge)
        fill(colors, piece.inner, piece.color)
        stroke(colors, piece.line, piece.vein, piece.pixel)
        fill(cover, piece.outer, 255 * piece.opacity)
        if piece.gloss > 0.04:
            stroke(glints, piece.glint, 255 * piece.gloss, piece.pixel)
    pixel = max(1.0, pieces[0].pixel) if pieces else 1.0
    shadow = cv2.GaussianBlur(np.roll(cover, (round(2 * pixel), round(1.5 * pixel)), (0, 1)), (0, 0), 1.8 * pixel)
    shade(area, 1 - np.float32(0.5 / 255) * shadow.astype(np.float32) * inside)
    shade(colors, mottle)
    blend(area, colors, cover.astype(np.float32) * (inside * np.float32(1 / 255)))


def _outlines(rng: np.random.Generator, serving: Serving, *, floor: Matrix, shift: Floats) -> list[_Piece]:
    """All pieces of a serving in pixels of the area that starts at `shift`, the lowest first."""
    count = len(serving.kinds)
    looks = look(serving.donenesses)
    edges = look(np.clip(serving.donenesses + 0.1, 0, 1)).color * 0.74
    tones = serving.tones[:, None]
    colors, edges = np.clip(looks.color * tones, 0, 255), np.clip(edges * tones, 0, 255)
    sizes = serving.sizes * looks.shrink
    wobble = rng.normal(0, 0.035 + 0.06 * serving.doneness, (count, 24, 1))
    sweeps = rng.uniform(1.3, 2.9, count)
    matrix = floor.copy()
    matrix[:2, 2] -= shift
    pixel = scale_of(floor) / 480 * 1.6
    pieces = []
    for n in range(count):
        forms = _FORMS[serving.kinds[n]](sweeps[n], wobble[n])
        turn = serving.turns[n]
        cos, sin = np.cos(turn) * sizes[n], np.sin(turn) * sizes[n]
        place = np.array([[cos, -sin], [sin, cos]])
        outlines = [subpixels(transform(matrix, form @ place.T + serving.places[n])) for form in forms]
        half = (len(outlines) - 1) // 2
        gleam = outlines[-1] + (np.array(_LIGHT) * 16 * pixel * 0.8).astype(np.int32)
        pieces.append(
            _Piece(
                outlines[:half],
                outlines[half:-1],
                outlines[-1],
                gleam,
                tuple(colors[n]),
                tuple(edges[n]),
                tuple(0.5 * colors[n] + 0.5 * edges[n]),
                float(looks.opacity[n]),
                float(looks.gloss[n] * (0.35 + 0.65 * (n * 7 % 10) / 10)),
                pixel,
            )
        )
    return pieces


def _slice(sweep: float, wobble: Floats) -> list[Floats]:
    """A crescent: outer outline, inner (lit) outline, middle line; size 1."""
    forms = []
    for thick, share in ((0.3, 1.0), (0.19, 0.94)):
        angles = np.linspace(-sweep / 2, sweep / 2, 12) * share
        width = thick * np.sqrt(np.maximum(0.08, np.cos(angles / sweep * 2.7)))[:, None]
        ray = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        bow = ray * (1 + wobble[:12]) - [0.75, 0.0]
        forms.append(np.concatenate([bow + ray * width, (bow - ray * width)[::-1]]))
    angles = np.linspace(-sweep / 2, sweep / 2, 8) * 0.8
    return [*forms, np.stack([np.cos(angles), np.sin(angles)], axis=1) * 1.06 - [0.75, 0.0]]


def _ring(sweep: float, wobble: Floats) -> list[Floats]:
    """A ring: two circles for the outline, two for its lit part, an arc."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ray = np.stack([np.cos(angles), np.sin(angles) * 0.85], axis=1) * (1 + wobble * 0.8)
    line = np.linspace(sweep, sweep + 3.5, 12)
    return [ray, ray * 0.56, ray * 0.93, ray * 0.66, np.stack([np.cos(line), np.sin(line) * 0.85], axis=1) * 0.8]


def _dice(sweep: float, wobble: Floats) -> list[Floats]:
    """A curved block of a few layers."""
    corners = np.array([[-1.0, -0.7], [-0.1, -0.86], [0.95, -0.72], [1.0, 0.7], [0.05, 0.9], [-0.95, 0.72]])
    corners = corners * [1.0, 0.62 + 0.14 * sweep] + wobble[:6] * 1.8
    line = np.array([[-0.8, 0.1], [0.0, -0.08], [0.85, 0.1]])
    return [corners, corners * 0.8 - [0.04, 0.08], line]


_FORMS = (_slice, _ring, _dice)
