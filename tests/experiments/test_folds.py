import io
import json

import pytest

from panvision.cli.folds import FoldsError, cross_validations
from panvision.cli.main import main
from tests.cli.shown import json_keys


def shown_data(fold, *, folds=3, miou=0.5, cls=2.0, time="2026-01-01T00:00:00", **metrics):
    params = {"seed": 1, "split": {"folds": folds, "fold": fold}, "loss": {"cls": cls}}
    values = {
        "segmentation": {"miou": miou, "dice": None},
        "detection": {"map50": 0.25},
        "classification": {},
    } | metrics
    return {
        "timestamp": time,
        "params": {"params.yaml": {"data": params}},
        "metrics": {f"metrics/{task}.json": {"data": found} for task, found in values.items()},
    }


def experiment(fold, *, state="success", error=None, **values):
    executor = state and {"state": state, "name": "dvc-task", "local": None}
    return {"revs": [{"name": "n", "data": shown_data(fold, **values), "error": error}], "executor": executor}


def commit(*experiments, rev="a" * 40, data=None):
    return {"rev": rev, "data": data or shown_data(0, folds=0), "error": None, "experiments": list(experiments) or None}


@pytest.fixture
def folds(monkeypatch, capsys):
    """Runs the command on some commits, gives its exit code, its rows as words and what went to standard error."""

    def command(*commits):
        monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(commits)))
        code = main(["folds"])
        said = capsys.readouterr()
        return code, [line.split() for line in said.out.splitlines()], said.err

    return command


def test_mean_and_spread_over_the_folds(folds):
    code, rows, _ = folds(commit(*[experiment(fold, miou=miou) for fold, miou in enumerate((0.5, 0.75, 1.0))]))
    assert code == 0
    assert rows[0] == ["3", "of", "3", "folds"]
    assert ["segmentation", "mIoU", "0.750", "0.250", "0.500", "1.000", "3"] in rows  # by hand: ±0.25 around 0.75


def test_an_undefined_figure_is_left_out_and_counted(folds):
    undefined = experiment(1, detection={"map50": None})
    _, rows, _ = folds(commit(experiment(0), undefined, experiment(2, detection={"map50": 0.75})))
    assert ["detection", "mAP@0.5", "0.500", "0.354", "0.250", "0.750", "2"] in rows
    assert ["Dice", "-", "-", "-", "-", "0"] in rows


def test_the_spread_of_one_fold_is_undefined(folds):
    _, rows, _ = folds(commit(experiment(0, miou=0.5)))
    assert ["segmentation", "mIoU", "0.500", "-", "0.500", "0.500", "1"] in rows


@pytest.mark.parametrize(
    "unfinished",
    [{"state": "queued"}, {"state": "running"}, {"state": "failed"}, {"state": None, "error": {"msg": "failed"}}],
)
def test_what_did_not_finish_does_not_count_and_is_named(folds, unfinished):
    code, rows, _ = folds(commit(experiment(0), experiment(1, miou=0.0, **unfinished), experiment(2)))
    assert code == 3
    assert rows[0] == ["2", "of", "3", "folds"]
    assert ["segmentation", "mIoU", "0.500", "0.000", "0.500", "0.500", "2"] in rows
    assert rows[-1][:4] == ["not", "finished:", "fold", "1;"]


def test_experiments_without_folds_and_the_workspace_are_no_folds(folds):
    workspace = commit(rev="workspace", data=shown_data(1))
    code, _, error = folds(workspace, commit(experiment(0, folds=0, state=None)))
    assert code == 1
    assert "dvc exp run --queue -S split.folds=5" in error


def test_a_commit_and_an_experiment_run_in_the_workspace_count(folds):
    code, rows, _ = folds(commit(experiment(1, state=None), experiment(2), data=shown_data(0)))
    assert code == 0
    assert rows[0] == ["3", "of", "3", "folds"]


def test_of_two_experiments_on_one_fold_the_newer_counts():
    old, new = (experiment(0, miou=miou, time=f"2026-01-0{day}T00:00:00") for day, miou in ((1, 0.1), (2, 0.2)))
    for order in ([old, new], [new, old]):
        ((fold,),) = cross_validations(json.dumps([commit(*order)]))
        assert fold.metrics["segmentation"]["miou"] == 0.2


def test_other_params_and_other_commits_are_other_cross_validations(folds):
    commits = [
        commit(experiment(0), experiment(0, cls=4.0), experiment(0, folds=5)),
        commit(experiment(0), rev="b" * 40),
    ]
    _, rows, _ = folds(*commits)
    titles = [row for row in rows if "folds" in row[1:4] and row[1] == "of"]
    a, b = "commit=aaaaaaa", "commit=bbbbbbb"
    assert [set(title[4:]) for title in titles] == [
        {a, "split.folds=3", "loss.cls=2.0"},
        {a, "split.folds=3", "loss.cls=4.0"},
        {a, "split.folds=5", "loss.cls=2.0"},
        {b, "split.folds=3", "loss.cls=2.0"},
    ]
    assert [title[2] for title in titles] == ["3", "3", "5", "3"]


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", '[{"rev": "a"}]', "null"])
def test_anything_else_is_refused_with_the_command_that_makes_it(text):
    with pytest.raises(FoldsError, match="dvc exp show --json"):
        cross_validations(text)


def test_a_file_can_be_read(tmp_path, capsys):
    (tmp_path / "shown.json").write_text(json.dumps([commit(*map(experiment, range(3)))]))
    assert main(["folds", str(tmp_path / "shown.json")]) == 0
    assert main(["folds", str(tmp_path / "none.json")]) == 1
    assert "none.json" in capsys.readouterr().err


def test_programs_read_the_same_as_json(tmp_path, capsys):
    commits = [commit(experiment(0, miou=0.5), experiment(2, miou=1.0), *(experiment(k, cls=4.0) for k in range(3)))]
    (tmp_path / "shown.json").write_text(json.dumps(commits))
    assert main(["folds", "--json", str(tmp_path / "shown.json")]) == 3
    text = capsys.readouterr()
    first, second = json.loads(text.out)["cross_validations"]
    assert (first["folds"], first["finished"], first["missing"]) == (3, [0, 2], [1]) and not second["missing"]
    assert first["differs"] == {"loss.cls": "2.0"} and second["differs"] == {"loss.cls": "4.0"}
    spread = {"mean": 0.75, "std": pytest.approx(0.125**0.5), "min": 0.5, "max": 1.0, "folds": 2}
    assert first["figures"]["segmentation"]["miou"] == spread
    undefined = {"mean": None, "std": None, "min": None, "max": None, "folds": 0}
    assert second["figures"]["segmentation"]["dice"] == undefined
    assert {"cross_validations", *first} <= json_keys("folds") and not text.err


@pytest.mark.parametrize("content", [b"\xff", b"", b"{"])
def test_a_file_that_is_something_else_is_one_line(tmp_path, capsys, content):
    (tmp_path / "shown.json").write_bytes(content)
    assert main(["folds", str(tmp_path / "shown.json"), "--json"]) == 1
    text = capsys.readouterr()
    assert "dvc exp show --json | panvision folds" in text.err and len(text.err.splitlines()) == 1 and not text.out
