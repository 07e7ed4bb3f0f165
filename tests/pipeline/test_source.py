"""stages/source.py: a stage script runs the code beside it, whichever panvision is installed."""

import os
import shutil
import signal
import subprocess
import sys

import pytest

from tests.pipeline.scratch import ROOT

SCRIPTS = sorted(path.name for path in (ROOT / "stages").glob("*.py") if path.name != "source.py")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_stage_imports_panvision_from_its_own_checkout(tmp_path, name):
    shutil.copytree(ROOT / "stages", tmp_path / "copy/stages")
    package = tmp_path / "copy/src/panvision"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('the code beside the script')")
    (tmp_path / "elsewhere").mkdir()
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, str(tmp_path / "copy/stages" / name)]
    done = subprocess.run(command, cwd=tmp_path / "elsewhere", env=env, capture_output=True, text=True, check=False)
    assert done.stderr == "the code beside the script\n"


@pytest.mark.parametrize("debug", ["", "1"])
def test_ctrl_c_is_one_line(tmp_path, debug):
    # As in a terminal: what starts the tests may have the signal ignored.
    heard = "signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"import source, signal; {heard}; signal.raise_signal(signal.SIGINT)"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "stages"), "PANVISION_DEBUG": debug}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGINT  # as the starting process expects
    assert (done.stderr == "interrupted\n") == (not debug) and ("Traceback" in done.stderr) == bool(debug)


@pytest.mark.parametrize("debug", ["", "1"])
def test_what_the_system_refuses_is_one_line(tmp_path, debug):
    (tmp_path / "params.yaml").write_text("scenes: {images: {segmentation: 3, detection: 3, classification: 3}}")
    (tmp_path / "data").touch()
    env = {**os.environ, "PANVISION_DEBUG": debug}
    command = [sys.executable, str(ROOT / "stages/synthesize.py")]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    *trace, last = done.stderr.splitlines()
    assert done.returncode == 1 and "File exists" in last and bool(trace) == bool(debug)
