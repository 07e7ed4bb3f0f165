import errno
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from panvision.cli.exits import Exit
from panvision.cli.failures import EXTRAS, UsageError, explanation, report
from panvision.cli.main import main
from panvision.cli.parser import command_parsers
from panvision.config import Config
from panvision.core.params import ParamsError
from panvision.inference.backend import PredictorError


class OutOfMemoryError(RuntimeError):
    """Named like PyTorch's."""


def system_error(number: int, *names: str) -> OSError:
    return OSError(number, os.strerror(number), *(names[:1] and (names[0], None, *names[1:])))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PredictorError("m.onnx: no such model file"), "m.onnx: no such model file"),
        (system_error(errno.ENOENT, "a.json"), "a.json: no such file or directory; check its name"),
        (system_error(errno.EACCES, "a"), "a: permission denied; change its permissions, or name another"),
        (system_error(errno.EISDIR, "a"), "a: is a directory; give a file's name"),
        (system_error(errno.ENOTDIR, "a/b"), "a/b: not a directory; name a place below a folder"),
        (system_error(errno.EROFS, "a"), "a: read-only file system; name a place that can be written"),
        (
            system_error(errno.ENOSPC, "a"),
            "a: no space left on device; make room, then call the same command again",
        ),
        (system_error(errno.ENOSPC), "no space left on device; make room, then call the same command again"),
        (system_error(errno.EADDRINUSE), "address already in use; name another port, or end what listens there"),
        (system_error(errno.EISDIR, ".a.partial", "a"), "a: is a directory; give a file's name"),
        (
            system_error(errno.EACCES, "out/.a.json.x1_y2z3w.partial"),
            "out/a.json: permission denied; change its permissions, or name another",
        ),
        (system_error(errno.EIO, "out/.a.avi.x1y2z3w4.partial.avi"), "out/a.avi: input/output error"),
        (system_error(errno.EIO, "a"), "a: input/output error"),
        (OSError("lost\nat sea"), "lost at sea"),
        (MemoryError(), "not enough memory; use smaller batches or a smaller model, or end other programs"),
        (OutOfMemoryError("CUDA"), "not enough memory; use smaller batches or a smaller model, or end other programs"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:1] . DefaultCPUAllocator: can't allocate memory"),
            "not enough memory; use smaller batches or a smaller model, or end other programs",
        ),
        (
            ModuleNotFoundError("No module named 'cv2'", name="cv2"),
            "needs the package cv2, which is not installed; `pip install 'panvision[video]'`",
        ),
        (
            ModuleNotFoundError("No module named 'dvc.api'", name="dvc.api"),
            "needs the package dvc, which is not installed; `pip install 'panvision[train]'`",
        ),
    ],
)
def test_what_the_user_can_mend_is_a_line_with_the_remedy(capsys, error, said):
    assert explanation(error) == said
    assert report(error, "predict", debug=False) == Exit.ERROR
    assert capsys.readouterr() == ("", f"panvision predict: {said}\n")


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
def test_anything_else_is_an_internal_error_in_one_line(capsys, error):
    assert report(error, "params", debug=False) == Exit.INTERNAL
    text = capsys.readouterr().err
    assert text.startswith(f"panvision params: internal error: {type(error).__name__}:")
    assert text.endswith("; run again with --debug to see where\n") and len(text.splitlines()) == 1


def test_several_faults_are_a_line_each(capsys):
    assert report(ParamsError("p.yaml: a\np.yaml: b"), "train", debug=False) == Exit.ERROR
    assert capsys.readouterr().err == "panvision train: p.yaml: a\npanvision train: p.yaml: b\n"


def test_a_files_name_cannot_rewrite_the_terminal(capsys):
    assert report(system_error(errno.ENOENT, "\x1b[2Ja"), "folds", debug=False) == Exit.ERROR
    assert report(TypeError("\x1b[2Jb"), "folds", debug=False) == Exit.INTERNAL
    text = capsys.readouterr().err
    assert "folds: \\x1b[2Ja: no such file" in text and "TypeError: \\x1b[2Jb" in text and "\x1b" not in text


def test_what_the_arguments_name_and_cannot_be_used_is_wrong_usage(capsys):
    assert report(UsageError("a: missing"), "validate", debug=False) == Exit.USAGE
    assert capsys.readouterr().err == "panvision validate: a: missing\n"


def test_the_packages_named_are_those_of_the_extras():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    names = {"cv2": "opencv-python-headless"}
    for package, extra in EXTRAS.items():
        assert any(one.startswith(names.get(package, package)) for one in extras[extra])


@pytest.fixture
def broken(monkeypatch):
    """`panvision params` has a fault of its own."""

    def fail(*arguments):
        raise TypeError("not a settings class")

    monkeypatch.setattr(Config, "from_params", fail)
    monkeypatch.delenv("PANVISION_DEBUG", raising=False)
    return monkeypatch


def test_a_fault_of_a_command_has_no_traceback(broken, capsys):
    assert main(["params"]) == Exit.INTERNAL
    expected = (
        "panvision params: internal error: TypeError: not a settings class; run again with --debug to see where\n"
    )
    assert capsys.readouterr() == ("", expected)


@pytest.mark.parametrize(
    ("arguments", "variable"),
    [(["--debug", "params"], "0"), (["params", "--debug"], ""), (["params"], "1")],
)
def test_a_traceback_is_shown_where_it_is_asked_for(broken, capsys, arguments, variable):
    broken.setenv("PANVISION_DEBUG", variable)
    assert main(arguments) == Exit.INTERNAL
    text = capsys.readouterr().err
    assert text.startswith("Traceback (most recent call last):\n") and "in fail\n" in text
    assert text.endswith("panvision params: internal error: TypeError: not a settings class\n")


@pytest.mark.parametrize("variable", ["", "0"])
def test_without_asking_there_is_no_traceback(broken, capsys, variable):
    broken.setenv("PANVISION_DEBUG", variable)
    assert main(["params"]) == Exit.INTERNAL
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_ctrl_c_is_one_line(monkeypatch, capsys):
    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(Config, "from_params", stop)
    assert main(["params"]) == Exit.INTERRUPTED
    assert capsys.readouterr().err == "panvision params: interrupted\n"


# More than Python keeps back before it writes, and less.
@pytest.mark.parametrize("arguments", [["completion", "bash"], ["params"]])
def test_a_full_disk_and_a_closed_pipe_are_no_traceback(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    (tmp_path / "params.yaml").write_text("seed: 1")
    command = [sys.executable, "-m", "panvision.cli.main", *arguments]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == Exit.ERROR
    said = "no space left on device; make room, then call the same command again"
    assert done.stderr == f"panvision {arguments[0]}: {said}\n"
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (Exit.ERROR, "")


# `params` has a file's faults as its result.
WRONG = {
    "validate": ["none", "--pins", "none.csv"],
    "train": ["none", "--set", "model.weights=none"],
    "summary": [],
    "compare": ["HEAD", "--project", "none"],
    "previous": [],
    "baselines": ["--project", "none"],
    "folds": ["none.json"],
    "predict": ["--checkpoint", "none.onnx", "--input_dir", "none"],
    "watch": ["none.mp4", "--checkpoint", "none.onnx"],
    "benchmark": ["none.onnx"],
}


def test_every_command_that_programs_read_has_a_wrong_call_here():
    with_json = {name for name, parser in command_parsers().items() if "--json" in parser.options}
    assert with_json == {*WRONG, "params"}


@pytest.mark.parametrize(("command", "arguments"), WRONG.items())
def test_after_an_error_programs_find_nothing_on_stdout(tmp_path, monkeypatch, capsys, command, arguments):
    monkeypatch.chdir(tmp_path)
    assert main([command, *arguments, "--json"]) == (Exit.USAGE if command == "validate" else Exit.ERROR)
    text = capsys.readouterr()
    assert not text.out and text.err.startswith(f"panvision {command}: ") and len(text.err.splitlines()) == 1
    assert "none" in text.err or "metrics/segmentation.json" in text.err
