"""The vector by which images are compared: the descriptor of an image, and the model's features and answer.

The features are the pooled and whitened ones of the backbone. Only a model that does not answer every image has them.
"""

import os
import tempfile
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from panvision.dataset.descriptors import LENGTH, describe, make_look
from panvision.labelling.answers import Answer, mask_probability
from panvision.labelling.voting import mean_label
from panvision.photos.pixels import RgbArray

Vectors = npt.NDArray[np.float16]

_THUMBNAIL, _POOLED = 4, 4
_LARGEST = 1e4
# The first values of a vector, which do not depend on a model.
VISUAL = LENGTH + 3 * _THUMBNAIL**2


class VectorFile:
    """Vectors (N, D) float16 in a temporary file, so that memory does not grow with their number."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 -- closed with this object
        self._count, self._width = 0, 0

    def __len__(self) -> int:
        return self._count

    def append(self, vectors: Vectors) -> None:
        """Add vectors (M, D) at the end."""
        self._width = vectors.shape[1]
        self._file.seek(0, os.SEEK_END)
        self._file.write(vectors.tobytes())
        self._count += len(vectors)

    def __getitem__(self, rows: slice) -> Vectors:
        """Read vectors that follow each other."""
        chosen = range(self._count)[rows]
        size = self._width * np.dtype(np.float16).itemsize
        self._file.seek(chosen.start * size)
        return np.frombuffer(self._file.read(len(chosen) * size), np.float16).reshape(len(chosen), self._width)


def describe_image(image: RgbArray) -> Vectors:
    """Return the descriptor (VISUAL,) float16 of an image (H, W, 3) uint8."""
    picture = Image.fromarray(image)
    colours = np.asarray(picture.resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX), np.float32) / 255.0
    return np.concatenate([describe(make_look(picture)[None])[0], colours.ravel()]).astype(np.float16)


def feature_vector(image: RgbArray, answers: Sequence[Answer], classes: Sequence[str]) -> Vectors:
    """Return the vector (D,) float16 of an image; D is the same for all images of one model.

    Args:
        image: (H, W, 3) uint8 RGB.
        answers: of the models to it; features are those of the first.
        classes: names of the boxes.
    """
    parts: list[npt.ArrayLike] = [describe_image(image)]
    if answers[0].features is not None:
        # Scaled, so that two images are about as far apart as their descriptors; cut off where float16 ends.
        parts.append(np.clip(answers[0].features / np.sqrt(len(answers[0].features)), -_LARGEST, _LARGEST))
    probability = mask_probability(answers)
    if probability is not None:
        cells = np.array_split(np.arange(len(probability)), _POOLED)
        parts.append([probability[np.ix_(rows, columns)].mean() for rows in cells for columns in cells])
    if answers[0].boxes is not None:
        rows = list(zip(answers[0].boxes["class_names"], answers[0].boxes["scores"], strict=True))
        # The sum of the scores is a count that does not jump at a threshold.
        parts.append([np.log1p(sum(score for own, score in rows if own == name)) for name in classes])
    if labels := [answer.label for answer in answers if answer.label is not None]:
        parts.append(list(mean_label(labels)["probabilities"].values()))
    return np.concatenate([np.asarray(part, np.float16) for part in parts])
