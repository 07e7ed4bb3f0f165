import json
from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given

from panvision.core.files import write_rows
from panvision.core.tasks import DATASETS, TASKS
from panvision.dataset.packed import open_packed, read_index
from panvision.evaluation.evaluate import Evaluated
from panvision.evaluation.results import Predictions
from panvision.evaluation.slices import Facts
from panvision.experiments.paired import Difference
from panvision.experiments.promotion import (
    PromotionError,
    check_models,
    check_unseen,
    decide,
    images_to_score,
    judge,
)
from panvision.experiments.promotion_text import text
from panvision.inference.origin import pack_images
from tests.evaluation.made import all_results, mask_results, state_results
from tests.prepare.raw_sets import all_sets, pack_all
from tests.tiny import INFO, part_info


def evaluated(results) -> Evaluated:
    return Evaluated({}, {}, results, Predictions({"score_threshold": 0.3}, []), {})


def facts_of(results, **camera):
    """Files by rising brightness; `camera` by dataset, a name for each image."""
    return {
        task: {
            image["file"]: Facts(float(row), camera[task][row] if task in camera else "")
            for row, image in enumerate(own.images)
        }
        for task, own in results.items()
    }


def promotion(current, new, *, max_drop=0.02, **camera):
    return decide(evaluated(current), evaluated(new), facts_of(new, **camera), max_drop)


def difference(low, high, name="miou"):
    verdict = "better" if (low > 0) != (name == "mae_states") else "within noise"
    return Difference(name, 0.5, 0.5, (low + high) / 2, low, high, None, verdict)


@pytest.mark.parametrize(
    ("low", "high", "decision"),
    [
        (0.001, 0.01, "better"),
        (-0.02, 0.01, "not worse"),
        (-0.015, -0.005, "not worse"),
        (-0.021, 0.01, "undecided"),
        (-0.03, -0.001, "worse"),
        (0.0, 0.0, "not worse"),
    ],
)
def test_judge_interval_against_max_drop(low, high, decision):
    assert judge(difference(low, high), 0.02) == decision


def test_judge_smaller_is_better_and_no_fraction():
    assert judge(replace(difference(0.01, 0.03, "mae_states"), verdict="worse"), None) == "worse"
    assert judge(replace(difference(-0.01, 0.03, "mae_states"), verdict="within noise"), 0.05) == "not worse"
    assert judge(replace(difference(-0.01, 0.03, "mae_states"), verdict="within noise"), None) == "undecided"
    assert judge(Difference("miou", 0.5, 0.6, 0.1, None, None, "few_groups", "undefined"), 1.0) == "undecided"


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_max_drop_never_turns_a_pass_into_a_failure(low, width, max_drop, more):
    passed = ("better", "not worse")
    found = difference(low, low + width)
    assert judge(found, max_drop) not in passed or judge(found, max_drop + more) in passed


def test_a_model_is_not_worse_than_itself():
    found = promotion(all_results(), all_results(), max_drop=0.0)
    assert found.decision == "not worse" and found.passed
    assert not any(task.changes for task in found.tasks.values())
    assert text(found).startswith("not worse: ")


def test_headline_metrics_of_all_tasks_decide():
    poor, good = all_results(error=0.3), all_results(error=0.1)
    assert promotion(poor, good).decision == "better" and not promotion(good, poor).passed
    found = promotion(good, poor)
    assert found.decision == "worse" and found.tasks["segmentation"].headlines == ["worse", "worse"]
    assert set(found.tasks["detection"].headlines) == {"not worse"}
    few = {**all_results(), "classification": state_results(right=0.4)}
    undecided = promotion({**few, "classification": state_results(right=0.5, seed=3)}, few)
    assert undecided.decision == "undecided" and "--max_drop" in text(undecided)


def test_the_worst_headline_metric_is_the_decision():
    better = {"segmentation": mask_results(error=0.1)}
    mixed = promotion(all_results(error=0.3), {**all_results(shift=30.0), **better})
    assert "better" in mixed.tasks["segmentation"].headlines and mixed.decision == "worse"
    new = {**all_results(), **better}
    new["classification"].images[0]["probabilities"] = [0.0, 0.0, 1.0]
    assert promotion(all_results(error=0.3), new).decision == "undecided"


def answering(answered, count=60):
    states = state_results(count)
    images = [{**image, "answered": answered(row)} for row, image in enumerate(states.images)]
    return {**all_results(), "classification": replace(states, images=images)}


def test_what_is_answered_decides_where_a_file_has_limits():
    everything = {**all_results(), "classification": state_results(60)}
    all_of_them, none, some = answering(lambda row: True), answering(lambda row: False), answering(lambda row: row % 2)
    for current in (everything, all_of_them, some):
        found = promotion(current, none)
        assert found.decision == "worse" and not found.passed and "answered" in text(found)
        assert promotion(none, current, max_drop=0.1).decision == "better"
    assert promotion(everything, all_of_them, max_drop=0.1).passed and promotion(some, some).decision == "not worse"
    assert "answered" not in text(promotion(everything, everything))


def test_a_task_without_images_is_undecided():
    results = all_results()
    empty = {**results, "segmentation": replace(results["segmentation"], images=[])}
    found = promotion(empty, empty)
    assert found.decision == "undecided" and "no image in common" in text(found)


def test_a_task_of_neither_model_does_not_count():
    results = all_results()
    results["segmentation"] = replace(results["segmentation"], trained=False, images=[])
    found = promotion(results, results)
    assert set(found.tasks) == {"detection", "classification"} and found.decision == "not worse"


def test_slices_are_thirds_of_brightness_cameras_folders_and_pans():
    results = {**all_results(), "segmentation": mask_results(count=30)}
    masks = results["segmentation"]
    for row, image in enumerate(masks.images):
        image["file"] = f"kitchen{row % 2}/{row:02d}.jpg"
        if row < 10:
            image["pixels"] = [0, 5, 0, 19195]
    found = promotion(results, results, segmentation=["a"] * 20 + [""] * 10).tasks["segmentation"].slices
    assert {each.name: each.images for each in found} == {
        "brightness dark": 10, "brightness medium": 10, "brightness bright": 10, "camera a": 20, "camera unknown": 10,
        "folder kitchen0": 15, "folder kitchen1": 15, "masks with pan": 20, "masks without pan": 10,
    }  # fmt: skip
    assert {judged.difference.name for each in found for judged in each.metrics} == {"miou", "dice"}


def test_a_slice_that_is_worse_is_listed_without_deciding():
    current = {**all_results(), "segmentation": mask_results(count=60, error=0.2)}
    new = {**all_results(), "segmentation": mask_results(count=60, error=0.19)}
    for row in range(20):
        new["segmentation"].images[row]["pixels"] = [600, 400, 400, 17800]
    found = promotion(current, new, max_drop=0.08)
    by_name = {each.name: each.metrics for each in found.tasks["segmentation"].slices}
    assert {each.decision for each in by_name["brightness dark"]} == {"worse"} and found.passed
    assert "segmentation, brightness dark, 20 images" in text(found)


def test_images_that_became_wrong_and_right():
    current, new = all_results(right=1.0), all_results(right=1.0)
    new["classification"].images[2] |= {"probabilities": [0.7, 0.2, 0.1], "predicted": 0}
    current["segmentation"].images[1]["pixels"] = [100, 900, 900, 17300]
    new["segmentation"].images[1]["pixels"] = [900, 100, 100, 18100]
    found = promotion(current, new)
    (wrong,) = found.tasks["classification"].changes
    assert (wrong.file, wrong.right, wrong.new) == ("classification/images/02.jpg", False, "raw 70%")
    (right,) = found.tasks["segmentation"].changes
    assert (right.right, right.current, right.new) == (True, "IoU 0.05", "IoU 0.82")
    assert not found.tasks["detection"].changes
    record = found.to_json()
    assert record["tasks"]["classification"]["became_wrong"] == [
        {"file": wrong.file, "current": wrong.current, "new": wrong.new}
    ]
    said = text(found)
    assert "classification: 1 image became wrong" in said and "segmentation: 1 image became right" in said


def test_text_fits_eighty_columns_and_record_is_plain():
    current, new = all_results(error=0.3, right=0.2), all_results(error=0.1, shift=30.0, right=0.9)
    found = promotion(current, new)
    assert max(map(len, text(found).splitlines())) <= 80 and "… and " in text(found)
    record = found.to_json()
    assert json.loads(json.dumps(record, allow_nan=False)) == record and set(record["tasks"]) == set(TASKS)
    assert record["tasks"]["detection"]["metrics"]["map50"].keys() == {
        "current", "new", "difference", "low", "high", "reason", "decision"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (part_info("segmentation"), "other tasks: segmentation, detection, classification; segmentation"),
        (replace(INFO, det_class_names=("stirrer", "lid")), "other detection classes: lid, stirrer; stirrer, lid"),
        (replace(INFO, cls_class_names=("fresh",)), "other classification classes"),
    ],
)
def test_models_of_other_tasks_or_classes_are_refused(other, words):
    check_models(INFO, INFO)
    with pytest.raises(PromotionError, match=words):
        check_models(INFO, other)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Packed datasets with one test image each, and their splits."""
    root = tmp_path_factory.mktemp("raw")
    all_sets(root)
    prepared, splits = root / "prepared", root / "splits.csv"
    pack_all(root)
    rows = [
        (task, file, file, "test" if row == 0 else "train")
        for task in DATASETS
        for row, file in enumerate(open_packed(prepared / task, task).files)
    ]
    write_rows(splits, ("task", "file", "group", "split"), rows)
    return prepared, splits


def test_training_images_are_not_scored(packed):
    tested = images_to_score(*packed, list(TASKS))
    assert len(tested) == 3 and len(images_to_score(*packed, ["detection"])) == 1
    info = replace(INFO, training_images=pack_images(*packed, DATASETS))
    assert check_unseen("m.onnx", info, tested) and not check_unseen("m.onnx", INFO, tested)
    indexes = {task: read_index(packed[0] / task, task, ("file", "sha256")) for task in DATASETS}
    images = {
        f"{task}/{file}": sha256
        for task, index in indexes.items()
        for file, sha256 in zip(index["file"], index["sha256"], strict=True)
    }
    with pytest.raises(PromotionError, match=r"^m\.onnx: 21 of the 24 images .*png and 18 more; .*--images all"):
        check_unseen("m.onnx", info, images)
