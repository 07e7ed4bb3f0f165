import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.evaluation.results import Results
from panvision.experiments.suspects import doubt, rank, wrong_classes
from tests.evaluation.made import all_results

NAMES = ["pan", "stirrer"]
PAN, STIRRER = [20.0, 20.0, 120.0, 120.0], [130.0, 10.0, 170.0, 60.0]


def class_results(labels, probabilities):
    images = [
        {"file": f"images/{number}.jpg", "truth": label, "probabilities": list(own)}
        for number, (label, own) in enumerate(zip(labels, probabilities, strict=True))
    ]
    return Results("classification", "test", True, ["raw", "golden", "burnt"], images)


def mask_results(pixels):
    images = [{"file": f"images/{number}.jpg", "pixels": list(own)} for number, own in enumerate(pixels)]
    return Results("segmentation", "test", True, ["background", "pan"], images)


def box_image(number, labelled, predicted):
    """Make a record of labelled boxes [(class, box)] and predicted ones [(class, box, score)]."""
    truth = {"boxes": [box for _, box in labelled], "labels": [label for label, _ in labelled]}
    found = {
        "boxes": [box for _, box, _ in predicted],
        "labels": [label for label, _, _ in predicted],
        "scores": [score for _, _, score in predicted],
    }
    return {"file": f"images/{number}.jpg", "truth": truth, "found": found}


def box_results(*images):
    """Return results with ten images of right labels, and others."""
    both = [(0, PAN), (1, STIRRER)]
    right = [box_image(f"right{number}", both, [(0, PAN, 0.9), (1, STIRRER, 0.8)]) for number in range(10)]
    return Results("detection", "test", True, NAMES, [*right, *images])


@settings(deadline=None, max_examples=30)
@given(st.data(), st.integers(5, 30))
def test_a_contradicted_class_ranks_above_right_labels(data, count):
    confidence = st.floats(0.5, 1.0)
    labels, probabilities = [], []
    for number in range(count):
        sure = data.draw(confidence)
        labels.append(number % 3)
        probabilities.append(np.roll([sure, (1 - sure) / 2, (1 - sure) / 2], number % 3).tolist())
    planted = data.draw(st.integers(0, count - 1))
    sure = data.draw(st.floats(0.6, 1.0))
    labels[planted] = (labels[planted] + 1) % 3
    probabilities[planted] = np.roll([sure, (1 - sure) / 2, (1 - sure) / 2], labels[planted] - 1).tolist()
    first, second, *_ = rank(class_results(labels, probabilities))
    assert first.file == f"images/{planted}.jpg" and first.score > 0.5 >= second.score


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(["removed", "class", "moved", "added"]), st.floats(0.85, 1.0))
def test_a_contradicted_box_ranks_above_right_labels(kind, score):
    labelled = {
        "removed": [(1, STIRRER)],
        "class": [(1, PAN), (1, STIRRER)],
        "moved": [(0, [80.0, 60.0, 180.0, 160.0]), (1, STIRRER)],
        "added": [(0, PAN), (1, STIRRER), (1, [20.0, 140.0, 60.0, 190.0])],
    }[kind]
    planted = box_image("planted", labelled, [(0, PAN, score), (1, STIRRER, 0.8)])
    first, second, *others = rank(box_results(planted))
    assert first.file == planted["file"] and first.suspicious and first.score > 0.9
    assert not second.suspicious and len(others) + 2 == 20 + max(2, len(labelled))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(920, 1000), min_size=5, max_size=30), st.integers(0, 500))
def test_a_contradicted_mask_ranks_above_right_labels(common, planted):
    # An IoU of 0.85 or more, and so above 0.84 of any median.
    pixels = [[both, 1000 - both, 1000 - both, 5000] for both in common]
    first, second, *_ = rank(mask_results([*pixels, [planted, 1000 - planted, 1000 - planted, 5000]]))
    assert first.file == f"images/{len(common)}.jpg" and first.suspicious and not second.suspicious


@settings(deadline=None, max_examples=30)
@given(st.randoms(use_true_random=False))
def test_the_order_of_the_images_does_not_matter(shuffler: random.Random):
    for results in all_results().values():
        images = list(results.images)
        shuffler.shuffle(images)
        assert rank(replace(results, images=images)) == rank(results)


def test_no_images_give_no_rows():
    assert not any(rank(replace(results, images=[])) for results in all_results().values())


def test_scores_are_from_0_to_1_and_best_first():
    assert (doubt(1.0, 0.0), doubt(0.0, 1.0), doubt(0.3, 0.3)) == (1.0, 0.0, 0.5)
    for results in all_results(error=0.6, shift=20.0, right=0.5).values():
        scores = [each.score for each in rank(results)]
        assert scores == sorted(scores, reverse=True) and 0.0 <= scores[-1] <= scores[0] <= 1.0


def test_confident_joint_by_hand():
    # Self-confidence 0.6 and 0.7; the third image is sure to be of class 1, the fourth of neither.
    truth = np.array([0, 0, 0, 0, 1, 1])
    first = np.array([0.9, 0.9, 0.2, 0.4, 0.3, 0.3])
    assert wrong_classes(truth, np.stack([first, 1.0 - first], axis=1)) == {(0, 1): 1}
    # One of three confident images, scaled to four.
    assert not wrong_classes(truth[:2], np.array([[0.9, 0.1], [0.8, 0.2]]))


def test_suspicious_classes_are_those_of_the_confident_joint():
    sure, other, unsure = [0.9, 0.05, 0.05], [0.0, 1.0, 0.0], [0.4, 0.45, 0.15]
    found = rank(class_results([0, 0, 0, 0, 0, 1, 1, 1], [sure, sure, sure, other, unsure, other, other, other]))
    assert [each.file for each in found if each.suspicious] == ["images/3.jpg"]
    assert found[1].file == "images/4.jpg" and found[1].score == pytest.approx(0.525)
    assert found[0].what == "class raw" and found[0].reason == "predicted golden 1.00, raw 0.00"


def row_of(image, what):
    (row,) = (each for each in rank(box_results(image)) if each.file == image["file"] and each.what == what)
    return row


def test_reasons_of_boxes():
    loose = [60.0, 20.0, 160.0, 120.0]  # IoU 3/7
    image = box_image(0, [(0, loose)], [(0, PAN, 0.9)])
    assert row_of(image, "pan at 60,20").reason == "predicted pan 0.90, IoU 0.43"
    image = box_image(0, [(1, PAN)], [(0, PAN, 0.9)])
    assert row_of(image, "stirrer at 20,20").reason == "predicted pan 0.90, IoU 1.00"
    image = box_image(0, [(1, PAN)], [])
    assert row_of(image, "stirrer at 20,20").reason == "no stirrer is predicted there"
    missing = row_of(box_image(0, [], [(0, PAN, 0.9)]), "missing pan")
    assert missing.reason == "predicted pan 0.90, without a label" and missing.box == tuple(PAN)
    assert not missing.labelled and missing.suspicious


def test_second_boxes_of_a_right_label_are_no_missing_labels():
    double = [20.0, 20.0, 60.0, 120.0]  # IoU 0.4
    rows = rank(box_results(box_image(0, [(0, PAN)], [(0, PAN, 0.9), (0, double, 0.8)])))
    assert all(each.labelled for each in rows)


def test_a_fainter_class_in_one_place_does_not_support_a_label():
    image = box_image(0, [(1, PAN)], [(0, PAN, 0.9), (1, PAN, 0.6)])
    assert row_of(image, "stirrer at 20,20").score == 1.0


def test_a_class_that_is_never_found_is_weak_evidence():
    unknown = [box_image(number, [(1, PAN)], []) for number in range(30)]
    assert row_of(unknown[0], "stirrer at 20,20").score > 0.9
    found = [each for each in rank(box_results(*unknown)) if each.file == "images/0.jpg"]
    assert found[0].score == pytest.approx((1 + 10 / 40) / 2)


def test_few_pixels_on_an_empty_mask_count_little():
    usual = [[950, 50, 50, 5000]] * 10
    few, many = rank(mask_results([*usual, [0, 10, 0, 6000], [0, 800, 0, 6000]])), "images/11.jpg"
    assert few[0].file == many and few[0].suspicious
    assert not any(each.suspicious for each in few if each.file == "images/10.jpg")
