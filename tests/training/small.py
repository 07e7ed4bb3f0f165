"""Small datasets and settings on which a phase runs in a second."""

from dataclasses import replace

import numpy as np
import torch

from panvision.core.tasks import DATASETS, TASKS
from panvision.model.backbones import BACKBONES, BackboneSpec
from panvision.model.backbones.resnet import ResNet
from panvision.model.multitask import MultiTaskModel
from panvision.training.data.sets import Sets
from panvision.training.data.settings import AugmentSettings
from panvision.training.ddp import Ranks
from panvision.training.phases import TrainingConfig
from panvision.training.settings import LossSettings, Phase1Settings, Phase2Settings, TrackingSettings, TrainSettings
from panvision.training.state import Phase
from tests.model.small import SMALL
from tests.training.data.packed_sets import packed_sets, rectangle

SIDE = 64
MODEL = SMALL.model_copy(update={"det_channels": 32, "dropout": 0.0})


def small_sets(counts=(6, 5, 4), held_out=2):
    """The red rectangles of tests/data at 64 px, the last `held_out` of each set for validation."""
    total = tuple(count + held_out for count in counts)
    sets = packed_sets(total)
    for task in DATASETS:
        shown = [rectangle(seed, SIDE) for seed in range(len(sets[task]))]
        changes = {"images": np.stack([image for image, _, _ in shown])}
        if task == "segmentation":
            changes["masks"] = np.stack([mask for _, mask, _ in shown])
        if task == "detection":
            changes["boxes"] = [box for _, _, box in shown]
        if task == "classification":
            # The second state is a green picture.
            for row in np.flatnonzero(sets[task].states == 1):
                changes["images"][row] = changes["images"][row][:, :, [1, 0, 2]]
        changes["sizes"] = np.full((len(shown), 2), SIDE, np.int32)
        sets[task] = replace(sets[task], **changes)
    rows = {
        task: {"train": np.arange(count), "val": np.arange(count, count + held_out), "test": np.arange(0)}
        for task, count in zip(DATASETS, counts, strict=True)
    }
    return Sets(sets, rows)


def two_box_sets():
    """Four images a set, the same for training and validation; each shows a large red and a smaller green box.

    Segmentation's are the same pictures: the red box is its mask.
    """
    sets = small_sets((4, 4, 4), held_out=0)
    boxes = [
        np.array([[2, 2 + 6 * row, 34, 34 + 6 * row], [38, 4 + 8 * row, 58, 24 + 8 * row]], np.float32)
        for row in range(4)
    ]
    shown = [sets.packed["detection"].images[row] * 0 + np.uint8([0, 0, 100]) for row in range(4)]
    for image, (red, green) in zip(shown, [each.astype(int) for each in boxes], strict=True):
        image[red[1] : red[3], red[0] : red[2]] = (200, 0, 0)
        image[green[1] : green[3], green[0] : green[2]] = (0, 200, 0)
    images = np.stack(shown)
    masks = (images == (200, 0, 0)).all(axis=3) * np.uint8(255)
    sets.packed["segmentation"] = replace(sets.packed["segmentation"], images=images, masks=masks)
    sets.packed["detection"] = replace(
        sets.packed["detection"], images=images, boxes=boxes, labels=[np.array([0, 1])] * 4
    )
    for task in DATASETS:
        sets.rows[task]["val"] = sets.rows[task]["train"]
    return sets


def config(augment=None, loss=None, tracking=None, seed=3, shipped=None, **train):
    values = {
        "batch_size": 2,
        "phase1": Phase1Settings(epochs=1),
        "phase2": Phase2Settings(epochs=2, lr=1e-3),
        "schedule": "constant",
        "batch_norm": "train",
        "workers": 0,
        **train,
    }
    return TrainingConfig(
        seed,
        augment or AugmentSettings(),
        loss or LossSettings(),
        TrainSettings(**values),
        tracking or TrackingSettings(),
        shipped=shipped or {},
    )


def small_model(sets, settings=MODEL, seed=0, tasks=TASKS):
    torch.manual_seed(seed)
    return MultiTaskModel(
        settings,
        image_size=sets.image_size,
        det_classes=sets.det_classes,
        cls_classes=sets.cls_classes,
        tasks=tasks,
    )


def plan(sets, *, epochs=2, lr=1e-3, seed=1, augment=None, loss=None, name="phase2", min_steps=0, **train):
    """A phase of this process alone."""
    return Phase(
        name=name,
        epochs=epochs,
        lr=lr,
        seed=seed,
        sets=sets,
        augment=augment or AugmentSettings(),
        loss=loss or LossSettings(),
        train=TrainSettings(**{"batch_size": 2, "schedule": "constant", "workers": 0, **train}),
        ranks=Ranks("cpu"),
        min_steps=min_steps,
    )


def write_weights(path, width=64):
    """Write weights of a backbone as if they were pretrained; its BatchNorm may be frozen."""
    torch.manual_seed(7)
    torch.save(ResNet((1, 1, 1, 1), width=width).state_dict(), path)


def thin_backbones(patch):
    """Give `resnet10` eight channels instead of 64: a training checkpoint is then a megabyte."""
    patch.setitem(BACKBONES, "resnet10", BackboneSpec(lambda: ResNet((1, 1, 1, 1), width=8)))
