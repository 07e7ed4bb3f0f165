"""Small per-image results of all tasks, partly random."""

import hashlib

import numpy as np

from panvision.evaluation.results import Results
from panvision.evaluation.table import EVALUATIONS

BOXES, STATES = ["lid", "stirrer"], ["raw", "golden", "burnt"]


def described(number: int) -> dict:
    file = f"images/{number:02d}.jpg"
    sha256 = hashlib.sha256(file.encode()).hexdigest()
    return {"file": file, "sha256": sha256, "group": f"g{max(number - 1, 0)}", "width": 120, "height": 160}


def mask_results(count: int = 12, *, error: float = 0.2, seed: int = 0) -> Results:
    """Masks of 1,000 true pixels; each misses about the fraction `error`."""
    random = np.random.default_rng(seed)
    images = []
    for number in range(count):
        missed = int(random.uniform(0.5, 1.5) * error * 1000)
        boundary = {"mean": missed / 100, "p95": missed / 50}
        pixels = [1000 - missed, 2 * missed, missed, 18200 - 2 * missed]
        images.append({**described(number), "pixels": pixels, "boundary": boundary})
    return Results("segmentation", "test", True, ["background", "pan"], images)


def state_results(count: int = 12, *, right: float = 0.7, seed: int = 0, temperature: float | None = 1.5) -> Results:
    """Random probabilities; about the fraction `right` of the images is predicted right."""
    random = np.random.default_rng(seed)
    images = []
    for number in range(count):
        truth = number % len(STATES)
        probabilities = np.sort(random.dirichlet([2.0] * len(STATES)))[::-1]
        called = truth if random.uniform() < right else (truth + 1) % len(STATES)
        # Values of float32, like those of a model.
        shown = np.roll(probabilities, called).astype(np.float32).tolist()
        images.append({**described(number), "truth": truth, "predicted": called, "probabilities": shown})
    thresholds = [0.4, 0.5, None]
    return Results("classification", "test", True, STATES, images, thresholds, temperature, ["burnt", "golden", "raw"])


def box_results(count: int = 12, *, shift: float = 3.0, seed: int = 0) -> Results:
    """Two true boxes and three predicted ones per image, two of them near the true ones."""
    random = np.random.default_rng(seed)
    images = []
    for number in range(count):
        true = np.array([[10, 10, 40, 50], [30, 60, 110, 150]], np.float64)
        labels = np.array([0, 1])
        found = np.concatenate([true + random.normal(0, shift, (2, 4)), [[60, 0, 90, 30]]])
        order = np.argsort(-(scores := random.uniform(0.1, 1.0, 3)))
        result = {
            "boxes": found[order].tolist(),
            "labels": np.array([0, 1, 1])[order].tolist(),
            "scores": scores[order].tolist(),
        }
        truth = {"boxes": true, "labels": labels}
        images.append({**described(number), **EVALUATIONS["detection"].record(result, truth, BOXES)})
    costs = {"miss": 2.0, "false_alarm": 1.0}
    return Results("detection", "test", True, BOXES, images, [0.3, 0.2], costs=costs)


def all_results(**quality: float) -> dict[str, Results]:
    return {
        "segmentation": mask_results(error=quality.get("error", 0.2)),
        "detection": box_results(shift=quality.get("shift", 3.0)),
        "classification": state_results(right=quality.get("right", 0.7)),
    }
