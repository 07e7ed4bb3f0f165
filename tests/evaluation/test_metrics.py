import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
)

from panvision.evaluation.detection import precision_curve
from panvision.evaluation.metrics import scores, tally
from panvision.evaluation.results import Results
from panvision.evaluation.table import EVALUATIONS
from panvision.evaluation.thresholds import best_threshold
from panvision.scoring.calibration import scale
from tests.evaluation.made import BOXES, STATES, all_results, box_results, described, mask_results, state_results
from tests.scoring.coco import coco_precision, random_images, ranked_classes


def subset(results: Results, members) -> Results:
    images = [image for image, member in zip(results.images, members, strict=True) if member]
    return replace(results, images=images)


def points(results: Results) -> dict[str, float]:
    found = tally(results)(np.ones((1, len(results.images)), np.int32))
    return {name: float(value[0]) for name, value in found.items()}


@pytest.mark.parametrize("task", ["segmentation", "detection", "classification"])
@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 1), min_size=12, max_size=12).filter(any))
def test_tally_of_a_subset_is_that_of_its_images_alone(task, members):
    results = all_results()[task]
    found = {name: float(value[0]) for name, value in tally(results)(np.array([members], np.int32)).items()}
    assert found == pytest.approx(points(subset(results, members)), abs=1e-9, nan_ok=True)


def test_only_intervals_of_average_precision_are_corrected(monkeypatch):
    results = box_results()
    corrected = scores(results)["ci95"]
    table = {**EVALUATIONS, "detection": EVALUATIONS["detection"]._replace(interpolated=frozenset())}
    monkeypatch.setattr("panvision.evaluation.metrics.EVALUATIONS", table)
    plain = scores(results)["ci95"]
    changed = {name.partition(".")[0] for name, interval in plain.items() if interval != corrected[name]}
    assert {"map50", "map50_95"} <= changed <= EVALUATIONS["detection"].interpolated


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.permutations((0.2, 0.3, 0.5))), min_size=1, max_size=12))
def test_classification_metrics_are_scikit_learns(rows):
    truth, probabilities = [label for label, _ in rows], [list(row) for _, row in rows]
    images = [
        {**described(number), "truth": label, "probabilities": row}
        for number, (label, row) in enumerate(zip(truth, probabilities, strict=True))
    ]
    found = points(Results("classification", "test", True, STATES, images, [None] * 3, None, STATES))
    said = np.argmax(probabilities, axis=1)
    nan = {"labels": [0, 1, 2], "average": None, "zero_division": np.nan}
    expected = {
        "accuracy": accuracy_score(truth, said),
        "mae_states": np.abs(np.array(truth) - said).mean(),
        "nll": log_loss(truth, probabilities, labels=[0, 1, 2]),
    }
    for key, score in (("recall", recall_score), ("precision", precision_score), ("f1", f1_score)):
        expected |= {f"{key}.{name}": value for name, value in zip(STATES, score(truth, said, **nan), strict=True)}
    if set(said) <= set(truth) and len(set(truth)) > 1:
        expected["balanced_accuracy"] = balanced_accuracy_score(truth, said)
    if len(set(truth) | set(said)) > 1:
        expected["quadratic_kappa"] = cohen_kappa_score(truth, said, labels=[0, 1, 2], weights="quadratic")
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize(("answers", "fraction"), [([True, False, True, True], 0.75), ([], None)])
def test_answered_is_a_fraction_and_accuracy_counts_every_image(answers, fraction):
    images = [{**described(number), "truth": 0, "probabilities": [0.8, 0.1, 0.1]} for number in range(4)]
    images = [image | {"answered": answers[row]} if answers else image for row, image in enumerate(images)]
    found = scores(Results("classification", "test", True, STATES, images, [None] * 3, None, STATES))
    assert (found["answered"], found["accuracy"]) == (fraction, 1.0)


def test_classification_errors_follow_the_order():
    results = state_results()
    assert points(results)["mae_states"] > 0
    assert math.isnan(points(replace(results, order=None))["mae_states"])
    assert math.isnan(points(replace(results, order=None))["quadratic_kappa"])
    images = [{**described(0), "truth": 0, "probabilities": [0.0, 0.0, 1.0]}]
    for order, apart in ((["raw", "golden", "burnt"], 2), (["golden", "raw", "burnt"], 1)):
        assert points(replace(results, images=images, order=order))["mae_states"] == apart


def test_calibration_by_hand():
    # Two images in one bin with confidence 0.9, half of them right; one in another with 0.6, right.
    rows = [(0, [0.9, 0.1]), (1, [0.9, 0.1]), (0, [0.6, 0.4])]
    images = [{**described(number), "truth": truth, "probabilities": row} for number, (truth, row) in enumerate(rows)]
    results = Results("classification", "test", True, ["a", "b"], images, [0.65, None], 0.5)
    found = points(results)
    assert found["ece"] == pytest.approx((2 * abs(0.9 - 0.5) + abs(0.6 - 1.0)) / 3)
    assert found["f1_at_threshold.a"] == pytest.approx(2 * 1 / (2 * 1 + 1 + 1))
    assert math.isnan(found["f1_at_threshold.b"])
    scaled = scale([row for _, row in rows], 2.0)
    assert found["nll_uncalibrated"] == pytest.approx(log_loss([0, 1, 0], scaled), abs=1e-9)
    assert found["ece_uncalibrated"] == pytest.approx((2 * abs(0.75 - 0.5) + abs(scaled[2, 0] - 1.0)) / 3)
    plots = EVALUATIONS["classification"].plots(results)
    assert plots["reliability"][1][:2] == [
        ("as shipped", 0.6, 1.0, 1),
        ("as shipped", pytest.approx(0.9), 0.5, 2),
    ]
    assert [row[0] for row in plots["reliability"][1]] == ["as shipped"] * 2 + ["uncalibrated"] * 2
    assert plots["confusion"][1] == [("a", "a", 0, 0), ("b", "a", 1, 0), ("a", "a", 0, 0)]
    plots = EVALUATIONS["classification"].plots(replace(results, order=["b", "a"]))
    assert plots["confusion"][1][1] == ("b", "a", 0, 1)


def test_detection_counts_boxes_from_the_threshold_on():
    results = replace(box_results(shift=0.5), thresholds=[0.0, 0.0])
    every = points(results)
    assert every["recall.lid"] == every["precision.lid"] == every["f1.lid"] == 1.0
    assert every["recall.stirrer"] == 1.0 and every["precision.stirrer"] == 0.5  # one of two is a false alarm
    strict = points(replace(results, thresholds=[2.0, None]))
    assert strict["recall.lid"] == 0.0 and math.isnan(strict["precision.lid"])
    assert math.isnan(strict["f1.stirrer"]) and strict["macro_f1"] == 0.0
    assert strict["map50"] == every["map50"]


def test_boundary_errors_are_means_over_defined_images():
    images = [{**image} for image in mask_results(count=3).images]
    images[0]["boundary"], images[1]["boundary"] = {"mean": 2.0, "p95": 8.0}, {"mean": 4.0, "p95": 6.0}
    images[2]["boundary"] = None
    found = scores(replace(mask_results(), images=images))
    assert found["boundary_images"] == 2
    assert (found["boundary_mean_px"], found["boundary_p95_px"]) == (3.0, 7.0)
    assert (found["boundary_mean"], found["boundary_p95"]) == pytest.approx((3 / 200, 7 / 200))  # of 120 × 160


@pytest.mark.parametrize("task", ["segmentation", "detection", "classification"])
def test_scores_every_metric_has_an_interval(task):
    results = all_results(shift=6.0)[task]
    found = scores(results)
    json.dumps(found, allow_nan=False)
    flat = points(results)
    assert found["ci95"].keys() == flat.keys()
    for name, interval in found["ci95"].items():
        assert (interval is None) == (name in found["ci95_null"]), name
        assert math.isnan(flat[name]) == (found["ci95_null"].get(name) == "undefined"), name
        if interval is not None:
            assert interval["low"] < flat[name] < interval["high"] or flat[name] in interval.values(), name
    reasons = {reason for name, reason in found["ci95_null"].items() if not math.isnan(flat[name])}
    assert reasons == ({"few_groups", "biased"} if task == "classification" else set())


def test_scores_of_few_groups_have_no_interval():
    images = mask_results().images
    assert scores(replace(mask_results(), images=images[:11]))["ci95"]["miou"] is not None
    found = scores(replace(mask_results(), images=images[:10]))  # the first two are one group
    assert found["miou"] is not None and set(found["ci95"].values()) == {None}
    assert set(found["ci95_null"].values()) == {"few_groups"}


def test_scores_of_an_absent_task():
    found = scores(Results("detection", "test", False, BOXES, [], [None, None]))
    assert found["images"] is None and found["map50"] is None and found["ap50"] == {"lid": None, "stirrer": None}
    assert set(found["ci95"].values()) == {None} and set(found["ci95_null"].values()) == {"undefined"}


def test_scores_nest_metrics_of_classes():
    found = scores(replace(box_results(), classes=["a.b", "map50"]))
    assert found["ap50"].keys() == found["threshold"].keys() == {"a.b", "map50"}
    assert "ap50.a.b" in found["ci95"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from((0.1, 0.3, 0.5, 0.7)), st.booleans()), max_size=12),
    st.integers(0, 5),
)
def test_best_threshold_has_the_largest_f1(boxes, missed):
    values, hits = np.array([score for score, _ in boxes]), np.array([hit for _, hit in boxes], bool)
    positives = int(hits.sum()) + missed

    def f1(threshold):
        kept = values >= threshold
        return 2 * (hits & kept).sum() / (kept.sum() + positives)

    best = best_threshold(values, hits, positives)
    if best is None:
        assert not hits.any()
    else:
        assert f1(best) == pytest.approx(max(f1(score) for score in values), abs=1e-12)


def test_best_threshold_is_between_kept_and_dropped():
    assert best_threshold([0.9, 0.6, 0.2], [True, True, False], 2) == pytest.approx(0.4)
    assert best_threshold([0.9, 0.9, 0.2], [False, True, False], 1) == pytest.approx(0.55)
    assert best_threshold([0.8], [True], 1) == pytest.approx(0.4)


@pytest.mark.parametrize("seed", range(3))
def test_precision_curve_is_pycocotools(seed):
    drawn = random_images(seed, 40, noise=2 + 3 * seed)
    curves = np.array([precision_curve(ranked) for ranked in ranked_classes(drawn)])
    np.testing.assert_allclose(curves.T, coco_precision(drawn)[0, :, :, 0], rtol=0, atol=1e-9)
