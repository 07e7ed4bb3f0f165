"""Packed sets in memory: each image holds one red rectangle that its mask and its box describe."""

from pathlib import Path

import numpy as np

from panvision.core.tasks import TASKS
from panvision.dataset.packed import PackedSet
from panvision.training.data.settings import AugmentSettings

SIDE = 32
STILL = AugmentSettings(horizontal_flip=0.0, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)


def rectangle(seed, side=SIDE):
    """(S, S, 3) picture of one red rectangle on blue, its mask (S, S) 0/1 and its box (1, 4) float32."""
    chance = np.random.default_rng(seed)
    left, top = chance.integers(2, side // 2, 2)
    right, bottom = left + chance.integers(4, side // 3), top + chance.integers(4, side // 3)
    mask = np.zeros((side, side), np.uint8)
    mask[top:bottom, left:right] = 1
    return paint(mask), mask, np.array([[left, top, right, bottom]], np.float32)


def paint(mask):
    """Red where the mask is 1, blue elsewhere."""
    return np.where(mask[..., None] == 1, np.uint8([200, 0, 0]), np.uint8([0, 0, 100]))


def packed_sets(counts=(7, 5, 6), *, boxless=()):
    """A set of each task; detection's `boxless` rows have no boxes. Originals are twice as large as packed images."""
    sets = {}
    for task, count in zip(TASKS, counts, strict=True):
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
