import json

import pytest

from panvision.report.inputs import (
    DetectionMetrics,
    JsonFigures,
    ReportError,
    SegmentationMetrics,
    read_metrics,
    read_numbers,
    read_table,
)

GOOD = {"images": 1, "map50": 0.5, "map50_95": None, "ap50": {"lid": 1}}


def metrics(tmp_path, text, schema=DetectionMetrics):
    path = tmp_path / "detection.json"
    path.write_text(text)
    return read_metrics(path, schema)


def test_metrics_are_read_and_what_is_not_shown_is_passed_over(tmp_path) -> None:
    found = metrics(tmp_path, json.dumps({**GOOD, "more": [1]}))
    assert (found.map50, found.map50_95, found.ap50, found.ci95) == (0.5, None, {"lid": 1.0}, {})


def test_intervals_are_read_where_they_are(tmp_path) -> None:
    found = metrics(tmp_path, json.dumps({**GOOD, "ci95": {"map50": {"low": 0.25, "high": 0.75}, "other": None}}))
    assert (found.ci95["map50"].low, found.ci95["map50"].high, found.ci95["other"]) == (0.25, 0.75, None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Invalid JSON"),
        ("", "Invalid JSON"),
        ("[]", "object"),
        (json.dumps({**GOOD, "map50": 1.5}), "map50: "),
        (json.dumps({**GOOD, "map50": "0.5"}), "map50: "),
        (json.dumps({**GOOD, "ap50": {"lid": True}}), "ap50: lid: "),
        (json.dumps({**GOOD, "map50": float("nan")}), "map50: "),
        (json.dumps({"images": 1}), "map50: Field required"),
    ],
)
def test_damaged_metrics_are_one_line_with_file_and_remedy(tmp_path, text, reason) -> None:
    with pytest.raises(ReportError) as caught:
        metrics(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'detection.json'}: {reason}") or reason in message
    assert "detection.json" in message and message.endswith("run `dvc repro` again") and "\n" not in message


def test_missing_files_are_named(tmp_path) -> None:
    with pytest.raises(ReportError, match=r"none\.json: cannot be read: No such file.*; run `dvc repro`"):
        read_metrics(tmp_path / "none.json", SegmentationMetrics)
    with pytest.raises(ReportError, match=r"none\.csv: cannot be read: No such file.*; run `dvc repro`"):
        read_table(tmp_path / "none.csv", ("a",))
    with pytest.raises(ReportError, match="cannot be read: Is a directory"):
        read_metrics(tmp_path, SegmentationMetrics)


def test_export_metrics_may_hold_anything_named(tmp_path) -> None:
    assert metrics(tmp_path, '{"a": {"b": [1, null]}}', JsonFigures).root == {"a": {"b": [1, None]}}
    with pytest.raises(ReportError, match="should be an object"):
        metrics(tmp_path, "3", JsonFigures)


def numbers(tmp_path, text, columns=("a", "b")):
    path = tmp_path / "curve.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_numbers(path, columns)


def test_numbers_by_column(tmp_path) -> None:
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
        (b"a,b\n\xff,1\n", "no CSV file"),
    ],
)
def test_damaged_tables_are_one_line_with_file_and_remedy(tmp_path, text, reason) -> None:
    with pytest.raises(ReportError) as caught:
        numbers(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'curve.csv'}: {reason}")
    assert message.endswith("run `dvc repro` again") and "\n" not in message
