"""Packed datasets in memory: each image shows one red rectangle that its mask and its box describe."""

from pathlib import Path

import numpy as np

from panvision.core.files import write_json, write_rows
from panvision.core.tasks import DATASETS
from panvision.dataset.packed import PackedSet
from panvision.training.data.samples import Sample
from panvision.training.data.settings import AugmentSettings

SIDE = 32
STILL = AugmentSettings(horizontal_flip=0.0, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
ALL = AugmentSettings(vertical_flip=0.5, scale=0.3, translate=0.2)


def rectangle(seed, side=SIDE):
    """(S, S, 3) image of one red rectangle on blue, its mask (S, S) 0/255 and its box (1, 4) float32."""
    chance = np.random.default_rng(seed)
    left, top = chance.integers(2, side // 2, 2)
    right, bottom = left + chance.integers(4, side // 3), top + chance.integers(4, side // 3)
    mask = np.zeros((side, side), np.uint8)
    mask[top:bottom, left:right] = 255
    return paint(mask), mask, np.array([[left, top, right, bottom]], np.float32)


def full_sample(seed):
    """A sample that has all labels at once."""
    image, mask, boxes = rectangle(seed)
    return Sample(image, mask, boxes, np.array([3]), 1)


def paint(mask):
    """Red where the mask is 255, blue elsewhere."""
    return np.where(mask[..., None] == 255, np.uint8([200, 0, 0]), np.uint8([0, 0, 100]))


def packed_sets(counts=(7, 5, 6), *, boxless=()):
    """All datasets; detection's `boxless` rows have no boxes. Originals are twice as large as packed images."""
    sets = {}
    for task, count in zip(DATASETS, counts, strict=True):
        shown = [rectangle(seed) for seed in range(count)]
        boxes = [np.zeros((0, 4), np.float32) if row in boxless else 2 * shown[row][2] for row in range(count)]
        sets[task] = PackedSet(
            task=task,
            folder=Path("nowhere"),
            files=[f"{row}.png" for row in range(count)],
            sizes=np.full((count, 2), 2 * SIDE, np.int32),
            classes=["a", "b"],
            images=np.stack([image for image, _, _ in shown]),
            looks=np.zeros((count, 64, 64), np.uint8),
            masks=np.stack([mask for _, mask, _ in shown]) if task == "segmentation" else None,
            boxes=boxes if task == "detection" else None,
            labels=[np.arange(len(own), dtype=np.int64) % 2 for own in boxes] if task == "detection" else None,
            states=np.arange(count, dtype=np.int64) % 2 if task == "classification" else None,
        )
    return sets


def write_sets(folder, sets):
    """Write datasets like prepare does."""
    for task, extra in zip(DATASETS, ("mask", "boxes", "label"), strict=True):
        packed, out = sets[task], folder / task
        label = {"mask": lambda row: f"m{row}.png", "boxes": lambda row: 1, "label": lambda row: "ab"[row % 2]}[extra]
        index = [(file, 2 * SIDE, 2 * SIDE, label(row), "") for row, file in enumerate(packed.files)]
        write_rows(out / "index.csv", ("file", "width", "height", extra, "drawn"), index)
        write_json(out / "classes.json", {"classes": packed.classes})
        np.save(out / "images.npy", packed.images)
        np.save(out / "looks.npy", packed.looks)
        if packed.masks is not None:
            np.save(out / "coverage.npy", packed.masks)
        if packed.boxes is not None:
            lines = [(row, *box, 0) for row, boxes in enumerate(packed.boxes) for box in boxes.tolist()]
            write_rows(out / "boxes.csv", ("row", "x1", "y1", "x2", "y2", "label"), lines)
