"""Mahalanobis distance of an image's features from the nearest class mean of the training images (Lee et al. 2018)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

# C4: on the demo dataset its means reject a camera turned by 90 degrees in all images, those of C5 in a quarter.
LEVEL = 4
# Means of the whole image are nearly the same if the camera is upside down, so the difference between the upper and the
# lower half is a feature, too. Left and right are exchanged in training by `augment.horizontal_flip`.
HALVES = 2
_PARTS = ("mean", "whitening", "centres")


class FeatureDistance(nn.Module):
    """Constants of the distance. They are not learned and stay out of the state dict; a checkpoint stores them apart.

    Args:
        mean: (D,) float32 of the pooled features, D = HALVES · channels of C4.
        whitening: (D, k) float32: principal directions, each divided by the standard deviation along it.
        centres: (C, k) float32: mean of each class, whitened.

    Raises:
        ValueError: the shapes do not fit each other, or a number is not finite.
    """

    mean: Tensor
    whitening: Tensor
    centres: Tensor

    def __init__(self, mean: Tensor, whitening: Tensor, centres: Tensor) -> None:
        super().__init__()
        parts = (mean, whitening, centres)
        if [part.ndim for part in parts] != [1, 2, 2] or not all(part.numel() for part in parts):
            raise ValueError("the constants of the distance must be a vector and two matrices")
        if len(mean) != len(whitening) or whitening.shape[1] != centres.shape[1]:
            raise ValueError("the constants of the distance have shapes that do not fit each other")
        if not all(part.dtype == torch.float32 and bool(part.isfinite().all()) for part in parts):
            raise ValueError("the constants of the distance must be finite float32 numbers")
        for name, part in zip(_PARTS, parts, strict=True):
            self.register_buffer(name, part, persistent=False)

    @property
    def directions(self) -> int:
        """The number k of whitened directions."""
        return self.whitening.shape[1]

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Compare images with the training images.

        Args:
            features: maps C2 to C5.

        Returns:
            The distances (N,), per whitened direction: about 1 in training. And the whitened features (N, k), which
            have mean 0 in training.
        """
        whitened = (pooled(features) - self.mean) @ self.whitening  # (N, k)
        squares = (whitened[:, None] - self.centres[None]).square().mean(2)  # (N, C)
        return squares.amin(1).sqrt(), whitened

    def parts(self) -> dict[str, Tensor]:
        """Return the constants by name, as a checkpoint stores them."""
        return {name: getattr(self, name).detach().cpu().clone() for name in _PARTS}

    @classmethod
    def from_parts(cls, parts: Mapping[str, Tensor], *, channels: int, classes: int) -> "FeatureDistance":
        """Return the module of a checkpoint's constants.

        Args:
            parts: as `parts` returned.
            channels: of C4.
            classes: number of class labels.

        Raises:
            ValueError: the constants are of another model or of an earlier version, or not finite.
        """
        if not isinstance(parts, Mapping) or set(parts) != set(_PARTS):
            raise ValueError(f"the constants of the distance must be {', '.join(_PARTS)}")
        if len(parts["mean"]) == channels:
            raise ValueError("the distance is of an earlier version, without halves; export the trained model again")
        if len(parts["mean"]) != HALVES * channels or len(parts["centres"]) != classes:
            raise ValueError("the constants of the distance are of another model")
        return cls(*(parts[name] for name in _PARTS))


def pooled(features: Sequence[Tensor]) -> Tensor:
    """Return the means of each channel of C4, and how they differ between the upper and the lower half, (N, D).

    Args:
        features: maps C2 to C5.
    """
    halves = nn.functional.adaptive_avg_pool2d(features[LEVEL - 2], (HALVES, 1)).flatten(2)  # (N, channels, 2)
    return torch.cat([halves.mean(2), halves[:, :, 0] - halves[:, :, 1]], 1)
