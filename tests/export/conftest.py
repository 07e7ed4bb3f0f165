from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from panvision.core.files import write_json, write_rows
from panvision.core.tasks import DATASETS
from panvision.inference.predictor import Predictor
from tests.tiny import BOX_NAMES, SIZE, STATE_NAMES, picture

CLASSES = {"segmentation": ["background", "pan"], "detection": list(BOX_NAMES), "classification": list(STATE_NAMES)}
# What evaluate and validate wrote of the test split, as far as the model card reads it.
FIGURES = {
    "data": {task: {"train": 2, "val": 2, "test": 2, "classes": {}} for task in DATASETS},
    "segmentation": {"images": 2, "miou": 0.5},
    "detection": {"images": 2, "map50": 0.5, "map50_95": 0.25, "threshold": {"lid": 0.25, "stirrer": 0.25}},
    "classification": {"images": 2, "accuracy": 0.5},
}
LABELS = {"segmentation": ("mask", "m.png"), "detection": ("boxes", 0), "classification": ("label", STATE_NAMES[0])}
TRAINED = {"seed": 7, "loss": {"cls": 4.0}, "train": {"phase1": {"epochs": 1}}, "augment": {"hue": 0.1}}


class Packed:
    """Outputs of `prepare` and `validate`, by hand; each packed picture of one value that says which it is.

    Raw are a photo and a mask at every file's name, the same for all, 96 × 48 pixels.
    """

    def __init__(self, root: Path) -> None:
        self.prepared, self.splits, self.raw = root / "prepared", root / "splits.csv", root / "raw"
        self.split_rows: list[tuple[str, str, str, str]] = []
        self.photo, self.blue, self.mask = root / "photo.png", root / "blue.png", root / "mask.png"
        root.mkdir()
        Image.fromarray(picture(box=(10, 8, 40, 40))).save(self.photo)
        Image.fromarray(picture()).save(self.blue)
        Image.fromarray(np.repeat(np.uint8([0, 255]), 48)[None].repeat(48, axis=0)).save(self.mask)

    def add(self, task: str, splits: list[str], images: np.ndarray | None = None, size: int = SIZE) -> None:
        """One picture for each name in `splits`: 0, 1, 2 … of segmentation, 80 … of detection, 160 … of states."""
        folder, (column, label) = self.prepared / task, LABELS[task]
        files = [f"images/{row:02d}.png" for row in range(len(splits))]
        write_rows(
            folder / "index.csv",
            ("file", "width", "height", "sha256", "camera", column, "drawn"),
            [(file, 96, 48, f"{row:02x}" * 32, "", label, "") for row, file in enumerate(files)],
        )
        boxes = [(row, 10, 8, 40, 40, 1) for row in range(len(files))] if task == "detection" else []
        write_rows(folder / "boxes.csv", ("row", "x1", "y1", "x2", "y2", "label"), boxes)
        (self.raw / task / "images").mkdir(parents=True, exist_ok=True)
        for file in files:
            (self.raw / task / file).unlink(missing_ok=True)
            (self.raw / task / file).hardlink_to(self.photo)
        (self.raw / task / "m.png").write_bytes(self.mask.read_bytes())
        write_json(folder / "classes.json", {"classes": CLASSES[task]})
        if images is None:
            values = 80 * DATASETS.index(task) + np.arange(len(splits), dtype=np.uint8)
            images = np.broadcast_to(values[:, None, None, None], (len(splits), size, size, 3))
        np.save(folder / "images.npy", images)
        np.save(folder / "looks.npy", np.zeros((len(splits), 64, 64), np.uint8))
        np.save(folder / "coverage.npy", np.zeros((len(splits), size, size), np.uint8))
        rows = [(task, file, file, split) for file, split in zip(files, splits, strict=True)]
        self.split_rows = [row for row in self.split_rows if row[0] != task] + rows
        write_rows(self.splits, ("task", "file", "group", "split"), self.split_rows)

    def add_states(self) -> None:
        """Add images of classification, enough for limits: colours with a bright half and a red box."""
        random = np.random.default_rng(0)
        colours, lefts = random.integers(20, 120, (48, 3)), random.integers(0, 30, 48)
        pairs = [(tuple(colour), (x, 8, x + 16, 40)) for colour, x in zip(colours, lefts, strict=True)]
        images = np.stack([picture(SIZE, SIZE, colour=colour, box=box) for colour, box in pairs])
        self.add("classification", ["train"] * 30 + ["val"] * 12 + ["test"] * 6, images=images)


@pytest.fixture
def packed(tmp_path) -> Packed:
    """Three sets of six pictures: two of each split, in turn."""
    packed = Packed(tmp_path / "build")
    for task in DATASETS:
        packed.add(task, ["train", "val", "test"] * 2)
    return packed


@pytest.fixture
def pictures() -> np.ndarray:
    """Eleven different pictures, (11, SIZE, SIZE, 3): more than one batch."""
    boxes = [(4 * n, 8, 4 * n + 16, 40) for n in range(11)]
    return np.stack([picture(SIZE, SIZE, colour=(20 * n, 90, 40), box=box) for n, box in enumerate(boxes)])


def save_model(path: str | Path, tasks: Sequence[str] = DATASETS) -> None:
    """Write a small model with random weights."""
    import torch

    from panvision.model.checkpoint import save_checkpoint
    from panvision.model.multitask import MultiTaskModel
    from tests.model.small import SMALL

    torch.manual_seed(0)
    settings = SMALL.model_copy(update={"det_channels": 32})
    model = MultiTaskModel(settings, image_size=SIZE, det_classes=BOX_NAMES, cls_classes=STATE_NAMES, tasks=tasks)
    if "detection" in tasks:
        # As confident as a trained one: some boxes are reported, some are not.
        torch.nn.init.normal_(model.detection.class_logits.weight, std=0.5)
    save_checkpoint(path, model, meta={"config": TRAINED, "epoch": 3})


def save_figures(folder: Path, tasks: Sequence[str] = DATASETS) -> None:
    """Write FIGURES; those of tasks that the model lacks are None."""
    for name, figures in FIGURES.items():
        absent = name in DATASETS and name not in tasks
        write_json(folder / f"{name}.json", dict.fromkeys(figures) if absent else figures)


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
