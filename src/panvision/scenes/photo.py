"""Steps from a clean drawing to a photo: light, shadow, steam, blur, noise, JPEG."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from panvision.scenes.draw import Canvas, Field, noise

Rng = np.random.Generator
Picture = npt.NDArray[Any]  # (H, W, 3) float32

_COARSE = 8  # photo pixels per cell of the light's and the steam's grid


def take_photo(
    rng: Rng,
    drawing: Canvas,
    *,
    difficulty: float,
    warmth: float,
    lamp: float,
    pan: tuple[float, float, float] | None,
    grain: Rng | None = None,
) -> Canvas:
    """Photograph a drawing.

    Args:
        rng: where the randomness comes from.
        drawing: (H, W, 3) RGB.
        difficulty: 0 to 1.
        warmth: of the unit's lamp, -1 to 1.
        lamp: direction of its light, radians.
        pan: centre x, y and radius in pixels of what steams, or None.
        grain: where the noise of the pixels comes from; by default `rng`.

    Returns:
        (H, W, 3) uint8.
    """
    height, width = drawing.shape[:2]
    coarse = (max(4, height // _COARSE), max(4, width // _COARSE))
    grid_y, grid_x = np.meshgrid(*(np.linspace(-1, 1, cells, dtype=np.float32) for cells in coarse), indexing="ij")
    light = _light(rng, grid_x, grid_y, difficulty, lamp) * _cast_shadow(rng, grid_x, grid_y, difficulty)
    photo = drawing.astype(np.float32)
    warm = 0.05 * warmth + rng.normal(0, 0.05) * difficulty
    tone = 1 + np.array([warm, rng.normal(0, 0.01) * difficulty, -1.3 * warm])
    full_light = cv2.resize(light, (width, height), interpolation=cv2.INTER_CUBIC)
    photo *= cv2.merge([full_light * np.float32(channel) for channel in tone])
    if pan is not None:
        _add_steam(rng, photo, coarse, difficulty, pan)
    photo = _expose(rng, photo, difficulty)
    photo = _soften(rng, photo, difficulty)
    strength = 0.8 + 7.0 * difficulty * rng.random()
    speckle = (grain or rng).standard_normal((height, width, 3), dtype=np.float32)
    photo += speckle * np.float32(strength * 0.6) + speckle[..., :1] * np.float32(strength * 0.5)
    return np.clip(np.rint(photo), 0, 255).astype(np.uint8)


def encode_jpeg(rng: Rng, photo: Canvas, *, difficulty: float) -> bytes:
    """Photo as JPEG bytes, of a quality that falls with difficulty."""
    quality = int(96 - 50 * difficulty * rng.random())
    ok, encoded = cv2.imencode(".jpg", photo[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise RuntimeError("OpenCV could not encode a JPEG")
    return encoded.tobytes()


def _light(rng: Rng, x: Field, y: Field, difficulty: float, lamp: float) -> Field:
    """Brightness over the frame: overall gain, slope away from the lamp, a pool of light, vignette."""
    gain = 1.06 + rng.uniform(-0.3, 0.24) * difficulty
    angle = lamp + rng.normal(0, 0.9) * difficulty
    slope = (0.06 + 0.34 * difficulty * rng.random()) * (np.cos(angle) * x + np.sin(angle) * y)
    spot_x, spot_y = rng.uniform(-1.0, 1.0, 2)
    pool = (
        0.5
        * difficulty
        * rng.uniform(-0.5, 1.0)
        * np.exp(-((x - spot_x) ** 2 + (y - spot_y) ** 2) * rng.uniform(1.2, 3.5))
    )
    vignette = (0.08 + 0.12 * difficulty * rng.random()) * (x**2 + y**2)
    return (gain * (1 + slope + pool) - vignette).astype(np.float32)


def _cast_shadow(rng: Rng, x: Field, y: Field, difficulty: float) -> Field:
    """Shadow of a person, an arm or a hood: a soft-edged half plane or band."""
    strength = 0.6 * difficulty * rng.random() * (rng.random() < 0.65)
    angle, place, width = rng.uniform(0, 2 * np.pi), rng.uniform(-0.7, 0.9), rng.uniform(0.2, 0.6)
    softness = rng.uniform(4, 14)
    along = np.cos(angle) * x + np.sin(angle) * y
    depth = np.abs(along - place) - width if rng.random() < 0.5 else place - along
    return (1 - strength / (1 + np.exp(np.clip(softness * depth, -30, 30)))).astype(np.float32)


def _add_steam(
    rng: Rng, photo: Picture, coarse: tuple[int, int], difficulty: float, pan: tuple[float, float, float]
) -> None:
    """Drifting wisps over the pan, in place."""
    height, width = photo.shape[:2]
    density = 1.0 * difficulty * rng.random() ** 1.6
    wisps = noise(rng, coarse, (4, 5), 3)
    drift = rng.normal(0, 0.35, 2) * pan[2]
    rows, columns = np.mgrid[: coarse[0], : coarse[1]].astype(np.float32)
    across = (columns * (width / coarse[1]) - pan[0] - drift[0]) / pan[2]
    down = (rows * (height / coarse[0]) - pan[1] - drift[1]) / pan[2]
    cloud = np.clip(0.35 + 0.4 * wisps, 0, 1) * np.exp(-(across**2 + down**2) * 0.8)
    alpha = cv2.resize((density * cloud).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    alpha = np.clip(alpha, 0, 0.9)[..., None]
    photo += (np.float32(228) - photo) * alpha


def _expose(rng: Rng, photo: Picture, difficulty: float) -> Picture:
    """Contrast around middle grey, a haze of stray light, and the soft shoulder of a sensor."""
    contrast = 1 + rng.normal(0, 0.1) * difficulty
    haze = 14 * difficulty * rng.random()
    photo = (photo - np.float32(110)) * np.float32(contrast) + np.float32(110 + haze)
    over = np.maximum(photo - np.float32(225), 0)
    return photo - over + np.float32(30) * (1 - np.exp(over * np.float32(-1 / 30)))


def _soften(rng: Rng, photo: Picture, difficulty: float) -> Picture:
    """Lens and motion blur."""
    scale = photo.shape[0] / 240
    sigma = (0.3 + 0.9 * difficulty * rng.random() ** 1.5) * scale
    photo = cv2.GaussianBlur(photo, (0, 0), sigma)
    length, angle = rng.uniform(0, 4.5) * difficulty * scale, rng.uniform(0, np.pi)
    if rng.random() < 0.35 and length > 1:
        side = 2 * int(np.ceil(length / 2)) + 1
        kernel = np.zeros((side, side), np.float32)
        half = length / 2 * np.array([np.cos(angle), np.sin(angle)])
        ends = np.rint((np.stack([-half, half]) + side // 2) * 16).astype(int)
        cv2.line(kernel, ends[0].tolist(), ends[1].tolist(), 1.0, 1, cv2.LINE_8, 4)
        photo = cv2.filter2D(photo, -1, kernel / max(1.0, float(kernel.sum())))
    return photo
