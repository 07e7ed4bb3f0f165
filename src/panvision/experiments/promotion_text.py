"""A decision of `promotion` as text for a terminal of 80 columns."""

import itertools
import textwrap
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from panvision.core.tasks import TASKS
from panvision.experiments.compare import cells
from panvision.experiments.promotion import ANSWERED, Judged, Promotion, TaskDecision
from panvision.experiments.tables import LINE, cut, table

FEW = 5  # changed images that are listed of each kind and task
_WIDTHS = (22, 10, 10, 8, 18)
EXPLANATION = (
    "Change: new minus current, with its 95 % interval over the groups of images. Headline metrics decide: better "
    "(interval above 0), not worse (above -{max_drop:g}), worse (below 0), else undecided. Of many classes and "
    "slices, some are better or worse by chance."
)
_MEANINGS = {
    "better": "no headline metric is worse by more than {max_drop:g}, and one or more is better",
    "not worse": "no headline metric is worse by more than {max_drop:g}",
    "worse": "a headline metric is worse, and may be so by more than {max_drop:g}",
    "undecided": "too few images to exclude a loss of more than {max_drop:g}; score more, or raise --max_drop",
}


class _Row(NamedTuple):
    """One metric below a title, for example `ap50` of a detection class."""

    title: str
    name: str
    judged: Judged


def text(promotion: Promotion) -> str:
    """Return the decision, a table of each task's headline metrics, what else differs, and the changed images."""
    first = f"{promotion.decision}: {_MEANINGS[promotion.decision].format(max_drop=promotion.max_drop)}"
    lines = textwrap.wrap(first, LINE, subsequent_indent="  ")
    for task, found in promotion.tasks.items():
        comparison = found.comparison
        title = f"{task}: {comparison.images} images in {comparison.groups} groups"
        rows = list(_headlines(task, found))
        lines += ["", title, *(_table(rows) if rows else [f"  undefined: {comparison.remark or 'nothing to measure'}"])]
    rows = [row for task, found in promotion.tasks.items() for row in _differing(task, found)]
    if rows:
        lines += ["", "other metrics, classes and slices that are better or worse", *_table(rows)]
    for task, found in promotion.tasks.items():
        lines += _changed(task, found)
    return "\n".join([*lines, "", *textwrap.wrap(EXPLANATION.format(max_drop=promotion.max_drop), LINE)])


def _headlines(task: str, found: TaskDecision) -> Iterator[_Row]:
    metrics = {each.difference.name: each for each in found.metrics}
    for metric in TASKS[task].metrics:
        if metric.key in metrics:
            yield _Row("", metric.name, metrics[metric.key])
    if ANSWERED in metrics:
        yield _Row("", ANSWERED, metrics[ANSWERED])


def _differing(task: str, found: TaskDecision) -> Iterator[_Row]:
    """Yield what is better or worse, other than the headline metrics of all images."""
    headlines = {metric.key: metric.name for metric in TASKS[task].metrics} | {ANSWERED: ANSWERED}
    rows = []
    for each in found.metrics:
        metric, _, label = each.difference.name.partition(".")
        if each.difference.name not in headlines:
            rows.append(_Row(f"{task}, {metric}", label or "all", each))
    for part in found.slices:
        title = f"{task}, {part.name}, {part.images} images"
        rows += [_Row(title, headlines[each.difference.name], each) for each in part.metrics]
    yield from (row for row in rows if row.judged.decision in ("better", "worse"))


def _table(rows: Sequence[_Row]) -> list[str]:
    """Return metrics as lines of at most 80 characters, below the titles that they share."""
    lines = table(_WIDTHS, [("", "current", "new", "change", "95 % interval", "")])
    for title, own in itertools.groupby(rows, key=lambda row: row.title):
        lines += [cut(title, LINE - 2)] * bool(title)
        shown = ((cut(row.name, 20), *cells(row.judged.difference), row.judged.decision) for row in own)
        lines += table(_WIDTHS, shown)
    return [f"  {line}" for line in lines]


def _changed(task: str, found: TaskDecision) -> list[str]:
    lines: list[str] = []
    for right, word in ((False, "wrong"), (True, "right")):
        own = [each for each in found.changes if each.right is right]
        if own:
            lines += ["", f"{task}: {len(own)} image{'s' * (len(own) > 1)} became {word}"]
        for each in own[:FEW]:
            lines += [f"  {each.file}", f"    {cut(each.current, 34)} → {cut(each.new, 34)}"]
        if len(own) > FEW:
            lines.append(f"  … and {len(own) - FEW} more (--record FILE lists them)")
    return lines
