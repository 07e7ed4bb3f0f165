"""What a model file scores on its test split, if the pipeline's records say that the figures are this very file's.

dvc.lock holds a hash of the checkpoint that `evaluate` scored, of the files that `export` made from it, and of the
metrics that came out. Only where all of them fit are figures shown: another model's would be worse than none.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from panvision.core.tasks import headline_metrics

CHECKPOINT, ONNX, INT8, CONFIG = "best_model.pth", "panvision.onnx", "panvision.int8.onnx", "config.json"
# What the figures of each file are.
ABOUT = {
    CHECKPOINT: "Measured on the test split by the pipeline, on this very file.",
    ONNX: "Measured on the test split by the pipeline, on this very file; the intervals are those of the checkpoint, "
    "to which it was held picture by picture.",
    INT8: "Measured on the test split by the pipeline, on this very file. Intervals were taken of the checkpoint only.",
}


class _UnknownError(Exception):
    """No figures, and why."""


@dataclass(frozen=True)
class Score:
    """One figure: its name, its value (None: undefined), and the ends of its 95 % interval if it has one."""

    name: str
    value: float | None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Scores:
    """What is known of a model file's quality.

    Attributes:
        rows: the figures; empty where none belong to the file.
        about: what was measured, or why there is nothing.
        backbone: of the network, where the records know it.
    """

    rows: tuple[Score, ...]
    about: str
    backbone: str | None = None


def find_scores(model: str | Path, tasks: Sequence[str], metrics: str | Path | None = None) -> Scores:
    """The figures of a model file.

    Args:
        model: the file.
        tasks: its own.
        metrics: the pipeline's folder of metrics, beside which dvc.lock lies; by default `metrics` beside the
            folder of the model.
    """
    model = Path(model)
    folder = Path(metrics) if metrics is not None else model.resolve().parent.parent / "metrics"
    try:
        return _read_scores(model, tasks, folder)
    except _UnknownError as why:
        return Scores((), f"No metrics found for this file: {why}.")


def _read_scores(model: Path, tasks: Sequence[str], folder: Path) -> Scores:
    if not folder.is_dir():
        raise _UnknownError("there is no folder of metrics beside its own, and --metrics names none")
    made = _recorded(folder.parent / "dvc.lock")
    evaluated, exported = made.get("evaluate", {}), made.get("export", {})
    found = _md5(model)
    kind = next((name for name in (ONNX, INT8) if exported.get(name) == found), None)
    if evaluated.get(CHECKPOINT) == found:
        kind = CHECKPOINT
    elif kind is None:
        raise _UnknownError(f"those of {folder} were measured on another model")
    elif exported.get(CHECKPOINT) != evaluated.get(CHECKPOINT):
        raise _UnknownError(f"those of {folder} were measured on another checkpoint than it was exported from")
    measured = {task: _checked(folder / f"{task}.json", evaluated) for task in tasks}
    own = None
    if kind != CHECKPOINT:
        scores = _checked(folder / "export.json", exported).get("scores") or {}
        own = scores.get("onnx" if kind == ONNX else "int8") or {}
    return Scores(tuple(_rows(measured, own, intervals=kind != INT8)), ABOUT[kind], _backbone(model, exported))


def _rows(measured: Mapping[str, Any], own: Mapping[str, Any] | None, *, intervals: bool) -> list[Score]:
    """The figures; `own` are those that an export was scored by itself, if it is one."""
    rows = []
    for task, key, name in headline_metrics():
        if task in measured and (own is None or key in own):
            value = measured[task].get(key) if own is None else own[key]
            ends = (measured[task].get("ci95") or {}).get(key) if intervals else None
            low, high = (ends or {}).get("low"), (ends or {}).get("high")
            rows.append(Score(name, value, None if low is None or high is None else (low, high)))
    return rows


def _recorded(lock: Path) -> dict[str, dict[str, str]]:
    """For each stage the MD5 of the files that it read and wrote, by their names."""
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
        raise _UnknownError(f"there is no {lock} to say whose those beside it are") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise _UnknownError(f"{lock} is damaged") from error


def _checked(path: Path, made: Mapping[str, str]) -> dict[str, Any]:
    """A metrics file that is as a stage left it."""
    try:
        if _md5(path) == made.get(path.name):
            return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise _UnknownError(f"{path} cannot be read") from error
    raise _UnknownError(f"{path} is not what the pipeline's last run wrote")


def _backbone(model: Path, exported: Mapping[str, str]) -> str | None:
    """The network's backbone, by the configuration that was shipped with the model."""
    path = model.parent / CONFIG
    try:
        if _md5(path) == exported.get(CONFIG):
            return str(json.loads(path.read_text(encoding="utf-8"))["model"]["backbone"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _md5(path: Path) -> str:
    """A file's hash as DVC has it."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
