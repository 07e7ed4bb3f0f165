"""The raw data and what is wrong with them: a section of the report, or a page of its own."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from panvision.dataset.packed import PackedSet
from panvision.dataset.problems import COLUMNS, Problem, Severity
from panvision.photos.settings import DataSettings
from panvision.report.archive import Archive
from panvision.report.findings import SEVERITIES, draw_findings, problem_rows
from panvision.report.inputs import DataMetrics, read_metrics, read_table
from panvision.report.rendering import render

TEMPLATE = "data.html.jinja"
_KNOWN: dict[str, Severity] = {"error": "error", "warning": "warning", "fixed": "fixed"}


def build_data_page(
    problems: Iterable[Problem],
    packed: Iterable[PackedSet],
    *,
    splits: str | Path | None,
    metrics: str | Path | None,
    data: DataSettings,
    limit: int,
    missing: str = "",
) -> str:
    """The page as HTML, the same for the same inputs.

    Args:
        problems: of all sets; files are `task/file`.
        packed: the sets that could be packed.
        splits: splits.csv; None if the sets could not be split.
        metrics: data.json, likewise.
        data: where the raw pictures lie and how large they may be.
        limit: pictures shown of each kind of problem.
        missing: what stands in place of the figures if there are none.

    Raises:
        ReportError: `splits` or `metrics` is missing or damaged.
    """
    problems = sorted(set(problems))
    archive = Archive.open(list(packed), None if splits is None else Path(splits), data)
    context = {
        "data": None if metrics is None else read_metrics(Path(metrics), DataMetrics),
        "missing": missing,
        "counts": {severity: sum(found.severity == severity for found in problems) for severity in SEVERITIES},
        "problems": problem_rows(Counter(found.code for found in problems)),
        "findings": draw_findings(problems, archive, limit),
    }
    return render(TEMPLATE, context)


def read_problem_table(path: Path) -> list[Problem]:
    """The problems.csv that validate wrote.

    Raises:
        ReportError: it is missing or damaged.
    """
    return [
        # A severity of another version counts as a warning.
        Problem(row["code"], _KNOWN.get(row["severity"], "warning"), row["file"], row["reason"], row["remedy"])
        for row in read_table(path, COLUMNS)
    ]
