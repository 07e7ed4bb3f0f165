import csv
import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from panvision.cli.main import main
from panvision.core.tasks import TASKS
from panvision.dataset.packed import open_packed
from panvision.evaluation.results import Predictions, Results, encode_mask
from panvision.evaluation.table import EVALUATIONS
from panvision.experiments import review as module
from panvision.experiments.folds import FoldsError
from panvision.experiments.review import ReviewError, review, write_list
from panvision.experiments.revisions import FOLDER, WORKSPACE
from panvision.photos.settings import DataSettings
from panvision.photos.truth import read_truth
from panvision.prepare.pack import prepare
from tests.evaluation.made import all_results
from tests.experiments.shown import printed
from tests.experiments.test_folds import commits, fold

SIDE = 96


def write_fold(folder, results):
    for task, each in results.items():
        each.write(folder / FOLDER / f"{task}.json")
    return folder


def part(results, start, stop):
    return {task: replace(each, images=each.images[start:stop]) for task, each in results.items()}


@pytest.fixture
def folds(tmp_path):
    """Two folders with six images of each task."""
    whole = all_results(error=0.1, right=0.6)
    return [str(write_fold(tmp_path / f"run{number}", part(whole, 6 * number, 6 * number + 6))) for number in (0, 1)]


@pytest.fixture
def command(tmp_path, folds, capsys):
    """Runs the command on both folds; returns its exit code, its output and standard error."""

    def run(*arguments, names=None):
        options = [option for name in (folds if names is None else names) for option in ("--fold", str(name))]
        code = main(["review", "--project", str(tmp_path), *options, *map(str, arguments)])
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


def rows_of(path):
    with path.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_command_ranks_the_images_of_all_folds(command, tmp_path):
    code, text, error = command("--csv", tmp_path / "list.csv")
    assert code == 0 and not error and max(map(len, text.splitlines())) <= 80
    assert text.startswith("segmentation: 12 labels, ") and "\ndetection: 24 labels, " in text
    rows = rows_of(tmp_path / "list.csv")
    assert list(rows[0]) == ["dataset", "file", "what", "box", "score", "suspicious", "reason", "neighbours"]
    for task in TASKS:
        own = [row for row in rows if row["dataset"] == task]
        scores = [float(row["score"]) for row in own]
        assert len({row["file"] for row in own}) == 12 and scores == sorted(scores, reverse=True)


def test_folds_in_another_order_give_the_same_list(folds, tmp_path):
    sources = [module.fold_of(tmp_path, name) for name in folds]
    for number, own in enumerate((sources, sources[::-1])):
        write_list(tmp_path / f"{number}.csv", review(own))
    assert (tmp_path / "0.csv").read_bytes() == (tmp_path / "1.csv").read_bytes()


def test_dismissed_findings_are_left_out(command, tmp_path):
    command("--csv", tmp_path / "list.csv")
    rows = rows_of(tmp_path / "list.csv")
    (first, *_) = (row for row in rows if row["dataset"] == "classification")
    (tmp_path / "data").mkdir()
    with (tmp_path / "data/reviewed.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, list(first))
        table.writeheader()
        table.writerows([first, {**first, "file": "images/gone.jpg"}])
    _, text, _ = command("--csv", tmp_path / "list.csv")
    assert f"classification: 12 labels, {text.count('class ')} suspicious, 1 dismissed" in text
    assert rows_of(tmp_path / "list.csv") == [row for row in rows if row != first]


def test_limit_leaves_rows_to_the_list(command):
    _, every, _ = command("--limit", "100")
    _, text, _ = command("--limit", "1")
    suspicious = every.count(": class ")
    assert suspicious > 1 and text.count(": class ") == 1 and f"       and {suspicious - 1} more" in text


def test_a_task_without_a_ranking_is_left_out(command, monkeypatch):
    monkeypatch.delitem(module.RANKINGS, "detection")
    code, text, _ = command()
    assert code == 0 and "classification:" in text and "detection" not in text


def test_findings_without_a_model_are_beside(command, tmp_path):
    command("--csv", tmp_path / "list.csv")
    first = next(row for row in rows_of(tmp_path / "list.csv") if row["dataset"] == "classification")
    (tmp_path / "build").mkdir()
    file = f"classification/{first['file']}"
    lines = [
        "code,severity,file,reason,remedy",
        f"neighbours_disagree,warning,{file},neighbours say golden,look",
        f"box_unusual_size,warning,{file},large,look",
        f"image_tiny,warning,{file},small,look",
    ]
    (tmp_path / "build/problems.csv").write_text("\n".join(lines) + "\n")
    _, text, _ = command("--csv", tmp_path / "list.csv")
    found = {row["file"]: row["neighbours"] for row in rows_of(tmp_path / "list.csv") if row["dataset"] != "detection"}
    assert found[first["file"]] == "neighbours say golden; large" and f"* {first['file']}: class" in text
    assert "also warns of this image" in text
    right = next(
        row["file"]
        for row in rows_of(tmp_path / "list.csv")
        if row["dataset"] == "classification" and not row["suspicious"]
    )
    (tmp_path / "build/problems.csv").write_text("\n".join([lines[0], lines[1].replace(first["file"], right)]) + "\n")
    assert "also warns of this image" not in command("--limit", "12")[1]


def test_folds_come_from_dvc_and_missing_ones_are_named(command, folds, tmp_path, monkeypatch):
    folders = {"n0": folds[0], "n2": folds[1]}
    read = module.results_of
    monkeypatch.setattr(module, "results_of", lambda project, rev: read(tmp_path / folders[rev], WORKSPACE))
    monkeypatch.setattr("sys.stdin", io.StringIO(printed(commits(fold(0), fold(2)))))
    code, text, _ = command(names=[])
    assert code == 3 and "segmentation: 12 labels" in text and "not finished: fold 1; see `dvc queue status`" in text


def test_several_cross_validations_need_names(command, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(printed(commits(fold(0), fold(0, cls=4.0)))))
    code, text, error = command(names=[])
    assert code == 1 and not text and "2 cross-validations (loss.cls=2.0; loss.cls=4.0)" in error and "--fold" in error


def test_no_fold_or_empty_folds_are_an_error(command, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("[]"))
    assert "split.folds" in command(names=[])[2]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    code, _, error = command(names=[])
    assert code == 2 and error.count("\n") == 1 and "Nothing to read; run `dvc exp show --json | " in error
    assert "or name each fold with --fold." in error
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff"), encoding="utf-8"))
    assert "not the output of `dvc exp show --json`" in command(names=[])[2]
    write_fold(tmp_path / "empty", part(all_results(), 0, 0))
    code, _, error = command(names=[tmp_path / "empty"])
    assert code == 1 and error.count("\n") == 1 and "no fold has a test image" in error
    with pytest.raises(ReviewError, match="no fold has a test image"):
        review([])


def test_an_untrained_task_is_left_out(command, tmp_path):
    results = all_results()
    results["detection"] = replace(results["detection"], trained=False, images=[])
    code, text, _ = command(names=[write_fold(tmp_path / "two", results)])
    assert code == 0 and "segmentation:" in text and "detection" not in text


def test_images_of_two_folds_are_refused(folds, tmp_path):
    with pytest.raises(FoldsError, match="a test image of two folds"):
        review([module.fold_of(tmp_path, folds[0])] * 2)


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"format": 1}', '{"format": 2}'])
def test_unreadable_results_are_one_clear_error(command, folds, tmp_path, content):
    path = tmp_path / "run1" / FOLDER / "detection.json"
    path.unlink() if content is None else path.write_text(content)
    code, text, error = command()
    assert code == 1 and not text and error.count("\n") == 1 and str(path) in error and "evaluate" in error


@pytest.mark.parametrize(
    ("task", "key"), [("segmentation", "pixels"), ("detection", "found"), ("classification", "truth")]
)
def test_damaged_records_are_one_clear_error(command, folds, tmp_path, task, key):
    path = tmp_path / "run1" / FOLDER / f"{task}.json"
    values = json.loads(path.read_text())
    del values["images"][2][key]
    path.write_text(json.dumps(values))
    code, text, error = command()
    assert code == 1 and not text and error.count("\n") == 1 and f"{task}: damaged" in error and str(tmp_path) in error


def test_a_folder_without_results_is_named(command, tmp_path):
    (tmp_path / "other").mkdir()
    code, _, error = command(names=[tmp_path / "other"])
    assert code == 1 and f"other: has no {FOLDER}" in error


def results_on(raw, count, wrong=4):
    """Return results and predictions for the first images of rendered datasets; the first ones contradict labels."""
    files = {
        task: [path.relative_to(raw / task).as_posix() for path in sorted((raw / task / "images").rglob("*.jpg"))]
        for task in TASKS
    }
    states = sorted({file.split("/")[1] for file in files["classification"]})
    pan, others = {"boxes": [[50.0, 50.0, 90.0, 90.0]], "labels": [0]}, [0.0] * (len(states) - 2)
    records = {
        "segmentation": [{"pixels": [10, 2000, 3000, 4000]}, {"pixels": [5000, 0, 0, 4000]}],
        "detection": [
            EVALUATIONS["detection"].record({**pan, "scores": [0.9]}, truth, ["pan", "stirrer"])
            for truth in ({"boxes": [], "labels": []}, pan)
        ],
        "classification": [{"truth": label, "predicted": 1, "probabilities": [0.0, 1.0, *others]} for label in (0, 1)],
    }
    parts = {
        "segmentation": {"mask": encode_mask(np.ones((SIDE, SIDE), np.uint8))},
        "detection": {**pan, "scores": [0.9], "class_names": ["pan"]},
        "classification": {"class_idx": 1, "class_name": states[1], "probabilities": {states[1]: 1.0}},
    }
    common = {"sha256": "", "group": "", "width": SIDE, "height": SIDE, "boundary": None}
    classes = {"segmentation": ["background", "pan"], "detection": ["pan", "stirrer"], "classification": states}
    results, predictions = {}, []
    for task in TASKS:
        images = [
            {"file": file, **common, **records[task][number >= wrong]}
            for number, file in enumerate(files[task][:count])
        ]
        results[task] = Results(task, "test", True, classes[task], images, thresholds=[0.4] * len(classes[task]))
        predictions += [{"dataset": task, "file": image["file"], "result": {task: parts[task]}} for image in images]
    return results, Predictions({"image_size": 64, "score_threshold": 0.4}, predictions)


@pytest.fixture
def drawn(tmp_path, raw):
    """A fold that tested nine of ten images of each dataset, one of them no longer there."""
    results, predictions = results_on(raw, 9)
    gone = {**results["classification"].images[0], "file": "images/raw/gone.jpg"}
    results["classification"].images.append(gone)
    folder = write_fold(tmp_path / "drawn", results)
    predictions.write(folder / FOLDER / "predictions.json")
    return folder


def test_page_shows_labels_beside_predictions(command, drawn, raw, tmp_path):
    code, text, error = command(raw, "--html", tmp_path / "review.html", "--html_images", "9", names=[drawn])
    assert code == 3, error
    page = (tmp_path / "review.html").read_text()
    assert "segmentation: 1 images were tested by no fold" in text
    assert "<h2>Detection</h2>" in page and "predicted pan 0.90, without a label" in page
    assert page.count('alt="label of') == page.count('alt="prediction of') == 12
    assert page.count('alt="difference of') == 4 and 'src="http' not in page
    assert "The dataset has no such image now." in page and "missing pan" in page


def results_of(raw, folder):
    """Write a fold that tested every image, as `panvision evaluate` does."""
    for task in TASKS:
        prepare(task, DataSettings(root=str(raw)), folder / task)
        packed = open_packed(folder / task, task)
        images = []
        for row, file in enumerate(packed.files):
            truth = read_truth(packed, row, raw / task)
            part = {**truth, "boxes": [], "labels": [], "scores": [], "distance": None}
            part["probabilities"] = dict.fromkeys(packed.classes, 0.1)
            record = EVALUATIONS[task].record(part, truth, packed.classes)
            images.append({"file": file, "sha256": "", "group": "", "width": SIDE, "height": SIDE, **record})
        results = Results(task, "test", True, packed.classes, images, thresholds=[0.4] * len(packed.classes))
        results.write(folder / FOLDER / f"{task}.json")
    return folder


def test_labels_newer_than_the_folds_are_counted(command, raw, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(raw, data)
    run = results_of(data, tmp_path / "run")
    code, text, error = command(data, names=[run])
    assert code == 0 and "labelled otherwise" not in text, error
    mask = sorted((data / "segmentation/masks").iterdir())[0]
    pixels = np.array(Image.open(mask))
    Image.fromarray(np.where(np.arange(len(pixels))[:, None] < len(pixels) // 2, 0, pixels)).save(mask)
    coco = data / "detection/_annotations.coco.json"
    values = json.loads(coco.read_text())
    values["annotations"][0]["bbox"][2] /= 2
    coco.write_text(json.dumps(values))
    first, other = sorted((data / "classification/images").iterdir())[:2]
    for path in sorted(first.iterdir())[:2]:
        path.rename(other / f"moved {path.name}")
    code, text, _ = command(data, names=[run])
    advice = "or gone; the list is of the old labels, so run the folds again"
    assert code == 3 and text.splitlines()[-4:] == [
        f"segmentation: 1 images are labelled otherwise now, {advice}",
        f"detection: 1 images are labelled otherwise now, {advice}",
        f"classification: 2 images are labelled otherwise now, {advice}",
        "classification: 2 images were tested by no fold; run every fold",
    ]


def test_page_has_at_most_the_given_images(command, drawn, raw, tmp_path):
    command(raw, "--html", tmp_path / "review.html", "--html_images", "2", names=[drawn])
    page = (tmp_path / "review.html").read_text()
    assert page.count("<figure") == 6 and "2 more images are in the list alone" in page


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--html_images", "3"], "--html_images works only with --html."),
        (["--set", "split.seed=7"], "--set works only with DATA_ROOT."),
        (["--config", "edge"], "--config works only with DATA_ROOT."),
    ],
)
def test_options_without_effect_are_refused(command, options, message):
    code, text, error = command(*options)
    assert code == 2 and not text and error == f"panvision review: {message} See `panvision review --help`.\n"


def test_page_needs_images_and_predictions(command, folds, raw, tmp_path):
    code, _, error = command("--html", tmp_path / "review.html")
    assert code == 2 and "DATA_ROOT" in error
    code, text, error = command(raw, "--html", tmp_path / "review.html")
    assert code == 1 and not text and "predictions.json: no such file" in error and error.count("\n") == 1
