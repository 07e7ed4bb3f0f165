import pytest

from panvision.evaluation.results import Results
from panvision.report.faults import (
    FALSE_ALARM,
    LOOSE_BOX,
    MISSED,
    RAGGED_MASK,
    UNSURE,
    WRONG_CLASS,
    Faulty,
    box_iou,
    count_kinds,
    find_faults,
)
from tests.report.run import box_image, image

NAMES = {
    "segmentation": ["background", "pan"],
    "detection": ["pan", "lid"],
    "classification": ["raw", "golden", "burnt"],
}


def faulty(task: str, *images) -> list[Faulty]:
    return find_faults(Results(task, "test", trained=True, classes=NAMES[task], images=list(images)), 0.5)


def only(task: str, one) -> list[tuple[str, str]]:
    """Kind and text of each fault of one picture."""
    return [(fault.kind.name, fault.text) for each in faulty(task, one) for fault in each.faults]


def mask(tp: int, fp: int, fn: int, tn: int, mean: float | None = 0.5, p95: float = 1.0, row: int = 0):
    return image(row, pixels=[tp, fp, fn, tn], boundary=None if mean is None else {"mean": mean, "p95": p95})


@pytest.mark.parametrize(
    ("found", "kind", "said"),
    [
        (mask(0, 0, 100, 900, None), MISSED, "The mask is empty, and there is a pan."),
        (mask(49, 10, 51, 890), MISSED, "The mask covers 49% of the pan."),
        (mask(0, 9, 100, 891), MISSED, "The mask covers 0% of the pan."),
        (mask(0, 30, 0, 970, None), FALSE_ALARM, "There is no pan, and 30 pixels are marked, 3% of the picture."),
        (
            mask(0, 9, 0, 991, None),
            FALSE_ALARM,
            "There is no pan, and 9 pixels are marked, less than 1% of the picture.",
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
def test_masks(found, kind, said) -> None:
    assert only("segmentation", found) == [(kind.name, said)]


@pytest.mark.parametrize("found", [mask(90, 0, 10, 900), mask(999, 0, 1, 0, 0.5, 3.2), mask(0, 0, 0, 9, None)])
def test_masks_without_fault(found) -> None:
    assert faulty("segmentation", found) == []


def state(truth: int, *probabilities: float, row: int = 0):
    return image(row, truth=truth, probabilities=list(probabilities))


def test_states() -> None:
    assert only("classification", state(1, 0.12, 0.17, 0.71)) == [
        (WRONG_CLASS.name, "Called burnt with 71%; golden, the truth, got 17%.")
    ]
    assert only("classification", state(2, 0.004, 0.0, 0.996)) == []
    assert only("classification", state(0, 0.45, 0.2, 0.35)) == [
        (UNSURE.name, "raw is right, with 45%; burnt got 35%.")
    ]
    # Never 100 % nor 0 % of what is neither.
    assert only("classification", state(0, 0.001, 0.0, 0.999)) == [
        (WRONG_CLASS.name, "Called burnt with 99%; raw, the truth, got less than 1%.")
    ]


def test_the_worst_come_first_and_a_wrong_answer_before_any_right_one() -> None:
    states = [state(0, 0.34, 0.33, 0.33, row=0), state(0, 0.49, 0.5, 0.01, row=1), state(0, 0.0, 0.0, 1.0, row=2)]
    assert [each.file for each in faulty("classification", *states)] == [f"images/0{row}.png" for row in (2, 1, 0)]
    masks = [mask(80, 0, 20, 0, row=2), mask(80, 0, 20, 0, row=1), mask(0, 9, 0, 91, None, row=3)]
    assert [each.file for each in faulty("segmentation", *masks)] == [f"images/0{row}.png" for row in (3, 1, 2)]


A, NEAR, HALF, FAR = (0, 0, 10, 10), (3, 0, 13, 10), (6, 0, 16, 10), (50, 50, 60, 60)  # IoU with A: 1, 0.54, 0.25, 0


@pytest.mark.parametrize(
    ("truth", "found", "faults"),
    [
        ([(*A, 0)], [(*A, 0, 0.9, 0, 1.0)], []),
        ([], [], []),
        ([(*A, 0)], [], [(MISSED, "The pan is missed.")]),
        # Below the threshold, 0.5, a box is not reported.
        ([(*A, 0)], [(*A, 0, 0.4, 0, 1.0)], [(MISSED, "The pan is missed: its box scores 0.40, below 0.5.")]),
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
def test_boxes(truth, found, faults) -> None:
    assert only("detection", box_image(0, truth, found)) == [(kind.name, said) for kind, said in faults]


def test_more_and_graver_faults_make_a_worse_picture() -> None:
    pictures = [
        box_image(0, [(*A, 0)], [(*NEAR, 0, 0.9, 0, 0.54)]),
        box_image(1, [(*A, 0)], []),
        box_image(2, [(*A, 0), (*FAR, 0)], []),
        box_image(3, [(*A, 0)], [(1, 0, 12, 10, 0, 0.9, 0, 0.75)]),
    ]
    assert [each.file[-5] for each in faulty("detection", *pictures)] == ["2", "1", "0"]


def test_pictures_are_counted_by_kind() -> None:
    pictures = [
        box_image(0, [(*A, 0), (*FAR, 0)], []),
        box_image(1, [(*A, 0)], [(*FAR, 1, 0.9, -1, 0.0)]),
        box_image(2, [], []),
    ]
    assert count_kinds(faulty("detection", *pictures)) == [(MISSED, 2), (FALSE_ALARM, 1)]
    assert count_kinds([]) == []


def test_overlap() -> None:
    assert box_iou(A, A) == 1.0 and box_iou(A, FAR) == 0.0 and box_iou(A, (10, 0, 20, 10)) == 0.0
    assert box_iou(A, NEAR) == pytest.approx(70 / 130)
