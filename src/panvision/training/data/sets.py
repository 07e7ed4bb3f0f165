"""The packed datasets with their splits."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from panvision.core.tasks import DATASETS, TASKS
from panvision.dataset.packed import PackedError, PackedSet, Split, open_packed, read_splits
from panvision.training.data.batches import Rows


@dataclass(frozen=True)
class Sets:
    """The packed datasets and the rows of their splits.

    Attributes:
        packed: by dataset, all of one image size.
        rows: dataset → split → rows; no training or validation split is empty.
    """

    packed: dict[str, PackedSet]
    rows: dict[str, dict[str, Rows]]

    @property
    def image_size(self) -> int:
        """Side S of the images in pixels."""
        return self.packed["segmentation"].image_size

    @property
    def det_classes(self) -> list[str]:
        """Names of the detection classes."""
        return self.packed["detection"].classes

    @property
    def cls_classes(self) -> list[str]:
        """Class labels of the classification dataset."""
        return self.packed["classification"].classes

    def split(self, name: Split, tasks: Collection[str] = tuple(TASKS)) -> dict[str, Rows]:
        """Return the rows of one split, for each dataset that some tasks learn from."""
        needed = {TASKS[task].dataset for task in tasks}
        return {dataset: self.rows[dataset][name] for dataset in DATASETS if dataset in needed}


def open_sets(prepared: str | Path, splits: str | Path) -> Sets:
    """Open what `prepare` and `validate` wrote.

    Args:
        prepared: folder of `prepare`'s outputs, one subfolder per dataset.
        splits: the splits.csv that `validate` wrote.

    Raises:
        PackedError: a file is missing or damaged, the datasets differ in image size, or a training or validation
            split is empty.
    """
    packed: dict[str, PackedSet] = {each: open_packed(Path(prepared) / each, each) for each in DATASETS}
    rows: dict[str, dict[str, Rows]] = {each: read_splits(splits, each, packed[each].files) for each in DATASETS}
    sizes = {dataset: own.image_size for dataset, own in packed.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{dataset} {size}" for dataset, size in sizes.items())
        raise PackedError(f"{prepared}: image sizes differ ({listed}); run `python stages/prepare.py` for every task")
    for dataset in DATASETS:
        for split in ("train", "val"):
            if not len(rows[dataset][split]):
                raise PackedError(f"{splits}: no {dataset} image is in {split}; add images, or raise split.{split}")
    return Sets(packed, rows)
