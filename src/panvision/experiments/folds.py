"""Metrics of cross-validations that were run as DVC experiments: of all folds' images together, and their spread.

The folds' test splits are of unequal size, and the mean of a ratio over them is biased (Forman and Scholz 2010), so the
per-image results of all folds are scored once.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import isnan
from typing import TYPE_CHECKING, Any

from panvision.core.tasks import TASKS, headline_metrics
from panvision.evaluation.metrics import scores
from panvision.evaluation.results import Results, ResultsError
from panvision.experiments.revisions import WORKSPACE, RevisionError
from panvision.experiments.runs import Run, read_runs
from panvision.experiments.tables import number, reason_text, table

if TYPE_CHECKING:
    import pandas as pd


COLUMNS = ("pooled", "95 % interval", "mean", "std", "min", "max", "folds")


class FoldsError(ValueError):
    """No fold is finished, or the folds do not belong together; the message has the remedy."""


@dataclass(frozen=True)
class CrossValidation:
    """Folds of one commit with the same params except `split.fold`.

    Attributes:
        total: `split.folds`.
        setting: the commit, and every param except `split.fold` as JSON.
        metrics: headline metrics (task, key) by column, finished folds by row; NaN is undefined.
        revs: revision of each finished fold.
    """

    total: int
    setting: dict[str, str]
    metrics: "pd.DataFrame"
    revs: dict[int, str]

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
    # Of two runs of a fold the newer one is last, so it stays.
    revs = {key: run.name.removeprefix("commit ") for key, run in zip(zip(*keys, strict=True), runs, strict=True)}
    return [
        CrossValidation(
            int(json.loads(setting)["split.folds"]),
            json.loads(setting),
            folds.droplevel(0).sort_index(),
            {fold: revs[setting, fold] for fold in sorted(folds.droplevel(0).index)},
        )
        for setting, folds in newest.groupby(level=0, sort=False)
    ]


@dataclass(frozen=True)
class Pooled:
    """Headline metrics of all images that the finished folds tested, scored together.

    Attributes:
        figures: task → key → `value`, `ci95` and `ci95_null`, as in the metrics files; empty if there are none.
        remark: why there are none, or "".
    """

    figures: dict[str, dict[str, dict[str, Any]]]
    remark: str = ""


def pool(one: CrossValidation, read: Callable[[str], Mapping[str, Results]]) -> Pooled:
    """Score the per-image results of all finished folds at once.

    Args:
        one: the cross-validation.
        read: revision → results of each task, as `revisions.results_of`.
    """
    try:
        folds = [read(rev) for rev in one.revs.values()]
        found = {task: scores(joined([each[task] for each in folds])) for task in TASKS}
    except (RevisionError, ResultsError, FoldsError) as error:
        return Pooled({}, f"not pooled: {error}")
    figures: dict[str, dict[str, dict[str, Any]]] = {}
    for task, key, _ in headline_metrics():
        own = found[task]
        ends, reason = own["ci95"][key], own["ci95_null"].get(key)
        figures.setdefault(task, {})[key] = {"value": own[key], "ci95": ends, "ci95_null": reason}
    return Pooled(figures)


def joined(folds: list[Results]) -> Results:
    """Return the results of all folds as one.

    Thresholds and temperature were chosen in each fold on its own; no headline metric depends on them.

    Raises:
        FoldsError: the folds have other classes or tasks, or an image in common.
    """
    first = folds[0]
    if any((each.classes, each.trained) != (first.classes, first.trained) for each in folds):
        raise FoldsError(f"{first.task}: the folds have other classes or tasks; run them again on the same data")
    images = [image for each in folds for image in each.images]
    files = [image["file"] for image in images]
    if len(set(files)) < len(files):
        twice = next(file for file in files if files.count(file) > 1)
        raise FoldsError(f"{first.task}/{twice}: a test image of two folds; run them again on the same data")
    return replace(first, images=images, thresholds=[None] * len(first.thresholds), temperature=None)


def _setting(run: Run) -> dict[str, str]:
    params = {key: json.dumps(value) for key, value in run.params.items() if key != "split.fold"}
    return dict(sorted({"commit": run.commit, **params}.items()))


def distinction(one: CrossValidation, others: list[CrossValidation]) -> dict[str, str]:
    """Return the params, and the commit, in which a cross-validation differs from others."""
    common = set.intersection(*(set(each.setting.items()) for each in others))
    return {key: value for key, value in one.setting.items() if (key, value) not in common}


def text(found: list[CrossValidation], pools: list[Pooled]) -> str:
    """Return a table for each cross-validation, with each metric and its spread in a line."""
    parts = []
    for each, pooled in zip(found, pools, strict=True):
        title = " ".join(f"{key}={value}" for key, value in distinction(each, found).items())
        rows: list[tuple[str, ...]] = [("test split", "metric", *COLUMNS)]
        spread = each.spread()
        for task, key, name in headline_metrics():
            *values, count = spread[task, key].values()
            own = pooled.figures.get(task, {}).get(key, {})
            whole, *cells = (number(value, missing="-") for value in (own.get("value"), *values))
            rows.append((task, name, whole, _interval(own), *cells, str(count)))
        lines = [
            f"{len(each.metrics)} of {each.total} folds {title}".rstrip(),
            *table((16, 20, 8, 16, 8, 8, 8, 8), rows),
        ]
        if each.missing:
            lines.append(f"not finished: fold {', '.join(map(str, each.missing))}; see `dvc queue status`")
        if pooled.remark:
            lines.append(pooled.remark)
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _interval(own: Mapping[str, Any]) -> str:
    ends = own.get("ci95")
    return f"{ends['low']:.3f} to {ends['high']:.3f}" if ends else reason_text(own.get("ci95_null")) or "-"


def to_json(one: CrossValidation, others: list[CrossValidation], pooled: Pooled) -> dict[str, Any]:
    """Return a cross-validation as plain values; `differs` has the params that distinguish it, as JSON."""
    figures: dict[str, dict[str, Any]] = {}
    for (task, key), values in one.spread().items():
        figures.setdefault(task, {})[key] = {"pooled": pooled.figures.get(task, {}).get(key), **values}
    return {
        "remark": pooled.remark,
        "folds": one.total,
        "finished": [int(fold) for fold in one.metrics.index],
        "missing": one.missing,
        "differs": distinction(one, others),
        "figures": figures,
    }
