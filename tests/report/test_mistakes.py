from dataclasses import replace

import pytest

from panvision.evaluation.results import Results
from panvision.report.mistakes import (
    FALSE_ALARM,
    LOOSE_BOX,
    MISSED,
    RAGGED_MASK,
    UNSURE,
    WRONG_CLASS,
    Mistake,
    Mistakes,
    Verdict,
    count_kinds,
    first_of_each_kind,
    rank_images,
)
from panvision.report.table import SECTIONS
from tests.report.run import box_image, image

NAMES = {
    "segmentation": ["background", "pan"],
    "detection": ["pan", "lid"],
    "classification": ["raw", "golden", "burnt"],
}


def results_of(task: str, *images) -> Results:
    return Results(task, "test", True, NAMES[task], list(images), thresholds=[0.5] * len(NAMES[task]))


def mistaken(task: str, *images) -> list[Mistakes]:
    results = results_of(task, *images)
    return rank_images([SECTIONS[task].mistakes(image, results) for image in images])


def only(task: str, one) -> list[tuple[str, str]]:
    """Kind and text of each mistake on one image."""
    return [(mistake.kind.name, mistake.text) for each in mistaken(task, one) for mistake in each.mistakes]


def verdict(task: str, one) -> Verdict:
    return SECTIONS[task].verdict(one, results_of(task, one))


def mask(tp: int, fp: int, fn: int, tn: int, mean: float | None = 0.5, p95: float = 1.0, row: int = 0):
    return image(row, pixels=[tp, fp, fn, tn], boundary=None if mean is None else {"mean": mean, "p95": p95})


@pytest.mark.parametrize(
    ("found", "kind", "said"),
    [
        (mask(0, 0, 100, 900, None), MISSED, "The mask is empty, and there is a pan."),
        (mask(49, 10, 51, 890), MISSED, "The mask covers 49% of the pan."),
        (mask(0, 9, 100, 891), MISSED, "The mask covers 0% of the pan."),
        (mask(0, 30, 0, 970, None), FALSE_ALARM, "There is no pan, and 30 pixels are marked, 3% of the image."),
        (
            mask(0, 9, 0, 991, None),
            FALSE_ALARM,
            "There is no pan, and 9 pixels are marked, less than 1% of the image.",
        ),
        (mask(100, 101, 0, 799), FALSE_ALARM, "Of the mask, 50% is not the pan."),
        (
            mask(85, 10, 15, 890, 2.25, 9.04),
            RAGGED_MASK,
            "The mask covers 85% of the pan, and 11% of it is not pan; its boundary is off by 2.2 px on average, "
            "9.0 px at p95.",
        ),
        # 128 by 96 pixels: the diagonal is 160, a fiftieth of it 3.2.
        (
            mask(999, 0, 1, 0, 0.5, 3.3),
            RAGGED_MASK,
            "The mask covers 99% of the pan, and 0% of it is not pan; its boundary is off by 0.5 px on average, "
            "3.3 px at p95.",
        ),
    ],
)
def test_segmentation_mistakes(found, kind, said) -> None:
    assert only("segmentation", found) == [(kind.name, said)]


@pytest.mark.parametrize("found", [mask(90, 0, 10, 900), mask(999, 0, 1, 0, 0.5, 3.2), mask(0, 0, 0, 9, None)])
def test_segmentation_without_mistake(found) -> None:
    assert mistaken("segmentation", found) == []


def state(truth: int, *probabilities: float, row: int = 0):
    return image(row, truth=truth, probabilities=list(probabilities))


def test_classification_mistakes() -> None:
    assert only("classification", state(1, 0.12, 0.17, 0.71)) == [
        (WRONG_CLASS.name, "Called burnt with 71%; golden, the truth, got 17%.")
    ]
    assert only("classification", state(2, 0.004, 0.0, 0.996)) == []
    assert only("classification", state(0, 0.45, 0.2, 0.35)) == [
        (UNSURE.name, "raw is right, with 45%; burnt got 35%.")
    ]
    # Never shown as 100 % or 0 %.
    assert only("classification", state(0, 0.001, 0.0, 0.999)) == [
        (WRONG_CLASS.name, "Called burnt with 99%; raw, the truth, got less than 1%.")
    ]


def test_rank_images_puts_the_worst_first() -> None:
    labels = [state(0, 0.34, 0.33, 0.33, row=0), state(0, 0.49, 0.5, 0.01, row=1), state(0, 0.0, 0.0, 1.0, row=2)]
    assert [each.file for each in mistaken("classification", *labels)] == [f"images/0{row}.png" for row in (2, 1, 0)]
    masks = [mask(80, 0, 20, 0, row=2), mask(80, 0, 20, 0, row=1), mask(0, 9, 0, 91, None, row=3)]
    assert [each.file for each in mistaken("segmentation", *masks)] == [f"images/0{row}.png" for row in (3, 1, 2)]


A, NEAR, HALF, FAR = (0, 0, 10, 10), (3, 0, 13, 10), (6, 0, 16, 10), (50, 50, 60, 60)  # IoU with A: 1, 0.54, 0.25, 0


@pytest.mark.parametrize(
    ("truth", "found", "expected"),
    [
        ([(*A, 0)], [(*A, 0, 0.9, 0, 1.0)], []),
        ([], [], []),
        ([(*A, 0)], [], [(MISSED, "The pan is missed.")]),
        # Below the threshold, 0.5, a box is not reported.
        ([(*A, 0)], [(*A, 0, 0.4, 0, 1.0)], [(MISSED, "The pan is missed: its box scores 0.40, below 0.50.")]),
        ([], [(*A, 0, 0.4, -1, 0.0)], []),
        ([(*A, 0)], [(*NEAR, 0, 0.9, 0, 0.54)], [(LOOSE_BOX, "pan 0.90: IoU 0.53 with the object.")]),
        (
            [(*A, 0)],
            [(*HALF, 0, 0.9, -1, 0.25)],
            [(LOOSE_BOX, "pan 0.90: IoU 0.25 with the object, too little to count.")],
        ),
        ([(*A, 0)], [(*A, 1, 0.9, -1, 0.0)], [(WRONG_CLASS, "The pan is called lid 0.90, IoU 1.00.")]),
        ([], [(*A, 1, 0.9, -1, 0.0)], [(FALSE_ALARM, "lid 0.90 where there is none.")]),
        (
            [(*A, 0)],
            [(*A, 0, 0.9, 0, 1.0), (*A, 0, 0.8, -1, 1.0)],
            [(FALSE_ALARM, "pan 0.80 where an object of this class has its box already.")],
        ),
        (
            [(*A, 0), (*FAR, 1)],
            [(*A, 1, 0.9, -1, 0.0), (*NEAR, 0, 0.8, 0, 0.54)],
            [
                (MISSED, "The lid is missed."),
                (FALSE_ALARM, "lid 0.90 where there is none."),
                (LOOSE_BOX, "pan 0.80: IoU 0.53 with the object."),
            ],
        ),
        # One box explains one object.
        (
            [(*A, 0), (*A, 0)],
            [(*A, 1, 0.9, -1, 0.0)],
            [(MISSED, "The pan is missed."), (WRONG_CLASS, "The pan is called lid 0.90, IoU 1.00.")],
        ),
    ],
)
def test_detection_mistakes(truth, found, expected) -> None:
    assert only("detection", box_image(0, truth, found)) == [(kind.name, said) for kind, said in expected]


def test_detection_thresholds_are_those_of_the_class() -> None:
    record = box_image(0, [], [(*A, 0, 0.6, -1, 0.0), (*FAR, 1, 0.6, -1, 0.0)])
    results = replace(results_of("detection", record), thresholds=[0.7, 0.5])
    found = SECTIONS["detection"].mistakes(record, results)
    assert [mistake.text for mistake in found.mistakes] == ["lid 0.60 where there is none."]
    assert SECTIONS["detection"].verdict(record, results).predicted == "lid 0.60"


def test_detection_boxes_on_a_crowd_are_no_mistakes() -> None:
    record = box_image(0, [], [(*A, 1, 0.9, -1, 0.0), (*FAR, 1, 0.8, -1, 0.0)])
    record["found"]["ignored"]["all"] = [1, 2]  # the second only at larger thresholds
    assert only("detection", record) == [("false alarm", "lid 0.80 where there is none.")]


def test_detection_badness_is_the_sum_of_weights() -> None:
    images = [
        box_image(0, [(*A, 0)], [(*NEAR, 0, 0.9, 0, 0.54)]),
        box_image(1, [(*A, 0)], []),
        box_image(2, [(*A, 0), (*FAR, 0)], []),
        box_image(3, [(*A, 0)], [(1, 0, 12, 10, 0, 0.9, 0, 0.75)]),
    ]
    assert [each.file[-5] for each in mistaken("detection", *images)] == ["2", "1", "0"]


def test_first_of_each_kind_takes_turns() -> None:
    kinds = (MISSED, MISSED, FALSE_ALARM, MISSED, WRONG_CLASS, FALSE_ALARM)
    ranked = [Mistakes(f"{row}.jpg", 9.0 - row, [Mistake(kind, "")]) for row, kind in enumerate(kinds)]
    assert [each.file for each in first_of_each_kind(ranked)] == [f"{row}.jpg" for row in (0, 2, 4, 1, 5, 3)]
    assert first_of_each_kind([]) == []


def test_count_kinds_counts_images() -> None:
    images = [
        box_image(0, [(*A, 0), (*FAR, 0)], []),
        box_image(1, [(*A, 0)], [(*FAR, 1, 0.9, -1, 0.0)]),
        box_image(2, [], []),
    ]
    assert count_kinds(mistaken("detection", *images)) == [(MISSED, 2), (FALSE_ALARM, 1)]
    assert count_kinds([]) == []


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        ((8, 0, 0, 8), Verdict("IoU 1.00", True)),
        ((8, 0, 8, 0), Verdict("IoU 0.50", True)),
        ((4, 0, 12, 0), Verdict("IoU 0.25", False)),
        ((0, 4, 0, 12), Verdict("IoU 0.00", False)),
        ((0, 0, 0, 16), Verdict("no pan, none found", True)),
    ],
)
def test_segmentation_verdict(pixels, expected) -> None:
    assert verdict("segmentation", mask(*pixels)) == expected


def test_classification_answer_is_the_shipped_one() -> None:
    one = {**state(1, 0.1, 0.3, 0.6), "predicted": 1}
    assert verdict("classification", one) == Verdict("right", True, "golden", "golden 30%")
    assert only("classification", one) == [(UNSURE.name, "golden is right, with 30%; burnt got 60%.")]


def test_classification_verdict() -> None:
    assert verdict("classification", state(0, 0.61, 0.39, 0.0)) == Verdict("right", True, "raw", "raw 61%")
    assert verdict("classification", state(1, 0.61, 0.39, 0.0)) == Verdict("wrong", False, "golden", "raw 61%")


@pytest.mark.parametrize(
    ("truth", "found", "short", "right"),
    [
        ([(*A, 0)], [(*A, 0, 0.9, 0, 1.0)], "1 of 1 found", True),
        ([(*A, 0)], [(*A, 1, 0.9, -1, 0.0)], "0 of 1 found, 1 too many", False),
        ([(*A, 0)], [(*A, 0, 0.9, 0, 1.0), (*NEAR, 0, 0.8, -1, 0.54)], "1 of 1 found, 1 too many", False),
        ([(*A, 0)], [(*A, 0, 0.4, 0, 1.0)], "0 of 1 found", False),
        ([], [], "no objects", True),
        ([], [(*A, 0, 0.9, -1, 0.0)], "no objects, 1 too many", False),
    ],
)
def test_detection_verdict(truth, found, short, right) -> None:
    said = verdict("detection", box_image(0, truth, found))
    assert (said.short, said.right) == (short, right)


def test_detection_verdict_lists_at_most_eight_boxes() -> None:
    said = verdict("detection", box_image(0, [(*A, 0)] * 9, [(*A, 1, 0.9, -1, 0.0)] * 8))
    assert said.true == "pan, " * 7 + "pan and 1 more" and said.predicted.count("lid 0.90") == 8
