"""Planted label errors that `panvision review` finds: `python benchmarks/review.py data/demo`.

Copies a folder of the three raw datasets, plants errors in `--fraction` of its labels, trains one short model for each
fold with the stage scripts, ranks the labels, and prints how many planted errors are in the first tenth of each list: a
tenth of the number of labels. Finished folds are kept in `--out`, so the same command resumes.

Class labels get another class. Boxes are removed, moved to an IoU below 0.3, or get another class, a third each. Masks
lose half of their area at the edge, or are moved by a third of their width, a half each.
"""

import argparse
import json
import math
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from PIL import Image
from scipy.ndimage import binary_erosion

from panvision.core.boxes import box_iou
from panvision.core.files import write_json
from panvision.core.params import load_params, override
from panvision.core.tasks import DATASETS, Task
from panvision.experiments.review import Listed, read_neighbours, review
from panvision.experiments.revisions import WORKSPACE
from panvision.experiments.suspects import Suspect

ROOT = Path(__file__).resolve().parents[1]
FOLDS = 5
TRAINING = (["validate.py"], ["train.py", "phase1"], ["train.py", "phase2"], ["evaluate.py"])
ANNOTATIONS = "_annotations.coco.json"


class Planted(NamedTuple):
    """One planted error.

    Attributes:
        dataset, file: the image after the error was planted.
        kind: of the error.
        boxes: of the label before and after, corners in pixels; empty for other labels.
    """

    dataset: str
    file: str
    kind: str
    boxes: list[list[float]]


def plant_classes(root: Path, fraction: float, rng: random.Random) -> list[Planted]:
    """Move images to the folder of another class."""
    images = sorted((root / "classification/images").glob("*/*"))
    classes = sorted({path.parent.name for path in images})
    found = []
    for path in rng.sample(images, round(fraction * len(images))):
        name = rng.choice([each for each in classes if each != path.parent.name])
        path.rename(path.parents[1] / name / path.name)
        found.append(Planted("classification", f"images/{name}/{path.name}", "class", []))
    return found


def plant_masks(root: Path, fraction: float, rng: random.Random) -> list[Planted]:
    """Shrink or move masks."""
    paths = sorted((root / "segmentation/masks").iterdir())
    marked = [path for path in paths if np.asarray(Image.open(path)).any()]
    found = []
    for number, path in enumerate(rng.sample(marked, round(fraction * len(paths)))):
        mask = np.asarray(Image.open(path)) > 0
        kind = ("eroded", "moved")[number % 2]
        if kind == "eroded":
            wrong = mask
            while wrong.sum() > mask.sum() / 2:
                wrong = binary_erosion(wrong)
        else:
            columns = np.flatnonzero(mask.any(axis=0))
            shift = int(columns[-1] - columns[0] + 1) // 3
            wrong = np.zeros_like(mask)
            if columns.mean() < mask.shape[1] / 2:
                wrong[:, shift:] = mask[:, :-shift]
            else:
                wrong[:, :-shift] = mask[:, shift:]
        Image.fromarray(wrong.astype(np.uint8) * np.uint8(255)).save(path)
        image = next((root / "segmentation/images").glob(f"{path.stem}.*"))
        found.append(Planted("segmentation", f"images/{image.name}", kind, []))
    return found


def plant_boxes(root: Path, fraction: float, rng: random.Random) -> list[Planted]:
    """Remove boxes, move them, or give them another class."""
    path = root / "detection" / ANNOTATIONS
    document = json.loads(path.read_text())
    images = {image["id"]: image for image in document["images"]}
    categories = [category["id"] for category in document["categories"]]
    found = []
    chosen = rng.sample(document["annotations"], round(fraction * len(document["annotations"])))
    for number, label in enumerate(chosen):
        image, kind, before = images[label["image_id"]], ("removed", "moved", "class")[number % 3], _corners(label)
        if kind == "removed":
            document["annotations"].remove(label)
        elif kind == "class":
            label["category_id"] = rng.choice([each for each in categories if each != label["category_id"]])
        else:
            label["bbox"] = _moved(label["bbox"], image, rng)
        found.append(Planted("detection", f"images/{image['file_name']}", kind, [before, _corners(label)]))
    path.write_text(json.dumps(document))
    return found


def _corners(label: dict[str, Any]) -> list[float]:
    x, y, width, height = label["bbox"]
    return [x, y, x + width, y + height]


def _moved(box: Sequence[float], image: dict[str, Any], rng: random.Random) -> list[float]:
    """Return a box of the same size elsewhere, or of 7/10 of its sides where the image has no room for it."""
    x, y, width, height = box
    for attempt in range(1000):
        scale = 1.0 if attempt < 500 else 0.7
        wide, high = round(width * scale), round(height * scale)
        left, top = rng.randint(0, image["width"] - wide), rng.randint(0, image["height"] - high)
        iou = box_iou([[x, y, x + width, y + height]], [[left, top, left + wide, top + high]])[0, 0]
        if 0.05 < iou < 0.3:
            return [left, top, wide, high]
    return [0, 0, width // 2, height // 2]


def plant(data: Path, out: Path, fraction: float, seed: int) -> list[Planted]:
    """Copy the datasets to `out`/data and plant the errors, once."""
    done = out / "planted.json"
    if not done.exists():
        rng = random.Random(seed)
        shutil.rmtree(out / "data", ignore_errors=True)
        shutil.copytree(data, out / "data")
        makers = (plant_masks, plant_boxes, plant_classes)
        found = [each for make in makers for each in make(out / "data", fraction, rng)]
        write_json(done, [each._asdict() for each in found])
    return [Planted(**each) for each in json.loads(done.read_text())]


def run_folds(out: Path, settings: Sequence[str]) -> list[Path]:
    """Prepare once, then train and evaluate each fold that is not done; return the folders of the folds."""
    for dataset in DATASETS:
        if not (out / "build/prepared" / dataset / "index.csv").exists():
            _run(out, 0, settings, [["prepare.py", dataset]])
    folders = [out / f"fold{fold}" for fold in range(FOLDS)]
    for fold, folder in enumerate(folders):
        if not (folder / "done").exists():
            (folder / "build").mkdir(parents=True, exist_ok=True)
            (folder / "build/prepared").unlink(missing_ok=True)
            (folder / "build/prepared").symlink_to((out / "build/prepared").resolve())
            _run(folder, fold, settings, TRAINING)
            (folder / "done").touch()
    return folders


def _run(folder: Path, fold: int, settings: Sequence[str], stages: Sequence[list[str]]) -> None:
    params = override(load_params(ROOT / "presets/laptop.yaml"), settings)
    params["data"]["root"] = str((folder if (folder / "data").exists() else folder.parent).resolve() / "data")
    params["split"] |= {"folds": FOLDS, "fold": fold, "pins": "pins.csv"}
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    (folder / "pins.csv").write_text("task,file,split\n")
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    with (folder / "log.txt").open("a") as log:
        for script, *arguments in stages:
            command = [sys.executable, str(ROOT / "stages" / script), *arguments]
            subprocess.run(command, cwd=folder, env=environment, stdout=log, stderr=log, check=True)


def position(planted: Planted, suspects: Sequence[Suspect]) -> int | None:
    """Return the place in a list, from 0, of the first row for a planted error; None without one.

    A row for a box counts if its IoU with the box before or after the error was planted is at least 0.5.
    """
    for place, suspect in enumerate(suspects):
        if suspect.file == planted.file:
            boxes = [] if suspect.box is None else [suspect.box]
            if not planted.boxes or (boxes and box_iou(planted.boxes, boxes).max() >= 0.5):
                return place
    return None


def show(planted: Sequence[Planted], found: Mapping[Task, Listed]) -> None:
    """Print the table in Markdown, beside the number of planted errors in images that `validate` warns of."""
    print("| list | labels | planted | in the first tenth | in the first twentieth | by kind | by `validate` |")
    print("|---|---|---|---|---|---|---|")
    for task, listed in found.items():
        own = [(each.kind, position(each, listed.suspects)) for each in planted if each.dataset == listed.dataset]
        first = {
            part: [kind for kind, place in own if place is not None and place < math.ceil(listed.labels / part)]
            for part in (10, 20)
        }
        kinds = Counter(kind for kind, _ in own)
        text = ", ".join(f"{kind} {first[10].count(kind)} of {count}" for kind, count in sorted(kinds.items()))
        shares = [f"{len(each)} ({len(each) / max(1, len(own)):.0%})" for each in first.values()]
        warned = {file for file, reason in listed.neighbours.items() if reason}
        hits = sum(each.file in warned for each in planted if each.dataset == listed.dataset)
        cells = [task, listed.labels, len(own), *shares, text, f"{hits}, warns of {len(warned)} images"]
        print("|", " | ".join(map(str, cells)), "|")


def main() -> None:
    """Plant, train what is not done, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the three raw datasets")
    parser.add_argument("--fraction", type=float, default=0.05, help="of the labels of each dataset")
    parser.add_argument("--seed", type=int, default=1, help="of the planted errors")
    parser.add_argument("--out", type=Path, default=ROOT / "build/review")
    parser.add_argument("--set", nargs="+", default=["train.phase1.epochs=2", "train.phase2.epochs=4"])
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    planted = plant(args.data, args.out, args.fraction, args.seed)
    folders = run_folds(args.out, args.set)
    neighbours = read_neighbours(folders[0] / "build/problems.csv")
    show(planted, review([(folder, WORKSPACE) for folder in folders], neighbours=neighbours))


if __name__ == "__main__":
    main()
