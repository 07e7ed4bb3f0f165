import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from panvision.core.files import write_json, write_rows
from panvision.core.tasks import TASKS
from panvision.dataset.packed import CROWD, PackedError
from panvision.decoding.decoder import Thresholds
from panvision.evaluation.evaluate import EvaluationError
from panvision.evaluation.metrics import scores
from panvision.evaluation.results import decode_mask, read_predictions, read_results
from panvision.inference.predictor import Predictor
from panvision.inference.settings import CostSettings, DecisionSettings
from panvision.photos.pixels import ImageError
from panvision.report.detection import verdict
from tests.evaluation.world import BOX, HEIGHT, WIDTH, World, right_half
from tests.tiny import INFO, STATE_NAMES, SUBSETS, ColourBackend, HeatBackend, PartBackend, picture


def values(metrics) -> list:
    """Every value of a metrics file."""
    return [each for value in metrics.values() for each in (values(value) if isinstance(value, dict) else [value])]


def shape(metrics) -> dict:
    """Keys of a metrics file, without those of the intervals and their reasons."""
    nested = {key for key, value in metrics.items() if isinstance(value, dict)} - {"ci95", "ci95_null"}
    return {key: shape(value) if key in nested else None for key, value in metrics.items()}


@pytest.fixture
def world(tmp_path) -> World:
    """Images on which ColourBackend is always right."""
    world = World(tmp_path)
    world.add("segmentation", [(picture(WIDTH, HEIGHT), right_half())] * 3)
    world.add("detection", [(picture(WIDTH, HEIGHT, box=BOX), [(*BOX, 1)]), (picture(WIDTH, HEIGHT), [])])
    world.add(
        "classification",
        [(picture(WIDTH, HEIGHT, colour=(120, 0, 0)), "browned"), (picture(WIDTH, HEIGHT), "frozen")],
    )
    return world


def test_evaluate_a_right_model_scores_one(world) -> None:
    found = world.evaluate()
    assert found.metrics["segmentation"]["images"] == 3
    assert found.metrics["segmentation"]["miou"] > 0.98  # the edge is between two of the model's pixels
    assert found.metrics["detection"].items() >= {"images": 2, "map50": 1.0, "map50_95": 1.0}.items()
    assert found.metrics["detection"]["ap50"] == {"lid": None, "stirrer": 1.0}
    assert found.metrics["classification"].items() >= {"images": 2, "accuracy": 1.0, "balanced_accuracy": 1.0}.items()
    assert found.metrics["classification"]["recall"] == {"browned": 1.0, "fresh": None, "frozen": 1.0}


def test_evaluate_boxes_on_a_crowd_are_no_false_alarms(world) -> None:
    found, empty = picture(WIDTH, HEIGHT, box=BOX), picture(WIDTH, HEIGHT)
    right = (found, [(*BOX, 1)])

    def metrics(*labels):
        world.add("detection", [right, (found, list(labels)), (empty, [])])
        return world.evaluate(choices={"detection": {"thresholds": [0.5, 0.5]}}).metrics["detection"]

    assert metrics()["precision"]["stirrer"] == 0.5 and metrics()["map50"] == 1.0
    crowd = metrics((*BOX, CROWD - 1))
    assert crowd["precision"]["stirrer"] == crowd["recall"]["stirrer"] == crowd["map50"] == 1.0
    assert metrics((*BOX, CROWD - 0))["precision"]["stirrer"] == 0.5, "a crowd of another class"


def test_evaluate_masks_at_their_own_size(tmp_path, world) -> None:
    wide = np.concatenate([picture(WIDTH, HEIGHT)] * 2)
    tall_mask = np.concatenate([right_half()] * 2)
    tall_mask[:] = 255
    world.add("segmentation", [(picture(WIDTH, HEIGHT), right_half()), (wide, tall_mask)])
    found = world.evaluate().metrics["segmentation"]
    # Found: half of each. True: half of the first (H·W/2 pixels) and all of the second (2·H·W pixels).
    assert found["iou"]["pan"] == pytest.approx(1.5 / 2.5, abs=0.02)


def test_evaluate_boxes_down_to_min_score(world) -> None:
    faint = ColourBackend(box_logit=-4.0)  # a score of 0.13, below the model's own threshold
    assert world.evaluate(faint).metrics["detection"]["map50"] == 1.0
    assert world.evaluate(faint, min_score=0.2).metrics["detection"]["map50"] == 0.0


def test_evaluate_boxes_in_image_pixels(world) -> None:
    world.add("detection", [(picture(WIDTH, HEIGHT, box=BOX), [(*(side / 2 for side in BOX), 1)])])
    assert world.evaluate().metrics["detection"]["map50"] == 0.0


def test_evaluate_plots_name_the_classes(world) -> None:
    world.add(
        "classification",
        [(picture(WIDTH, HEIGHT, colour=(120, 0, 0)), "frozen"), (picture(WIDTH, HEIGHT), "frozen")],
    )
    found = world.evaluate()
    assert found.plots["confusion"][1] == [("frozen", "browned", 2, 0), ("frozen", "frozen", 2, 2)]
    assert found.metrics["classification"]["recall"] == {"browned": None, "fresh": None, "frozen": 0.5}
    assert found.plots["precision_recall"][1][0] == ("stirrer", 0.0, 1.0)
    assert len(found.plots["precision_recall"][1]) == 101


def test_evaluate_empty_split_is_null(world, tmp_path) -> None:
    world.split_rows = [(*row[:3], "train") for row in world.split_rows]
    write_rows(world.splits, ("task", "file", "group", "split"), world.split_rows)
    world.evaluate().write(tmp_path / "metrics", tmp_path / "plots", tmp_path / "results")
    for task in TASKS:
        metrics = json.loads((tmp_path / "metrics" / f"{task}.json").read_text())
        assert metrics.pop("images") == 0 and metrics.pop("boundary_images", 0) == 0
        metrics.pop("temperature", None)  # the model's, not measured
        if task == "detection":
            assert metrics.pop("threshold") == {"lid": 0.3, "stirrer": 0.3}
        assert set(metrics.pop("ci95_null").values()) == {"undefined"}
        assert set(values(metrics)) == {None}
    assert (tmp_path / "plots" / "confusion.csv").read_text() == "actual,predicted,actual_place,predicted_place\n"
    assert (tmp_path / "plots" / "precision_recall.csv").read_text() == "class,recall,precision\n"
    assert (tmp_path / "plots" / "thresholds.csv").read_text() == "class,threshold,precision,recall,f1,cost\n"
    slices = (tmp_path / "plots" / "slices.csv").read_text()
    assert slices == "task,slice,images,metric,value,low,high,reason\n"


@pytest.mark.parametrize("tasks", SUBSETS)
def test_evaluate_metrics_of_absent_tasks_are_null(world, tmp_path, tasks) -> None:
    whole, found = world.evaluate(), world.evaluate(PartBackend(*tasks))
    for task in TASKS:
        if task in tasks:
            assert found.metrics[task] == whole.metrics[task]
        else:
            assert set(values(found.metrics[task])) == {None, "undefined"}
            assert shape(found.metrics[task]) == shape(whole.metrics[task])
    assert bool(found.plots["precision_recall"][1]) == ("detection" in tasks)
    assert bool(found.plots["confusion"][1]) == ("classification" in tasks)
    found.write(tmp_path / "metrics", tmp_path / "plots", tmp_path / "results")
    assert [len(list((tmp_path / name).iterdir())) for name in ("metrics", "plots", "results")] == [4, 5, 4]


def test_evaluate_ignores_classes_of_absent_tasks(world) -> None:
    write_json(world.prepared / "detection" / "classes.json", {"classes": ["stirrer", "lid"]})
    assert world.evaluate(PartBackend("classification")).metrics["classification"]["accuracy"] == 1.0


def test_evaluate_scores_the_test_split_only(world) -> None:
    world.split_rows[0] = (*world.split_rows[0][:3], "train")
    write_rows(world.splits, ("task", "file", "group", "split"), world.split_rows)
    assert world.evaluate().metrics["segmentation"]["images"] == 2


def test_evaluate_writes_the_same_bytes(world, tmp_path) -> None:
    for run in ("one", "two"):
        world.evaluate().write(tmp_path / run, tmp_path / run, tmp_path / run / "results")
    names = sorted(path.relative_to(tmp_path / "one").as_posix() for path in (tmp_path / "one").rglob("*.*"))
    assert names == [
        "classification.json",
        "confusion.csv",
        "detection.json",
        "precision_recall.csv",
        "reliability.csv",
        *(f"results/{name}.json" for name in sorted((*TASKS, "predictions"))),
        "segmentation.json",
        "slices.csv",
        "summary.json",
        "thresholds.csv",
    ]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    with (tmp_path / "one" / "confusion.csv").open() as stream:
        assert next(iter(csv.DictReader(stream))).items() >= {"actual": "browned", "predicted": "browned"}.items()


def test_evaluate_predicts_in_batches(world) -> None:
    backend = ColourBackend()
    world.evaluate(backend, batch_size=2)
    assert backend.batches == [2, 1, 2, 2]


def test_evaluate_batch_size_changes_nothing(world) -> None:
    assert world.evaluate(batch_size=1) == world.evaluate(batch_size=8)


def test_evaluate_refuses_other_classes(world) -> None:
    write_json(world.prepared / "detection" / "classes.json", {"classes": ["stirrer", "lid"]})
    with pytest.raises(EvaluationError, match="detection classes"):
        world.evaluate()


def test_evaluate_refuses_changed_raw_data(world) -> None:
    Image.fromarray(picture(50, 50)).save(world.raw / "detection" / "images" / "00.png")
    with pytest.raises(PackedError, match=r"00\.png: 50x50 pixels, but 128x96"):
        world.evaluate()


def test_evaluate_names_missing_inputs(world) -> None:
    (world.raw / "classification" / "images" / "01.png").unlink()
    with pytest.raises(ImageError, match=r"01\.png: no such file"):
        world.evaluate()
    world.splits.unlink()
    with pytest.raises(PackedError, match=r"splits\.csv"):
        world.evaluate()


def test_evaluate_respects_max_pixels(world) -> None:
    world.data = world.data.model_copy(update={"max_pixels": 5000})
    with pytest.raises(ImageError, match="max_pixels"):
        world.evaluate()


def test_evaluate_chooses_on_the_validation_split(world) -> None:
    faint = ColourBackend(box_logit=1.0)  # boxes score 0.85
    samples = [(picture(WIDTH, HEIGHT, box=BOX), [(*BOX, 1)])] * 3
    world.add("detection", samples, val=1)
    labels = [(picture(WIDTH, HEIGHT, colour=(120, 0, 0)), "browned"), (picture(WIDTH, HEIGHT), "frozen")] * 2
    world.add("classification", labels, val=2)
    found = world.evaluate(faint, fit=True)
    # No validation image has a lid.
    assert found.metrics["detection"]["threshold"]["lid"] == 0.3
    assert found.predictions.model["score_threshold"] == found.metrics["detection"]["threshold"]
    assert 0.3 < found.metrics["detection"]["threshold"]["stirrer"] < 0.85
    assert found.metrics["detection"]["f1"] == {"lid": None, "stirrer": 1.0}
    assert found.metrics["classification"]["temperature"] == 1.0
    # Other test labels do not change the choices.
    world.add("detection", [(pixels, []) for pixels, _ in samples[:2]] + samples[2:], val=1)
    world.add("classification", [(pixels, "fresh") for pixels, _ in labels[:2]] + labels[2:], val=2)
    other = world.evaluate(faint, fit=True)
    assert other.choices == found.choices
    assert other.metrics["classification"]["accuracy"] == 0.0
    assert other.metrics["detection"]["precision"]["stirrer"] == 0.0


def test_evaluate_at_the_models_own_thresholds(world) -> None:
    world.add("detection", [(picture(WIDTH, HEIGHT, box=BOX), [(*BOX, 1)])] * 3, val=1)
    strict = replace(INFO, thresholds=INFO.thresholds._replace(score=(0.2, 0.9)))
    found = world.evaluate(ColourBackend(strict, box_logit=1.0))  # boxes score 0.85
    assert found.metrics["detection"]["threshold"] == {"lid": 0.2, "stirrer": 0.9}
    assert found.metrics["detection"]["recall"]["stirrer"] == 0.0 and found.metrics["detection"]["map50"] == 1.0
    assert found.predictions.model["score_threshold"] == {"lid": 0.2, "stirrer": 0.9}
    assert not any(image["result"]["detection"]["boxes"] for image in found.predictions.images)
    # Without validation images, too: these are the thresholds of the model, not chosen ones.
    assert (
        world.evaluate(ColourBackend(strict, box_logit=1.0), choices={}).metrics["detection"]
        == found.metrics["detection"]
    )


def test_evaluate_costs_of_boxes(world) -> None:
    found, empty = picture(WIDTH, HEIGHT, box=BOX), picture(WIDTH, HEIGHT)
    # A right box, a false alarm, a missed object, and nothing.
    world.add("detection", [(found, [(*BOX, 1)]), (found, []), (empty, [(*BOX, 1)]), (empty, [])])
    decision = DecisionSettings(costs=CostSettings(miss=5.0, false_alarm=2.0))
    metrics = world.evaluate(decision=decision)
    assert metrics.metrics["detection"]["expected_cost"] == pytest.approx((5.0 + 2.0) / 4)
    rows = {row[1]: row[2:] for row in metrics.plots["thresholds"][1]}
    assert len(rows) == 101 and rows[0.5] == (0.5, 0.5, 0.5, 7.0 / 4) and rows[1.0] == ("", 0.0, 0.0, 10.0 / 4)


def test_evaluate_counts_the_shipped_answer(world) -> None:
    world.add("classification", [(picture(WIDTH, HEIGHT, colour=(11, 10, 0)), "fresh")] * 2)
    plain = world.evaluate().metrics["classification"]
    costs = ((0.0, 1.0, 1.0), (5.0, 0.0, 1.0), (1.0, 1.0, 0.0))  # fresh must not be called browned
    found = world.evaluate(ColourBackend(replace(INFO, costs=costs)))
    metrics = found.metrics["classification"]
    assert (plain["accuracy"], plain["expected_cost"]) == (0.0, None)
    assert (metrics["accuracy"], metrics["expected_cost"]) == (1.0, 0.0)
    assert metrics["nll"] == plain["nll"]
    assert {row[1] for row in found.plots["confusion"][1]} == {"fresh"}


def test_evaluate_says_that_no_threshold_is_precise_enough(world, caplog) -> None:
    found = picture(WIDTH, HEIGHT, box=BOX)
    world.add("detection", [(found, [(*BOX, 1)]), (found, [(*BOX, 1)]), (found, [])], val=2)
    decision = DecisionSettings(criterion="precision", min_precision=0.9)
    chosen = world.evaluate(decision=decision, fit=True).choices["detection"]["thresholds"]
    assert chosen[0] == 0.3 and "detection: lid: no validation image shows what its threshold should be" in caplog.text
    assert "stirrer: no threshold has decision.min_precision 0.9 on the validation images" in caplog.text
    assert "has the highest precision, 0.500" in caplog.text


def test_evaluate_with_choices_skips_validation(world) -> None:
    world.add("classification", [(picture(WIDTH, HEIGHT), "frozen")] * 3, val=2)
    first = world.evaluate()
    backend = ColourBackend()
    second = world.evaluate(backend, choices=first.choices)
    assert second == first
    assert sum(backend.batches) == 3 + 2 + 1


def test_evaluate_order_of_class_labels(world) -> None:
    assert world.evaluate().metrics["classification"]["mae_states"] is None
    world.add(
        "classification", [(picture(WIDTH, HEIGHT), state) for state in STATE_NAMES]
    )  # all are predicted as frozen
    found = world.evaluate(order=("fresh", "browned", "frozen"))
    assert found.metrics["classification"]["mae_states"] == pytest.approx((2 + 1 + 0) / 3)
    assert found.metrics["classification"]["quadratic_kappa"] == 0.0
    assert found.results["classification"].order == ["fresh", "browned", "frozen"]


@pytest.mark.parametrize("order", [("fresh", "frozen"), ("fresh", "frozen", "burnt")])
def test_evaluate_refuses_another_order_at_once(world, order) -> None:
    backend = ColourBackend()
    with pytest.raises(EvaluationError, match=r"classification\.order is .*or set it to auto or null"):
        world.evaluate(backend, order=order)
    assert not backend.batches
    assert world.evaluate(PartBackend("detection"), order=order).metrics["classification"]["images"] is None


def test_evaluate_leaves_groups_out_together(world) -> None:
    world.add("classification", [(picture(WIDTH, HEIGHT), state) for state in ("frozen", "fresh") * 10])
    apart = world.evaluate().metrics["classification"]["ci95"]["accuracy"]
    assert apart["low"] < 0.5 < apart["high"]
    # In each group one image is right and one wrong.
    world.split_rows = [
        (task, file, f"{task}{row // 2}", split) for row, (task, file, _, split) in enumerate(world.split_rows)
    ]
    write_rows(world.splits, ("task", "file", "group", "split"), world.split_rows)
    ranges = world.evaluate().metrics["classification"]["ci95"]
    assert {image["group"] for image in world.evaluate().results["classification"].images} == {
        group for task, _, group, _ in world.split_rows if task == "classification"
    }
    assert ranges["accuracy"]["high"] - ranges["accuracy"]["low"] < apart["high"] - apart["low"]


def test_predictions_are_what_the_model_reports(world, tmp_path):
    faint = ColourBackend(box_logit=-4.0)  # a score of 0.13, below the model's own threshold
    found = world.evaluate(faint, min_score=0.1)
    assert not any(image["result"]["detection"]["boxes"] for image in found.predictions.images)
    assert len(found.results["detection"].images[0]["found"]["boxes"]) == 1
    world.evaluate().predictions.write(tmp_path / "predictions.json")
    read = read_predictions(tmp_path / "predictions.json")
    assert read.model == {"image_size": 64, "score_threshold": 0.3, "nms_threshold": 0.5, "max_detections": 100}
    assert [image["dataset"] for image in read.images[2:4]] == ["segmentation", "detection"]
    shown = Predictor(ColourBackend()).predict(world.raw / "detection/images/00.png")
    stored = read.images[3]["result"]
    assert (decode_mask(stored["segmentation"]["mask"]) == shown["segmentation"]["mask"]).all()
    assert stored["detection"] == shown["detection"] and stored["classification"] == shown["classification"]


class Crowded(ColourBackend):
    """Finds the stirrer, and three lids with higher scores far from it."""

    def run(self, images):
        outputs = super().run(images)
        outputs["class_logits"][:, :3, 0] = 8.0
        return outputs


def test_evaluate_scores_the_reported_boxes(world, tmp_path):
    info = replace(INFO, thresholds=Thresholds((0.999, 0.3), 0.5, 3))
    found = world.evaluate(Crowded(info))
    shown = Predictor(Crowded(info)).predict(world.raw / "detection/images/00.png")["detection"]
    # Three lids are the best boxes, but below their threshold, so that the stirrer is reported.
    assert shown["class_names"] == ["stirrer"]
    stored = {(image["dataset"], image["file"]): image["result"] for image in found.predictions.images}
    assert stored["detection", "images/00.png"]["detection"] == shown
    metrics = found.metrics["detection"]
    assert metrics["recall"]["stirrer"] == metrics["precision"]["stirrer"] == 1.0
    assert metrics["ap50"]["stirrer"] == 0.0, "of the three best boxes"
    found.results["detection"].write(tmp_path / "detection.json")
    assert scores(read_results(tmp_path / "detection.json")) == metrics
    assert found.plots["precision_recall"][1][0] == ("stirrer", 0.0, 0.0)
    assert verdict(found.results["detection"].images[0], found.results["detection"]).right


def test_evaluate_keeps_a_map_of_each_test_image(world):
    found, plain = world.evaluate(HeatBackend(), explain=True), world.evaluate(HeatBackend())
    assert found.metrics == plain.metrics and found.predictions == plain.predictions
    kept = {task: [image.pop("explanation", None) for image in found.results[task].images] for task in TASKS}
    assert all(found.results[task].images == plain.results[task].images for task in TASKS)
    assert kept["segmentation"] == [None] * 3
    boxes, empty = kept["detection"]
    assert empty is None, "an image without a box"
    x, y = (BOX[0] + BOX[2]) / 2 / WIDTH * 8, (BOX[1] + BOX[3]) / 2 / HEIGHT * 8
    assert boxes["box"] == 0 and boxes["heat"][int(y)][int(x)] == "f"
    # The predicted label's column: browned, then frozen.
    assert [each["heat"][0] for each in kept["classification"]] == ["f0000000", "00f00000"]


def test_evaluate_an_onnx_file_keeps_no_map(world):
    found = world.evaluate(ColourBackend(), explain=True)
    assert not any("explanation" in image for task in TASKS for image in found.results[task].images)


class Alarming(HeatBackend, Crowded):
    """Explains what `Crowded` finds."""


def test_evaluate_explains_the_false_alarm_with_the_highest_score(world):
    world.add("detection", [(picture(WIDTH, HEIGHT, box=BOX), [(*BOX, 1)])])
    image = world.evaluate(Alarming(), explain=True).results["detection"].images[0]
    assert image["explanation"]["box"] == 0 and image["found"]["labels"][0] == 0, "a lid, and there is none"
    # Lids are labelled, too, and the stirrer is not: it is the only false alarm, below three boxes.
    lids = [(*box, 0) for box in image["found"]["boxes"][:3]]
    world.add("detection", [(picture(WIDTH, HEIGHT, box=BOX), lids)])
    image = world.evaluate(Alarming(), explain=True).results["detection"].images[0]
    assert image["explanation"]["box"] == image["found"]["labels"].index(1) == 3
