"""The `augment` section of params.yaml: random changes of the training images."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field, PlainSerializer, ValidatorFunctionWrapHandler, WrapValidator

from panvision.core.params import Settings
from panvision.core.tasks import DATASETS, Dataset


def _one_or_each(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """Return one value, or a mapping with one for each dataset, each of them checked."""
    if not isinstance(value, dict):
        return check(value)
    if unknown := [str(name) for name in value if name not in DATASETS]:
        raise ValueError(f"unknown {_listed(unknown)}; expected one value, or one for each of {', '.join(DATASETS)}")
    if missing := [dataset for dataset in DATASETS if dataset not in value]:
        raise ValueError(f"no value for {_listed(missing)}; give one value, or one for each of {', '.join(DATASETS)}")
    return {dataset: check(value[dataset]) for dataset in DATASETS}


def _listed(names: Sequence[str]) -> str:
    """Return names on one line, however long they are."""
    text = ", ".join(name if name.isprintable() else repr(name) for name in names)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _detection_alone(value: Any) -> Any:
    """Refuse a mapping with a value above 0 for a dataset without boxes."""
    if isinstance(value, dict) and (others := [each for each in value if each != "detection" and value[each]]):
        raise ValueError(f"acts on detection alone; set {_listed(others)} to 0")
    return value


# Without a serializer pydantic warns of a mapping in place of a number.
PER_DATASET = (WrapValidator(_one_or_each), PlainSerializer(lambda value: value, return_type=Any))

Probability = Annotated[float, Field(ge=0.0, le=1.0), *PER_DATASET]
Jitter = Annotated[float, Field(ge=0.0, lt=1.0), *PER_DATASET]
DetectionProbability = Annotated[Probability, AfterValidator(_detection_alone)]
Half = Annotated[float, Field(ge=0.0, le=0.5), *PER_DATASET]


class AugmentSettings(Settings):
    """Augmentation of the training split; validation and test images are never changed.

    Each value is one number, or a mapping with one for each dataset, as `{segmentation: 0.5, detection: 0.5,
    classification: 0.0}`. `of` returns the numbers of one dataset; these are what a transform is made from.

    Attributes:
        horizontal_flip: probability of mirroring an image left to right.
        vertical_flip: probability of mirroring it upside down. Then the model knows images of a camera that is mounted
            upside down, and answers them.
        brightness, contrast, saturation: factor drawn from 1 ± this value.
        hue: shift drawn from ± this value, in turns of the colour circle.
        scale: zoom drawn from 1 ± this value.
        translate: shift drawn from ± this fraction of the image's side.
        crop: a random part of the image, enlarged to the whole; its area is drawn from 1 - this value to 1.
        erasing: probability of hiding a rectangle of 2 to 20 % of the image.
        blur: standard deviation of a Gaussian blur, in packed pixels, drawn from 0 to this value.
        noise: standard deviation of Gaussian noise, as a fraction of white, drawn from 0 to this value.
        jpeg: quality of a JPEG compression drawn from 100 · (1 - this value) to 100.
        shadow: one or two shadows, each darker by a fraction drawn from 0 to this value.
        mosaic: probability of showing parts of four images in one; detection alone.
        mixup: probability of showing two images through each other, with the boxes of both; detection alone.
    """

    horizontal_flip: Probability = 0.5
    vertical_flip: Probability = 0.0
    brightness: Jitter = 0.2
    contrast: Jitter = 0.2
    saturation: Jitter = 0.2
    hue: Half = 0.05
    scale: Half = 0.0
    translate: Half = 0.0
    crop: Jitter = 0.0
    erasing: Probability = 0.0
    blur: Annotated[float, Field(ge=0.0, le=10.0), *PER_DATASET] = 0.0
    noise: Half = 0.0
    jpeg: Jitter = 0.0
    shadow: Jitter = 0.0
    mosaic: DetectionProbability = 0.0
    mixup: DetectionProbability = 0.0

    def of(self, dataset: Dataset) -> "AugmentSettings":
        """Return the settings of one dataset, each of them one number."""
        return self.model_copy(
            update={name: value[dataset] for name, value in self.__dict__.items() if isinstance(value, dict)}
        )
