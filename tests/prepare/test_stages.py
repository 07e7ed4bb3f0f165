"""The two stage scripts, run as a user or CI runs them."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from panvision.prepare import workers
from tests.prepare.raw_sets import all_sets
from tests.prepare.test_workers import die_elsewhere

STAGES = Path(__file__).parents[2] / "stages"


def run(folder, *arguments):
    return subprocess.run(
        [sys.executable, str(STAGES / arguments[0]), *arguments[1:]],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def project(tmp_path):
    (tmp_path / "params.yaml").write_text("data:\n  root: raw\n  image_size: 64\n  min_side: 16\nsplit:\n  seed: 3\n")
    all_sets(tmp_path / "raw")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "pins.csv").write_text("task,file,split\n")
    return tmp_path


def test_prepare_then_validate(project):
    for task in ("segmentation", "detection", "classification"):
        done = run(project, "prepare.py", task)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"{task}: ") and "no problems" in done.stdout
    done = run(project, "validate.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert (project / "build" / "splits.csv").is_file() and (project / "metrics" / "data.json").is_file()
    assert "segmentation                           6       6" in done.stdout


def test_errors_let_prepare_finish_and_stop_validate(project):
    (project / "raw" / "segmentation" / "images" / "s1.png").write_bytes(b"")
    for task in ("segmentation", "detection", "classification"):
        assert run(project, "prepare.py", task).returncode == 0
    done = run(project, "validate.py")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: segmentation/images/s1.png: is empty [image_empty]; ")
    assert "Traceback" not in done.stderr
    assert not (project / "build" / "splits.csv").exists() and not (project / "metrics").exists()


def test_a_process_that_is_killed_is_one_line(project, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(2))
    monkeypatch.setattr(workers, "_WORTH_IT", 1)
    monkeypatch.setattr(workers, "_load_chunk", die_elsewhere)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.setattr("sys.excepthook", sys.excepthook)
    monkeypatch.syspath_prepend(STAGES)
    monkeypatch.chdir(project)
    monkeypatch.setattr("sys.argv", ["prepare.py", "detection"])
    with pytest.raises(SystemExit, match=r"^a process that loads images was killed, .*raw/detection/images/d"):
        runpy.run_path(str(STAGES / "prepare.py"), run_name="__main__")


def test_missing_folder(tmp_path):
    (tmp_path / "params.yaml").write_text("data:\n  root: raw\n")
    done = run(tmp_path, "prepare.py", "detection")
    assert done.returncode == 1 and done.stderr.startswith("raw: no such folder; ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("arguments", [(), ("pans",), ("segmentation", "detection")])
def test_usage(project, arguments):
    done = run(project, "prepare.py", *arguments)
    assert done.returncode == 1
    assert done.stderr == "usage: python stages/prepare.py {segmentation,detection,classification}\n"


def test_wrong_params_are_named(project):
    (project / "params.yaml").write_text("data:\n  image_size: 65\nsplit:\n  val: 2.0\n")
    assert "data.image_size" in run(project, "prepare.py", "detection").stderr
    assert "split.val" in run(project, "validate.py").stderr
