"""The problems of the raw data as a separate page."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from panvision.dataset.problems import COLUMNS, Problem, Severity
from panvision.report.archive import Archive
from panvision.report.findings import SEVERITIES, Finding, draw_findings, problem_rows
from panvision.report.inputs import DataMetrics, read_metrics, read_table
from panvision.report.rendering import render

TEMPLATE = "data.html.jinja"
_KNOWN: dict[str, Severity] = {"error": "error", "warning": "warning", "fixed": "fixed"}


def build_data_page(
    problems: Iterable[Problem],
    archive: Archive,
    *,
    metrics: str | Path | None,
    limit: int,
    missing: str = "",
    changes: Sequence[Finding] = (),
) -> str:
    """Build the page as HTML, the same for the same inputs.

    Args:
        problems: of all datasets; files are `dataset/file`.
        archive: the datasets that could be packed, with splits.csv if they could be split.
        metrics: data.json; None if the datasets could not be split.
        limit: images shown of each kind of problem.
        missing: text that replaces missing metrics.
        changes: differences from an earlier version of the data.

    Raises:
        ReportError: `metrics` is missing or damaged.
    """
    problems = sorted(set(problems))
    context = {
        "data": None if metrics is None else read_metrics(Path(metrics), DataMetrics),
        "missing": missing,
        "counts": {severity: sum(found.severity == severity for found in problems) for severity in SEVERITIES},
        "problems": problem_rows(Counter(found.code for found in problems)),
        "findings": draw_findings(problems, archive, limit),
        "changes": changes,
    }
    return render(TEMPLATE, context)


def read_problem_table(path: Path) -> list[Problem]:
    """Read the problems.csv that validate wrote.

    Raises:
        ReportError: the file is missing or damaged.
    """
    return [
        # A severity of another version counts as a warning.
        Problem(row["code"], _KNOWN.get(row["severity"], "warning"), row["file"], row["reason"], row["remedy"])
        for row in read_table(path, COLUMNS)
    ]
