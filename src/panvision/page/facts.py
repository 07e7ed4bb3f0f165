"""Facts about the model that the page shows."""

import hashlib
from pathlib import Path
from typing import Any

from panvision.page.model import RANGES, SharedModel
from panvision.page.scores import find_scores

# The task that gives each slider its use.
SLIDERS = {"score": "detection", "nms": "detection", "half_life": "classification", "margin": "classification"}
OWN = ("tasks", "image_size", "det_class_names", "cls_class_names", "state_order", "params_sha256", "data_sha256")


def read_facts(path: str | Path, model: SharedModel, metrics: str | Path | None = None) -> dict[str, Any]:
    """Return the facts of a model file as JSON values; `metrics` as for `find_scores`.

    They are its name, `size` in bytes and hash, what the file says about itself, its scores, and for each slider that
    the model has a use for the lowest, the highest and the first value.
    """
    path = Path(path)
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    used = [name for name, task in SLIDERS.items() if task in model.info.tasks]
    return {
        **{name: getattr(model.info, name) for name in OWN},
        **{"name": path.name, "size": path.stat().st_size, "sha256": sha256},
        "scores": find_scores(path, model.info.tasks, metrics),
        "sliders": {name: [*RANGES[name], getattr(model.start, name)] for name in used},
    }
