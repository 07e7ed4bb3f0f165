"""A finished pipeline run written by hand, for the report to show."""

import json
from pathlib import Path

from panvision.files import write_json, write_rows
from panvision.inference.predictor import Predictor
from panvision.ingest.problems import problem, write_problems
from panvision.report.inputs import CURVE_COLUMNS
from panvision.report.page import RunFiles, build_report
from panvision.report.settings import ReportSettings
from tests.evaluation.test_score import HEIGHT, WIDTH, World, right_half
from tests.tiny import ColourBackend, picture

BOX = (16, 12, 48, 36)
SPLITS = {"train": 4, "val": 1, "test": 2}
SET = {**SPLITS, "images": 7, "groups": 6}
METRICS = {
    "data": {
        "segmentation": {**SET, "classes": {"pan": SPLITS}},
        "detection": {**SET, "classes": {"lid": SPLITS, "stirrer": SPLITS}},
        "classification": {**SET, "classes": {"fresh": SPLITS}},
        "problems": {"mask_empty": 3, "of_another_version": 1},
        "cross_task_groups": 1,
    },
    "segmentation": {"images": 2, "miou": 0.9123, "iou": {"background": 0.95, "pan": 0.8746}, "dice": 0.9331},
    "detection": {"images": 2, "map50": 0.7654, "map50_95": 0.4321, "ap50": {"lid": None, "stirrer": 0.7654}},
    "classification": {
        "images": 2,
        "accuracy": 0.5,
        "balanced_accuracy": 0.25,
        "recall": {"browned": 1.0, "fresh": None, "frozen": 0.5},
    },
    "export": {"parity": {"box_edge_px": 0.0005, "passed": True}, "size_mb": {"onnx": 5.25}},
}


BASELINES = {
    "shared": "commit 1234567",
    "tasks": {
        "detection": {
            "experiment": "lone-pan",
            "also_differs": ["train.batch_size"],
            "figures": {
                "map50": {"shared": 0.7654, "alone": 0.8, "difference": -0.0346},
                "map50_95": {"shared": 0.4321, "alone": None, "difference": None},
            },
        },
    },
}


class Run(World):
    """World, with the metrics, curves and plots that the other stages would have made."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.metrics, self.reports, self.problems = root / "metrics", root / "reports", root / "problems.csv"
        self.settings = ReportSettings(images=2, width=128)
        self.add("segmentation", [(picture(WIDTH, HEIGHT), right_half())] * 3)
        self.add("detection", [(picture(WIDTH, HEIGHT, box=BOX), [(*BOX, 1)]), (picture(WIDTH, HEIGHT), [])])
        states = [(picture(WIDTH, HEIGHT, colour=(120, 0, 0)), "browned"), (picture(WIDTH, HEIGHT), "fresh")]
        self.add("classification", states)
        for name, figures in METRICS.items():
            write_json(self.metrics / f"{name}.json", figures)
        write_json(self.metrics / "baselines.json", {})
        write_problems(self.problems, [problem("mask_empty", "segmentation/masks/00.png", "marks no pan")])
        self.write_curves("phase1", 1)
        self.write_curves("phase2", 5)
        points = [("stirrer", step / 100, 1 - step / 200) for step in range(101)]
        write_rows(self.reports / "plots/precision_recall.csv", ("class", "recall", "precision"), points)
        self.write_confusion([("browned", "browned"), ("frozen", "fresh"), ("frozen", "frozen")])

    def write_curves(self, phase: str, epochs: int) -> None:
        # A column that the report does not know, and mAP undefined in the first epoch.
        rows = [
            [epoch, 1e-3 / epoch, *([1.0 / epoch] * 8), 0.5, None if epoch == 1 else 0.25, 0.75, 9.0]
            for epoch in range(1, epochs + 1)
        ]
        write_rows(self.reports / f"curves/{phase}.csv", (*CURVE_COLUMNS, "grad_norm"), rows)

    def write_confusion(self, pairs) -> None:
        write_rows(self.reports / "plots/confusion.csv", ("actual", "predicted"), pairs)

    def change(self, metric: str, **figures) -> None:
        path = self.metrics / f"{metric}.json"
        write_json(path, {**json.loads(path.read_text()), **figures})

    def train_only(self, *tasks: str) -> None:
        """The metrics as a model of these tasks gets them."""
        for task in {"segmentation", "detection", "classification"} - set(tasks):
            nothing = {
                name: dict.fromkeys(value) if isinstance(value, dict) else None for name, value in METRICS[task].items()
            }
            write_json(self.metrics / f"{task}.json", nothing)

    def rename(self, task: str, row: int, name: str, *, split: str = "test") -> None:
        """Give one picture of a set another file name."""
        old, new = f"images/{row:02d}.png", f"images/{name}"
        (self.raw / task / old).rename(self.raw / task / new)
        index = self.prepared / task / "index.csv"
        quoted = new.replace('"', '""')
        index.write_text(index.read_text().replace(old, f'"{quoted}"'))
        self.split_rows = [
            (task, new, new, split) if (kind, file) == (task, old) else (kind, file, *rest)
            for kind, file, *rest in self.split_rows
        ]
        self.write_splits()

    def write_splits(self) -> None:
        write_rows(self.splits, ("task", "file", "group", "split"), self.split_rows)

    def page(self, backend=None, **settings) -> str:
        return build_report(
            Predictor(backend or ColourBackend()),
            files=RunFiles(self.prepared, self.splits, self.problems, self.metrics, self.reports),
            data=self.data,
            settings=self.settings.model_copy(update=settings),
        )
