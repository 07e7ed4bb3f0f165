"""Mean and spread of the metrics over the folds of cross-validations that were run as DVC experiments."""

import json
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Any

from panvision.core.tasks import headline_metrics
from panvision.experiments.revisions import WORKSPACE
from panvision.experiments.runs import Run, read_runs
from panvision.experiments.tables import number, table

if TYPE_CHECKING:
    import pandas as pd


class FoldsError(ValueError):
    """No fold is finished; the message has the remedy."""


@dataclass(frozen=True)
class CrossValidation:
    """Folds of one commit with the same params except `split.fold`.

    Attributes:
        total: `split.folds`.
        setting: the commit, and every param except `split.fold` as JSON.
        metrics: headline metrics (task, key) by column, finished folds by row; NaN is undefined.
    """

    total: int
    setting: dict[str, str]
    metrics: "pd.DataFrame"

    @property
    def missing(self) -> list[int]:
        """Numbers of the folds that are not finished."""
        return sorted(set(range(self.total)) - set(self.metrics.index))

    def spread(self) -> dict[tuple[str, str], dict[str, float | int | None]]:
        """Return mean, sample standard deviation, smallest and largest value of each metric where it is defined."""
        found = self.metrics.agg(["mean", "std", "min", "max", "count"]).to_dict()
        return {
            name: {
                **{key: None if isnan(value) else value for key, value in values.items() if key != "count"},
                "folds": int(values["count"]),
            }
            for name, values in found.items()
        }


def cross_validations(text: str) -> list[CrossValidation]:
    """Return the cross-validations among what `dvc exp show --json` printed. Of two runs of a fold the newer counts.

    Raises:
        RunsError: the text is something else.
        FoldsError: it has no finished fold.
    """
    # The workspace has no result until it is an experiment or a commit.
    found = [run for run in read_runs(text) if run.name != WORKSPACE and run.params.get("split.folds", 0) > 0]
    runs = sorted(found, key=lambda run: run.time)
    if not runs:
        raise FoldsError(
            "no finished experiment with split.folds above 0; queue one for each fold with"
            " `dvc exp run --queue -S split.folds=5 -S split.fold=0`, run `dvc queue start`, see `dvc queue status`"
        )
    import pandas as pd

    columns = pd.MultiIndex.from_tuples([(task, key) for task, key, _ in headline_metrics()])
    values = [[run.metrics.get(task, {}).get(key) for task, key in columns] for run in runs]
    keys = [[json.dumps(_setting(run)) for run in runs], [run.params.get("split.fold", 0) for run in runs]]
    frame = pd.DataFrame(values, pd.MultiIndex.from_arrays(keys), columns, dtype=float)
    newest = frame[~frame.index.duplicated(keep="last")]
    return [
        CrossValidation(int(json.loads(setting)["split.folds"]), json.loads(setting), folds.droplevel(0).sort_index())
        for setting, folds in newest.groupby(level=0, sort=False)
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
        spread = each.spread()
        for task, key, name in headline_metrics():
            *values, count = spread[task, key].values()
            rows.append((task, name, *(number(value, missing="-") for value in values), str(count)))
        lines = [f"{len(each.metrics)} of {each.total} folds {title}".rstrip(), *table((16, 20, 8, 8, 8, 8), rows)]
        if each.missing:
            lines.append(f"not finished: fold {', '.join(map(str, each.missing))}; see `dvc queue status`")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def to_json(one: CrossValidation, others: list[CrossValidation]) -> dict[str, Any]:
    """Return a cross-validation as plain values; `differs` has the params that distinguish it, as JSON."""
    figures: dict[str, dict[str, Any]] = {}
    for (task, key), values in one.spread().items():
        figures.setdefault(task, {})[key] = values
    return {
        "folds": one.total,
        "finished": [int(fold) for fold in one.metrics.index],
        "missing": one.missing,
        "differs": distinction(one, others),
        "figures": figures,
    }
