"""Frames that a robot keeps for labelling, within a disk budget and a rate. NumPy and Pillow only."""

import contextlib
import io
import json
import os
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from panvision.core.files import replacing, write_text
from panvision.labelling.diversity import NEAR
from panvision.labelling.features import Vectors, describe_image
from panvision.labelling.uncertainty import NEAR_THRESHOLD
from panvision.photos.pixels import ImageError, RgbArray, read_image

# A line per kept frame; a labelling tool ignores it.
INDEX = "collected.jsonl"
CHANGED, UNCERTAIN = "state changed", "uncertain"
# A score less than this from its threshold is near it.
NEAR_BOX = NEAR_THRESHOLD / 2
# Kept frames with which a new one is compared.
_REMEMBERED = 256
# Most bytes of lines of removed frames in the index.
_STALE = 4096
_QUALITY = 92


@dataclass(frozen=True)
class CollectOptions:
    """Limits of the kept frames.

    Attributes:
        budget_mb: megabytes (10^6 bytes) of all kept frames and their index.
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
    state: str | None
    time: float
    bytes: int

    @property
    def line(self) -> str:
        """Return its line of the index."""
        return json.dumps(vars(self)) + "\n"


class Collector:
    """Keeps frames in a folder that it may share with other files, which it neither counts nor removes.

    When the budget is used up, the oldest frame of the reason that uses most of it makes room: rare reasons stay.
    Frames of earlier runs count: in the budget, in the rate, and as known scenes.

    Args:
        folder: created if missing.
        thresholds: class name → score from which on the model reports its boxes.
        options: what is kept.
    """

    def __init__(
        self, folder: str | Path, thresholds: Mapping[str, float], options: CollectOptions | None = None
    ) -> None:
        self._folder, self._thresholds, self._options = Path(folder), thresholds, options or CollectOptions()
        self._folder.mkdir(parents=True, exist_ok=True)
        for left in self._folder.glob(".frame_*.partial"):  # of killed runs
            left.unlink(missing_ok=True)
        self._index_bytes, self._damaged = 0, False
        self._kept = self._read_index()
        self._last = self._kept[-1].time if self._kept else None
        self._seen: deque[tuple[Vectors, _Kept]] = deque(maxlen=_REMEMBERED)
        for kept in self._kept[-_REMEMBERED:]:
            with contextlib.suppress(ImageError):
                self._seen.append((describe_image(read_image(self._folder / kept.file)), kept))
        self._owed: str | None = None
        self.count = 0

    def __len__(self) -> int:
        """Return the number of frames in the folder, of all runs."""
        return len(self._kept)

    @property
    def used(self) -> int:
        """Bytes of the frames in the folder, and of the index."""
        return sum(kept.bytes for kept in self._kept) + self._index_bytes

    def consider(self, image: RgbArray, result: Mapping[str, Any], time: float, *, changed: bool) -> str | None:
        """Keep a frame if there is a reason.

        Args:
            image: (H, W, 3) uint8 RGB.
            result: the model's result of this frame alone, with the boxes that are a little below their threshold.
            time: seconds on the clock of the frames.
            changed: the state has changed with this frame.

        Returns:
            The reason, or None if the frame is not kept.

        Raises:
            OSError: the folder cannot be written to.
        """
        # A smaller time is that of another clock, as of a recording that starts again.
        early = self._last is not None and 0.0 <= time - self._last < 60.0 / self._options.per_minute
        state = result["classification"]["class_name"] if "classification" in result else None
        if changed:
            # A change comes in one frame; the next frame that may be kept shows it as well.
            self._owed = state
        reason = CHANGED if self._owed is not None else self._reason(result)
        if early or reason is None:
            return None
        state, self._owed = self._owed or state, None
        descriptor = describe_image(image)
        if self._is_known(descriptor, reason, state):
            return None
        kept = self._write(image, reason, state, time)
        if kept is None:
            return None
        self._seen.append((descriptor, kept))
        self._last = time
        self.count += 1
        return reason

    def _is_known(self, descriptor: Vectors, reason: str, state: str | None) -> bool:
        """Return True if a kept frame shows the same; if the state changed, one that was kept for the same change."""
        # Food changes its state before a fixed camera's image looks different.
        return any(
            np.linalg.norm(descriptor.astype(np.float32) - other) <= NEAR
            for other, kept in self._seen
            if reason != CHANGED or (kept.reason, kept.state) == (CHANGED, state)
        )

    def _reason(self, result: Mapping[str, Any]) -> str | None:
        label = result.get("classification")
        if label is not None and not label["answered"]:
            return str(label["reason"])
        chances = sorted(label["probabilities"].values()) if label is not None else []
        unsure = len(chances) > 1 and chances[-1] - chances[-2] < self._options.margin
        boxes = result.get("detection", {"class_names": (), "scores": ()})
        near = any(
            abs(score - self._thresholds[name]) < NEAR_BOX
            for name, score in zip(boxes["class_names"], boxes["scores"], strict=True)
        )
        return UNCERTAIN if unsure or near else None

    def _write(self, image: RgbArray, reason: str, state: str | None, time: float) -> _Kept | None:
        """Write a frame, after others made room for it; None if it alone is larger than the budget."""
        content = io.BytesIO()
        Image.fromarray(image).save(content, format="JPEG", quality=_QUALITY)
        kept = _Kept(self._free_name(time), reason, state, round(time, 3), len(content.getvalue()))
        budget, needed = round(self._options.budget_mb * 1e6), kept.bytes + len(kept.line)
        if needed > budget:
            return None
        lines = sum(len(each.line) for each in self._kept)
        images = self.used - self._index_bytes
        while self._kept and images + self._index_size(lines) + needed > budget:
            gone = self._make_room()
            images, lines = images - gone.bytes, lines - len(gone.line)
        # Before the image, so that a kill between them leaves no image that does not count.
        self._list(kept)
        with replacing(self._folder / kept.file) as scratch:
            scratch.write_bytes(content.getvalue())
        self._kept.append(kept)
        return kept

    def _index_size(self, lines: int) -> int:
        """Return the bytes of the index before the next line, if those of the frames in the folder have `lines`."""
        return lines if self._index_bytes > lines + _STALE else self._index_bytes

    def _make_room(self) -> _Kept:
        """Remove a frame."""
        sizes: Counter[str] = Counter()
        for kept in self._kept:
            sizes[kept.reason] += kept.bytes
        largest = max(sizes, key=lambda reason: sizes[reason])
        oldest = next(kept for kept in self._kept if kept.reason == largest)
        (self._folder / oldest.file).unlink(missing_ok=True)
        self._kept.remove(oldest)
        return oldest

    def _free_name(self, time: float) -> str:
        stem, number = f"frame_{round(time * 1000):013d}", 0
        while (self._folder / (name := f"{stem}{f'_{number}' if number else ''}.jpg")).exists():
            number += 1
        return name

    def _list(self, kept: _Kept) -> None:
        """Add a frame to the index; write it again without the removed ones if they are many, or if it is damaged."""
        lines = "".join(each.line for each in self._kept)
        if self._damaged or self._index_size(len(lines)) < self._index_bytes:
            lines += kept.line
            write_text(self._folder / INDEX, lines, durable=True)
            self._damaged, self._index_bytes = False, len(lines)
            return
        with (self._folder / INDEX).open("a", encoding="utf-8") as file:
            file.write(kept.line)
            file.flush()
            os.fsync(file.fileno())
        self._index_bytes += len(kept.line)

    def _read_index(self) -> list[_Kept]:
        """Return the frames of earlier runs that are still in the folder, the oldest first."""
        path = self._folder / INDEX
        content = path.read_bytes() if path.is_file() else b""
        self._index_bytes, self._damaged = len(content), not (b"\n" + content).endswith(b"\n")
        found: dict[str, _Kept] = {}
        for line in content.decode("utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
                file, state = Path(entry["file"]).name, entry.get("state")
                found.pop(file, None)  # of a removed frame
                found[file] = _Kept(file, entry["reason"], state, float(entry["time"]), int(entry["bytes"]))
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # the power was cut during the write
        return [kept for kept in found.values() if (self._folder / kept.file).is_file()]
