import json

import pytest

from panvision.core.files import write_json
from panvision.report.inputs import ReportError
from panvision.report.speed import read_speed
from tests.report.test_page import Page

ROW = {"model": "models/panvision.onnx", "p50_ms": 12.34, "p95_ms": 20.0, "images_per_s": 81.0, "size_mb": 5.25}
MODERN = {**ROW, "runtime": "openvino", "precision": "bfloat16", "p50_ms": 6.0, "drop": None}
BENCHMARK = {"batch_size": 2, "threads": 1, "warmup": 5, "rounds": 50, "models": [{**ROW, "peak_mb": None}, MODERN]}


def test_page_shows_latency_and_size(run) -> None:
    assert "Latency" not in Page(run.page()).text["export"]
    write_json(run.metrics / "benchmark.json", BENCHMARK)
    text = Page(run.page()).text["export"]
    assert "models/panvision.onnx 12.3 20.0 81.0 5.2" in text
    assert (
        "models/panvision.onnx openvino bfloat16 6.0 20.0 81.0 5.2" in text and "2 images at a time, 1 thread." in text
    )
    assert "measure again" not in text
    run.change("export", size_mb={"onnx": 6.0})
    text = Page(run.page()).text["export"]
    assert text.count("models/panvision.onnx is not the file of this export: measure again.") == 1


def test_speed_without_a_measurement(tmp_path) -> None:
    path = tmp_path / "benchmark.json"
    assert read_speed(path, {}) is None
    path.write_text("{}")
    assert read_speed(path, {}) is None


@pytest.mark.parametrize("content", ["no", json.dumps({"models": [{"model": "a.onnx"}]})])
def test_a_damaged_benchmark_is_named(tmp_path, content) -> None:
    path = tmp_path / "benchmark.json"
    path.write_text(content)
    with pytest.raises(ReportError, match=r"benchmark\.json: .*run `panvision benchmark .* again"):
        read_speed(path, {})
