"""A task is new modules and rows: the toy task `coverage` in a copy of src, from training to report."""

import json
import os
import subprocess
import sys

import pytest

from tests.toy.coverage import ROOT, copy_with_coverage


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs a script of this folder on the copy of src, and returns what it prints."""
    folder = tmp_path_factory.mktemp("toy")
    env = os.environ | {"PYTHONPATH": f"{copy_with_coverage(folder)}{os.pathsep}{ROOT}"}

    def run(script) -> dict:
        command = [sys.executable, "-m", f"tests.toy.{script}", str(folder)]
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.fixture(scope="module")
def found(run) -> dict:
    return run("evaluated")


def test_toy_task_is_trained_and_exported(run) -> None:
    found = run("trained")
    assert found["tasks"][-1] == "coverage" and found["alone"] == ["backbone", "coverage"]
    first, second = found["curves"]
    assert second["train_cov"] < first["train_cov"] and second["weight_cov"] == 1.0
    assert second["val_cov"] > 0 and second["mae"] > 0
    assert found["parity"]["coverage"] <= 1e-4 and found["parity"]["passed"]
    assert 0 < found["result"]["fraction"] < 1


def test_toy_task_is_decoded_and_evaluated(found) -> None:
    assert found["tasks"][-1] == "coverage"
    assert found["result"] == {"fraction": pytest.approx(0.01)}
    assert found["metrics"]["images"] == 3 and found["metrics"]["mae"] == pytest.approx(0.2, abs=0.01)
    assert set(found["metrics"]["ci95"]) == {"mae"}


def test_toy_task_is_exported(found) -> None:
    assert found["parity"]["coverage"] > 1.0 and found["parity"]["same_results"] == 2
    assert found["scores"]["mae"] == found["metrics"]["mae"]
    assert "| coverage error | 0.200" in found["card"] and "- coverage\n" in found["card"]


def test_toy_task_has_a_section_in_the_report(found) -> None:
    page = found["page"]
    section = page[page.index('<section id="coverage">') :].partition("</section>")[0]
    assert "one fraction for each of 3 test images" in section and "coverage error" in section
    assert "3 of 3 test images have a mistake" in section and "The pan covers 50%, predicted 70%." in section
    assert '<a href="#coverage">Coverage</a>' in page and "4 answers" in page and "Coverage loss" in page
