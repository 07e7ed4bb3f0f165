import json
import types

import pytest

from panvision.cli.main import main
from panvision.experiments import baselines
from panvision.experiments.leaderboard import leaderboard, shown
from tests.cli.shown import json_keys
from tests.experiments.shown import commit, data, experiment, printed


def run(value, **settings):
    """Return a run whose metrics all have one value."""
    keys = {"segmentation": ("miou", "dice"), "detection": ("map50", "map50_95"), "classification": ("accuracy",)}
    metrics = {task: dict.fromkeys(names, value) for task, names in keys.items()}
    return data(metrics, **{"loss": {"cls": 2.0}, "seed": 1, **settings})


SHOWN = printed(
    commit(run(0.7, seed=3), rev="workspace"),
    commit(
        run(0.5),
        experiment("good-pan", run(0.9, loss={"cls": 4.0})),
        experiment("no-score", run(None)),
        experiment("a-name-that-is-longer-than-the-column", run(0.6, seed=2, loss={"cls": "x" * 200})),
    ),
    commit(data({}), rev="b" * 40),
)


def test_the_best_run_is_first_with_the_params_that_it_changed():
    places = leaderboard(SHOWN)
    names = [place.run.name for place in places]
    assert names == ["good-pan", "workspace", "a-name-that-is-longer-than-the-column", "commit 1234567", "no-score"]
    assert places[0].score == pytest.approx(0.9) and places[-1].score is None
    assert [place.changed for place in places[:2]] == [["loss.cls=4.0"], ["seed=3"]] and places[3].changed == []


def test_a_run_of_one_task_is_scored_by_it():
    (place,) = leaderboard(printed(commit(data({"detection": {"map50": 0.25}}, tasks=["detection"]))))
    assert place.score == 0.25 and place.value("segmentation", "miou") is None


def test_the_table_has_eight_columns_and_fits():
    lines = shown(leaderboard(SHOWN)).splitlines()
    assert max(map(len, lines)) <= 120
    assert lines[0].split()[:7] == ["run", "date", "score", "mIoU", "mAP@0.5", "mAP@[.5:.95]", "accuracy"]
    assert lines[0].endswith("  changed params")
    assert lines[1].split() == ["good-pan", "2026-01-01", *["0.900"] * 5, "loss.cls=4.0"]
    assert lines[5].split() == ["no-score", "2026-01-01", *["-"] * 5]


def test_command_asks_dvc_and_prints_json(tmp_path, monkeypatch, capsys):
    calls = []

    def dvc(command, **given):
        if command[0] == "git":
            return types.SimpleNamespace(returncode=1, stderr="no such revision")
        calls.append(command[-2:])
        return types.SimpleNamespace(returncode=0, stdout=SHOWN, stderr="")

    monkeypatch.setattr(baselines.subprocess, "run", dvc)
    assert main(["experiments", str(tmp_path), "--commits", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert main(["experiments", str(tmp_path), "--all-commits"]) == 0
    assert calls == [["--num", "3"], ["--json", "--all-commits"]] and capsys.readouterr().out.startswith("run ")
    assert set(found) <= json_keys("experiments") and set(found["runs"][0]) < json_keys("experiments")
    assert found["runs"][0]["metrics"]["segmentation"]["miou"] == 0.9
