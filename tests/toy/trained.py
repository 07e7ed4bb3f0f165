"""Train, export and predict with the toy task; run with a copy of src from `coverage.py`."""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from panvision.export.onnx_file import write_onnx
from panvision.export.parity import compare
from panvision.export.settings import ExportSettings
from panvision.inference.predictor import Predictor
from panvision.model.checkpoint import save_checkpoint
from panvision.training.fit import fit
from panvision.training.hooks import Hook
from panvision.training.state import start
from tests.training.small import plan, small_model, small_sets


class Rows(Hook):
    """Keeps the rows of the curves."""

    def __init__(self):
        self.rows = []

    def after_epoch(self, state, result):
        self.rows.append(result.row)


def main(folder: Path) -> None:
    """Print what the toy task gives in each room."""
    sets, recorder = small_sets(), Rows()
    model, phase = small_model(sets), plan(sets, epochs=2, lr=3e-3)
    torch.manual_seed(1)
    fit(start(model, phase), phase, [recorder])
    checkpoint, exported = folder / "model.pth", folder / "model.onnx"
    save_checkpoint(checkpoint, model.eval())
    trained = Predictor.load(checkpoint)
    write_onnx(exported, model, trained.info, opset=18)
    images = np.stack([sets.packed["segmentation"].images[row] for row in range(3)])
    parity = compare(trained, Predictor.load(exported), images, checkpoint=str(checkpoint))
    columns = ("train_cov", "val_cov", "weight_cov", "mae")
    found = {
        "tasks": list(model.tasks),
        "curves": [{name: row[name] for name in columns} for row in recorder.rows],
        "parity": parity.to_json(ExportSettings()),
        "result": Predictor.load(exported).predict(images[0])["coverage"],
        "alone": sorted({name.split(".")[0] for name in small_model(sets, tasks=["coverage"]).state_dict()}),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
