"""The problems of the raw data as a separate page."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from panvision.dataset.problems import COLUMNS, Problem, Severity
from panvision.dataset.reviewed import Key
from panvision.report.archive import Archive
from panvision.report.distributions import class_balance, histograms
from panvision.report.findings import SEVERITIES, Finding, draw_findings, problem_rows
from panvision.report.inputs import DataMetrics, read_table
from panvision.report.rendering import render

TEMPLATE = "data.html.jinja"
_KNOWN: dict[str, Severity] = {"error": "error", "warning": "warning", "fixed": "fixed"}


def build_data_page(
    problems: Iterable[Problem],
    archive: Archive,
    data: DataMetrics | str,
    *,
    limit: int,
    changes: Sequence[Finding] = (),
    name: str = "",
    dismissed: Collection[Key] = (),
) -> str:
    """Build the page as HTML, the same for the same inputs.

    Args:
        problems: of all datasets; files are `dataset/file`.
        archive: the datasets that could be packed, with splits.csv if they could be split.
        data: counts of the datasets; or the reason why they could not be split.
        limit: images shown of each kind of problem.
        changes: differences from an earlier version of the data.
        name: of the folder of the datasets.
        dismissed: problems that a person has dismissed, by dataset, file and code. Errors cannot be dismissed.
    """
    problems = sorted(set(problems))
    reviewed = [found for found in problems if found.severity != "error" and _key(found) in dismissed]
    found = [each for each in problems if each not in reviewed]
    context = {
        "name": name,
        "data": data,
        "balance": [] if isinstance(data, str) else class_balance(data),
        "histograms": histograms(archive.packed),
        "counts": {severity: sum(each.severity == severity for each in found) for severity in SEVERITIES},
        "problems": problem_rows(Counter(each.code for each in found)),
        "findings": draw_findings(found, archive, limit, listed=None),
        "dismissed": draw_findings(reviewed, archive, limit, listed=None),
        "changes": changes,
    }
    return render(TEMPLATE, context)


def _key(found: Problem) -> Key:
    dataset, _, file = found.file.partition("/")
    return dataset, file, found.code


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
