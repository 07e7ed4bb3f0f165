import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def train(folder, *arguments):
    command = [sys.executable, str(ROOT / "stages/train.py"), *arguments]
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [(), ("phase3",), ("phase1", "phase2")])
def test_wrong_usage_is_one_line(tmp_path, arguments):
    done = train(tmp_path, *arguments)
    assert done.returncode == 1
    assert done.stderr == "usage: python stages/train.py {phase1,phase2}\n"


def test_missing_inputs_are_one_line_with_the_remedy(tmp_path):
    (tmp_path / "params.yaml").write_text("train: {batch_size: 0}\n")
    assert "params.yaml: train.batch_size: " in train(tmp_path, "phase1").stderr
    (tmp_path / "params.yaml").write_text("seed: 1\n")
    done = train(tmp_path, "phase2")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "run `python stages/prepare.py segmentation`" in done.stderr
