"""The `scenes` section of params.yaml: the contents of the demo datasets."""

from typing import Annotated

from pydantic import Field

from panvision.core.params import Settings

Count = Annotated[int, Field(ge=0, le=100_000)]


class SetSizes(Settings):
    """Images per demo set.

    Attributes:
        segmentation: photos with a mask.
        detection: photos with boxes.
        classification: photos of a known state, as many of each.
    """

    segmentation: Count = 160
    detection: Count = 160
    classification: Count = 160


class SceneSettings(Settings):
    """Rendering of the demo datasets.

    Attributes:
        seed: decides every pixel; the same seed gives the same bytes.
        width, height: size of a rendered photo in pixels.
        images: photos per set.
        units: cooking units (camera, hob, pan, stirrer, pipes) that the photos are taken from.
        difficulty: 0 to 1, strength of light changes, shadow, steam, blur, noise and JPEG artefacts.
    """

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 7
    width: Annotated[int, Field(ge=64, le=4096)] = 320
    height: Annotated[int, Field(ge=64, le=4096)] = 240
    images: SetSizes = SetSizes()
    units: Annotated[int, Field(ge=1, le=64)] = 4
    difficulty: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
