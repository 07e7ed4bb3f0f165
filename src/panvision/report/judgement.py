"""The box at the top of the report: what speaks for the model, and what must be checked before it is used."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from pydantic import JsonValue

from panvision.core.tasks import TASKS, Task
from panvision.report.findings import ProblemRow
from panvision.report.metrics import BETTER, WORSE, MetricTables

Level = Literal["good", "doubt", "bad", "note"]
HEADINGS: dict[Level, str] = {
    "good": "In order",
    "doubt": "Usable, with remarks",
    "bad": "Worse: do not ship it",
}
_ORDER: tuple[Level, ...] = ("bad", "doubt", "good", "note")


class Remark(NamedTuple):
    """A sentence about the run, and what it means for the use of the model."""

    level: Level
    text: str


class Judgement(NamedTuple):
    """The remarks, the most serious first."""

    remarks: list[Remark]

    @property
    def level(self) -> Level:
        """The level of the most serious remark; notes do not count."""
        return next((remark.level for remark in self.remarks if remark.level != "note"), "good")

    @property
    def heading(self) -> str:
        """The result in a few words."""
        return HEADINGS[self.level]


def judge_run(
    tables: Mapping[Task, MetricTables],
    previous: str,
    problems: Sequence[ProblemRow],
    export: Mapping[str, JsonValue],
) -> Judgement:
    """Collect the remarks on a run.

    Args:
        tables: metrics of the tasks that the model has.
        previous: the earlier commit that they are compared with, "" without one.
        problems: of the raw data.
        export: content of export.json, empty for a model that was not exported.
    """
    found = [*_on_metrics(tables, previous), *_on_data(problems), *_on_export(export)]
    return Judgement(sorted(found, key=lambda remark: _ORDER.index(remark.level)))


def _on_metrics(tables: Mapping[Task, MetricTables], previous: str) -> list[Remark]:
    keys = {metric.key for task in tables for metric in TASKS[task].metrics}
    headlines = [entry for own in tables.values() for entry in own.whole if entry.metric.key in keys]
    found = []
    if undefined := [entry.metric.name for entry in headlines if entry.value is None]:
        found.append(Remark("doubt", f"Undefined on this test split: {', '.join(undefined)}."))
    worse, better = (
        ", ".join(entry.metric.name for entry in headlines if entry.verdict == verdict) for verdict in (WORSE, BETTER)
    )
    if worse:
        found.append(Remark("bad", f"Worse than at {previous}: {worse}."))
    if better:
        found.append(Remark("good", f"Better than at {previous}: {better}."))
    if previous and not worse and not better:
        found.append(Remark("note", f"No headline metric is known to be better or worse than at {previous}."))
    weakest = [text for own in tables.values() if (text := _weakest(own))]
    if weakest:
        found.append(Remark("note", f"Weakest classes: {'; '.join(weakest)}."))
    return found


def _weakest(tables: MetricTables) -> str:
    """Return the class with the lowest value of the first metric as text; "" with fewer than two classes."""
    rows = [(row.entries[0].value, row) for row in tables.classes if row.entries]
    values = [(value, row) for value, row in rows if value is not None]
    if len(values) < 2:
        return ""
    value, row = min(values, key=lambda pair: pair[0])
    return f"{row.name}, {row.entries[0].metric.name} {row.entries[0].shown(value)}"


def _on_data(problems: Sequence[ProblemRow]) -> list[Remark]:
    warnings = sum(row.count for row in problems if row.severity != "fixed")
    if not warnings:
        return [Remark("good", "The raw data have no open problem.")]
    return [Remark("doubt", f"{warnings} open problem{'' if warnings == 1 else 's'} in the raw data.")]


def _on_export(export: Mapping[str, JsonValue]) -> list[Remark]:
    found = []
    parity, int8 = export.get("parity"), export.get("int8")
    if isinstance(parity, dict) and parity.get("passed") is not None:
        passed = bool(parity["passed"])
        text = f"The ONNX file gives {'the results of' if passed else 'other results than'} its checkpoint."
        found.append(Remark("good" if passed else "bad", text))
    if isinstance(int8, dict) and int8.get("accepted") is not None:
        accepted = bool(int8["accepted"])
        text = "The INT8 file is accepted." if accepted else "The INT8 file is not accepted: use the float file."
        found.append(Remark("good" if accepted else "doubt", text))
    return found
