"""Two models' results as text: which differences are more than noise, and which params differ."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from panvision.experiments.paired import Comparison, Difference
from panvision.experiments.tables import cut, number, reason_text, table

EXPLANATION = (
    "Difference: second minus first, with its 95 % interval over the groups of common test images. By chance alone, "
    "one metric in twenty leaves its interval: trust metrics that you named before. Fewer than 10 groups that have "
    "something to measure (few groups) give no interval."
)
ABSENT = "absent"

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
    """Return the comparison as tables for a terminal."""
    lines = [summary(found)]
    for block in _blocks(cut(one, 10), cut(other, 10), found, params):
        lines += ["", block.title]
        if block.rows:
            columns = zip(block.header, *block.rows, strict=True)
            widths = [max(map(len, column)) + 2 for column in columns]
            lines += [f"  {line}" for line in table(widths[:-1], [block.header, *block.rows])]
    return "\n".join([*lines, "", EXPLANATION])


def markdown(one: str, other: str, found: Sequence[Comparison], params: Params = None) -> str:
    """Return the comparison as Markdown."""
    lines = [f"**{summary(found)}**"]
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
        header = ("metric", one, other, "difference", "95 % interval", "")
        rows = tuple((each.name, *cells(each), each.verdict) for each in task.differences)
        yield _Block(f"{task.task}: {described(task)}", header, rows)


def summary(found: Sequence[Comparison]) -> str:
    """Return one sentence with every difference that is more than noise."""
    named = {
        verdict: [f"{task.task} {each.name}" for task in found for each in task.differences if each.verdict == verdict]
        for verdict in ("better", "worse")
    }
    if not any(task.differences for task in found):
        return "There is nothing to compare."
    if not any(named.values()):
        return "No difference is more than noise."
    parts = [f"{verdict}: {', '.join(names)}" for verdict, names in named.items() if names]
    return f"More than noise: {'; '.join(parts)}. All else is within noise."


def described(task: Comparison) -> str:
    """Return the images that one task's metrics were measured on."""
    if not task.trained:
        # A model without the task has no results, so there are no two test splits that could differ.
        return f"not compared: {task.remark}"
    parts = [f"{task.images} common test images in {task.groups} groups"]
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
    """Return both values of a param as text of at most 24 characters."""
    texts = {name: cut(json.dumps(value, ensure_ascii=False, default=str), 24) for name, value in sides.items()}
    return texts.get("one", ABSENT), texts.get("other", ABSENT)
