import json

import pytest

from panvision.cli.main import main
from panvision.core.tasks import headline_metrics
from panvision.experiments.summary import SummaryError, summary
from tests.cli.shown import json_keys
from tests.report.run import BASELINES


@pytest.fixture
def project(tmp_path):
    """A project whose pipeline ran: every metric has another value."""
    for number, (task, key, _) in enumerate(headline_metrics()):
        path = tmp_path / "metrics" / f"{task}.json"
        path.parent.mkdir(exist_ok=True)
        values = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**values, key: number / 8}))
    return tmp_path


def test_every_metric_is_shown_once(project):
    lines = summary(project).splitlines()
    for number, (_, _, name) in enumerate(headline_metrics()):
        (line,) = [line for line in lines if line[16:36].strip() == name]
        assert line.endswith(f"{number / 8:.3f}")


def test_an_undefined_or_missing_figure_is_called_so(project):
    (project / "metrics/detection.json").write_text('{"map50": null}')
    rows = [line.split() for line in summary(project).splitlines()]
    assert ["detection", "mAP@0.5", "undefined"] in rows
    assert ["mAP@[.5:.95]", "undefined"] in rows


def test_intervals_stand_beside_their_figures(project):
    assert "interval" not in summary(project)
    ci95 = {"map50": {"low": 0.125, "high": 0.75}, "map50_95": None}
    (project / "metrics/detection.json").write_text(
        json.dumps({"map50": 0.5, "map50_95": 0.25, "ci95": ci95, "ci95_null": {"map50_95": "few_groups"}})
    )
    lines = summary(project).splitlines()
    assert lines[0].endswith("value  95 % interval")
    assert any(line.endswith("mAP@0.5             0.500  0.125 to 0.750") for line in lines)
    assert any(line.endswith("mAP@[.5:.95]        0.250  few groups") for line in lines)


def test_metrics_of_a_task_that_the_model_lacks_are_named(project):
    (project / "metrics/detection.json").write_text('{"images": null, "map50": null, "map50_95": null}')
    rows = [line.split() for line in summary(project).splitlines()]
    assert ["detection", "mAP@0.5", "not", "trained"] in rows and ["mAP@[.5:.95]", "not", "trained"] in rows


def test_baselines_are_shown_where_they_exist(project):
    assert "alone" not in summary(project)
    (project / "metrics/baselines.json").write_text("{}")
    assert "alone" not in summary(project)
    (project / "metrics/baselines.json").write_text(json.dumps(BASELINES))
    rows = [line.split() for line in summary(project).splitlines()]
    assert ["detection", "mAP@0.5", "0.765", "0.800", "-0.035"] in rows
    assert ["mAP@[.5:.95]", "0.432", "undefined", "undefined"] in rows
    assert max(len(line) for line in summary(project).splitlines()) <= 100
    assert "not of the present run" in summary(project)
    (project / "metrics/baselines.json").write_text("[")
    with pytest.raises(SummaryError, match=r"baselines\.json: .*panvision baselines"):
        summary(project)


def test_results_are_named_where_they_exist(project):
    assert "report.html" not in summary(project)
    (project / "reports").mkdir()
    (project / "reports/report.html").write_text("")
    assert summary(project).splitlines()[-1].split() == ["report", "reports/report.html"]


@pytest.mark.parametrize("content", [None, b"{", b"\xff", b"[]"])
def test_a_missing_or_damaged_file_is_named(project, content):
    path = project / "metrics/segmentation.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SummaryError, match=r"segmentation\.json: .*dvc repro"):
        summary(project)


def test_command_prints_the_table_or_the_error(project, capsys):
    assert main(["summary", str(project)]) == 0
    assert "mIoU" in capsys.readouterr().out
    (project / "metrics/segmentation.json").unlink()
    assert main(["summary", str(project)]) == 1
    assert "segmentation.json" in capsys.readouterr().err


def test_command_prints_json(project, capsys):
    interval = {"low": 0.125, "high": 0.75}
    figures = {
        "images": 4,
        "map50": 0.5,
        "map50_95": None,
        "ci95": {"map50": interval},
        "ci95_null": {"map50_95": "undefined"},
    }
    (project / "metrics/detection.json").write_text(json.dumps(figures))
    (project / "metrics/classification.json").write_text('{"images": null}')
    (project / "metrics/baselines.json").write_text(json.dumps(BASELINES))
    (project / "reports").mkdir()
    (project / "reports/report.html").write_text("")
    assert main(["summary", "--project", str(project), "--json"]) == 0
    text = capsys.readouterr()
    found = json.loads(text.out)
    assert set(found) == {"figures", "baselines", "files"} <= json_keys("summary") and not text.err
    assert found["figures"]["detection"] == {
        "trained": True,
        "map50": {"value": 0.5, "ci95": interval, "ci95_null": None},
        "map50_95": {"value": None, "ci95": None, "ci95_null": "undefined"},
    }
    assert found["figures"]["classification"]["trained"] is False
    assert found["figures"]["segmentation"]["miou"] == {"value": 0.0, "ci95": None, "ci95_null": None}
    assert found["files"] == {"report": "reports/report.html"}
    shared = BASELINES["tasks"]["detection"]["figures"]["map50"]["shared"]
    assert found["baselines"]["tasks"]["detection"]["figures"]["map50"]["shared"] == shared
