import errno
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from panvision.cli.exits import Exit
from panvision.cli.failures import EXTRAS, UsageError, explanation, report
from panvision.cli.main import cli, main
from panvision.config import Config
from panvision.core.params import ParamsError
from panvision.inference.backend import PredictorError
from tests.cli.shown import command_of

NO_MEMORY = "not enough memory; use smaller batches or a smaller model, or end other programs"
FULL = "no space left on device; free some space, then call the same command again"


class OutOfMemoryError(RuntimeError):
    """Named like PyTorch's."""


def system_error(number: int, *names: str) -> OSError:
    return OSError(number, os.strerror(number), *(names[:1] and (names[0], None, *names[1:])))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PredictorError("m.onnx: no such model file"), "m.onnx: no such model file"),
        (system_error(errno.ENOENT, "a.json"), "a.json: no such file or directory; check its name"),
        (system_error(errno.EACCES, "a"), "a: permission denied; change its permissions, or name another"),
        (system_error(errno.EISDIR, "a"), "a: is a directory; name a file"),
        (system_error(errno.ENOTDIR, "a/b"), "a/b: not a directory; name a folder"),
        (system_error(errno.EEXIST, "a"), "a: file exists; name a folder, or a name that is not taken"),
        (system_error(errno.EROFS, "a"), "a: read-only file system; name a writable folder"),
        (system_error(errno.ENOSPC, "a"), f"a: {FULL}"),
        (system_error(errno.ENOSPC), FULL),
        (system_error(errno.EADDRINUSE), "address already in use; name another port, or end the program that uses it"),
        (system_error(errno.EISDIR, ".a.partial", "a"), "a: is a directory; name a file"),
        (
            system_error(errno.EACCES, "out/.a.json.x1_y2z3w.partial"),
            "out/a.json: permission denied; change its permissions, or name another",
        ),
        (system_error(errno.EIO, "out/.a.avi.x1y2z3w4.partial.avi"), "out/a.avi: input/output error"),
        (OSError("lost\nat sea"), "lost at sea"),
        (MemoryError(), NO_MEMORY),
        (OutOfMemoryError("CUDA"), NO_MEMORY),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:1] . DefaultCPUAllocator: can't allocate memory"), NO_MEMORY),
        (
            ModuleNotFoundError("No module named 'cv2'", name="cv2"),
            "needs the package cv2, which is not installed; `pip install '.[video]'` in panvision's repository",
        ),
        (
            ModuleNotFoundError("No module named 'dvc.api'", name="dvc.api"),
            "needs the package dvc, which is not installed; `pip install '.[train]'` in panvision's repository",
        ),
    ],
)
def test_report_of_what_the_user_can_fix(capsys, error, message):
    assert explanation(error) == message
    assert report(error, "panvision predict", debug=False) == Exit.ERROR
    assert capsys.readouterr() == ("", f"panvision predict: {message}\n")


@pytest.mark.parametrize(
    "error",
    [
        TypeError("x\ny"),
        KeyError("x"),
        RuntimeError(""),
        ModuleNotFoundError("no", name="panvision.none"),
        ImportError(),
    ],
)
def test_report_of_an_internal_error(capsys, error):
    assert report(error, "panvision params", debug=False) == Exit.INTERNAL
    text = capsys.readouterr().err
    assert text.startswith(f"panvision params: internal error: {type(error).__name__}:")
    assert text.endswith("; run again with --debug to see where\n") and text.count("\n") == 1


def test_report_of_several_errors_usage_and_control_characters(capsys):
    assert report(ParamsError("p.yaml: a\np.yaml: b"), "train", debug=False) == Exit.ERROR
    assert capsys.readouterr().err == "train: p.yaml: a\ntrain: p.yaml: b\n"
    assert report(UsageError("a: missing"), "validate", debug=False) == Exit.USAGE
    assert capsys.readouterr().err == "validate: a: missing\n"
    assert report(system_error(errno.ENOENT, "\x1b[2Ja"), "folds", debug=False) == Exit.ERROR
    assert report(TypeError("\x1b[2Jb"), "folds", debug=False) == Exit.INTERNAL
    text = capsys.readouterr().err
    assert "folds: \\x1b[2Ja: no such file" in text and "TypeError: \\x1b[2Jb" in text and "\x1b" not in text


def test_packages_in_remedies_are_those_of_the_extras():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    names = {"cv2": "opencv-python-headless"}
    for package, extra in EXTRAS.items():
        assert any(one.startswith(names.get(package, package)) for one in extras[extra])


def failing(monkeypatch, error):
    """Make `panvision params` raise an error."""

    def fail(*arguments):
        raise error

    monkeypatch.setattr(Config, "from_params", fail)


@pytest.mark.parametrize(
    ("arguments", "variable"), [(["--debug", "params"], "0"), (["params", "--debug"], ""), (["params"], "1")]
)
def test_traceback_on_request(monkeypatch, capsys, arguments, variable):
    failing(monkeypatch, TypeError("not a settings class"))
    monkeypatch.setenv("PANVISION_DEBUG", variable)
    assert main(arguments) == Exit.INTERNAL
    text = capsys.readouterr().err
    assert text.startswith("Traceback (most recent call last):\n") and "in fail\n" in text
    assert text.endswith("panvision params: internal error: TypeError: not a settings class\n")


@pytest.mark.parametrize("variable", ["", "0"])
def test_no_traceback_without_a_request(monkeypatch, capsys, variable):
    failing(monkeypatch, TypeError("not a settings class"))
    monkeypatch.setenv("PANVISION_DEBUG", variable)
    assert main(["params"]) == Exit.INTERNAL
    output = capsys.readouterr()
    assert not output.out and output.err.count("\n") == 1


def test_ctrl_c_is_one_line(monkeypatch, capsys):
    failing(monkeypatch, KeyboardInterrupt())
    assert main(["params"]) == Exit.INTERRUPTED
    assert capsys.readouterr().err == "panvision params: interrupted\n"


# One prints more than Python buffers before it writes, the other less.
@pytest.mark.parametrize("arguments", [["completion", "bash"], ["params"]])
def test_a_full_disk_and_a_closed_pipe_give_no_traceback(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    (tmp_path / "params.yaml").write_text("seed: 1")
    command = [sys.executable, "-m", "panvision.cli.main", *arguments]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == Exit.ERROR
    assert done.stderr == f"panvision {arguments[0]}: {FULL}\n"
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (Exit.ERROR, "")


# The result of `params` is a file's errors.
WRONG = {
    "validate": ["none", "--pins", "none.csv"],
    "train": ["none", "--set", "model.weights=none"],
    "evaluate": ["none.onnx", "none"],
    "promote": ["none.onnx", "--against", "none.onnx", "--data", "none"],
    "export": ["none.pth", "--calibrate", "none"],
    "summary": [],
    "compare": ["HEAD", "--project", "none"],
    "previous": [],
    "baselines": ["--project", "none"],
    "folds": ["none.json"],
    "predict": ["--checkpoint", "none.onnx", "--input_dir", "none"],
    "watch": ["none.mp4", "--checkpoint", "none.onnx"],
    "prelabel": ["none.onnx", "none", "--to", "coco"],
    "select": ["none.onnx", "none"],
    "benchmark": ["none.onnx"],
    "presets": ["none"],
    "experiments": ["none"],
}


def test_every_command_with_json_has_a_wrong_call_here():
    with_json = {name for name in cli.summaries if any("--json" in param.opts for param in command_of(name).params)}
    assert with_json == {*WRONG, "params"}


@pytest.mark.parametrize(("command", "arguments"), WRONG.items())
def test_after_an_error_stdout_is_empty(tmp_path, monkeypatch, capsys, command, arguments):
    monkeypatch.chdir(tmp_path)
    code = Exit.USAGE if command in ("validate", "presets", "promote") else Exit.ERROR
    assert main([command, *arguments, "--json"]) == code
    text = capsys.readouterr()
    assert not text.out and text.err.startswith(f"panvision {command}: ") and text.err.count("\n") == 1
    assert "none" in text.err or "metrics/segmentation.json" in text.err
