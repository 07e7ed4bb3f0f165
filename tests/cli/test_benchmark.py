import json
import subprocess
import sys
from typing import get_args

import pytest

from panvision.cli import timing
from panvision.cli.benchmark import Row, advice, candidates, losses, recommended, table
from panvision.cli.main import main
from panvision.cli.options import runtimes
from panvision.export.onnx_file import write_onnx as write_float
from panvision.inference.backend import Precision, Runtime
from panvision.inference.predictor import Predictor
from panvision.model.checkpoint import load_checkpoint, save_checkpoint
from tests.cli.shown import json_keys
from tests.model.small import small_model
from tests.tiny import write_onnx

FAST = ("--rounds", "2", "--warmup", "0", "--threads", "1")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A checkpoint and an ONNX file."""
    folder = tmp_path_factory.mktemp("models")
    save_checkpoint(folder / "m.pth", small_model())
    return str(folder / "m.pth"), str(write_onnx(folder / "m.onnx"))


@pytest.fixture(autouse=True)
def no_rest(monkeypatch):
    monkeypatch.setattr(timing, "REST", 0.0)


@pytest.mark.process
def test_table_has_a_line_for_each_runtime_and_precision(models, capsys):
    assert main(["benchmark", *models, *FAST]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:5] == ["model", "runtime", "precision", "p50", "ms"]
    found = [(line.split()[0][-6:], *line.split()[1:3]) for line in lines[1 : lines.index("")]]
    assert found == [(each.model[-6:], each.runtime, each.precision) for name in models for each in candidates(name)]
    assert found[:2] == [("/m.pth", "pytorch", "float32"), ("m.onnx", "onnxruntime", "float32")]
    assert max(map(len, lines)) <= 80


@pytest.mark.process
def test_json_has_every_measurement(models, capsys):
    options = ("--runtime", "onnxruntime", "--batch-size", "3")
    assert main(["benchmark", models[1], "--json", *options, *FAST]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) <= json_keys("benchmark")
    (row,) = found.pop("models")
    chosen = {"model": models[1], "runtime": "onnxruntime", "precision": "float32"}
    assert found == {"batch_size": 3, "threads": 1, "warmup": 0, "rounds": 2, "recommended": chosen}
    assert row["p95_ms"] >= row["p50_ms"] > 0
    assert row["images_per_s"] == pytest.approx(3000 / row["p50_ms"], rel=0.01)
    assert row["peak_mb"] is None or 20 < row["peak_mb"] < 500
    assert row["size_mb"] > 0.001 and row["drop"] is row["accepted"] is None


@pytest.mark.process
def test_what_is_lost_decides_on_the_recommendation(raw, trained, tmp_path, capsys):
    """The checkpoint is the reference; its exported file gives the same metrics."""
    files = [str(trained / "best_model.pth"), str(tmp_path / "panvision.onnx")]
    write_float(files[1], load_checkpoint(files[0])[0], Predictor.load(files[0], "cpu").info, opset=18)
    # A setting changes what all are scored with, or the reference alone would find fewer boxes.
    scoring = ("--data", str(raw), "--images", "all", "--set", "detection.max_detections=1")
    assert main(["benchmark", *files, *scoring, "--json", *FAST]) == 0
    found = json.loads(capsys.readouterr().out)
    first, *others = found["models"]
    assert first["drop"] is None and others
    for row in others:
        assert row["drop"].keys() == {"miou", "map50", "map50_95", "accuracy"}
        if row["precision"] == "float32":
            assert row["accepted"] and all(abs(value) < 1e-4 for value in row["drop"].values())
    fastest = min((row for row in (first, *others) if row["accepted"] is not False), key=lambda row: row["p50_ms"])
    assert found["recommended"] == {name: fastest[name] for name in ("model", "runtime", "precision")}


def test_an_onnx_file_needs_no_torch(models):
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'onnx', 'pydantic', 'pandas')))\n"
        "from panvision.cli.main import main\n"
        f"sys.exit(main(['benchmark', {models[1]!r}, *{FAST!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "message"), [("none.onnx", "no such model file"), ("m.txt", "not a model file"), ("b.onnx", "cannot load")]
)
def test_an_unusable_file_is_named(tmp_path, capsys, name, message):
    (tmp_path / "b.onnx").write_bytes(b"x")
    assert main(["benchmark", str(tmp_path / name)]) == 1
    assert f"{name}: " in (error := capsys.readouterr().err) and message in error


def test_choices_are_those_of_the_predictor():
    offered = {option.name: tuple(option.type.choices) for option in runtimes()}
    assert offered == {"runtime": get_args(Runtime), "precision": get_args(Precision)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--precision", "int8"], "No model file runs with this --runtime and --precision here; there are onnxruntime"),
        (["--set", "split.seed=7"], "--config and --set say how images are scored; add --data"),
    ],
)
def test_options_that_fit_nothing_are_refused(models, capsys, options, message):
    assert main(["benchmark", models[1], *options]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def row(model="m.onnx", runtime="onnxruntime", precision="float32", p50=2.0, **more):
    return Row(model, runtime, precision, p50, p50, 1e3 / p50, 13.5, more.pop("peak", 100.0), **more)


LOST = {"miou": -1e-9, "map50": None, "map50_95": -0.002, "accuracy": 0.02}


def test_text_with_wide_numbers_and_long_names_fits_80_columns():
    rows = [
        row("a/" * 60 + "panvision.int8.onnx", "openvino", "bfloat16", 12345.6, drop=LOST, accepted=False),
        row(p50=123456.0, peak=None),
    ]
    lines = "\n".join([table(rows), losses(rows), advice(rows, rows[1])]).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[1].split()[0].endswith("panvision.int8.onnx") and lines[2].split()[-1] == "-"
    assert lines[4].split()[3:] == ["0.00", "-", "-0.20", "2.00*"]
    assert lines[5].startswith("* more than export.max_drop")


INT8 = {"model": "i.onnx", "precision": "int8", "p50": 1.0}


@pytest.mark.parametrize(
    ("rows", "best", "text"),
    [
        ([row(), row(**INT8)], 0, "recommended: m.onnx\ngive --data"),
        ([row(), row(**INT8, drop=LOST, accepted=False)], 0, "recommended: m.onnx"),
        ([row(), row(**INT8, drop=LOST, accepted=True)], 1, "recommended: i.onnx"),
        ([row(), row(runtime="openvino", p50=1.5)], 1, "recommended: m.onnx --runtime openvino"),
        (
            [row(), row(runtime="openvino", precision="bfloat16", p50=1.5, drop=LOST, accepted=True)],
            1,
            "recommended: m.onnx --runtime openvino --precision bfloat16",
        ),
        ([row(**INT8)], None, "recommended: none; give --data"),
        ([row(**INT8, drop=LOST, accepted=False)], None, "recommended: none; each loses too much"),
    ],
)
def test_only_what_was_scored_or_is_exact_is_recommended(rows, best, text):
    found = recommended(rows)
    assert found == (None if best is None else rows[best])
    assert advice(rows, found).startswith(text) and ("give --data" in advice(rows, found)) == ("give --data" in text)
