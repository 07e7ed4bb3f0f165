"""Blur, noise and compression, as cameras add them."""

import albumentations as A  # noqa: N812 -- the library's own convention

from panvision.training.data.settings import AugmentSettings
from panvision.training.data.transforms.transform import Wrapped


def blur(settings: AugmentSettings) -> Wrapped | None:
    """Return the Gaussian blur with a standard deviation drawn from 0 to `blur` packed pixels."""
    return Wrapped(A.GaussianBlur(sigma_limit=(0.0, settings.blur), p=1.0)) if settings.blur else None


def noise(settings: AugmentSettings) -> Wrapped | None:
    """Return the Gaussian noise of each channel with a standard deviation drawn from 0 to `noise` of white."""
    return Wrapped(A.GaussNoise(std_range=(0.0, settings.noise), p=1.0)) if settings.noise else None


def jpeg(settings: AugmentSettings) -> Wrapped | None:
    """Return the JPEG compression of a quality drawn from 100 · (1 - `jpeg`) to 100."""
    if not settings.jpeg:
        return None
    lowest = max(1, round(100 * (1 - settings.jpeg)))
    return Wrapped(A.ImageCompression(quality_range=(lowest, 100), p=1.0))
