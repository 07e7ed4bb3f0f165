import pytest

from panvision.report.findings import problem_rows
from panvision.report.inputs import Earlier, Interval
from panvision.report.judgement import judge_run
from panvision.report.metrics import metric_tables

GOOD = {"parity": {"passed": True}, "int8": {"accepted": True}}


def tables(values, low=None, high=None):
    """Tables of boxes; with an interval, the change of mAP@0.5 from 0.5."""
    previous = {}
    if low is not None:
        previous = {"map50": Earlier(value=0.5, present=values["map50"], difference=Interval(low=low, high=high))}
    return {"detection": metric_tables("detection", values, {}, previous)}


def judge(*, low=None, high=None, problems=None, export=GOOD, previous="", **values):
    given = {"map50": 0.6, "map50_95": 0.4, **values}
    return judge_run(tables(given, low, high), previous, problem_rows(problems or {}), export)


def test_judgement_of_a_run_in_order() -> None:
    found = judge()
    assert (found.level, found.heading) == ("good", "In order")
    assert [text for _, text in found.remarks] == [
        "The raw data have no open problem.",
        "The ONNX file gives the results of its checkpoint.",
        "The INT8 file is accepted.",
    ]


@pytest.mark.parametrize(
    ("given", "level", "text"),
    [
        ({"low": -0.2, "high": -0.1, "previous": "abc"}, "bad", "Worse than at abc: mAP@0.5."),
        ({"export": {"parity": {"passed": False}}}, "bad", "The ONNX file gives other results than its checkpoint."),
        ({"map50": None}, "doubt", "Undefined on this test split: mAP@0.5."),
        ({"problems": {"mask_empty": 2, "new": 1}}, "doubt", "3 open problems in the raw data."),
        (
            {"export": {"int8": {"accepted": False}}},
            "doubt",
            "The INT8 file is not accepted: use the float file.",
        ),
        ({"low": 0.01, "high": 0.2, "previous": "abc"}, "good", "Better than at abc: mAP@0.5."),
    ],
)
def test_judgement_names_the_most_serious_first(given, level, text) -> None:
    found = judge(**given)
    assert found.level == level and found.remarks[0] == (level, text)


def test_judgement_notes_do_not_count() -> None:
    found = judge(low=-0.1, high=0.1, previous="abc", **{"ap50.lid": 0.7, "ap50.stirrer": 0.3, "ap50.pipe": None})
    assert found.level == "good"
    assert [text for level, text in found.remarks if level == "note"] == [
        "No headline metric is known to be better or worse than at abc.",
        "Weakest classes: stirrer, AP@0.5 0.300.",
    ]
    # Of one class, none is the weakest.
    assert "Weakest" not in str(judge(**{"ap50.lid": 0.7}))
    assert judge(export={}).level == "good"
