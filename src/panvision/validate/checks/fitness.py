"""Find what a later stage would refuse: datasets that a task cannot learn from, and settings that do not fit."""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple, Self

from panvision.core.order import find_order
from panvision.core.tasks import MOST_CLASSES, Dataset
from panvision.dataset.packed import PackedSet
from panvision.dataset.problems import Problem, problem

_NAMED = {"detection": "classes of boxes", "classification": "class labels"}


class LabelFacts(NamedTuple):
    """Facts of a dataset's labels, known before or after its images are decoded.

    Attributes:
        task: the dataset.
        images: number of images.
        classes: class names.
        boxes: number of boxes; None for the other datasets.
        labels: class labels that images have; None for the other datasets.
        broken: its labels have errors. They explain a dataset without boxes.
    """

    task: Dataset
    images: int
    classes: Sequence[str]
    boxes: int | None = None
    labels: Collection[object] | None = None
    broken: bool = False

    @classmethod
    def of(cls, packed: PackedSet, *, broken: bool) -> Self:
        """Return the facts of a packed dataset."""
        boxes = None if packed.labels is None else sum(map(len, packed.labels))
        labels = None if packed.states is None else set(packed.states.tolist())
        return cls(packed.task, len(packed), packed.classes, boxes, labels, broken)


def unfit_datasets(
    datasets: Sequence[LabelFacts], needed: Sequence[Dataset], order: Sequence[str] | None
) -> Iterator[Problem]:
    """Find what makes a training useless: its model could not be scored, exported or loaded.

    Args:
        datasets: all of them; one that is absent has no images.
        needed: those that the model's tasks learn from.
        order: the setting `classification.order`.
    """
    for own in datasets:
        if own.task not in needed:
            continue
        if not own.images:
            others = ", ".join(other.task for other in datasets if other.images) or "none"
            reason = f"has no images, but `tasks` needs it; those with images are: {others}"
            yield problem("set_missing", own.task, reason)
        elif len(own.classes) > MOST_CLASSES:
            reason = f"has {len(own.classes)} {_NAMED[own.task]}; a model file names at most {MOST_CLASSES}"
            yield problem("classes_too_many", own.task, reason)
        elif own.boxes == 0 and not own.broken:
            yield problem("boxes_none", own.task, f"none of its {own.images} images has a box")
        elif own.labels is not None:
            yield from _unfit_labels(own, own.labels, order)


def _unfit_labels(own: LabelFacts, labels: Collection[object], order: Sequence[str] | None) -> Iterator[Problem]:
    """Check class labels, of which there should be two, and their order."""
    if len(labels) == 1:
        yield problem("class_alone", own.task, f"all {own.images} images are of one class")
    try:
        find_order(order, own.classes)
    except ValueError as error:
        yield problem("order_unfit", own.task, str(error).partition(";")[0])
