import json

import pytest

from panvision.report.inputs import (
    DataMetrics,
    JsonValues,
    ReportError,
    Scores,
    read_metrics,
    read_numbers,
    read_scores,
    read_table,
)
from tests.report.run import METRICS, SPLITS

GOOD = {"images": 1, "map50": 0.5, "map50_95": None, "ap50": {"lid": 1}}


def scores(tmp_path, text):
    path = tmp_path / "detection.json"
    path.write_text(text)
    return read_scores(path, "detection")


def test_read_scores_flattens_numbers(tmp_path) -> None:
    found = scores(tmp_path, json.dumps({**GOOD, "more": [1]}))
    assert found.flat() == {"images": 1, "map50": 0.5, "map50_95": None, "ap50.lid": 1} and found.ci95 == {}


def test_data_metrics_in_order() -> None:
    values = METRICS["data"] | {"classification": {**METRICS["data"]["classification"]}}
    values["classification"]["classes"] = dict.fromkeys(("browned", "frozen", "raw", "unknown"), SPLITS)
    found = DataMetrics(**values).in_order({"classification": ["frozen", "raw", "burnt", "browned"]})
    assert list(found.classification.classes) == ["frozen", "raw", "browned", "unknown"]
    assert list(found.detection.classes) == ["lid", "stirrer"]


def test_read_scores_reads_intervals(tmp_path) -> None:
    found = scores(tmp_path, json.dumps({**GOOD, "ci95": {"map50": {"low": 0.25, "high": 0.75}, "other": None}}))
    assert (found.ci95["map50"].low, found.ci95["map50"].high, found.ci95["other"]) == (0.25, 0.75, None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Invalid JSON"),
        ("", "Invalid JSON"),
        ("[]", "object"),
        (json.dumps({**GOOD, "map50": "0.5"}), "map50: must be a number or null, found '0.5'"),
        (json.dumps({**GOOD, "map50": True}), "map50: must be a number or null, found True"),
        (json.dumps({"images": 1}), "map50: must be a number or null, is missing"),
        (json.dumps({**GOOD, "images": -1}), "images: "),
    ],
)
def test_read_scores_names_file_and_remedy(tmp_path, text, reason) -> None:
    with pytest.raises(ReportError) as caught:
        scores(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'detection.json'}: {reason}") or reason in message
    assert "detection.json" in message and message.endswith("run `dvc repro` again") and "\n" not in message


def test_missing_files_are_named(tmp_path) -> None:
    with pytest.raises(ReportError, match=r"none\.json: cannot be read: No such file.*; run `dvc repro`"):
        read_metrics(tmp_path / "none.json", Scores)
    with pytest.raises(ReportError, match=r"none\.csv: cannot be read: No such file.*; run `dvc repro`"):
        read_table(tmp_path / "none.csv", ("a",))
    with pytest.raises(ReportError, match="cannot be read: Is a directory"):
        read_metrics(tmp_path, Scores)


def test_json_values_may_be_anything_named(tmp_path) -> None:
    path = tmp_path / "export.json"
    path.write_text('{"a": {"b": [1, null]}}')
    assert read_metrics(path, JsonValues).root == {"a": {"b": [1, None]}}
    path.write_text("3")
    with pytest.raises(ReportError, match="should be an object"):
        read_metrics(path, JsonValues)


def numbers(tmp_path, text, columns=("a", "b")):
    path = tmp_path / "curve.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_numbers(path, columns)


def test_read_numbers_by_column(tmp_path) -> None:
    found = numbers(tmp_path, "b,more,a\n1,x,2e-3\n,y,nan\ninf,z,-1\n")
    assert found == [{"a": 0.002, "b": 1.0}, {"a": None, "b": None}, {"a": -1.0, "b": None}]
    assert numbers(tmp_path, "a,b\n") == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "has no column a, b"),
        ("a\n1\n", "has no column b"),
        ("a,b\n1,2\n1,2,3\n", "line 3 does not fit the header"),
        ("a,b\n1\n", "line 2 does not fit the header"),
        ("a,b\n1,two\n", "line 2: b: expected a number, found 'two'"),
        (b"a,b\n\xff,1\n", "not a CSV file"),
    ],
)
def test_read_numbers_names_file_and_remedy(tmp_path, text, reason) -> None:
    with pytest.raises(ReportError) as caught:
        numbers(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'curve.csv'}: {reason}")
    assert message.endswith("run `dvc repro` again") and "\n" not in message
