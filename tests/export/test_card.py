import re
from dataclasses import replace

import pytest

from panvision.core.files import write_json
from panvision.core.tasks import TASKS
from panvision.decoding.decoder import AnswerLimits
from panvision.export.card import model_card, read_metrics
from panvision.export.errors import ExportError
from tests.export.conftest import FIGURES, save_figures
from tests.tiny import INFO, part_info

COUNTS = {"train": 200, "val": 30, "test": 50}
METRICS = {
    "data": {
        "segmentation": {**COUNTS, "classes": {"pan": COUNTS}},
        "detection": {**COUNTS, "classes": {"lid": COUNTS, "stirrer": {**COUNTS, "test": 7}}},
        "classification": {**COUNTS, "classes": {"fresh": {**COUNTS, "test": 19}, "frozen": {**COUNTS, "test": 20}}},
    },
    "segmentation": {"images": 50, "miou": 0.95, "iou": {"pan": 0.93}, "ci95": {"miou": {"low": 0.91, "high": 0.97}}},
    "detection": {"images": 50, "map50": 0.9, "map50_95": None, "ap50": {"lid": 0.8}, "ci95": {"map50": None}},
    "classification": {"images": 50, "accuracy": 0.8},
    "export": {
        "scores": {
            "onnx": {"miou": 0.95, "map50": 0.9, "map50_95": None, "accuracy": 0.8},
            "int8": {"miou": 0.96, "map50": 0.895, "map50_95": None, "accuracy": 0.8},
        },
        "int8": {"accepted": True, "drop": {"miou": -0.01, "map50": 0.005, "map50_95": None, "accuracy": 0.0}},
        "size_mb": {"checkpoint": 21.4, "onnx": 21.3, "int8": 5.6},
    },
}
MADE_OF = replace(INFO, params_sha256="ab" * 32, data_sha256="cd" * 32)


def rows(text: str) -> list[list[str]]:
    """Cells of the tables' lines; an escaped bar does not separate cells."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_card_shows_data_metrics_and_limits() -> None:
    text = model_card(MADE_OF, METRICS, max_drop=0.01)
    cells = rows(text)
    assert ["`panvision.int8.onnx`", "INT8, last layers float32", "ONNX Runtime, OpenVINO", "5.6"] in cells
    assert ["detection", "photos", "200", "30", "50"] in cells and ["", "stirrer", "200", "30", "7"] in cells
    assert ["mIoU", "0.950", "0.910 to 0.970", "0.950", "0.960", "-1.00 points"] in cells
    assert ["mAP@0.5", "0.900", "–", "0.900", "0.895", "0.50 points"] in cells
    assert ["mAP@[.5:.95]", "–", "–", "–", "–", ""] in cells
    assert ["AP@0.5, lid", "0.800", "–", "", "", ""] in cells
    assert ["accuracy", "0.800", "–", "0.800", "0.800", "0.00 points"] in cells
    assert ["params", f"`{'ab' * 32}`"] in cells and ["data", f"`{'cd' * 32}`"] in cells
    assert "over five points: stirrer (7), fresh (19)." in text
    assert (
        "no headline metric loses more than 1 point (`" in text
        and "largest loss is that of mAP@0.5, 0.50 points" in text
    )
    assert "(N, 64, 64, 3) uint8" in text and "with a score of at least 0.3, at most 100 per photo" in text
    assert "Licence of the weights:\n" in text
    assert model_card(MADE_OF, METRICS, max_drop=0.01) == text and text.endswith("\n") and "None" not in text


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        (AnswerLimits(2.5, pan_area=0.1, pan_score=0.2), "where the model sees no pan, or features farther"),
        (AnswerLimits(2.5, pan_area=None, pan_score=0.2), "where the model sees no pan, or features farther"),
        (AnswerLimits(2.5, pan_area=0.0, pan_score=None), "where the model sees features farther"),
    ],
)
def test_card_names_the_limits_that_exist(limits, text) -> None:
    assert f"No state is answered {text} " in model_card(replace(MADE_OF, limits=limits), METRICS, max_drop=0.01)


def test_card_verdicts_on_int8() -> None:
    def card(**changes) -> str:
        return model_card(MADE_OF, METRICS | {"export": METRICS["export"] | changes}, max_drop=0.004)

    drop = METRICS["export"]["int8"]["drop"]
    assert "INT8 is **not accepted**" in card(int8={"accepted": False, "drop": drop})
    assert "INT8 is **not checked**" in card(int8={"accepted": None, "drop": dict.fromkeys(drop)})
    sizes = METRICS["export"]["size_mb"] | {"int8": None}
    without = card(int8=None, size_mb=sizes, scores=METRICS["export"]["scores"] | {"int8": None})
    assert "There is no INT8 file" in without and "panvision.int8.onnx" not in without


@pytest.mark.parametrize("task", TASKS)
def test_card_of_one_task(task) -> None:
    answers = {"segmentation": "where the pan is", "detection": "where the objects are", "classification": "what state"}
    text = model_card(part_info(task), METRICS, max_drop=0.01)
    assert [one for one in TASKS if answers[one] in text] == [task]
    assert {row[0] for row in rows(text)} & set(TASKS) == {task}
    assert ("at most 100 per photo" in text) == (task == "detection")


def test_card_escapes_class_names() -> None:
    name = "a|b\n# *c* <img src=x onerror=alert(1)> [d](http://e) `f`\u202e"
    metrics = METRICS | {
        "data": {"detection": {**COUNTS, "classes": {name: COUNTS}}},
        "detection": {"images": 1, "map50": 0.5, "ap50": {name: 0.5}},
    }
    text = model_card(replace(part_info("detection"), det_class_names=(name,)), metrics, max_drop=0.01)
    shown = r"a\|b \# \*c\* \<img src\=x onerror\=alert\(1\)\> \[d\]\(http\:\/\/e\) \`f\`"
    assert text.count(shown) == 3
    assert [row for row in rows(text) if row[1] == shown] == [["", shown, "200", "30", "50"]]
    assert "\n# *" not in text and "\u202e" not in text


def test_read_metrics_of_the_models_tasks(tmp_path) -> None:
    save_figures(tmp_path)
    assert read_metrics(tmp_path, TASKS) == FIGURES
    with pytest.raises(ExportError, match=r"detection\.json: metrics of a model with other tasks; run `python s"):
        read_metrics(tmp_path, ("segmentation", "classification"))
    write_json(tmp_path / "data.json", 3)
    with pytest.raises(ExportError, match=r"data\.json: damaged .*; run `python stages/validate\.py` again"):
        read_metrics(tmp_path, TASKS)
    (tmp_path / "data.json").unlink()
    with pytest.raises(ExportError, match=r"data\.json: missing; run `python stages/validate\.py`"):
        read_metrics(tmp_path, TASKS)
