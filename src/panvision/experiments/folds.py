"""Mean and spread of the metrics over the folds of cross-validations that were run as DVC experiments."""

import json
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from panvision.core.tasks import headline_metrics
from panvision.experiments.revisions import WORKSPACE
from panvision.experiments.runs import Run, read_runs
from panvision.experiments.tables import number, table


class FoldsError(ValueError):
    """No fold is finished; the message has the remedy."""


@dataclass(frozen=True)
class CrossValidation:
    """Folds of one commit with the same params except `split.fold`.

    Attributes:
        total: `split.folds`.
        setting: the commit, and every param except `split.fold` as JSON.
        folds: metrics of the finished folds by task, by `split.fold`, in its order.
    """

    total: int
    setting: dict[str, str]
    folds: dict[int, dict[str, dict[str, Any]]]

    @property
    def missing(self) -> list[int]:
        """Numbers of the folds that are not finished."""
        return sorted(set(range(self.total)) - self.folds.keys())

    def spread(self, task: str, key: str) -> dict[str, float | int | None]:
        """Return mean, sample standard deviation, smallest and largest value of a metric where it is defined."""
        values = [metrics.get(task, {}).get(key) for metrics in self.folds.values()]
        defined = [float(value) for value in values if value is not None]
        return {
            "mean": fmean(defined) if defined else None,
            "std": stdev(defined) if len(defined) > 1 else None,
            "min": min(defined, default=None),
            "max": max(defined, default=None),
            "folds": len(defined),
        }


def cross_validations(text: str) -> list[CrossValidation]:
    """Return the cross-validations among what `dvc exp show --json` printed. Of two runs of a fold the newer counts.

    Raises:
        RunsError: the text is something else.
        FoldsError: it has no finished fold.
    """
    groups: dict[str, dict[int, Run]] = {}
    for run in sorted(read_runs(text), key=lambda run: run.time):
        # The workspace has no result until it is an experiment or a commit.
        if run.name != WORKSPACE and run.params.get("split.folds", 0) > 0:
            groups.setdefault(json.dumps(_setting(run)), {})[run.params.get("split.fold", 0)] = run
    if not groups:
        raise FoldsError(
            "no finished experiment with split.folds above 0; queue one for each fold with"
            " `dvc exp run --queue -S split.folds=5 -S split.fold=0`, run `dvc queue start`, see `dvc queue status`"
        )
    return [
        CrossValidation(
            next(iter(runs.values())).params["split.folds"],
            json.loads(setting),
            {fold: runs[fold].metrics for fold in sorted(runs)},
        )
        for setting, runs in groups.items()
    ]


def _setting(run: Run) -> dict[str, str]:
    params = {key: json.dumps(value) for key, value in run.params.items() if key != "split.fold"}
    return dict(sorted({"commit": run.commit, **params}.items()))


def distinction(one: CrossValidation, others: list[CrossValidation]) -> dict[str, str]:
    """Return the params, and the commit, in which a cross-validation differs from others."""
    common = set.intersection(*(set(each.setting.items()) for each in others))
    return {key: value for key, value in one.setting.items() if (key, value) not in common}


def text(found: list[CrossValidation]) -> str:
    """Return a table for each cross-validation, with the spread of each metric in a line."""
    parts = []
    for each in found:
        title = " ".join(f"{key}={value}" for key, value in distinction(each, found).items())
        rows: list[tuple[str, ...]] = [("test split", "metric", "mean", "std", "min", "max", "folds")]
        for task, key, name in headline_metrics():
            *values, count = each.spread(task, key).values()
            rows.append((task, name, *(number(value, missing="-") for value in values), str(count)))
        lines = [f"{len(each.folds)} of {each.total} folds {title}".rstrip(), *table((16, 20, 8, 8, 8, 8), rows)]
        if each.missing:
            lines.append(f"not finished: fold {', '.join(map(str, each.missing))}; see `dvc queue status`")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def to_json(one: CrossValidation, others: list[CrossValidation]) -> dict[str, Any]:
    """Return a cross-validation as plain values; `differs` has the params that distinguish it, as JSON."""
    figures: dict[str, dict[str, Any]] = {}
    for task, key, _ in headline_metrics():
        figures.setdefault(task, {})[key] = one.spread(task, key)
    return {
        "folds": one.total,
        "finished": list(one.folds),
        "missing": one.missing,
        "differs": distinction(one, others),
        "figures": figures,
    }
