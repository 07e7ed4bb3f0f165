"""A stage script imports what it uses: heavy packages cost seconds before the first line of work."""

import os
import subprocess
import sys

import pytest

from tests.pipeline.scratch import ROOT

# A second and more each, on two slow cores.
HEAVY = {"torch", "torchvision", "albumentations", "scipy", "pandas", "matplotlib", "sympy", "wandb", "onnx", "dvc"}
USED = {
    "synthesize": set(),
    "prepare": set(),
    "validate": set(),
    "train": set(),  # torch and albumentations once it trains: with several devices, others do
    "evaluate": set(),  # torch when it opens the checkpoint
    "export": {"torch", "onnx"},
    "report": set(),
}


def imported(script):
    """Return the heavy packages that a stage script imports before it begins its work."""
    code = f"import sys; import {script}; print(*({HEAVY!r} & set(sys.modules)))"
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "stages")])}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_every_stage_script_is_looked_at():
    assert {path.stem for path in (ROOT / "stages").glob("*.py")} == {*USED, "source"}


@pytest.mark.parametrize("script", USED)
def test_a_stage_imports_no_heavy_package_but_those_that_it_uses(script):
    assert imported(script) == USED[script]
