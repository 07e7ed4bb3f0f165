"""Slices of the scored images: by brightness, camera, folder, and with or without a pan."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from panvision.core.tasks import DATASETS, TASKS, Dataset, Task
from panvision.dataset.packed import PackedSet, open_packed, read_index
from panvision.evaluation.evaluation import Table
from panvision.evaluation.metrics import scores
from panvision.evaluation.results import Results

TONES = ("dark", "medium", "bright")
# More folders or cameras are too small to compare.
MOST_VALUES = 12
COLUMNS = ("task", "slice", "images", "metric", "value", "low", "high", "reason")


class Facts(NamedTuple):
    """Facts of an image that the results lack: its mean brightness, 0 to 255, and its camera, "" if unknown."""

    brightness: float
    camera: str


def facts_of(packed: PackedSet) -> dict[str, Facts]:
    """Return the facts of every image of a packed dataset by file.

    Raises:
        PackedError: index.csv is missing, damaged, or lacks the cameras.
    """
    cameras = read_index(packed.folder, packed.task, ("camera",))["camera"].tolist()
    brightness = packed.looks.reshape(len(packed), -1).mean(axis=1) if len(packed) else ()
    return {
        file: Facts(float(level), camera) for file, level, camera in zip(packed.files, brightness, cameras, strict=True)
    }


def read_facts(prepared: str | Path) -> dict[Dataset, dict[str, Facts]]:
    """Return the facts of every image of the packed datasets, by dataset and file.

    Raises:
        PackedError: a packed dataset is missing or damaged.
    """
    return {dataset: facts_of(open_packed(Path(prepared) / dataset, dataset)) for dataset in DATASETS}


def slices(results: Results, facts: Mapping[str, Facts]) -> Iterator[tuple[str, list[int]]]:
    """Yield name and rows of the slices: by brightness in thirds, camera, folder, and with or without a pan.

    A slice of all images is left out, and so is a column with more than `MOST_VALUES` values.
    """
    files = [image["file"] for image in results.images]
    levels = [facts[file].brightness for file in files]
    edges = np.quantile(levels, (1 / 3, 2 / 3)) if levels else ()
    columns = {
        "brightness": [TONES[int(np.searchsorted(edges, level))] for level in levels],
        "camera": [facts[file].camera for file in files],
        "folder": [_folder(results, file) for file in files],
    }
    if results.images and "pixels" in results.images[0]:
        columns["masks"] = ["with pan" if _has_pan(image) else "without pan" for image in results.images]
    for column, values in columns.items():
        counts = Counter(values)
        if 1 < len(counts) <= MOST_VALUES:
            for value in sorted(counts, key=lambda value: (TONES.index(value) if value in TONES else 0, value)):
                rows = [row for row, own in enumerate(values) if own == value]
                yield f"{column} {value or 'unknown'}", rows


def slice_table(results: Mapping[Task, Results], facts: Mapping[Dataset, Mapping[str, Facts]]) -> Table:
    """Return the headline metrics on the slices of each task: `COLUMNS`, and a row per slice and metric.

    `low` and `high` are the 95 % interval; `reason` says why there is none.
    """
    rows = []
    for task, own in results.items():
        for name, numbers in slices(own, facts[TASKS[task].dataset]):
            found = scores(part(own, numbers))
            for metric in TASKS[task].metrics:
                span = found["ci95"].get(metric.key) or {"low": None, "high": None}
                reason = found["ci95_null"].get(metric.key, "")
                rows.append((task, name, len(numbers), metric.key, found[metric.key], *span.values(), reason))
    return COLUMNS, rows


def part(results: Results, rows: Sequence[int]) -> Results:
    """Return the results of some images."""
    return replace(results, images=[results.images[row] for row in rows])


def _folder(results: Results, file: str) -> str:
    """Return the folder of an image; of an image in its class's folder the one above."""
    folder = PurePosixPath(file).parent
    return str(folder.parent if folder.name in results.classes else folder)


def _has_pan(image: Mapping[str, Any]) -> bool:
    true_positives, _, false_negatives, _ = image["pixels"]
    return bool(true_positives + false_negatives)
