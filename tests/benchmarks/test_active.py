import csv
import itertools
import json
import shutil
from pathlib import Path

import active
import bursts
import numpy as np
import pandas as pd
import pytest

from panvision.core.tasks import DATASETS
from panvision.labelling.select import Scan
from panvision.training.data.sets import open_sets

NAN = np.nan
COUNT = 10  # images per dataset; the last two are in val and test


@pytest.fixture
def base(tmp_path):
    """Packed datasets of ten images each, number n all of the grey n; detection's has n boxes."""
    rows = []
    for dataset in DATASETS:
        folder = tmp_path / "base/build/prepared" / dataset
        folder.mkdir(parents=True)
        files = [f"images/{number}.jpg" for number in range(COUNT)]
        index = pd.DataFrame({"file": files, "width": 8, "height": 8, "mask": "m.png", "drawn": "", "label": "raw"})
        index.to_csv(folder / "index.csv", index=False)
        grey = np.arange(COUNT, dtype=np.uint8)[:, None, None]
        np.save(folder / "images.npy", np.broadcast_to(grey[..., None], (COUNT, 8, 8, 3)))
        for name in ("looks", "coverage"):
            np.save(folder / f"{name}.npy", np.broadcast_to(grey, (COUNT, 8, 8)))
        (folder / "classes.json").write_text('{"classes": ["raw"]}')
        boxes = [(row, 0, 0, row + 1, 1, 0) for row in range(COUNT) for _ in range(row)]
        pd.DataFrame(boxes, columns=["row", "x1", "y1", "x2", "y2", "label"]).to_csv(folder / "boxes.csv", index=False)
        splits = ["train"] * (COUNT - 2) + ["val", "test"]
        rows += [(dataset, file, file, split) for file, split in zip(files, splits, strict=True)]
    pd.DataFrame(rows, columns=["task", "file", "group", "split"]).to_csv(
        tmp_path / "base/build/splits.csv", index=False
    )
    return tmp_path / "base"


def scan_of(values, vectors=None, part="classification"):
    """A scan of images a, b, c, … with these doubts of one part."""
    doubts = np.full((len(values), len(active.PARTS)), NAN, np.float16)
    doubts[:, active.PARTS.index(part)] = values
    places = np.eye(len(values), 80) * 9 if vectors is None else np.pad(np.array(vectors)[:, None], [(0, 0), (0, 79)])
    return Scan([chr(97 + row) for row in range(len(values))], doubts, places.astype(np.float16))


def test_first_labels_are_a_fraction_of_each_dataset_by_seed(base):
    pools = active.read_pools(base / "build/splits.csv", joint=False)
    first = active.draw(pools, 0.25, seed=1)
    assert {name: len(own) for name, own in first.items()} == dict.fromkeys(DATASETS, 2)
    assert first == active.draw(pools, 0.25, seed=1) != active.draw(pools, 0.25, seed=2)
    assert all(set(first[name]) <= set(pools[name]) for name in DATASETS)


def test_joint_pool_labels_a_frame_in_all_datasets(base):
    pools = active.read_pools(base / "build/splits.csv", joint=True)
    assert list(pools) == ["frames"] and len(pools["frames"]) == COUNT - 2
    assert {dataset for dataset, _ in pools["frames"]["3"]} == set(DATASETS)


def test_restricted_data_keep_validation_and_test(base, tmp_path):
    kept = {("detection", "images/3.jpg"), ("segmentation", "images/5.jpg"), ("classification", "images/0.jpg")}
    active.restrict(base, tmp_path / "round", kept)
    sets = open_sets(tmp_path / "round/build/prepared", tmp_path / "round/build/splits.csv")
    for dataset, file in kept:
        packed, rows = sets.packed[dataset], sets.rows[dataset]
        assert [packed.files[row] for row in rows["train"]] == [file]
        for split, number in (("train", int(Path(file).stem)), ("val", COUNT - 2), ("test", COUNT - 1)):
            assert packed.images[rows[split]].min() == packed.images[rows[split]].max() == number
    detection = sets.packed["detection"]
    assert [len(own) for own in detection.boxes] == [3, 8, 9] and detection.boxes[0][0, 2] == 4
    assert sets.packed["segmentation"].masks[:, 0, 0].tolist() == [5, 8, 9]


def test_uncertainty_takes_the_largest_doubts():
    found = scan_of([0.1, 0.9, 0.2, 0.8, 0.85], vectors=[0.0, 1.0, 2.0, 1.0, 1.0])
    assert active.choose("uncertainty", "classification", found, ["e"], 2) == ["b", "d"]


def test_select_takes_near_duplicates_last_and_fills_up():
    found = scan_of([0.1, 0.9, 0.4, 0.89, 0.3], vectors=[0.0, 8.0, 16.0, 8.0, 24.0])
    chosen = active.choose("select", "classification", found, ["a"], 4)
    assert chosen[0] == "b" and chosen[-1] == "d" and sorted(chosen) == ["b", "c", "d", "e"]


def test_select_avoids_what_is_like_labelled_images():
    found = scan_of([0.1, 0.9, 0.5], vectors=[0.0, 0.1, 9.0])
    assert active.choose("select", "classification", found, ["a"], 1) == ["c"]


def test_head_counts_the_doubt_of_its_own_dataset():
    found = scan_of([0.0, 0.2, 0.5, 0.9])
    found.values[:, active.PARTS.index("detection")] = [0.0, 0.9, 0.5, 0.1]
    assert active.choose("head", "detection", found, ["a"], 1) == ["b"]
    assert active.choose("head", "classification", found, ["a"], 1) == ["d"]


@pytest.fixture
def simulation(base, monkeypatch):
    """A simulation without trainings: a model scores the number of its labels, and doubts are the images' numbers."""
    folders = []

    def run_stages(_, folder, stages):
        folders.append(folder)
        (folder / "images.txt").write_text(str(len(pd.read_csv(folder / "build/splits.csv"))))
        return 1.0 if stages == active.TRAINING else None

    def scores(folder):
        return {"mIoU": int((folder / "images.txt").read_text()) / 30, "ECE": 9.0}

    def scanned(photos, _):
        names = list(photos)
        return Scan(names, scan_of([int(Path(name).stem) / 10 for name in names]).values, np.zeros((len(names), 80)))

    monkeypatch.setattr(active, "run_stages", run_stages)
    monkeypatch.setattr(active, "read_scores", scores)
    monkeypatch.setattr(active, "scan", scanned)
    monkeypatch.setattr(active.Simulation, "load_panel", lambda _, folder: folder)
    monkeypatch.setattr(active, "read_photos", lambda _, pool: pool)
    pools = active.read_pools(base / "build/splits.csv", joint=False)
    return active.Simulation({"data": {"root": "."}}, base.parent, pools), folders


def test_rounds_grow_share_their_first_model_and_resume(simulation, tmp_path):
    simulation, folders = simulation
    rows = {name: simulation.run(7, name) for name in ("uncertainty", "random")}
    assert [row["labels"] for row in rows["random"]] == [3 * round(8 * each) or 3 for each in active.FRACTIONS]
    assert rows["random"][0]["mean"] == pytest.approx((3 + 6) / 30)
    assert len(folders) == len(set(folders)) == 7
    labelled = [json.loads((folder / "done.json").read_text())["labelled"]["detection"] for folder in folders[:4]]
    assert all(set(less) < set(more) for less, more in itertools.pairwise(labelled))
    best = [f"images/{number}.jpg" for number in range(7, -1, -1) if f"images/{number}.jpg" not in labelled[0]]
    assert labelled[-1] == [*labelled[0], *best[: len(labelled[-1]) - 1]]
    assert simulation.run(7, "random") == rows["random"] and len(folders) == 7
    shutil.rmtree(tmp_path / "seed7/random/35")
    assert simulation.run(7, "random") == rows["random"] and len(folders) == 8
    simulation.params["tasks"] = ["detection"]
    assert simulation.run(7, "random") == rows["random"] and len(folders) == 12


def test_answer_interpolates_between_fractions():
    curves = [[0.5, 0.6, 0.75, 0.8]] * 3
    assert active.needed(curves, [0.675] * 3) == pytest.approx([0.275] * 3)
    assert active.needed(curves, [0.9] * 3) == [None] * 3
    assert active.needed(curves, [0.4] * 3) == [0.1] * 3


def test_answer_has_the_interval_of_the_paired_difference():
    curves = [[0.1 + shift, 0.2 + shift, 0.35 + shift, 0.6 + shift] for shift in (-0.04, 0.0, 0.04)]
    half = 4.302653 * 0.04 / np.sqrt(3)
    assert active.needed(curves, [0.3] * 3) == pytest.approx([0.3, 0.3 - half, 0.3 + half], abs=1.1e-3)
    assert active.needed(curves, [curve[2] for curve in curves]) == [0.35] * 3
    assert active.needed(curves[:2], [0.28] * 2)[1:] == [0.1, None]


def test_table_and_rows(tmp_path):
    def curve(*values):
        return [{"labels": 1.0, "minutes": 2.0, **dict.fromkeys(active.METRICS, value)} for value in values]

    rows = {
        "select": [curve(0.5, 0.62, 0.8, 0.9), curve(0.5, 0.6, 0.8, 0.9), curve(0.5, 0.61, 0.8, 0.9)],
        "random": [curve(0.5, 0.5, 0.6, 0.7)] * 3,
    }
    lines = list(active.show(rows))
    assert len(lines) == 2 + 7 + 1
    assert lines[2].startswith("| 10% | all | 3 | 0.500 | ")
    assert "| 20% | select | 3 | 0.610, +0.085 to +0.135 * |" in lines[3]
    assert lines[4].startswith("| 20% | random | 3 | 0.500 | 0.500")
    assert lines[-1].startswith("select needs 27% of the labels (")
    active.write_rows(tmp_path / "rows.csv", rows, [4, 5, 6])
    with (tmp_path / "rows.csv").open() as file:
        table = list(csv.DictReader(file))
    assert len(table) == 2 * 3 * 4 and table[5]["seed"] == "5" and table[5]["mIoU"] == "0.6"


def test_stream_has_rare_classes_in_bursts(tmp_path):
    bursts.write_stream(tmp_path, train=40, val=5, test=1)
    pins = pd.read_csv(tmp_path / "pins.csv")
    assert pins.groupby(["task", "split"]).size().to_dict() == {
        (dataset, split): count for dataset in DATASETS for split, count in (("train", 40), ("val", 5), ("test", 1))
    }
    assert all((tmp_path / dataset / file).is_file() for dataset, file in zip(pins["task"], pins["file"], strict=True))
    own = pins[pins["task"] == "classification"]
    states = own["file"].str.split("/").str[1]
    assert states[own["split"] == "val"].nunique() == 5
    names = own.loc[own["split"] == "train", "file"].str.extract(r"train(\d+)_(\d+)")
    assert names[0].nunique() < 20 and names.groupby(0)[1].count().max() > 2
    coco = json.loads((tmp_path / "detection/_annotations.coco.json").read_text())
    assert len(coco["images"]) == 46 and {"pan", "inlet_pipe"} <= {
        coco["categories"][each["category_id"] - 1]["name"] for each in coco["annotations"]
    }
