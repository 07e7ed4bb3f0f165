"""The packed datasets with their splits."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from panvision.core.tasks import DATASETS, TASKS, datasets_of
from panvision.dataset.packed import PackedError, PackedSet, Split, open_packed, read_splits
from panvision.training.data.batches import Rows


@dataclass(frozen=True)
class Sets:
    """The packed datasets and the rows of their splits.

    Attributes:
        packed: by dataset, all of one image size; those without images are absent.
        rows: dataset → split → rows; no training or validation split is empty.
    """

    packed: dict[str, PackedSet]
    rows: dict[str, dict[str, Rows]]

    @property
    def image_size(self) -> int:
        """Side S of the images in pixels."""
        return next(iter(self.packed.values())).image_size

    @property
    def det_classes(self) -> list[str]:
        """Names of the detection classes."""
        return self.packed["detection"].classes if "detection" in self.packed else []

    @property
    def cls_classes(self) -> list[str]:
        """Class labels of the classification dataset."""
        return self.packed["classification"].classes if "classification" in self.packed else []

    def split(self, name: Split, tasks: Collection[str] = tuple(TASKS)) -> dict[str, Rows]:
        """Return the rows of one split, for each dataset that some tasks learn from.

        Raises:
            PackedError: such a dataset is absent.
        """
        needed = datasets_of(tasks)
        if missing := [dataset for dataset in needed if dataset not in self.rows]:
            raise PackedError(
                f"{' and '.join(missing)}: no images, but `tasks` needs them; add them, or change `tasks`"
            )
        return {dataset: self.rows[dataset][name] for dataset in needed}


def open_sets(prepared: str | Path, splits: str | Path) -> Sets:
    """Open what `prepare` and `validate` wrote.

    Args:
        prepared: folder of `prepare`'s outputs, one subfolder per dataset.
        splits: the splits.csv that `validate` wrote.

    Raises:
        PackedError: a file is missing or damaged, the datasets differ in image size, or a training or validation
            split is empty.
    """
    opened = (open_packed(Path(prepared) / each, each) for each in DATASETS)
    packed: dict[str, PackedSet] = {own.task: own for own in opened if len(own)}
    if not packed:
        raise PackedError(f"{prepared}: no dataset has images; add some below data.root")
    rows: dict[str, dict[str, Rows]] = {each: read_splits(splits, own.task, own.files) for each, own in packed.items()}
    sizes = {dataset: own.image_size for dataset, own in packed.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{dataset} {size}" for dataset, size in sizes.items())
        raise PackedError(f"{prepared}: image sizes differ ({listed}); run `python stages/prepare.py` for every task")
    for dataset in packed:
        for split in ("train", "val"):
            if not len(rows[dataset][split]):
                raise PackedError(f"{splits}: no {dataset} image is in {split}; add images, or raise split.{split}")
    return Sets(packed, rows)
