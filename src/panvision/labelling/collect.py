"""Frames that a robot keeps for labelling, within a disk budget and a rate. NumPy and Pillow only."""

import io
import json
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from panvision.core.files import replacing
from panvision.labelling.diversity import NEAR
from panvision.labelling.features import Vectors, describe_image
from panvision.labelling.uncertainty import NEAR_THRESHOLD
from panvision.photos.pixels import RgbArray

# A line per kept frame, and one per frame that made room; a labelling tool ignores it.
INDEX = "collected.jsonl"
CHANGED, UNCERTAIN = "state changed", "uncertain"
# Kept frames with which a new one is compared.
_REMEMBERED = 256
_QUALITY = 92


@dataclass(frozen=True)
class CollectOptions:
    """Limits of the kept frames.

    Attributes:
        budget_mb: megabytes (10^6 bytes) of all kept frames.
        per_minute: frames kept in a minute of the frames' own clock.
        margin: a smaller difference of the two most probable classes is uncertain.
    """

    budget_mb: float = 500.0
    per_minute: float = 6.0
    margin: float = 0.2


@dataclass(frozen=True)
class _Kept:
    file: str
    reason: str
    size: int


class Collector:
    """Keeps frames in a folder that it may share with other files, which it neither counts nor removes.

    When the budget is used up, the oldest frame of the reason that uses most of it makes room: rare reasons stay.

    Args:
        folder: created if missing; frames of earlier runs count.
        thresholds: class name → score from which on the model reports its boxes.
        options: what is kept.
    """

    def __init__(
        self, folder: str | Path, thresholds: Mapping[str, float], options: CollectOptions | None = None
    ) -> None:
        self._folder, self._thresholds, self._options = Path(folder), thresholds, options or CollectOptions()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._kept = self._read_index()
        self._seen: deque[Vectors] = deque(maxlen=_REMEMBERED)
        self._last: float | None = None
        self._owed: str | None = None
        self.count = 0

    def __len__(self) -> int:
        """Return the number of frames in the folder, of all runs."""
        return len(self._kept)

    @property
    def used(self) -> int:
        """Bytes of the frames in the folder."""
        return sum(kept.size for kept in self._kept)

    def consider(self, image: RgbArray, result: Mapping[str, Any], time: float, *, changed: bool) -> str | None:
        """Keep a frame if there is a reason.

        Args:
            image: (H, W, 3) uint8 RGB.
            result: the model's result of this frame alone.
            time: seconds on the clock of the frames.
            changed: the state has changed with this frame.

        Returns:
            The reason, or None if the frame is not kept.

        Raises:
            OSError: the folder cannot be written to.
        """
        early = self._last is not None and time - self._last < 60.0 / self._options.per_minute
        reason = self._reason(result, changed=changed) or self._owed
        if early or reason is None:
            # A change comes in one frame; the next frame that may be kept shows it as well.
            self._owed = CHANGED if changed else self._owed
            return None
        reason = self._owed or reason
        self._owed = None
        descriptor = describe_image(image)
        known = any(np.linalg.norm(descriptor.astype(np.float32) - other) <= NEAR for other in self._seen)
        # Food changes its state before a fixed camera's image looks different.
        if known and reason != CHANGED:
            return None
        if not self._write(image, reason, time):
            return None
        self._seen.append(descriptor)
        self._last = time
        self.count += 1
        return reason

    def _reason(self, result: Mapping[str, Any], *, changed: bool) -> str | None:
        label = result.get("classification")
        if changed:
            return CHANGED
        if label is not None and not label["answered"]:
            return str(label["reason"])
        chances = sorted(label["probabilities"].values()) if label is not None else []
        unsure = len(chances) > 1 and chances[-1] - chances[-2] < self._options.margin
        boxes = result.get("detection", {"class_names": (), "scores": ()})
        near = any(
            score - self._thresholds[name] < NEAR_THRESHOLD / 2
            for name, score in zip(boxes["class_names"], boxes["scores"], strict=True)
        )
        return UNCERTAIN if unsure or near else None

    def _write(self, image: RgbArray, reason: str, time: float) -> bool:
        """Write a frame, after others made room for it; False if it alone is larger than the budget."""
        content = io.BytesIO()
        Image.fromarray(image).save(content, format="JPEG", quality=_QUALITY)
        budget = round(self._options.budget_mb * 1e6)
        size = len(content.getvalue())
        if size > budget:
            return False
        while self.used + size > budget:
            self._make_room()
        name = self._free_name(time)
        with replacing(self._folder / name) as scratch:
            scratch.write_bytes(content.getvalue())
        self._kept.append(_Kept(name, reason, size))
        self._note({"file": name, "reason": reason, "time": round(time, 3), "bytes": size})
        return True

    def _make_room(self) -> None:
        sizes: Counter[str] = Counter()
        for kept in self._kept:
            sizes[kept.reason] += kept.size
        largest = max(sizes, key=lambda reason: sizes[reason])
        oldest = next(kept for kept in self._kept if kept.reason == largest)
        (self._folder / oldest.file).unlink(missing_ok=True)
        self._kept.remove(oldest)
        self._note({"removed": oldest.file})

    def _free_name(self, time: float) -> str:
        stem, number = f"frame_{round(time * 1000):013d}", 0
        while (self._folder / (name := f"{stem}{f'_{number}' if number else ''}.jpg")).exists():
            number += 1
        return name

    def _note(self, entry: Mapping[str, object]) -> None:
        with (self._folder / INDEX).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def _read_index(self) -> list[_Kept]:
        """Return the frames of earlier runs that are still in the folder, the oldest first."""
        path = self._folder / INDEX
        found: dict[str, _Kept] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            try:
                entry = json.loads(line)
                if "removed" in entry:
                    found.pop(entry["removed"], None)
                else:
                    found[entry["file"]] = _Kept(Path(entry["file"]).name, entry["reason"], int(entry["bytes"]))
            except (ValueError, KeyError, TypeError):
                continue  # the power was cut during the write
        return [kept for kept in found.values() if (self._folder / kept.file).is_file()]
