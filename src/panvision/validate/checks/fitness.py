"""What a later stage would refuse: datasets that a task needs and cannot learn from, and settings that do not fit."""

from collections.abc import Iterator, Sequence

from panvision.core.order import find_order
from panvision.core.tasks import MOST_CLASSES, Dataset
from panvision.dataset.packed import PackedSet
from panvision.dataset.problems import Problem, problem

_NAMED = {"detection": "classes of boxes", "classification": "class labels"}


def unfit_datasets(
    packed: Sequence[PackedSet], needed: Sequence[Dataset], order: Sequence[str] | None
) -> Iterator[Problem]:
    """Find what makes a training useless: its model could not be scored, exported or loaded.

    Args:
        packed: all datasets; one that is absent has no images.
        needed: those that the model's tasks learn from.
        order: the setting `classification.order`.
    """
    for own in packed:
        if own.task not in needed:
            continue
        if not len(own):
            others = ", ".join(other.task for other in packed if len(other)) or "none"
            reason = f"has no images, but `tasks` needs it; those with images are: {others}"
            yield problem("set_missing", own.task, reason)
        elif len(own.classes) > MOST_CLASSES:
            reason = f"has {len(own.classes)} {_NAMED[own.task]}; a model file names at most {MOST_CLASSES}"
            yield problem("classes_too_many", own.task, reason)
        elif own.labels is not None and not any(len(labels) for labels in own.labels):
            yield problem("boxes_none", own.task, f"none of its {len(own)} images has a box")
        elif own.states is not None:
            yield from _unfit_labels(own, order)


def _unfit_labels(packed: PackedSet, order: Sequence[str] | None) -> Iterator[Problem]:
    """Check class labels, of which there should be two, and their order."""
    if len(set(packed.states.tolist() if packed.states is not None else ())) == 1:
        yield problem("class_alone", packed.task, f"all {len(packed)} images are of one class")
    try:
        find_order(order, packed.classes)
    except ValueError as error:
        yield problem("order_unfit", packed.task, str(error).partition(";")[0])
