import pytest

from panvision.experiments.runs import RunsError, read_runs
from tests.experiments.shown import commit, data, experiment, printed


def test_runs_have_params_metrics_and_sources():
    run = data({"detection": {"map50": 0.5}}, rev="x", seed=1, loss={"cls": 2.0})
    workspace, base, lone = read_runs(
        printed(commit(data({}), rev="workspace"), commit(data({}), experiment("lone", run, state=None)))
    )
    assert (workspace.name, base.name, lone.name) == ("workspace", "commit 1234567", "lone")
    assert (lone.commit, lone.experiment, base.experiment) == ("1234567", True, False)
    assert lone.params == {"seed": 1, "loss.cls": 2.0} and lone.metrics["detection"] == {"map50": 0.5}
    assert lone.sources == {"src/panvision/training": "a", "metrics/baselines.json": "x"}


def test_commits_without_a_summary_have_the_metrics_of_each_task():
    metrics = {"segmentation": {"miou": 0.5, "dice": None, "iou": {"pan": 0.4}}, "detection": {"map50": 0.25}}
    old, new = read_runs(printed(commit(data(metrics, summary=False)), commit(data(metrics))))
    assert old.metrics == new.metrics == {"segmentation": {"miou": 0.5, "dice": None}, "detection": {"map50": 0.25}}


@pytest.mark.parametrize(
    "unfinished",
    [{"state": "queued"}, {"state": "running"}, {"state": "failed"}, {"state": None, "error": {"msg": "failed"}}],
)
def test_unfinished_experiments_are_left_out(unfinished):
    shown = printed(commit(data({}), experiment("early", data({}), **unfinished), experiment("late", data({}))))
    assert [run.name for run in read_runs(shown)] == ["commit 1234567", "late"]
    assert read_runs(printed(commit(None))) == []


@pytest.mark.parametrize(
    "text", ["", "{", "3", "null", "[1]", '[{"rev": "a"}]', '[{"rev": "a", "data": {"timestamp": "", "params": 3}}]']
)
def test_other_texts_are_refused_with_the_remedy(text):
    with pytest.raises(RunsError, match=r"not the output of `dvc exp show --json` .*DVC 3"):
        read_runs(text)
