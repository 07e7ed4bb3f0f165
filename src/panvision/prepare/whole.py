"""Checks of a dataset as a whole, after all its samples were loaded: labels that are wrong in one way everywhere.

Each of these labels is plausible by itself; a model trained on all of them would learn something else.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from panvision.dataset.problems import Problem, problem
from panvision.photos.masks import IGNORED, LAST_CLASS_NUMBER, LabelTable, is_ignored
from panvision.prepare.formats.forms import check_forms
from panvision.prepare.formats.layout import Sample
from panvision.prepare.formats.mask_labels import PanClasses, list_counts, unknown_pan
from panvision.prepare.load import Facts

# Problems of single labels that repeat what one problem says of all of them.
_REPEATED = {
    "boxes_other_form": {"box_clipped", "box_outside", "box_negative", "box_zero_area", "mask_empty", "outline_broken"},
    "crowds_only": {"crowd_ignored"},
    "masks_alike": {"mask_full", "mask_empty"},
    "pan_unclear": {"mask_full", "mask_empty", "mask_not_binary"},
    "mask_void": {"mask_not_binary"},
}
# A brightness is a label, not an anti-aliased edge, if this fraction of the masks has it, and this number.
_COMMON, _FEW_MASKS = 0.2, 3

_Mask = tuple[Sample, Facts]


def check_dataset(
    samples: Sequence[Sample],
    facts: Sequence[Facts | None],
    problems: Iterable[Problem],
    pan_classes: PanClasses,
) -> list[Problem]:
    """Return the problems with those of the dataset as a whole, and without those that the latter explain.

    Args:
        samples: of one dataset.
        facts: of each sample; None if its image cannot be decoded.
        problems: of single files and samples.
        pan_classes: `data.pan_classes`.
    """
    found = check_forms(samples, [None if one is None else one.size for one in facts])
    usable = [(sample, one) for sample, one in zip(samples, facts, strict=True) if one and one.pan_fraction is not None]
    found += _check_labels([(sample, one) for sample, one in usable if sample.mask], pan_classes)
    if not any(one.severity == "error" for one in found):
        found += _check_shares(usable)
    found += problems
    explained = {code for one in found for code in _REPEATED.get(one.code, ())}
    return [one for one in found if one.code not in explained]


def _check_labels(masks: Sequence[_Mask], pan_classes: PanClasses) -> list[Problem]:
    """Check that the labels in mask files are one pan, or that the params say which are."""
    if not masks:
        return []
    first = masks[0][0]
    folder = str(PurePosixPath(first.mask).parent)
    counts = Counter(label for _, one in masks for label in one.mask_labels)
    if first.mask_table is not None:
        return list(_check_names(counts, first.mask_table, pan_classes, folder))
    small = {label for label in counts if label.isdecimal() and int(label) <= LAST_CLASS_NUMBER}
    void = str(IGNORED)
    both = [sample for sample, one in masks if void in one.mask_labels and small & set(one.mask_labels)]
    alone = [sample for sample, one in masks if one.mask_labels == (void,)]
    if both and alone:
        reason = f"{void} is alone in {alone[0].mask}, but beside class numbers in {both[0].mask}"
        return [problem("pan_unclear", folder, f"{reason}: {list_counts(counts)}")]
    common = max(_FEW_MASKS, _COMMON * len(masks))
    labels = {label for label, count in counts.items() if label in small or "," in label or count >= common}
    labels -= {void} if small else set()
    if len(labels) > 1 and pan_classes is None:
        return [problem("pan_unclear", folder, f"its masks hold several labels: {list_counts(counts)}")]
    return [problem("mask_void", folder, _void(len(both), void))] if both else []


def _check_names(counts: Counter[str], table: LabelTable, pan_classes: PanClasses, folder: str) -> Iterable[Problem]:
    """Check labels that a file or the params name."""
    names = set(table.names.values())
    pan = table.pan or frozenset[str]()
    unknown = {label for label in counts if names and not is_ignored(label)} - names - pan
    absent = pan - counts.keys()
    if unknown:
        values = list_counts(Counter({label: counts[label] for label in unknown}))
        reason = f"its masks hold values without a name: {values}; the names are {', '.join(sorted(names))[:200]}"
        yield problem("pan_unclear", folder, reason)
    elif absent:
        yield unknown_pan(absent, counts, folder)
    elif pan_classes is None and sum(table.is_pan(label) for label in counts) > 1:
        yield problem("pan_unclear", folder, f"its masks hold several labels: {list_counts(counts)}")
    for label in sorted(counts):
        if is_ignored(label) and not table.is_pan(label):
            yield problem("mask_void", folder, _void(counts[label], label))


def _check_shares(usable: Sequence[_Mask]) -> list[Problem]:
    """Check that some mask marks a part of its image."""
    shares = {one.pan_fraction for _, one in usable}
    if len(usable) < 2 or not shares <= {0.0, 1.0}:
        return []
    first = usable[0][0]
    folder = str(PurePosixPath(first.mask or first.file).parent)
    counts = Counter(label for _, one in usable for label in one.mask_labels)
    what = "marks all or nothing" if len(shares) > 1 else "marks nothing" if 0.0 in shares else "marks the whole image"
    values = f"; the values found but 0: {list_counts(counts)}" if counts else ""
    return [problem("masks_alike", folder, f"each of its {len(usable)} masks {what}{values}")]


def _void(count: int, label: str) -> str:
    return f"{count} masks mark pixels to be ignored ({label}); they are trained as background"
