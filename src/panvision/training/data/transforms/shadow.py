"""Shadows of hands and tools."""

import albumentations as A  # noqa: N812 -- the library's own convention

from panvision.training.data.settings import AugmentSettings
from panvision.training.data.transforms.transform import Wrapped


def shadow(settings: AugmentSettings) -> Wrapped | None:
    """Return one or two polygons anywhere, each darker by a fraction drawn from 0 to `shadow`."""
    if not settings.shadow:
        return None
    return Wrapped(A.RandomShadow(shadow_roi=(0, 0, 1, 1), shadow_intensity_range=(0.0, settings.shadow), p=1.0))
