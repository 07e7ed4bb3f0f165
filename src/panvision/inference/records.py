"""Results of a folder's images on disk: a line per finished image, and the final files, made from the lines."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from panvision.core.files import replacing, write_json
from panvision.core.tasks import TASKS
from panvision.inference.backend import PredictorError
from panvision.inference.predictor import Predictor
from panvision.inference.results import Result

LINES, WHOLE, COCO = "predictions.jsonl", "predictions.json", "predictions.coco.json"
SETTINGS = ".predictions.settings.json"  # model and settings of the lines


class Records:
    """The lines of a folder's images: one JSON object each, readable during the run.

    A line is written after all other files of its image. Use it as a context.

    Args:
        folder: receives the file.
        predictor: the model.
        drawn: what is drawn of each image.
        resume: keep existing lines of the same model and settings; otherwise start over.

    Raises:
        PredictorError: `resume`, and the lines are of another model or other settings.
    """

    def __init__(self, folder: Path, predictor: Predictor, *, drawn: Mapping[str, bool], resume: bool) -> None:
        self._path = folder / LINES
        folder.mkdir(parents=True, exist_ok=True)
        made = {"model": json.loads(predictor.info.to_metadata()), "probe": _probe(predictor), **drawn}
        kept = self._kept() if resume else []
        if kept:
            _check_alike(folder / SETTINGS, made)
        write_json(folder / SETTINGS, made)
        with replacing(self._path) as scratch, scratch.open("wb") as file:
            file.writelines(kept)
        self._offsets: dict[str, int] = {}
        offset = 0
        for line in kept:
            self._offsets[json.loads(line)["image_name"]] = offset
            offset += len(line)
        self._file = self._path.open("r+b")
        self._file.seek(0, os.SEEK_END)

    def __contains__(self, name: object) -> bool:
        return name in self._offsets

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, entries: Iterable[dict[str, Any]]) -> None:
        """Append the lines of some images and flush them."""
        for entry in entries:
            self._offsets[entry["image_name"]] = self._file.tell()
            self._file.write(_line(entry))
        self._file.flush()

    def read(self, names: Iterable[str]) -> Iterator[dict[str, Any]]:
        """Yield the entries of these images, if present; one at a time in memory."""
        with self._path.open("rb") as file:
            for name in names:
                if name in self._offsets:
                    file.seek(self._offsets[name])
                    yield json.loads(file.readline())

    def _kept(self) -> list[bytes]:
        """Return whole lines of images that could be read; the others are tried again."""
        if not self._path.is_file():
            return []
        kept: dict[str, bytes] = {}
        with self._path.open("rb") as file:
            for line in file:
                try:
                    entry = json.loads(line)
                    if line.endswith(b"\n") and "failed" not in entry:
                        kept[entry["image_name"]] = line
                except (ValueError, KeyError, TypeError):
                    continue  # the run was killed during the write
        return list(kept.values())


def _line(entry: dict[str, Any]) -> bytes:
    # File names may not be UTF-8; other bytes become escapes that JSON also has.
    return (_dump(entry) + "\n").encode("utf-8", "backslashreplace")


def _dump(entry: dict[str, Any], indent: int | None = None) -> str:
    return json.dumps(entry, sort_keys=True, allow_nan=False, ensure_ascii=False, indent=indent)


def _probe(predictor: Predictor) -> list[float]:
    """Return a few numbers of the raw outputs on one fixed image, which identify the weights."""
    size = predictor.image_size
    ramp = np.linspace(0, 255, size * size * 3).reshape(1, size, size, 3).astype(np.uint8)
    outputs = predictor.raw(ramp).values()
    return [
        float(np.format_float_scientific(value, 5)) for output in outputs for value in (output.mean(), output.std())
    ]


def _check_alike(path: Path, made: dict[str, Any]) -> None:
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        probe = [float(value) for value in before.pop("probe")]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        before, probe = {}, []
    same = len(probe) == len(made["probe"]) and np.allclose(probe, made["probe"], rtol=1e-3, atol=1e-4)
    if not same or before != {key: value for key, value in made.items() if key != "probe"}:
        raise PredictorError(
            f"{path.parent}: its results are of another model or other settings; use those again, "
            "or run without resume, which starts over"
        )


def entry_of(result: Result, width: int, height: int, mask_name: str) -> dict[str, Any]:
    """Convert a result to an entry: the mask is given by its file name."""
    entry: dict[str, Any] = {"image_name": result["image_name"], "width": width, "height": height}
    parts = {task: part for task, part in result.items() if task in TASKS}
    return entry | parts | ({"segmentation": {"mask": mask_name}} if "segmentation" in parts else {})


def write_whole(folder: Path, records: Records, names: Sequence[str]) -> None:
    """Write predictions.json: the images by name and the failed ones; one entry at a time in memory."""
    failed = (
        {"image_name": entry["image_name"], "reason": entry["failed"]}
        for entry in records.read(names)
        if "failed" in entry
    )
    images = (entry for entry in records.read(names) if "failed" not in entry)
    _write_lists(folder / WHOLE, {"failed": failed, "images": images})


def write_coco(folder: Path, records: Records, names: Sequence[str], classes: Sequence[str]) -> None:
    """Write the boxes as COCO JSON with scores, ids from 1, and the state of each answered image next to its size."""
    categories = ({"id": number, "name": name} for number, name in enumerate(classes, start=1))
    _write_lists(
        folder / COCO,
        {"annotations": _annotations(records, names), "categories": categories, "images": _images(records, names)},
    )


def _images(records: Records, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    entries = (entry for entry in records.read(names) if "failed" not in entry)
    for number, entry in enumerate(entries, start=1):
        image = {"id": number, "file_name": entry["image_name"], "width": entry["width"], "height": entry["height"]}
        label = entry.get("classification")
        yield image | ({"state": label["class_name"]} if label and label["answered"] else {})


def _annotations(records: Records, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    count = 0
    entries = (entry for entry in records.read(names) if "failed" not in entry)
    for number, entry in enumerate(entries, start=1):
        found = entry.get("detection", {"boxes": [], "labels": [], "scores": []})
        for box, label, score in zip(found["boxes"], found["labels"], found["scores"], strict=True):
            count += 1
            width, height = box[2] - box[0], box[3] - box[1]
            yield {
                "id": count,
                "image_id": number,
                "category_id": label + 1,
                "bbox": [box[0], box[1], width, height],
                "area": width * height,
                "score": score,
                "iscrowd": 0,
            }


def _write_lists(path: Path, lists: dict[str, Iterator[dict[str, Any]]]) -> None:
    """Write an object of lists like `files.write_json`, with one entry at a time in memory."""
    with replacing(path) as scratch, scratch.open("wb") as file:
        for row, (key, entries) in enumerate(lists.items()):
            file.write(f'{"," if row else "{"}\n  "{key}": ['.encode())
            any_entry = False
            for entry in entries:
                text = _dump(entry, indent=2).replace("\n", "\n    ")
                file.write(f"{',' if any_entry else ''}\n    {text}".encode("utf-8", "backslashreplace"))
                any_entry = True
            file.write(b"\n  ]" if any_entry else b"]")
        file.write(b"\n}\n")
