"""Boxes tracked from frame to frame and smoothed."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from panvision.core.boxes import box_iou
from panvision.inference.results import BoxResult
from panvision.monitor.smoothing import weight_of

Floats = npt.NDArray[np.float64]

MIN_IOU = 0.2
APPEARS, DISAPPEARS, FORGOTTEN = 0.5, 0.3, 0.05
# More tracks come only from a stream of false boxes; the least seen are dropped.
MAX_TRACKS = 256


@dataclass
class _Track:
    """One tracked object.

    Attributes:
        label, name: its class.
        seen: (4,) its last detected box, with which new boxes are matched.
        box: (4,) smoothed.
        score: smoothed.
        presence: smoothed fraction of frames in which it was detected, 0 to 1.
        shown: True if it is reported.
    """

    label: int
    name: str
    seen: Floats
    box: Floats
    score: float
    presence: float
    shown: bool = False


class BoxSmoother:
    """Tracks by overlap: in each class the pair with the largest IoU first.

    An object is reported once it was detected in about half of the recent frames, until that falls below a third. Its
    box is averaged exponentially; the less it overlaps its previous box, the more the new one counts.

    Args:
        half_life: seconds; 0 reports every frame's boxes unchanged.
    """

    def __init__(self, half_life: float) -> None:
        self._half_life = half_life
        self._tracks: list[_Track] = []
        self._time: float | None = None

    def __len__(self) -> int:
        """Return the number of tracks, reported or not."""
        return len(self._tracks)

    def update(self, found: BoxResult, time: float) -> BoxResult:
        """Take in a frame's boxes; returns the smoothed boxes, best first."""
        weight = 1.0 if self._time is None else weight_of(time - self._time, self._half_life)
        self._time = time
        boxes = np.array(found["boxes"], dtype=np.float64).reshape(-1, 4)
        matches = self._match(boxes, found["labels"])
        for row, track in enumerate(self._tracks):
            track.presence += weight * (float(row in matches) - track.presence)
        for row, (column, overlap) in matches.items():
            track = self._tracks[row]
            track.seen = boxes[column]
            track.box = track.box + max(weight, 1.0 - overlap) * (boxes[column] - track.box)
            track.score += weight * (found["scores"][column] - track.score)
        for column in sorted(set(range(len(boxes))) - {column for column, _ in matches.values()}):
            label, name = found["labels"][column], found["class_names"][column]
            self._tracks.append(_Track(label, name, boxes[column], boxes[column], found["scores"][column], weight))
        kept = [track for track in self._tracks if track.presence >= FORGOTTEN]
        self._tracks = sorted(kept, key=lambda track: -track.presence)[:MAX_TRACKS]
        for track in self._tracks:
            track.shown = track.presence >= (DISAPPEARS if track.shown else APPEARS)
        return _as_result(sorted((track for track in self._tracks if track.shown), key=lambda track: -track.score))

    def _match(self, boxes: Floats, labels: list[int]) -> dict[int, tuple[int, float]]:
        """Return the box number and the IoU for each track that was detected again."""
        if not self._tracks or not len(boxes):
            return {}
        overlap = box_iou(np.stack([track.seen for track in self._tracks]), boxes)  # (T, B)
        same = np.array([track.label for track in self._tracks])[:, None] == np.array(labels)[None]
        overlap = np.where(same, overlap, 0.0)
        matches: dict[int, tuple[int, float]] = {}
        while overlap.max() >= MIN_IOU:
            row, column = (int(index) for index in np.unravel_index(overlap.argmax(), overlap.shape))
            matches[row] = (column, float(overlap[row, column]))
            overlap[row], overlap[:, column] = 0.0, 0.0
        return matches


def _as_result(tracks: list[_Track]) -> BoxResult:
    return {
        "boxes": [track.box.tolist() for track in tracks],
        "labels": [track.label for track in tracks],
        "scores": [track.score for track in tracks],
        "class_names": [track.name for track in tracks],
    }
