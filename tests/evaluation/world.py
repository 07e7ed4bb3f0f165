"""A raw data folder and the outputs of `prepare` and `validate`, written by hand."""

import hashlib

import numpy as np
from PIL import Image

from panvision.core.files import write_json, write_rows
from panvision.evaluation.evaluate import HeldOut, evaluate
from panvision.evaluation.settings import EvaluationSettings
from panvision.inference.predictor import Predictor
from panvision.inference.settings import DecisionSettings
from panvision.photos.pixels import resize_rgb
from panvision.photos.settings import DataSettings
from tests.tiny import BOX_NAMES, SIZE, STATE_NAMES, ColourBackend

WIDTH, HEIGHT = 128, 96
BOX = (16, 12, 48, 36)
CLASSES = {"segmentation": ["background", "pan"], "detection": list(BOX_NAMES), "classification": list(STATE_NAMES)}
EXTRA = {"segmentation": ("mask", "pan_fraction", "drawn"), "detection": ("boxes",), "classification": ("label",)}


class World:
    """Raw data, packed datasets and splits of some samples."""

    backend: type[ColourBackend] = ColourBackend

    def __init__(self, root) -> None:
        self.data = DataSettings(root=str(root / "raw"), image_size=SIZE)
        self.prepared, self.splits = root / "prepared", root / "splits.csv"
        self.raw = root / "raw"
        self.split_rows: list[tuple[str, str, str, str]] = []

    def add(self, task: str, samples, split: str = "test", *, val: int = 0) -> None:
        """Samples are (pixels, label): a mask, a list of (x1, y1, x2, y2, label), or a class label.

        The last `val` of them belong to the validation split.
        """
        folder, raw = self.prepared / task, self.raw / task
        self.split_rows = [row for row in self.split_rows if row[0] != task]
        index, boxes = [], []
        for row, (pixels, label) in enumerate(samples):
            file = f"images/{row:02d}.png"
            (raw / "images").mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(raw / file)
            values = (label,)
            if task == "segmentation":
                values = (f"masks/{row:02d}.png", (label > 0).mean(), "")
                (raw / "masks").mkdir(exist_ok=True)
                Image.fromarray(label).save(raw / values[0])
            elif task == "detection":
                values = (len(label),)
                boxes += [(row, *box) for box in label]
            common = file, pixels.shape[1], pixels.shape[0], hashlib.sha256(pixels).hexdigest(), ""
            index.append((*common, *values))
            self.split_rows.append((task, file, file, split if row < len(samples) - val else "val"))
        write_rows(folder / "index.csv", ("file", "width", "height", "sha256", "camera", *EXTRA[task]), index)
        write_rows(folder / "boxes.csv", ("row", "x1", "y1", "x2", "y2", "label"), boxes)
        write_json(folder / "classes.json", {"classes": CLASSES[task]})
        packed = [resize_rgb(pixels, SIZE) for pixels, _ in samples]
        np.save(folder / "images.npy", np.array(packed, np.uint8).reshape(-1, SIZE, SIZE, 3))
        np.save(folder / "looks.npy", np.zeros((len(samples), 64, 64), np.uint8))
        if task == "segmentation":
            masks = [resize_rgb(np.repeat(label[:, :, None], 3, axis=2), SIZE)[:, :, 0] for _, label in samples]
            np.save(folder / "coverage.npy", np.array(masks, np.uint8).reshape(-1, SIZE, SIZE))
        write_rows(self.splits, ("task", "file", "group", "split"), self.split_rows)

    def evaluate(self, backend=None, *, order=None, choices=None, decision=None, fit=False, explain=False, **settings):
        scored = EvaluationSettings(**settings), order, decision or DecisionSettings()
        held_out = HeldOut(self.prepared, self.splits, self.data, *scored)
        return evaluate(Predictor(backend or self.backend()), held_out, choices=choices, fit=fit, explain=explain)


def right_half(share: float = 0.5) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:, int(WIDTH * share) :] = 255
    return mask
