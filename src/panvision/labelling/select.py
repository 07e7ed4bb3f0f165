"""The images whose labels would improve a model most: one pass over all images, then a choice."""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from panvision.labelling.answers import Panel, in_batches
from panvision.labelling.diversity import Pick, choose
from panvision.labelling.features import VectorFile, Vectors, feature_vector
from panvision.labelling.prelabel import Photo
from panvision.labelling.uncertainty import PARTS, Doubt, doubts, total

# Reads photos of these names again, or all of them; their bytes may be missing while all are read.
Frames = Callable[[Container[str] | None], Iterator[Photo]]

COLUMNS = ("rank", "image", "value", *PARTS, "distance", "similar", "reason", "source")
# A part of a reason that explains less than this is left out.
_WORTH_SAYING = 0.05


@dataclass(frozen=True)
class Scan:
    """Data that are kept of every image: in memory 10 bytes and its name, in a file about 700 bytes.

    Attributes:
        names: of the images, in their order.
        values: (N, len(PARTS)) float16, the doubts; NaN for parts that the models do not have.
        vectors: (N, D) of `feature_vector`.
    """

    names: list[str]
    values: npt.NDArray[np.float16]
    vectors: Vectors | VectorFile

    def usual(self) -> dict[str, float]:
        """Return the doubt of each part that three quarters of the images exceed: all masks have an edge."""
        known = [
            (part, values[~np.isnan(values)].astype(np.float64))
            for part, values in zip(PARTS, self.values.T, strict=True)
        ]
        return {part: float(np.percentile(values, 25)) for part, values in known if len(values)}

    def doubt(self) -> npt.NDArray[np.float64]:
        """Return the joint doubt (N,) about each image, above the usual one."""
        usual = self.usual()
        above = [_above(self.values[:, PARTS.index(part)].astype(np.float64), usual[part]) for part in usual]
        return np.array([total(row) for row in zip(*above, strict=True)])


@dataclass
class Row:
    """A line of the ranking.

    Attributes:
        rank: from 1.
        name: of the image.
        pick: the reasons for its rank.
        usual: doubt of each part in the images that were seen.
        doubts: by part of `PARTS`.
        source: the file that the image comes from.
    """

    rank: int
    name: str
    pick: Pick
    usual: dict[str, float]
    doubts: dict[str, Doubt] = field(default_factory=dict)
    source: str = ""

    @property
    def reason(self) -> str:
        """The doubts in words, the largest first, and how many images are like it."""
        above = {part: float(_above(doubt.value, self.usual[part])) for part, doubt in self.doubts.items()}
        ranked = [part for part in sorted(above, key=lambda part: -above[part]) if above[part] >= _WORTH_SAYING]
        words = [self.doubts[part].reason for part in ranked] or ["unlike the others"]
        return "; ".join([*words, *([f"{self.pick.similar} more like it"] if self.pick.similar else [])])

    def cells(self) -> list[object]:
        """Return the row in the order of `COLUMNS`."""
        values = [round(self.doubts[part].value, 4) if part in self.doubts else None for part in PARTS]
        numbers = [round(self.pick.value, 4), *values, round(self.pick.distance, 4), self.pick.similar]
        return [self.rank, self.name, *numbers, self.reason, self.source]


def scan(
    photos: Iterable[Photo], panel: Panel, *, batch_size: int = 8, on_progress: Callable[[int], None] | None = None
) -> Scan:
    """Look once at every image; only a batch of images is in memory.

    Args:
        photos: the images.
        panel: the models.
        batch_size: images in one pass through the network.
        on_progress: called with the number of finished images.

    Raises:
        PredictorError: a model's outputs are not finite.
    """
    names: list[str] = []
    values: list[npt.NDArray[np.float16]] = []
    vectors = VectorFile()
    for batch in in_batches(photos, batch_size):
        answered = panel.answer([photo.pixels for photo in batch])
        found = [doubts(answers, panel.thresholds, panel.tasks) for answers in answered]
        names += [photo.file for photo in batch]
        values.append(np.array([_values(each) for each in found], np.float16))
        pairs = zip(batch, answered, strict=True)
        vectors.append(
            np.stack([feature_vector(photo.pixels, answers, panel.info.det_class_names) for photo, answers in pairs])
        )
        if on_progress is not None:
            on_progress(len(names))
    if not names:
        return Scan([], np.empty((0, len(PARTS)), np.float16), vectors)
    return Scan(names, np.concatenate(values), vectors)


def _above(value: npt.ArrayLike, usual: float) -> npt.NDArray[np.float64]:
    """Return what a doubt adds to the usual one, 0 to 1."""
    return np.maximum(np.asarray(value, np.float64) - usual, 0.0) / max(1.0 - usual, 1e-6)


def _values(found: dict[str, Doubt]) -> list[float]:
    return [found[part].value if part in found else np.nan for part in PARTS]


def rank(found: Scan, count: int, labelled: Scan | None = None) -> list[Row]:
    """Choose images of a scan, the best first; `labelled` is a scan of images that have labels."""
    known = labelled.vectors if labelled is not None and labelled.names else None
    picks: Sequence[Pick] = choose(found.doubt(), found.vectors, count, known) if found.names else []
    usual = found.usual()
    return [Row(number, found.names[pick.row], pick, usual) for number, pick in enumerate(picks, start=1)]
