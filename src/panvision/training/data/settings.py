"""The `augment` section of params.yaml: random changes of the training images."""

from typing import Annotated

from pydantic import Field

from panvision.core.params import Settings

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Jitter = Annotated[float, Field(ge=0.0, lt=1.0)]


class AugmentSettings(Settings):
    """Augmentation of the training split; validation and test images are never changed.

    Attributes:
        horizontal_flip: probability of mirroring an image left to right.
        vertical_flip: probability of mirroring it upside down (a camera above a pan has no natural "up").
        brightness, contrast, saturation: factor drawn from 1 ± this value.
        hue: shift drawn from ± this value, in turns of the colour circle.
        scale: zoom drawn from 1 ± this value.
        translate: shift drawn from ± this fraction of the image's side.
    """

    horizontal_flip: Probability = 0.5
    vertical_flip: Probability = 0.0
    brightness: Jitter = 0.2
    contrast: Jitter = 0.2
    saturation: Jitter = 0.2
    hue: Annotated[float, Field(ge=0.0, le=0.5)] = 0.05
    scale: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0
    translate: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0
