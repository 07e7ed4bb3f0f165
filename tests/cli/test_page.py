import pytest

from panvision.cli.main import main
from panvision.page import server
from tests.tiny import write_onnx


@pytest.fixture
def served(monkeypatch):
    """The arguments of `serve`: model, facts and options."""
    calls = []

    def serve(model, facts, ready, **options):
        calls.append((model, facts, options))
        ready("http://127.0.0.1:7860")

    monkeypatch.setattr(server, "serve", serve)
    return calls


@pytest.fixture
def model(tmp_path):
    return write_onnx(tmp_path / "m.onnx")


def test_page_prints_its_address(model, served, capsys):
    assert main(["page", "--checkpoint", str(model)]) == 0
    assert capsys.readouterr() == ("http://127.0.0.1:7860  (Ctrl-C stops it)\n", "")
    ((_, facts, options),) = served
    assert facts["name"] == "m.onnx" and options == {"port": None, "max_upload": 100 * 2**20}


def test_page_options(model, served, tmp_path, capsys):
    options = f"--port 8000 --max-upload-mb 5 --score-threshold 0.7 --metrics {tmp_path / 'none'}"
    assert main(["page", "--checkpoint", str(model), *options.split()]) == 0
    ((shared, facts, wanted),) = served
    assert wanted == {"port": 8000, "max_upload": 5 * 2**20}
    assert shared.info.thresholds.score == 0.7 and "no folder of metrics" in facts["scores"]["about"]
    capsys.readouterr()


def test_a_missing_model_is_one_line(served, tmp_path, capsys):
    assert main(["page", "--checkpoint", str(tmp_path / "gone.onnx")]) == 1
    text = capsys.readouterr()
    assert "gone.onnx: no such model file" in text.err and len(text.err.splitlines()) == 1
    assert text.err.startswith("panvision page: ") and text.out == "" and served == []


@pytest.mark.parametrize(
    "options",
    [[], ["--checkpoint", "m.onnx", "--port", "0"], ["--checkpoint", "m.onnx", "--port", "65536"]]
    + [["--checkpoint", "m.onnx", *more] for more in (["--max_upload_mb", "0"], ["--share"], ["--host", "::"])],
)
def test_wrong_usage(options, capsys):
    assert main(["page", *options]) == 2
    assert capsys.readouterr().err.count("\n") == 1
