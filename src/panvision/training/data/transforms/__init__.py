"""Random changes of a training sample, in the order in which they happen: one module and one table row each."""

import os
from collections.abc import Callable

# albumentations asks the network for a newer version at import without this.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

from panvision.training.data.settings import AugmentSettings
from panvision.training.data.transforms import affine, camera, color, crop, erasing, flip, mixup, mosaic, shadow
from panvision.training.data.transforms.transform import GEOMETRY, IMAGE, Transform
from panvision.training.guards import TrainingError

# Name → the transform that the settings ask for; None if they switch it off.
TRANSFORMS: dict[str, Callable[[AugmentSettings], Transform | None]] = {
    "mosaic": mosaic.mosaic,
    "mixup": mixup.mixup,
    "horizontal_flip": flip.horizontal,
    "vertical_flip": flip.vertical,
    "affine": affine.zoom_and_shift,
    "crop": crop.resized_crop,
    "shadow": shadow.shadow,
    "color": color.jitter,
    "blur": camera.blur,
    "noise": camera.noise,
    "jpeg": camera.jpeg,
    "erasing": erasing.erasing,
}


def make_transforms(settings: AugmentSettings) -> list[Transform]:
    """Return the transforms that the settings ask for, in the table's order.

    Raises:
        TrainingError: a transform moves some of image, mask and boxes and not the others.
    """
    made = {name: build(settings) for name, build in TRANSFORMS.items()}
    for name, transform in made.items():
        moves = IMAGE if transform is None else getattr(transform, "moves", frozenset())
        if moves not in (IMAGE, GEOMETRY):
            missing = ", ".join(sorted(GEOMETRY - moves))
            raise TrainingError(
                f'transform {name}: does not say how it moves {missing}; see docs/extending.md, "A transform"'
            )
    return [transform for transform in made.values() if transform is not None]
