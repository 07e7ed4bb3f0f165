"""Evaluate, export and report the toy task with a fake model; run with a copy of src from `coverage.py`."""

import json
import sys
from pathlib import Path

import numpy as np

from panvision.core.tasks import TASKS
from panvision.evaluation.evaluate import HeldOut
from panvision.evaluation.settings import EvaluationSettings
from panvision.export.card import model_card
from panvision.export.parity import compare
from panvision.export.scores import measure
from panvision.export.settings import ExportSettings
from panvision.inference.predictor import Predictor
from tests.report.run import METRICS, Run
from tests.tiny import INFO, SIZE, ColourBackend


class ToyBackend(ColourBackend):
    """ColourBackend that also predicts the bright fraction of the image, plus an error."""

    def __init__(self, error: float = 0.0) -> None:
        super().__init__()
        self.error = error

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        fraction = np.clip((images.mean(axis=3) > 128).mean(axis=(1, 2)) + self.error, 0.01, 0.99)
        return {**super().run(images), "coverage": np.log(fraction / (1 - fraction)).astype(np.float32)}


class ToyRun(Run):
    """A finished run of the toy model."""

    backend = ToyBackend


def main(folder: Path) -> None:
    """Print what the toy task gives in each room."""
    run = ToyRun(folder)
    evaluated = run.evaluate(ToyBackend(0.2))
    evaluated.write(run.metrics, run.reports / "plots", run.reports / "results")
    images = np.zeros((2, SIZE, SIZE, 3), np.uint8)
    parity = compare(Predictor(ToyBackend()), Predictor(ToyBackend(0.1)), images, checkpoint="a.pth")
    held_out = HeldOut(run.prepared, run.splits, run.data, EvaluationSettings())
    scores = measure(Predictor(ToyBackend(0.2)), held_out).scores
    export = {"scores": {"onnx": scores, "int8": None}, "int8": None, "size_mb": {"onnx": 1.0}}
    found = {
        "tasks": list(TASKS),
        "result": Predictor(ToyBackend()).predict(images[0])["coverage"],
        "metrics": json.loads((run.metrics / "coverage.json").read_text()),
        "parity": parity.to_json(ExportSettings()),
        "scores": scores,
        "card": model_card(INFO, {**METRICS, **evaluated.metrics, "export": export}, max_drop=0.01),
        "page": run.page(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
