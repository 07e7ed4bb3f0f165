import json
import subprocess
import sys

import pytest
import torch

from panvision.cli import timing
from panvision.cli.benchmark import Row, table
from panvision.cli.main import main
from panvision.model.checkpoint import save_checkpoint
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


@pytest.mark.process
def test_table_has_a_line_per_model(models, capsys):
    before = torch.get_num_threads()
    assert main(["benchmark", *models, *FAST]) == 0
    torch.set_num_threads(before)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["model", "p50", "ms"]
    assert [line.split()[0][-6:] for line in lines[1:3]] == ["/m.pth", "m.onnx"]
    assert max(map(len, lines)) <= 80


@pytest.mark.process
def test_json_has_every_measurement(models, capsys):
    assert main(["benchmark", models[1], "--json", "--batch-size", "3", *FAST]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) <= json_keys("benchmark")
    (row,) = found.pop("models")
    assert found == {"batch_size": 3, "threads": 1, "warmup": 0, "rounds": 2}
    assert row["model"] == models[1] and row["p95_ms"] >= row["p50_ms"] > 0
    assert row["images_per_s"] == pytest.approx(3000 / row["p50_ms"], rel=0.01)
    assert row["peak_mb"] is None or 20 < row["peak_mb"] < 500
    assert row["size_mb"] > 0.001


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


def test_table_with_wide_numbers_and_long_names_fits_80_columns():
    row = Row("a/" * 60 + "panvision.int8.onnx", 12345.6, 12345.6, 12345.6, 1234.5, 12345.0)
    lines = table([row, Row("m.onnx", 1, 1, 1, 1, None)]).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[1].split()[0].endswith("panvision.int8.onnx") and lines[2].split()[5] == "-"


def test_interleaved_rounds_without_the_warm_up():
    order: list[str] = []
    runs = {name: (lambda name=name: order.append(name)) for name in "ab"}
    seconds = timing.interleaved(runs, warmup=2, rounds=3)
    assert order == ["a", "b"] * 5
    assert {name: values.shape for name, values in seconds.items()} == {"a": (3,), "b": (3,)}


@pytest.mark.process
def test_peak_memory_reports_a_failed_process_in_one_line(tmp_path):
    with pytest.raises(timing.PredictorError, match=r"none\.onnx: a separate process cannot run it.*no such model"):
        timing.peak_memory(tmp_path / "none.onnx", batch=1, threads=1)
