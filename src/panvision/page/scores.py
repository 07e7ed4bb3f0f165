"""The scores of a model file on its test split, if the pipeline's records prove that they belong to this very file.

dvc.lock holds the hashes of the checkpoint that `evaluate` scored, of the files that `export` made from it, and of the
metrics files. Scores are shown only if all of them match, because another model's scores would be worse than none.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from panvision.core.tasks import headline_metrics

CHECKPOINT, ONNX, INT8 = "best_model.pth", "panvision.onnx", "panvision.int8.onnx"
_MEASURED = "Measured on the test split by the pipeline, on this very file"
ABOUT = {
    CHECKPOINT: f"{_MEASURED}.",
    ONNX: f"{_MEASURED}; the intervals are those of the checkpoint, with which it was compared image by image.",
    INT8: f"{_MEASURED}. Intervals were computed for the checkpoint only.",
}


class _UnknownError(Exception):
    """Scores that are unknown; the message gives the reason."""


def find_scores(model: str | Path, tasks: Sequence[str], metrics: str | Path | None = None) -> dict[str, Any]:
    """Return the scores of a model file as JSON values.

    Args:
        model: the file.
        tasks: its own.
        metrics: the pipeline's folder of metrics, with dvc.lock beside it; by default `metrics` beside the folder of
            the model.

    Returns:
        `rows`, each with `name`, `value` (None: undefined) and `interval` (the ends of the 95 % interval, or None);
        empty if none belong to the file. `about` says what was measured, or why there is nothing.
    """
    model = Path(model)
    folder = Path(metrics) if metrics is not None else model.resolve().parent.parent / "metrics"
    try:
        return _read_scores(model, tasks, folder)
    except _UnknownError as reason:
        return {"rows": [], "about": f"No metrics found for this file: {reason}."}


def _read_scores(model: Path, tasks: Sequence[str], folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise _UnknownError("no folder of metrics is beside its own, and --metrics names none")
    recorded = _read_lock(folder.parent / "dvc.lock")
    evaluated, exported = recorded.get("evaluate", {}), recorded.get("export", {})
    found = _md5(model)
    kind = next((name for name in (ONNX, INT8) if exported.get(name) == found), None)
    if evaluated.get(CHECKPOINT) == found:
        kind = CHECKPOINT
    elif kind is None:
        raise _UnknownError(f"those of {folder} were measured on another model")
    elif exported.get(CHECKPOINT) != evaluated.get(CHECKPOINT):
        raise _UnknownError(f"those of {folder} were measured on another checkpoint than it was exported from")
    measured = {task: _read_metrics(folder / f"{task}.json", evaluated) for task in tasks}
    own = None
    if kind != CHECKPOINT:
        scores = _read_metrics(folder / "export.json", exported).get("scores") or {}
        own = scores.get("onnx" if kind == ONNX else "int8") or {}
    return {"rows": list(_rows(measured, own, intervals=kind != INT8)), "about": ABOUT[kind]}


def _rows(measured: Mapping[str, Any], own: Mapping[str, Any] | None, *, intervals: bool) -> Iterator[dict[str, Any]]:
    """Yield the metrics; `own` are those of an export, which was scored separately."""
    for task, key, name in headline_metrics():
        if task in measured and (own is None or key in own):
            value = measured[task].get(key) if own is None else own[key]
            ends = (measured[task].get("ci95") or {}).get(key) if intervals else None
            yield {"name": name, "value": value, "interval": [ends["low"], ends["high"]] if ends else None}


def _read_lock(lock: Path) -> dict[str, dict[str, str]]:
    """Return for each stage the MD5 of the files that it read and wrote, by their names."""
    try:
        stages = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"]
        return {
            name: {
                Path(file["path"]).name: file["md5"]
                for file in (*stage.get("deps", ()), *stage.get("outs", ()))
                if Path(file["path"]).parent.name in ("models", "metrics")
            }
            for name, stage in stages.items()
        }
    except FileNotFoundError as error:
        raise _UnknownError(f"there is no {lock} that says which model those beside it belong to") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise _UnknownError(f"{lock} is damaged") from error


def _read_metrics(path: Path, recorded: Mapping[str, str]) -> dict[str, Any]:
    """Return the content of a metrics file that is unchanged since its stage wrote it."""
    try:
        if _md5(path) == recorded.get(path.name):
            return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise _UnknownError(f"{path} cannot be read") from error
    raise _UnknownError(f"{path} is not what the pipeline's last run wrote")


def _md5(path: Path) -> str:
    """Return a file's hash as DVC records it."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
