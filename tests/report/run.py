"""A finished pipeline run, written by hand."""

import json
from pathlib import Path

from panvision.core.files import write_json, write_rows
from panvision.dataset.problems import problem, write_problems
from panvision.evaluation.results import Results
from panvision.report.inputs import CURVE_COLUMNS
from panvision.report.page import RunFiles, build_report
from panvision.report.settings import ReportSettings
from tests.evaluation.world import CLASSES, HEIGHT, WIDTH, World, right_half
from tests.tiny import PartBackend, picture

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
    "segmentation": {
        "images": 2,
        "miou": 0.9123,
        "iou": {"background": 0.95, "pan": 0.8746},
        "dice": 0.9331,
        "precision": 0.92,
        "recall": 0.94,
        "boundary_images": 3,
        "boundary_mean_px": 1.256,
        "boundary_p95_px": 4.5,
        "boundary_mean": 0.008,
        "boundary_p95": 0.03,
        "ci95": {},
        "ci95_null": {},
    },
    "detection": {
        "images": 2,
        "map50": 0.7654,
        "map50_95": 0.4321,
        "ap50": {"lid": None, "stirrer": 0.7654},
        "map_small": None,
        "map_medium": 0.4321,
        "map_large": None,
        "threshold": {"lid": 0.3, "stirrer": 0.41},
        "precision": {"lid": None, "stirrer": 0.75},
        "recall": {"lid": None, "stirrer": 0.6},
        "f1": {"lid": None, "stirrer": 0.667},
        "macro_f1": 0.667,
        "expected_cost": 0.55,
        "ci95": {},
        "ci95_null": {},
    },
    "classification": {
        "images": 2,
        "accuracy": 0.5,
        "balanced_accuracy": 0.25,
        "recall": {"browned": 1.0, "fresh": None, "frozen": 0.5},
        "precision": {"browned": 0.8, "fresh": None, "frozen": 0.5},
        "f1": {"browned": 0.889, "fresh": None, "frozen": 0.5},
        "macro_f1": 0.695,
        "threshold": {"browned": 0.3, "fresh": None, "frozen": 0.6},
        "f1_at_threshold": {"browned": 0.9, "fresh": None, "frozen": 0.55},
        "expected_cost": None,
        "answered": None,
        "mae_states": None,
        "quadratic_kappa": None,
        "nll": 0.4,
        "ece": 0.12,
        "nll_uncalibrated": 0.35,
        "ece_uncalibrated": 0.05,
        "temperature": 1.4,
        "ci95": {},
        "ci95_null": {},
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


PREVIOUS = {
    "commit": "commit 7654321",
    "tasks": {
        "segmentation": {
            "miou": {"value": 0.9, "present": 0.9123, "difference": {"low": 0.002, "high": 0.02}},
            "boundary_mean_px": {"value": 1.0, "present": 1.256, "difference": {"low": 0.1, "high": 0.4}},
            "dice": {"value": 0.95, "present": 0.9331, "difference": {"low": -0.04, "high": 0.01}},
        },
        "detection": {
            "map50": {"value": 0.8, "present": 0.7, "difference": {"low": 0.01, "high": 0.02}},
            "ap50.stirrer": {"value": 0.7, "present": 0.7654, "difference": None},
            "map50_95": {"value": None, "present": 0.4321, "difference": None},
        },
    },
}
CONFIG = {"seed": 42, "model": {"backbone": "resnet10", "weights": "none"}, "export": {"opset": 18}}


def image(row: int, **values) -> dict:
    """The record of one image."""
    common = {"file": f"images/{row:02d}.png", "sha256": "0" * 64, "group": f"g{row}", "width": WIDTH, "height": HEIGHT}
    return {**common, **values}


def box_image(row: int, truth, found) -> dict:
    """A record of boxes: truth (4 edges, label), found (4 edges, label, score, match, iou), best first."""
    values = {
        "boxes": [list(box[:4]) for box in found],
        **{key: [box[column] for box in found] for column, key in enumerate(("labels", "scores", "match", "iou"), 4)},
        "hits": {"all": [0] * len(found)},
        "ignored": {"all": [0] * len(found)},
    }
    return image(
        row, truth={"boxes": [list(box[:4]) for box in truth], "labels": [box[4] for box in truth]}, found=values
    )


# One image of each dataset has a mistake.
RESULTS = {
    "segmentation": [
        image(0, pixels=[5000, 700, 300, 6288], boundary={"mean": 2.25, "p95": 9.0}),
        image(1, pixels=[6144, 0, 0, 6144], boundary={"mean": 0.0, "p95": 0.0}),
        image(2, pixels=[6144, 0, 0, 6144], boundary={"mean": 0.0, "p95": 0.0}),
    ],
    "detection": [
        box_image(0, [(*BOX, 1)], [(*BOX, 1, 0.9, 0, 1.0)]),
        box_image(1, [], [(*BOX, 0, 0.8, -1, 0.0), (*BOX, 1, 0.2, -1, 0.0)]),
    ],
    "classification": [
        image(0, truth=0, probabilities=[0.9, 0.05, 0.05]),
        image(1, truth=1, probabilities=[0.1, 0.2, 0.7]),
    ],
}
THRESHOLDS = [
    ("stirrer", 0.0, 0.1, 1.0, 0.18, 9.0),
    ("stirrer", 0.5, 0.9, 0.8, 0.85, 0.25),
    ("stirrer", 1.0, "", 0.0, 0.0, 0.5),
]
SLICES = [
    ("segmentation", "masks with pan", 2, "miou", 0.875, 0.8, 0.925, ""),
    ("segmentation", "masks with pan", 2, "dice", 0.9, "", "", "few_groups"),
    ("segmentation", "masks without pan", 1, "miou", 0.5, "", "", "few_groups"),
    ("segmentation", "masks without pan", 1, "dice", 0.25, "", "", "few_groups"),
]
RELIABILITY = [("as shipped", 0.62, 0.5, 2), ("as shipped", 0.9, 0.75, 4), ("uncalibrated", 0.55, 0.5, 1)]


class Run(World):
    """World, with the metrics, results, curves and plots of the other stages."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.metrics, self.reports, self.problems = root / "metrics", root / "reports", root / "problems.csv"
        self.settings = ReportSettings(images=2, width=128)
        self.add("segmentation", [(picture(WIDTH, HEIGHT), right_half())] * 3)
        self.add("detection", [(picture(WIDTH, HEIGHT, box=BOX), [(*BOX, 1)]), (picture(WIDTH, HEIGHT), [])])
        states = [(picture(WIDTH, HEIGHT, colour=(120, 0, 0)), "browned"), (picture(WIDTH, HEIGHT), "fresh")]
        self.add("classification", states)
        for name, values in METRICS.items():
            write_json(self.metrics / f"{name}.json", values)
        for name in ("baselines", "previous"):
            write_json(self.metrics / f"{name}.json", {})
        self.config = root / "models/config.json"
        write_json(self.config, CONFIG)
        for task, images in RESULTS.items():
            self.write_results(task, images)
        self.predict()
        write_problems(self.problems, [problem("mask_empty", "segmentation/masks/00.png", "marks no pan")])
        self.write_curves("phase1", 1)
        self.write_curves("phase2", 5)
        points = [("stirrer", step / 100, 1 - step / 200) for step in range(101)]
        write_rows(self.reports / "plots/precision_recall.csv", ("class", "recall", "precision"), points)
        columns = ("class", "threshold", "precision", "recall", "f1", "cost")
        write_rows(self.reports / "plots/thresholds.csv", columns, THRESHOLDS)
        columns = ("task", "slice", "images", "metric", "value", "low", "high", "reason")
        write_rows(self.reports / "plots/slices.csv", columns, SLICES)
        columns = ("probabilities", "confidence", "accuracy", "images")
        write_rows(self.reports / "plots/reliability.csv", columns, RELIABILITY)
        self.write_confusion([("browned", "browned"), ("frozen", "fresh"), ("frozen", "frozen")])

    def write_curves(self, phase: str, epochs: int) -> None:
        # With a column that the report does not know, and mAP undefined in the first epoch.
        columns = (*CURVE_COLUMNS, "grad_norm")
        rows = []
        for epoch in range(1, epochs + 1):
            own = {"epoch": epoch, "lr": 1e-3 / epoch, "miou": 0.5, "accuracy": 0.75, "grad_norm": 9.0}
            own["map50"] = None if epoch == 1 else 0.25
            rows.append([own.get(column, 1.0 / epoch) for column in columns])
        write_rows(self.reports / f"curves/{phase}.csv", columns, rows)

    def write_confusion(self, pairs) -> None:
        write_rows(self.reports / "plots/confusion.csv", ("actual", "predicted"), pairs)

    def write_results(self, task: str, images, *, trained: bool = True, threshold: float = 0.3) -> None:
        names = CLASSES[task]
        limits = [threshold if trained and task == "detection" else None] * len(names)
        results = Results(task, "test", trained, classes=names, images=images, thresholds=limits)
        results.write(self.reports / f"results/{task}.json")

    def predict(self, backend=None, **model) -> None:
        """Write predictions.json, with some values of the model replaced."""
        predictions = self.evaluate(backend).predictions
        predictions.model.update(model)
        predictions.write(self.reports / "results/predictions.json")

    def change(self, metric: str, **values) -> None:
        path = self.metrics / f"{metric}.json"
        write_json(path, {**json.loads(path.read_text()), **values})

    def train_only(self, *tasks: str) -> None:
        """Write the metrics and results of a model of these tasks."""
        self.predict(PartBackend(*tasks))
        for task in {"segmentation", "detection", "classification"} - set(tasks):
            nothing = {
                name: dict.fromkeys(value) if isinstance(value, dict) else None for name, value in METRICS[task].items()
            }
            write_json(self.metrics / f"{task}.json", nothing)
            self.write_results(task, [], trained=False)

    def rename(self, task: str, row: int, name: str, *, split: str = "test") -> None:
        """Give one image of a dataset another file name."""
        self.write_results(
            task,
            [
                {**each, "file": f"images/{name}"} if number == row else each
                for number, each in enumerate(RESULTS[task])
            ],
        )
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
        self.predict()

    def write_splits(self) -> None:
        write_rows(self.splits, ("task", "file", "group", "split"), self.split_rows)

    def page(self, **settings) -> str:
        return build_report(
            files=RunFiles(self.prepared, self.splits, self.problems, self.config, self.metrics, self.reports),
            data=self.data,
            settings=self.settings.model_copy(update=settings),
        )
