"""Pans: form, material and the picture of one, drawn once per cooking unit."""

from dataclasses import dataclass

import cv2
import numpy as np

from panvision.scenes.draw import (
    Canvas,
    Color,
    Field,
    Matrix,
    Points,
    Shape,
    arc,
    direction,
    fill,
    mix,
    noise,
    paint,
    rotation,
    scaling,
    silhouette,
    subpixels,
    tint,
    transform,
    translation,
    tube,
)

_LIGHT = np.array([-0.5, -0.7])


@dataclass(frozen=True)
class Material:
    """The look of a pan's surfaces.

    Attributes:
        floor, wall, lip, outside: colours.
        shine: strength of the highlights, 0 to 1.
        brushed: circular brushing with its two-lobed highlight, 0 to 1.
        speckle: strength of bright specks.
        blotch: strength of large stains.
    """

    floor: Color
    wall: Color
    lip: Color
    outside: Color
    shine: float
    brushed: float = 0.0
    speckle: float = 0.0
    blotch: float = 0.06


MATERIALS: tuple[Material, ...] = (
    Material((58, 57, 60), (46, 45, 48), (128, 128, 132), (150, 38, 34), 0.35, speckle=0.25),
    Material((150, 150, 150), (172, 173, 175), (226, 227, 229), (150, 152, 155), 0.9, brushed=1.0),
    Material((62, 53, 48), (49, 43, 40), (78, 72, 68), (40, 37, 36), 0.3, blotch=0.14),
    Material((214, 203, 182), (224, 215, 198), (52, 60, 72), (46, 96, 118), 0.5, blotch=0.07),
    Material((158, 146, 132), (186, 150, 122), (214, 134, 84), (176, 98, 58), 0.7, brushed=0.6, blotch=0.1),
    Material((112, 114, 118), (98, 100, 104), (60, 60, 63), (70, 72, 76), 0.35, speckle=0.9),
)


@dataclass(frozen=True)
class PanForm:
    """Measures of a pan as its unit's camera sees it; lengths in units.

    Attributes:
        radius: of the rim.
        depth: height of the rim over the floor.
        floor: radius of the floor as a share of `radius`.
        lip: width of the rim.
        tilt: angle between the camera and the vertical, radians: circles become ellipses.
        roll: direction of that tilt in the picture, radians.
        handle: direction of the handle, radians.
        handle_length: beyond the rim; 0: two loop handles.
        handle_color: of the grip.
    """

    radius: float
    depth: float
    floor: float
    lip: float
    tilt: float
    roll: float
    handle: float
    handle_length: float
    handle_color: Color

    def level(self, height: float) -> Matrix:
        """Matrix from a horizontal plane `height` above the floor (its origin on the pan's axis) to the picture.

        The picture's origin is the centre of the rim.
        """
        lift = (self.depth - height) * np.sin(self.tilt)
        return rotation(self.roll) @ translation(0.0, lift) @ scaling(1.0, np.cos(self.tilt))

    @property
    def inside(self) -> Points:
        """Outline of the opening, (n, 2) in units around the rim's centre."""
        return transform(self.level(self.depth), arc(self.radius - self.lip))


@dataclass(frozen=True)
class PanPicture:
    """A pan ready to be laid into frames.

    Attributes:
        color: (S, S, 3) RGB, multiplied by `alpha`.
        alpha: (S, S) uint8, opacity of the pan, its handle and its shadow.
        body: (S, S) uint8, coverage of the pan's body: rim, walls and what they hold, without handle and shadow.
        matrix: from units (rim's centre at 0, 0) to this picture's pixels.
    """

    color: Canvas
    alpha: Canvas
    body: Canvas
    matrix: Matrix


def draw_pan(rng: np.random.Generator, form: PanForm, material: Material, *, scale: float) -> PanPicture:
    """Draw a pan at `scale` pixels per unit."""
    reach = form.radius + max(form.handle_length, 0.14) + 0.08
    side = int(np.ceil(2 * reach * scale))
    matrix = scaling(scale, scale) @ translation(reach, reach)
    size = (side, side)
    body_outlines = _body_outlines(form)
    handle = _handle(form, material)
    body = np.zeros(size, np.uint8)
    fill(body, [subpixels(transform(matrix, body_outlines))], 255)
    opaque = cv2.max(body, silhouette(size, handle, matrix))

    picture: Canvas = np.zeros((*size, 3), np.uint8)
    paint(picture, handle, matrix)
    paint(picture, _outside(form, material, body_outlines), matrix)
    inner = picture.copy()
    _draw_inside(rng, inner, form, material, matrix=matrix)
    opening = np.zeros(size, np.uint8)
    fill(opening, [subpixels(transform(matrix, form.inside))], 255)
    share = opening.astype(np.float32) / 255
    picture = cv2.blendLinear(inner, picture, share, 1 - share)

    shadow = _shadow(opaque, scale)
    cover = opaque.astype(np.float32) / 255
    color = (picture * cover[..., None]).astype(np.uint8)
    alpha = np.rint(255 * (cover + (1 - cover) * shadow)).astype(np.uint8)
    return PanPicture(color, alpha, body, matrix)


def _body_outlines(form: PanForm) -> Points:
    """Outline of the body: hull of the rim and of the base below it."""
    rim = transform(form.level(form.depth), arc(form.radius, count=96))
    base = transform(form.level(-0.01), arc(form.radius * form.floor + 0.015, count=96))
    hull = cv2.convexHull(np.concatenate([rim, base]).astype(np.float32))
    return hull[:, 0].astype(np.float64)


def _outside(form: PanForm, material: Material, outline: Points) -> list[Shape]:
    """Outer wall and the rolled rim."""
    rim = form.level(form.depth)
    glare = [
        Shape(
            transform(
                rim, arc(form.radius - form.lip / 2, start=-3.0 + 0.13 * step, sweep=1.9 - 0.26 * step, count=32)
            ),
            mix(material.lip, (255, 255, 255), 0.1 + 0.1 * step),
            form.lip * 0.3,
        )
        for step in range(6)
    ]
    return [
        Shape(outline, material.outside),
        Shape(transform(rim, arc(form.radius)), tint(material.lip, 0.72)),
        Shape(transform(rim, arc(form.radius - form.lip * 0.3)), material.lip),
        *glare,
    ]


def _draw_inside(
    rng: np.random.Generator, canvas: Canvas, form: PanForm, material: Material, *, matrix: Matrix
) -> None:
    """Inner wall and floor, then their shading, in place; the caller cuts them to the opening."""
    steps = 24
    for step in range(steps):
        share = step / (steps - 1)
        radius = form.radius * (1 - (1 - form.floor) * share**0.8) - form.lip * (1 - share)
        ring = transform(form.level(form.depth * (1 - share) ** 1.6), arc(radius, count=96))
        tone = tint(mix(material.lip, material.wall, min(1.0, 0.45 + share)), 1.05 - 0.35 * share**3)
        fill(canvas, [subpixels(transform(matrix, ring))], tone)
    floor_level = form.level(0.0)
    fill(canvas, [subpixels(transform(matrix @ floor_level, arc(form.radius * form.floor, count=96)))], material.floor)
    factor = _inside_light(rng, form, material, size=canvas.shape[:2], matrix=matrix @ floor_level)
    canvas[:] = np.clip(canvas.astype(np.float32) * factor[..., None], 0, 255).astype(np.uint8)


def _inside_light(
    rng: np.random.Generator, form: PanForm, material: Material, *, size: tuple[int, int], matrix: Matrix
) -> Field:
    """Brightness factors of wall and floor, (S, S): highlights, brushing, stains, specks, scratches."""
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float32)
    back = np.linalg.inv(matrix)
    x = back[0, 0] * columns + back[0, 1] * rows + back[0, 2]
    y = back[1, 0] * columns + back[1, 1] * rows + back[1, 2]
    radius = np.hypot(x, y) / form.radius
    angle = np.arctan2(y, x)
    toward = rng.uniform(-np.pi, np.pi)
    wall = radius > form.floor
    factor = np.ones(size, np.float32)
    factor += np.where(wall, 0.38, 0.16 * np.minimum(1, radius * 1.6)) * np.cos(angle - toward)
    lobes = np.abs(np.cos(angle - toward - 0.4)) ** 10
    factor += material.brushed * np.where(wall, 0.25, 0.42) * (lobes - 0.25) * np.minimum(1, radius * 2)
    rings = np.interp(radius, np.linspace(0, 1.2, 160), rng.standard_normal(160)).astype(np.float32)
    factor += (0.015 + 0.05 * material.brushed) * rings
    factor += material.blotch * noise(rng, size, (7, 7), 3)
    specks = noise(rng, size, (size[0] / 4, size[1] / 4))
    factor += material.speckle * (0.1 * specks + 0.5 * (specks > 2.3))
    spot = direction(toward) * form.radius * 0.45
    factor += material.shine * 0.55 * np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / (0.012 + 0.01 * form.radius))
    edge = np.exp(-(((radius - form.floor) / 0.03) ** 2))
    return (factor - 0.22 * edge).astype(np.float32)


def _handle(form: PanForm, material: Material) -> list[Shape]:
    """A long handle with its bracket, or two loops."""
    rim = form.level(form.depth)
    if form.handle_length == 0.0:
        loops = []
        for side in (0.0, np.pi):
            loop = arc(0.105, start=-np.pi / 2, sweep=np.pi, count=24) * [0.95, 1.0] + [form.radius - 0.01, 0.0]
            path = transform(rim @ rotation(form.handle + side), loop)
            loops += tube(path, 0.036, form.handle_color, gloss=0.4, light=_LIGHT)
        return loops
    along = direction(form.handle)
    across = direction(form.handle + np.pi / 2)
    start = form.radius - 0.02
    neck = form.radius + 0.3 * form.handle_length
    end = form.radius + form.handle_length

    def between(first: float, last: float) -> Points:
        return transform(rim, np.stack([along * first, along * last]))

    bracket = np.stack(
        [
            along * start + across * 0.07,
            along * neck + across * 0.02,
            along * neck - across * 0.02,
            along * start - across * 0.07,
        ]
    )
    grip = tube(between(neck, end), 0.062, form.handle_color, gloss=0.3, light=_LIGHT)
    hole = Shape(transform(rim, along * (end - 0.012) + arc(0.011, count=20)), (16, 16, 17))
    steel = mix(material.lip, (150, 150, 154), 0.4)
    return [
        Shape(transform(rim, bracket), tint(steel, 0.7)),
        Shape(transform(rim, bracket * 0.985 + along * 0.006), steel),
        *tube(between(start, neck + 0.02), 0.034, tint(steel, 0.95), gloss=0.6, light=_LIGHT),
        *grip,
        hole,
    ]


def _shadow(opaque: Canvas, scale: float) -> Field:
    """Soft shadow on the worktop: (S, S) float32 opacity."""
    offset = translation(0.035 * scale, 0.05 * scale)[:2]
    moved = cv2.warpAffine(opaque, offset, opaque.shape[::-1])
    near = cv2.GaussianBlur(opaque, (0, 0), 0.016 * scale).astype(np.float32)
    far = cv2.GaussianBlur(moved, (0, 0), 0.035 * scale).astype(np.float32)
    return np.minimum(0.85, (0.45 * near + 0.5 * far) / 255)
