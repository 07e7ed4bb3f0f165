"""Table of the problems of raw data: severity and remedy from the catalogue, meaning from faults.yaml."""

from pathlib import Path

import yaml

from panvision.dataset.problems import CATALOGUE


def faults_text(root: Path) -> str:
    """Return a table for each kind of problem: code with severity, meaning, remedy.

    Raises:
        KeyError: faults.yaml names a code that is not in the catalogue.
    """
    lines: list[str] = []
    for heading, meanings in read_meanings(root).items():
        lines += [f"## {heading}", "", "| code | meaning | remedy |", "|---|---|---|"]
        for code, meaning in meanings.items():
            severity, remedy = CATALOGUE[code]
            lines.append(f"| `{code}`, {severity} | {meaning} | {remedy} |")
        lines.append("")
    return "\n".join(lines)


def read_meanings(root: Path) -> dict[str, dict[str, str]]:
    """Return heading → code → meaning from docs/_ext/faults.yaml."""
    text = (root / "docs/_ext/faults.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))
