"""Change brightness, contrast, saturation and hue."""

import albumentations as A  # noqa: N812 -- the library's own convention

from panvision.training.data.settings import AugmentSettings
from panvision.training.data.transforms.transform import Wrapped


def jitter(settings: AugmentSettings) -> Wrapped | None:
    """Return the change of all four in random order."""
    if not (settings.brightness or settings.contrast or settings.saturation or settings.hue):
        return None
    return Wrapped(
        A.ColorJitter(
            brightness=(1 - settings.brightness, 1 + settings.brightness),
            contrast=(1 - settings.contrast, 1 + settings.contrast),
            saturation=(1 - settings.saturation, 1 + settings.saturation),
            hue=(-settings.hue, settings.hue),
            p=1.0,
        )
    )
