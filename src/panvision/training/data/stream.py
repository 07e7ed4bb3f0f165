"""The three training sets as one endless stream of batches, addressed by step.

Step k of a run always holds the same samples with the same augmentation, whatever the number of workers and
wherever the run was started: each sample's place and seed follow from (seed, task, k) alone. So a task's samples are
the same whichever other tasks are trained beside it.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from panvision.core.tasks import TASKS
from panvision.dataset.packed import PackedSet
from panvision.training.data.augment import Augmentation
from panvision.training.data.batches import NO_OBJECT, Batch
from panvision.training.data.settings import AugmentSettings


class TrainingStream(Dataset[Batch]):
    """`stream[step]` is the batch of each trained task for one optimiser step.

    Args:
        sets: the packed sets by task.
        rows: the training rows of each set that is trained on.
        augment: augmentation settings.
        batch_size: images per task.
        seed: decides order and augmentation.
        part: which share of every batch this is, and of how many equal ones; by default all of it.
    """

    def __init__(
        self,
        sets: Mapping[str, PackedSet],
        rows: Mapping[str, npt.NDArray[np.int64]],
        augment: AugmentSettings,
        *,
        batch_size: int,
        seed: int,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self._sets, self._rows = sets, rows
        self._augmentation = Augmentation(augment)
        self._batch_size, self._seed, self._part = batch_size, seed, part

    def __getitem__(self, step: int) -> Batch:
        picked = {task: self._pick(task, step) for task in TASKS if task in self._rows}
        images: dict[str, Tensor] = {}
        labels: dict[str, dict[str, Tensor]] = {}
        if "segmentation" in picked:
            masked = [self._segmentation(row, seed) for row, seed in picked["segmentation"]]
            images["segmentation"] = stack_images([image for image, _ in masked])
            labels["segmentation"] = {"masks": torch.from_numpy(np.stack([mask for _, mask in masked]))[:, None]}
        if "detection" in picked:
            boxed = [self._detection(row, seed) for row, seed in picked["detection"]]
            images["detection"] = stack_images([image for image, _, _ in boxed])
            own_boxes, own_labels = pad_boxes([own for _, own, _ in boxed], [own for _, _, own in boxed])
            labels["detection"] = {"boxes": own_boxes, "labels": own_labels}
        if "classification" in picked:
            named = [self._classification(row, seed) for row, seed in picked["classification"]]
            images["classification"] = stack_images([image for image, _ in named])
            labels["classification"] = {"classes": torch.tensor([state for _, state in named])}
        return Batch(images, labels, {task: np.array([row for row, _ in pairs]) for task, pairs in picked.items()})

    def _pick(self, task: str, step: int) -> list[tuple[int, int]]:
        """The (row, augmentation seed) pairs of a task's batch: every row once per cycle, each cycle shuffled anew."""
        rows, number = self._rows[task], list(TASKS).index(task)
        part, parts = self._part
        share = self._batch_size // parts
        first = step * self._batch_size + part * share
        picked = []
        for position in range(first, first + share):
            cycle, place = divmod(position, len(rows))
            order = _order(self._seed, number, cycle, len(rows))
            sample_seed = np.random.SeedSequence((self._seed, number, position, 1)).generate_state(1)[0]
            picked.append((int(rows[order[place]]), int(sample_seed)))
        return picked

    def _segmentation(self, row: int, seed: int) -> tuple[npt.NDArray, npt.NDArray]:
        packed = self._sets["segmentation"]
        assert packed.masks is not None  # noqa: S101 -- open_packed gives a segmentation set its masks
        return self._augmentation.image_and_mask(np.array(packed.images[row]), np.array(packed.masks[row]), seed)

    def _detection(self, row: int, seed: int) -> tuple[npt.NDArray, npt.NDArray, npt.NDArray]:
        packed = self._sets["detection"]
        assert packed.labels is not None  # noqa: S101 -- open_packed gives a detection set its labels
        image = np.array(packed.images[row])
        return self._augmentation.image_and_boxes(image, packed.packed_boxes(row), packed.labels[row], seed)

    def _classification(self, row: int, seed: int) -> tuple[npt.NDArray, int]:
        packed = self._sets["classification"]
        assert packed.states is not None  # noqa: S101 -- open_packed gives a classification set its states
        return self._augmentation.image(np.array(packed.images[row]), seed), int(packed.states[row])


# A batch may reach into the next cycle; shuffling a large set anew at every step would take longer than reading it.
@lru_cache(maxsize=2 * len(TASKS))
def _order(seed: int, number: int, cycle: int, length: int) -> npt.NDArray[np.int64]:
    """The order of a task's samples in one cycle, (length,)."""
    return np.random.default_rng((seed, number, cycle)).permutation(length)


def training_batches(
    stream: TrainingStream, *, start: int, stop: int, workers: int, pin_memory: bool
) -> Iterator[Batch]:
    """The batches of steps `start` to `stop` - 1, in order."""
    loader: DataLoader[Batch] = DataLoader(
        stream,
        batch_size=None,
        sampler=range(start, stop),
        num_workers=workers,
        pin_memory=pin_memory,
        prefetch_factor=4 if workers else None,
    )
    return iter(loader)


def stack_images(images: list[npt.NDArray[np.uint8]]) -> Tensor:
    """[(S, S, 3) uint8, …] → (B, 3, S, S) uint8, channels last in memory."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def pad_boxes(boxes: list[npt.NDArray[np.float32]], labels: list[npt.NDArray[np.int64]]) -> tuple[Tensor, Tensor]:
    """Lists of (M_i, 4) and (M_i,) → (B, M, 4) float32 and (B, M) int64 with NO_OBJECT in unused rows; M ≥ 1."""
    most = max([1, *(len(image) for image in labels)])
    padded_boxes = np.zeros((len(boxes), most, 4), np.float32)
    padded_labels = np.full((len(boxes), most), NO_OBJECT, np.int64)
    for number, (image_boxes, image_labels) in enumerate(zip(boxes, labels, strict=True)):
        padded_boxes[number, : len(image_boxes)] = image_boxes
        padded_labels[number, : len(image_labels)] = image_labels
    return torch.from_numpy(padded_boxes), torch.from_numpy(padded_labels)
