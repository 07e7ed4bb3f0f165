"""The training datasets as one endless stream of batches, addressed by step.

Step k of a run always holds the same samples with the same augmentation, for any number of workers and any first step:
the row and the seed of each sample follow from (seed, dataset, position) alone. The samples of a dataset therefore do
not depend on the other datasets.
"""

import zlib
from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from panvision.core.tasks import DATASETS, Dataset
from panvision.dataset.packed import PackedSet, open_packed
from panvision.training.data.augment import Augmentation
from panvision.training.data.balance import BalancedOrder
from panvision.training.data.batches import Batch, Rows, make_batch
from panvision.training.data.samples import Sample, load_sample
from panvision.training.data.settings import AugmentSettings


class TrainingStream(TorchDataset[Batch]):
    """`stream[step]` is the batch of one optimiser step, of all datasets in `rows`.

    Args:
        packed: packed datasets by name.
        rows: the training rows of each dataset that is trained on.
        augment: augmentation settings, of which each dataset takes its own.
        batch_size: images per dataset.
        seed: decides order and augmentation.
        class_balance: how far rare classes come more often in datasets with one class label for each image: 0 as often
            as there are images, 1 every class equally often.
        part: index of this shard of every batch, and the number of equal shards; by default the whole batch.

    Raises:
        TrainingError: a transform does not say how it moves boxes.
    """

    def __init__(
        self,
        packed: Mapping[str, PackedSet],
        rows: Mapping[str, Rows],
        augment: AugmentSettings,
        *,
        batch_size: int,
        seed: int,
        class_balance: float = 0.0,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self._rows: dict[Dataset, Rows] = {dataset: rows[dataset] for dataset in DATASETS if dataset in rows}
        # A folder where the dataset is not open yet, as in a worker that was not forked.
        self._packed: dict[Dataset, PackedSet | Path] = {dataset: packed[dataset] for dataset in self._rows}
        self._augmentations = {dataset: Augmentation(augment.of(dataset)) for dataset in self._rows}
        self._batch_size, self._seed, self._part = batch_size, seed, part
        self._balance = class_balance
        self._balanced: dict[Dataset, BalancedOrder | None] = {}

    def __getitem__(self, step: int) -> Batch:
        part, parts = self._part
        size = self._batch_size // parts
        first = step * self._batch_size + part * size
        positions = range(first, first + size)
        indexes = {dataset: [self._index(dataset, position) for position in positions] for dataset in self._rows}
        samples: dict[str, Iterator[Sample]] = {
            dataset: map(partial(self._sample, dataset), positions, own) for dataset, own in indexes.items()
        }
        return make_batch(samples, {dataset: self._rows[dataset][own] for dataset, own in indexes.items()})

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a worker that is not forked: folders instead of arrays, and rows in a few bits each."""
        packed = {
            dataset: own.folder.absolute() if isinstance(own, PackedSet) and isinstance(own.images, np.memmap) else own
            for dataset, own in self._packed.items()
        }
        rows = {
            dataset: zlib.compress(np.diff(own.astype(np.int64), prepend=0).tobytes())
            for dataset, own in self._rows.items()
        }
        return {**self.__dict__, "_packed": packed, "_rows": rows, "_balanced": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        rows = {
            dataset: np.frombuffer(zlib.decompress(own), np.int64).cumsum() for dataset, own in state["_rows"].items()
        }
        self.__dict__.update({**state, "_rows": rows})

    def _index(self, dataset: Dataset, position: int) -> int:
        """Return the index into the dataset's rows: each cycle in another order, every row once unless balanced."""
        length = len(self._rows[dataset])
        cycle, place = divmod(position, length)
        shuffled = int(_order(self._seed, DATASETS.index(dataset), cycle, length)[place])
        balanced = self._balanced_order(dataset) if self._balance else None
        return shuffled if balanced is None else balanced(cycle, shuffled)

    def _balanced_order(self, dataset: Dataset) -> BalancedOrder | None:
        """Return the balanced order of a dataset; None if its images have no class label."""
        if dataset not in self._balanced:
            states, key = self._open(dataset).states, (self._seed, DATASETS.index(dataset), 0, 3)
            rows = self._rows[dataset]
            self._balanced[dataset] = None if states is None else BalancedOrder(states[rows], self._balance, key)
        return self._balanced[dataset]

    def _sample(self, dataset: Dataset, position: int, index: int) -> Sample:
        """Return the augmented sample of one position."""
        sample = load_sample(self._open(dataset), self._rows[dataset][index])
        key = (self._seed, DATASETS.index(dataset), position, 1)
        seed = int(np.random.SeedSequence(key).generate_state(1)[0])
        return self._augmentations[dataset](sample, seed, partial(next, self._others(dataset, position, index)))

    def _others(self, dataset: Dataset, position: int, index: int) -> Iterator[Sample]:
        """Yield further samples of a dataset, none of them the one at `index` if there is another."""
        rows = self._rows[dataset]
        chance = np.random.default_rng((self._seed, DATASETS.index(dataset), position, 2))
        while True:
            further = 1 + int(chance.integers(max(1, len(rows) - 1)))
            yield load_sample(self._open(dataset), rows[(index + further) % len(rows)])

    def _open(self, dataset: Dataset) -> PackedSet:
        own = self._packed[dataset]
        if isinstance(own, Path):
            own = self._packed[dataset] = open_packed(own, dataset)
        return own


# A batch may reach into the next cycle. Shuffling a large dataset at every step would take longer than reading it.
@lru_cache(maxsize=2 * len(DATASETS))
def _order(seed: int, number: int, cycle: int, length: int) -> Rows:
    """Return the order of a dataset's samples in one cycle, (length,)."""
    return np.random.default_rng((seed, number, cycle)).permutation(length)


def training_batches(
    stream: TrainingStream, *, start: int, stop: int, workers: int, pin_memory: bool
) -> Iterator[Batch]:
    """Return the batches of steps `start` to `stop` - 1, in order."""
    loader: DataLoader[Batch] = DataLoader(
        stream,
        batch_size=None,
        sampler=range(start, stop),
        num_workers=workers,
        pin_memory=pin_memory,
    )
    return iter(loader)
