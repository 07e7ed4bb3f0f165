import numpy as np
import pytest

from panvision.report.verdicts import Verdict, count_hits, judge


def result(mask=None, boxes=(), labels=(), state="fresh"):
    names = ["pan", "lid"]
    return {
        "segmentation": {"mask": np.zeros((4, 4), np.uint8) if mask is None else mask},
        "detection": {
            "boxes": list(boxes),
            "labels": list(labels),
            "scores": [0.9] * len(boxes),
            "class_names": [names[label] for label in labels],
        },
        "classification": {"class_name": state, "probabilities": {"fresh": 0.61, "frozen": 0.39}},
    }


def boxes(*found, labels):
    return {"boxes": list(found), "labels": labels, "class_names": [["pan", "lid"][label] for label in labels]}


def columns(count: int) -> np.ndarray:
    mask = np.zeros((4, 4), np.uint8)
    mask[:, :count] = 255
    return mask


@pytest.mark.parametrize(
    ("true", "found", "verdict"),
    [
        (2, 2, Verdict("IoU 1.00", True)),
        (4, 2, Verdict("IoU 0.50", True)),
        (4, 1, Verdict("IoU 0.25", False)),
        (0, 1, Verdict("IoU 0.00", False)),
        (0, 0, Verdict("no pan, none found", True)),
    ],
)
def test_masks(true, found, verdict) -> None:
    assert judge({"segmentation": {"mask": columns(true)}}, result(columns(found))) == verdict


def test_states() -> None:
    assert judge({"classification": {"class_name": "fresh"}}, result()) == Verdict("right", True, "fresh", "fresh 61%")
    assert judge({"classification": {"class_name": "frozen"}}, result()) == Verdict(
        "wrong", False, "frozen", "fresh 61%"
    )


A, B, FAR = [0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0], [50.0, 50.0, 60.0, 60.0]


@pytest.mark.parametrize(
    ("truth", "found", "short", "right"),
    [
        (boxes(A, labels=[0]), ([A], [0]), "1 of 1 found", True),
        (boxes(A, labels=[0]), ([A], [1]), "0 of 1 found, 1 too many", False),
        (boxes(A, labels=[0]), ([A, B], [0, 0]), "1 of 1 found, 1 too many", False),
        (boxes(A, FAR, labels=[0, 1]), ([FAR], [1]), "1 of 2 found", False),
        (boxes(A, labels=[0]), ([FAR], [0]), "0 of 1 found, 1 too many", False),
        (boxes(labels=[]), ([], []), "no objects", True),
        (boxes(labels=[]), ([A], [0]), "no objects, 1 too many", False),
    ],
)
def test_boxes(truth, found, short, right) -> None:
    verdict = judge({"detection": truth}, result(boxes=found[0], labels=found[1]))
    assert (verdict.short, verdict.right) == (short, right)


def test_the_better_box_chooses_first_and_takes_the_nearest() -> None:
    truth = boxes(A, B, labels=[0, 0])
    assert count_hits(truth, boxes(B, A, labels=[0, 0])) == 2
    # Either would do for the first; the one that it overlaps most is gone for the second.
    assert count_hits(truth, boxes(B, B, labels=[0, 0])) == 2


def test_touching_half_is_enough() -> None:
    assert count_hits(boxes([0.0, 0.0, 10.0, 10.0], labels=[0]), boxes([0.0, 0.0, 10.0, 5.0], labels=[0])) == 1
    assert count_hits(boxes([0.0, 0.0, 10.0, 10.0], labels=[0]), boxes([0.0, 0.0, 10.0, 4.9], labels=[0])) == 0


def test_both_answers_are_named() -> None:
    verdict = judge({"detection": boxes(A, FAR, labels=[1, 0])}, result(boxes=[A], labels=[1]))
    assert (verdict.true, verdict.predicted) == ("lid, pan", "lid 0.90")


def test_a_caption_does_not_name_a_hundred_boxes() -> None:
    verdict = judge({"detection": boxes(*[A] * 9, labels=[0] * 9)}, result(boxes=[A] * 8, labels=[1] * 8))
    assert verdict.true == "pan, pan, pan, pan, pan, pan, pan, pan and 1 more"
    assert verdict.predicted == ", ".join(["lid 0.90"] * 8)
