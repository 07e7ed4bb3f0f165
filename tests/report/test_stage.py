"""stages/report.py, run like by a user or CI."""

import os
import runpy
import sys
from pathlib import Path

import pytest

STAGE = Path(__file__).parents[2] / "stages/report.py"
PARAMS = "data:\n  root: raw\nreport:\n  images: 1\n  worst: 1\n  width: 64\n"


@pytest.fixture
def project(run, tmp_path, monkeypatch):
    """The run in the folders of the stage."""
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "build").mkdir()
    os.rename(run.prepared, tmp_path / "build/prepared")  # noqa: PTH104
    os.rename(run.splits, tmp_path / "build/splits.csv")  # noqa: PTH104
    os.rename(run.problems, tmp_path / "build/problems.csv")  # noqa: PTH104
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["report.py"])
    return tmp_path


def stage() -> None:
    runpy.run_path(str(STAGE), run_name="__main__")


def test_stage_writes_the_page(project, capsys) -> None:
    stage()
    assert capsys.readouterr().out == "written: reports/report.html\n"
    page = (project / "reports/report.html").read_text(encoding="utf-8")
    assert page.count('class="shot"') == 3 + 2 and page.count('class="shot wide"') == 1
    assert "score at least 0.3" in page


def test_stage_errors_are_one_line(project) -> None:
    (project / "metrics/export.json").unlink()
    with pytest.raises(SystemExit, match=r"^metrics/export\.json: cannot be read: .*; run `dvc repro`$"):
        stage()
