"""Two models' results as text: which differences are more than noise, and which params differ."""

import json
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from panvision.core.tasks import TASKS
from panvision.experiments.paired import Comparison, Difference
from panvision.experiments.tables import LINE, cut, number, reason_text, table

EXPLANATION = (
    "Change: second minus first, with its 95 % interval over the groups of common test images. By chance alone, "
    "one metric in twenty leaves its interval: trust metrics that you named before. Fewer than 10 groups that have "
    "something to measure (few groups) give no interval."
)
ABSENT = "absent"
_NAME, _REVISION, _VALUE = 20, 9, 18  # longest name of a metric, of a revision, and value of a param, in text

# Key → its values in `one` and `other`, each left out where the key is missing; None where params are unknown.
Params = dict[str, dict[str, Any]] | None


def differing(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> Params:
    """Return the params in which two runs differ; None where those of a run are unknown."""
    if one is None or other is None:
        return None
    found: dict[str, dict[str, Any]] = {}
    for key in sorted({*one, *other}):
        sides = {name: side[key] for name, side in (("one", one), ("other", other)) if key in side}
        if len(sides) == 1 or _typed(sides["one"]) != _typed(sides["other"]):
            found[key] = sides
    return found


def _typed(value: Any) -> str:
    # JSON, because True == 1 in Python.
    return json.dumps(value, sort_keys=True, default=str)


@dataclass(frozen=True)
class _Block:
    """A line, and below it a table without rows where there is nothing to show."""

    title: str
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def text(one: str, other: str, found: Sequence[Comparison], params: Params = None) -> str:
    """Return the comparison for a terminal of 80 columns: a verdict per task, then tables."""
    lines = [f"{task.task:<16}{_verdict(task)}" for task in found]
    for block in _blocks(cut(one, _REVISION), cut(other, _REVISION), found, params):
        lines += ["", *textwrap.wrap(block.title, LINE, subsequent_indent="  ")]
        if block.rows:
            rows = [block.header, *(_grouped(block.rows) if len(block.header) > 3 else block.rows)]
            widths = [max(map(len, column)) + 2 for column in zip(*rows, strict=True)]
            lines += [f"  {line}" for line in table(widths[:-1], rows)]
    return "\n".join([*lines, "", *textwrap.wrap(EXPLANATION, LINE)])


def _verdict(task: Comparison) -> str:
    """Return the verdict on a task by its first metric, with the interval of the difference."""
    metric = TASKS[task.task].metrics[0]
    for each in task.differences:
        if each.name == metric.key:
            one, other, difference, interval = cells(each)
            between = f" ({interval})" if interval else ""
            return f"{_word(each):<8}{metric.name} {one} to {other}: {difference}{between}"
    return f"not compared: {task.remark}" if task.remark else "nothing to compare"


def _word(each: Difference) -> str:
    return "noise" if each.verdict == "within noise" else each.verdict


def _grouped(rows: Sequence[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Yield rows with short names: those of classes, `ap50.pan`, below a line with their metric."""
    above = ""
    for name, *others in rows:
        metric, _, label = name.partition(".")
        if label and metric != above:
            yield metric, *[""] * len(others)
        above = metric
        yield cut(f"  {label}" if label else metric, _NAME), *others


def markdown(one: str, other: str, found: Sequence[Comparison], params: Params = None) -> str:
    """Return the comparison as Markdown."""
    lines = [f"- {task.task}: {_verdict(task)}" for task in found]
    for block in _blocks(one, other, found, params):
        lines += ["", block.title]
        if block.rows:
            lines += ["", _row(block.header), "|---" * len(block.header) + "|", *map(_row, block.rows)]
    return "\n".join([*lines, "", EXPLANATION])


def _row(cells: Sequence[str]) -> str:
    bold = (f"**{cell}**" if cell in ("better", "worse") else cell.replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(bold)} |"


def _blocks(one: str, other: str, found: Sequence[Comparison], params: Params) -> Iterator[_Block]:
    """Yield the params that differ, then each task's metrics."""
    if params is not None:
        differ = f"{len(params)} differ{'s' if len(params) == 1 else ''}" if params else "the same in both"
        changes = tuple((key, *shown(sides)) for key, sides in params.items())
        yield _Block(f"params: {differ}", ("key", one, other), changes)
    for task in found:
        header = ("metric", one, other, "change", "95 % interval", "")
        rows = tuple((each.name, *cells(each), _word(each)) for each in task.differences)
        yield _Block(f"{task.task}: {described(task)}", header, rows)


def described(task: Comparison) -> str:
    """Return the images that one task's metrics were measured on."""
    if not task.trained:
        # A model without the task has no results, so there are no two test splits that could differ.
        return f"not compared: {task.remark}"
    parts = [f"{task.images} common test images in {task.groups} groups"]
    words = Counter(map(_word, task.differences))
    if words:
        parts.append(f"of {len(task.differences)} metrics {words['better']} better and {words['worse']} worse")
    if task.only_one or task.only_other:
        parts.append(
            f"the test splits differ: {task.only_one} images only in the first, {task.only_other} only in the second; "
            "these do not count here"
        )
    if task.relabelled:
        parts.append(f"{task.relabelled} images have other labels, and each model is scored against its own")
    if task.remark:
        parts.append(f"not compared: {task.remark}")
    return "; ".join(parts)


def cells(each: Difference) -> tuple[str, str, str, str]:
    """Return both metrics, their difference and its interval as text."""
    interval = reason_text(each.reason) if each.low is None else f"{each.low:+.3f} to {each.high:+.3f}"
    return number(each.one), number(each.other), number(each.difference, "+.3f"), interval


def shown(sides: Mapping[str, Any]) -> tuple[str, str]:
    """Return both values of a param as text of at most 18 characters."""
    texts = {name: cut(json.dumps(value, ensure_ascii=False, default=str), _VALUE) for name, value in sides.items()}
    return texts.get("one", ABSENT), texts.get("other", ABSENT)
