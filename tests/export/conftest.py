from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from panvision.files import write_json, write_rows
from panvision.inference.predictor import Predictor
from panvision.ingest.packed import TASKS
from tests.tiny import BOX_NAMES, SIZE, STATE_NAMES, picture

CLASSES = {"segmentation": ["background", "pan"], "detection": list(BOX_NAMES), "classification": list(STATE_NAMES)}
LABELS = {"segmentation": ("mask", "m.png"), "detection": ("boxes", 0), "classification": ("label", STATE_NAMES[0])}
TRAINED = {"seed": 7, "loss": {"cls": 4.0}, "train": {"phase1": {"epochs": 1}}, "augment": {"hue": 0.1}}


class Packed:
    """What `prepare` and `validate` write, by hand; each picture of one value that says which it is."""

    def __init__(self, root: Path) -> None:
        self.prepared, self.splits = root / "prepared", root / "splits.csv"
        self.split_rows: list[tuple[str, str, str, str]] = []

    def add(self, task: str, splits: list[str], images: np.ndarray | None = None, size: int = SIZE) -> None:
        """One picture for each name in `splits`: 0, 1, 2 … of segmentation, 80 … of detection, 160 … of states."""
        folder, (column, label) = self.prepared / task, LABELS[task]
        files = [f"images/{row:02d}.png" for row in range(len(splits))]
        write_rows(
            folder / "index.csv",
            ("file", "width", "height", column, "drawn"),
            [(file, 96, 48, label, "") for file in files],
        )
        write_rows(folder / "boxes.csv", ("row", "x1", "y1", "x2", "y2", "label"), [])
        write_json(folder / "classes.json", {"classes": CLASSES[task]})
        if images is None:
            values = 80 * TASKS.index(task) + np.arange(len(splits), dtype=np.uint8)
            images = np.broadcast_to(values[:, None, None, None], (len(splits), size, size, 3))
        np.save(folder / "images.npy", images)
        np.save(folder / "looks.npy", np.zeros((len(splits), 64, 64), np.uint8))
        np.save(folder / "masks.npy", np.zeros((len(splits), size, size), np.uint8))
        rows = [(task, file, file, split) for file, split in zip(files, splits, strict=True)]
        self.split_rows = [row for row in self.split_rows if row[0] != task] + rows
        write_rows(self.splits, ("task", "file", "group", "split"), self.split_rows)


@pytest.fixture
def packed(tmp_path) -> Packed:
    """Three sets of six pictures: two of each split, in turn."""
    packed = Packed(tmp_path / "build")
    for task in TASKS:
        packed.add(task, ["train", "val", "test"] * 2)
    return packed


@pytest.fixture
def pictures() -> np.ndarray:
    """Eleven different pictures, (11, SIZE, SIZE, 3): more than one batch."""
    boxes = [(4 * n, 8, 4 * n + 16, 40) for n in range(11)]
    return np.stack([picture(SIZE, SIZE, colour=(20 * n, 90, 40), box=box) for n, box in enumerate(boxes)])


def save_model(path: str | Path, tasks: Sequence[str] = TASKS) -> None:
    """Write a small model with random weights."""
    import torch

    from panvision.model.checkpoint import save_checkpoint
    from panvision.model.multitask import MultiTaskModel
    from panvision.model.settings import ModelSettings

    torch.manual_seed(0)
    settings = ModelSettings(
        backbone="resnet10",
        weights="none",
        fpn_channels=32,
        head_convs=1,
        det_channels=32,
        seg_channels=8,
        cls_hidden=8,
    )
    model = MultiTaskModel(settings, image_size=SIZE, det_classes=BOX_NAMES, cls_classes=STATE_NAMES, tasks=tasks)
    if "detection" in tasks:
        # As confident as a trained one: some boxes are reported, some are not.
        torch.nn.init.normal_(model.detection.class_logits.weight, std=0.5)
    save_checkpoint(path, model, meta={"config": TRAINED, "epoch": 3})


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> SimpleNamespace:
    """A small model with random weights: `model`, its checkpoint's `path`, and its `predictor`."""
    pytest.importorskip("torch")
    from panvision.model.checkpoint import load_checkpoint

    path = tmp_path_factory.mktemp("models") / "best_model.pth"
    save_model(path)
    predictor = Predictor.load(path, "cpu").with_thresholds(0.25, 0.4, 50)
    return SimpleNamespace(path=path, model=load_checkpoint(path)[0], predictor=predictor)


@pytest.fixture(scope="session")
def exported(trained, tmp_path_factory) -> Path:
    """The model as an ONNX file of operator set 18."""
    pytest.importorskip("onnx")
    from panvision.export.onnx_file import write_onnx

    path = tmp_path_factory.mktemp("export") / "panvision.onnx"
    write_onnx(path, trained.model, trained.predictor.info, opset=18)
    return path
