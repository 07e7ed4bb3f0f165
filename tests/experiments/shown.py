"""Made-up output of `dvc exp show --json`."""

import json

from panvision.core.tasks import TASKS
from panvision.evaluation.summary import summary_names


def data(metrics, *, summary=True, time="2026-01-01T00:00:00", code="a", rev="a", **params):
    """Return one run; without `summary` one of a commit whose metrics files are those of the tasks."""
    files = {f"metrics/{task}.json": {"data": metrics.get(task, {})} for task in (*TASKS, "export")}
    names = summary_names().items()
    values = {name: metrics[task][key] for name, (task, key) in names if key in metrics.get(task, {})}
    return {
        "rev": rev,
        "timestamp": time,
        "params": {"params.yaml": {"data": params}},
        "metrics": {"metrics/summary.json": {"data": values}} if summary else files,
        "deps": {
            "src/panvision/training": {"hash": code, "size": 1, "nfiles": None},
            "models/best_model.pth": {"hash": rev, "size": 1, "nfiles": None},
            "metrics/baselines.json": {"hash": rev, "size": 1, "nfiles": None},
        },
        "outs": {"models/best_model.pth": {"hash": rev, "size": 1, "nfiles": None, "use_cache": True}},
        "meta": {},
    }


def experiment(name, run, *, state="success", error=None):
    """Return an experiment; `state` None is one that ran in the workspace."""
    executor = state and {"state": state, "name": "dvc-task", "local": None}
    return {"revs": [{"rev": f"{name}00000", "name": name, "data": run, "error": error}], "executor": executor,
            "name": name}  # fmt: skip


def commit(run, *experiments, rev="1234567890abcdef"):
    return {"rev": rev, "name": None, "error": None, "data": run, "experiments": list(experiments) or None}


def printed(*commits) -> str:
    return json.dumps(commits)
