"""`panvision folds`: mean and spread of the metrics over the folds of a cross-validation run as DVC experiments."""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from panvision.cli.exits import Exit
from panvision.cli.flags import FILE, add_output, completed
from panvision.cli.manual import Manual
from panvision.core.tasks import headline_metrics
from panvision.experiments.finished import finished

USAGE = "dvc exp show --json | panvision folds"


class FoldsError(ValueError):
    """The folds cannot be read; the message says what was found and the remedy."""


@dataclass(frozen=True)
class Fold:
    """One finished fold.

    Attributes:
        number: `split.fold`.
        total: `split.folds`.
        setting: the commit and every key of params.yaml but `split.fold`, each with its value; folds that share it
            belong together.
        metrics: metrics file's stem → its values.
    """

    number: int
    total: int
    setting: tuple[tuple[str, str], ...]
    metrics: dict[str, dict[str, Any]]


MANUAL = Manual(
    usage="[FILE]",
    about="Reads what `dvc exp show --json` prints, and shows mean and spread of each figure over the folds of every "
    "cross-validation.",
    examples={
        "of all experiments of the last commit": USAGE,
        "for programs, from a file": "panvision folds shown.json --json",
    },
    exits={Exit.WARNINGS: "done, but folds are missing"},
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `panvision folds`."""
    arguments = parser.add_argument_group("arguments")
    text = "what `dvc exp show --json` printed (default: standard input)"
    completed(arguments.add_argument("path", nargs="?", default="-", metavar="FILE", help=text), FILE)
    add_output(parser, "cross_validations: of each folds, finished, missing, differs and figures")


def run(args: argparse.Namespace) -> int:
    """Print a table for each cross-validation; returns 0, or 3 when folds are missing."""
    if args.path == "-" and sys.stdin.isatty():
        raise FoldsError(f"nothing to read; run `{USAGE}`")
    try:
        text = sys.stdin.read() if args.path == "-" else Path(args.path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FoldsError(f"not the output of `dvc exp show --json` ({error}); run `{USAGE}`") from error
    groups = cross_validations(text)
    if args.json:
        found = [as_json(folds, groups) for folds in groups]
        print(json.dumps({"cross_validations": found}, indent=2, ensure_ascii=False))
    else:
        print("\n\n".join(table(folds, distinction(folds, groups)) for folds in groups))
    return Exit.WARNINGS if any(missing(folds) for folds in groups) else Exit.DONE


def cross_validations(shown: str) -> list[list[Fold]]:
    """Finished folds by cross-validation, each list in the folds' order.

    Folds belong together when they were made from one commit with the same params but for `split.fold`. Of two
    experiments on one fold the newer counts. Queued, running and failed experiments do not: DVC shows their commit's
    metrics as theirs.

    Args:
        shown: output of `dvc exp show --json`.

    Raises:
        FoldsError: the text is something else, or has no finished fold.
    """
    try:
        commits = json.loads(shown)
        groups: dict[tuple[tuple[str, str], ...], dict[int, Fold]] = {}
        for commit in commits:
            for data in sorted(_finished(commit), key=lambda data: data["timestamp"]):
                fold = _fold(data, commit["rev"])
                if fold is not None:
                    groups.setdefault(fold.setting, {})[fold.number] = fold
    except (json.JSONDecodeError, LookupError, TypeError, AttributeError) as error:
        raise FoldsError(f"not the output of `dvc exp show --json` ({error!r}); run `{USAGE}`") from error
    if not groups:
        raise FoldsError(
            "no finished experiment with split.folds above 0; queue one for each fold with"
            " `dvc exp run --queue -S split.folds=5 -S split.fold=0`, run `dvc queue start`, see `dvc queue status`"
        )
    return [[folds[number] for number in sorted(folds)] for folds in groups.values()]


def _finished(commit: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Params and metrics of a commit and of its finished experiments; the workspace is no result yet."""
    if commit["rev"] != "workspace" and not commit["error"]:
        yield commit["data"]
    yield from (data for _, data in finished(commit))


def _fold(data: dict[str, Any], rev: str) -> Fold | None:
    """The fold that an experiment was, None if it was none."""
    from panvision.report.inputs import leaves

    params = data["params"].get("params.yaml", {}).get("data") or {}
    setting = {"commit": rev[:7], **{".".join(path): json.dumps(value) for path, value in leaves(params)}}
    total, number = int(setting.get("split.folds", "0")), int(setting.pop("split.fold", "0"))
    if total == 0:
        return None
    metrics = {Path(path).stem: found.get("data") or {} for path, found in data["metrics"].items()}
    return Fold(number, total, tuple(sorted(setting.items())), metrics)


def missing(folds: list[Fold]) -> list[int]:
    """Numbers of the folds that a cross-validation still lacks."""
    return sorted(set(range(folds[0].total)) - {fold.number for fold in folds})


def distinction(folds: list[Fold], groups: list[list[Fold]]) -> str:
    """The params, and the commit, by which a cross-validation differs from the others, as `key=value`."""
    return " ".join(f"{key}={value}" for key, value in _differing(folds, groups))


def _differing(folds: list[Fold], groups: list[list[Fold]]) -> list[tuple[str, str]]:
    common = set.intersection(*(set(group[0].setting) for group in groups))
    return [setting for setting in folds[0].setting if setting not in common]


def spread(folds: list[Fold], task: str, key: str) -> dict[str, float | int | None]:
    """Mean, sample standard deviation, least and greatest value of a figure over the folds where it is defined."""
    values = [fold.metrics.get(task, {}).get(key) for fold in folds]
    defined = [float(value) for value in values if value is not None]
    return {
        "mean": fmean(defined) if defined else None,
        "std": stdev(defined) if len(defined) > 1 else None,
        "min": min(defined, default=None),
        "max": max(defined, default=None),
        "folds": len(defined),
    }


def table(folds: list[Fold], title: str) -> str:
    """The spread of every figure in a line."""
    lines = [f"{len(folds)} of {folds[0].total} folds {title}".rstrip()]
    lines.append(f"{'test split':<16}{'figure':<20}{'mean':<8}{'std':<8}{'min':<8}{'max':<8}folds")
    shown = ""
    for task, key, name in headline_metrics():
        *figures, count = spread(folds, task, key).values()
        cells = "".join(f"{'-' if figure is None else f'{figure:.3f}':<8}" for figure in figures)
        lines.append(f"{'' if task == shown else task:<16}{name:<20}{cells}{count}")
        shown = task
    if absent := missing(folds):
        lines.append(f"not finished: fold {', '.join(map(str, absent))}; see `dvc queue status`")
    return "\n".join(lines)


def as_json(folds: list[Fold], groups: list[list[Fold]]) -> dict[str, Any]:
    """A cross-validation as plain values; `differs` holds params by which it differs from the others, as JSON."""
    figures: dict[str, dict[str, Any]] = {}
    for task, key, _ in headline_metrics():
        figures.setdefault(task, {})[key] = spread(folds, task, key)
    return {
        "folds": folds[0].total,
        "finished": [fold.number for fold in folds],
        "missing": missing(folds),
        "differs": dict(_differing(folds, groups)),
        "figures": figures,
    }
