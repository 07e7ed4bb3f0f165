import io
import json
from dataclasses import replace

import pytest

from panvision.cli.main import main
from panvision.evaluation.metrics import scores
from panvision.experiments import revisions
from panvision.experiments.folds import FoldsError, cross_validations, pool
from panvision.experiments.revisions import RevisionError
from tests.cli.shown import json_keys
from tests.evaluation.made import all_results, mask_results
from tests.experiments.shown import commit, data, experiment, printed

METRICS = {"segmentation": {"miou": 0.5, "dice": None}, "detection": {"map50": 0.25}, "classification": {}}


def fold_data(fold, *, folds=3, miou=0.5, cls=2.0, time="2026-01-01T00:00:00", **metrics):
    values = METRICS | {"segmentation": {"miou": miou, "dice": None}} | metrics
    return data(values, time=time, seed=1, split={"folds": folds, "fold": fold}, loss={"cls": cls})


def fold(number, *, state="success", error=None, **values):
    return experiment(f"n{number}", fold_data(number, **values), state=state, error=error)


def commits(*experiments, rev="a" * 40, run=None):
    return commit(run or fold_data(0, folds=0), *experiments, rev=rev)


def part(results, start, stop):
    return {task: replace(each, images=each.images[start:stop]) for task, each in results.items()}


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs the command on some commits; returns its exit code, its rows as words and standard error."""

    def missing(folder, rev):
        raise RevisionError(f"{rev}: no results")

    def run(*shown, read=missing):
        monkeypatch.setattr(revisions, "results_of", read)
        monkeypatch.setattr("sys.stdin", io.StringIO(printed(*shown)))
        code = main(["folds"])
        output = capsys.readouterr()
        return code, [line.split() for line in output.out.splitlines()], output.err

    return run


def test_mean_and_spread_over_the_folds(command):
    code, rows, _ = command(commits(*[fold(number, miou=miou) for number, miou in enumerate((0.5, 0.75, 1.0))]))
    assert code == 3 and rows[0] == ["3", "of", "3", "folds"]
    # By hand: ±0.25 around 0.75.
    assert ["segmentation", "mIoU", "-", "-", "0.750", "0.250", "0.500", "1.000", "3"] in rows
    assert rows[-1] == ["not", "pooled:", "n0:", "no", "results"]


def test_images_of_all_folds_are_scored_once(command):
    whole = all_results()
    ends = {"n0": (0, 2), "n1": (2, 5), "n2": (5, 12)}  # unequal, so that the mean would be another value
    code, rows, _ = command(commits(*map(fold, range(3))), read=lambda folder, rev: part(whole, *ends[rev]))
    (found,) = cross_validations(printed(commits(*map(fold, range(3)))))
    pooled = pool(found, lambda rev: part(whole, *ends[rev]))
    assert code == 0 and not pooled.remark
    for task, own in pooled.figures.items():
        expected = scores(whole[task])
        for key, figure in own.items():
            assert figure == {"value": expected[key], "ci95": expected["ci95"][key], "ci95_null": None}, key
    miou = pooled.figures["segmentation"]["miou"]
    (row,) = [row for row in rows if "mIoU" in row]
    assert row[2:6] == [f"{miou['value']:.3f}", f"{miou['ci95']['low']:.3f}", "to", f"{miou['ci95']['high']:.3f}"]


def test_few_groups_of_all_folds_have_no_interval():
    (found,) = cross_validations(printed(commits(fold(0))))
    (figure, _) = pool(found, lambda rev: part(all_results(), 0, 5)).figures["segmentation"].values()
    assert figure["value"] is not None and (figure["ci95"], figure["ci95_null"]) == (None, "few_groups")


def test_folds_that_do_not_belong_together_are_not_pooled():
    (found,) = cross_validations(printed(commits(fold(0), fold(1))))
    twice = pool(found, lambda rev: all_results())
    assert not twice.figures and "segmentation/images/00.jpg: a test image of two folds" in twice.remark
    other = {**all_results(), "segmentation": replace(mask_results(), trained=False, images=[])}
    assert "other classes or tasks" in pool(found, lambda rev: all_results() if rev == "n0" else other).remark


def test_undefined_metrics_are_left_out_and_counted(command):
    undefined = fold(1, detection={"map50": None})
    _, rows, _ = command(commits(fold(0), undefined, fold(2, detection={"map50": 0.75})))
    assert ["detection", "mAP@0.5", "-", "-", "0.500", "0.354", "0.250", "0.750", "2"] in rows
    assert ["Dice", "-", "-", "-", "-", "-", "-", "0"] in rows


def test_the_spread_of_one_fold_is_undefined(command):
    code, rows, _ = command(commits(fold(0), fold(1, miou=0.0, state="failed")))
    assert code == 3 and rows[0] == ["1", "of", "3", "folds"]
    assert ["segmentation", "mIoU", "-", "-", "0.500", "-", "0.500", "0.500", "1"] in rows
    assert rows[-2][:5] == ["not", "finished:", "fold", "1,", "2;"]


def test_experiments_without_folds_do_not_count(command):
    workspace = commits(rev="workspace", run=fold_data(1))
    code, _, error = command(workspace, commits(fold(0, folds=0, state=None)))
    assert code == 1 and "dvc exp run --queue -S split.folds=5" in error


def test_a_commit_and_an_experiment_run_in_the_workspace_count(command):
    code, rows, _ = command(commits(fold(1, state=None), fold(2), run=fold_data(0)))
    assert code == 3 and rows[0] == ["3", "of", "3", "folds"]


def test_the_newer_of_two_experiments_on_one_fold_counts():
    old, new = (fold(0, miou=miou, time=f"2026-01-0{day}T00:00:00") for day, miou in ((1, 0.1), (2, 0.2)))
    for order in ([old, new], [new, old]):
        (found,) = cross_validations(printed(commits(*order)))
        assert found.metrics["segmentation", "miou"].tolist() == [0.2]


def test_other_params_and_commits_are_other_cross_validations(command):
    shown = [commits(fold(0), fold(0, cls=4.0), fold(0, folds=5)), commits(fold(0), rev="b" * 40)]
    _, rows, _ = command(*shown)
    titles = [row for row in rows if "folds" in row[1:4] and row[1] == "of"]
    a, b = "commit=aaaaaaa", "commit=bbbbbbb"
    assert [set(title[4:]) for title in titles] == [
        {a, "split.folds=3", "loss.cls=2.0"},
        {a, "split.folds=3", "loss.cls=4.0"},
        {a, "split.folds=5", "loss.cls=2.0"},
        {b, "split.folds=3", "loss.cls=2.0"},
    ]
    assert [title[2] for title in titles] == ["3", "3", "5", "3"]


def test_without_folds_the_remedy_is_given():
    with pytest.raises(FoldsError, match="dvc exp run --queue"):
        cross_validations("[]")


@pytest.mark.process
def test_command_prints_json_of_a_file(tmp_path, capsys):
    shown = [commits(fold(0, miou=0.5), fold(2, miou=1.0), *(fold(number, cls=4.0) for number in range(3)))]
    (tmp_path / "shown.json").write_text(printed(*shown))
    assert main(["folds", "--json", "--project", str(tmp_path), str(tmp_path / "shown.json")]) == 3
    output = capsys.readouterr()
    first, second = json.loads(output.out)["cross_validations"]
    assert (first["folds"], first["finished"], first["missing"]) == (3, [0, 2], [1]) and not second["missing"]
    assert first["differs"] == {"loss.cls": "2.0"} and second["differs"] == {"loss.cls": "4.0"}
    spread = {"pooled": None, "mean": 0.75, "std": pytest.approx(0.125**0.5), "min": 0.5, "max": 1.0, "folds": 2}
    assert first["figures"]["segmentation"]["miou"] == spread
    undefined = {"pooled": None, "mean": None, "std": None, "min": None, "max": None, "folds": 0}
    assert second["figures"]["segmentation"]["dice"] == undefined
    assert {"cross_validations", *first} <= json_keys("folds") and not output.err


@pytest.mark.parametrize("content", [None, b"\xff", b"", b"{"])
def test_command_refuses_other_files_in_one_line(tmp_path, capsys, content):
    path = tmp_path / "shown.json"
    if content is not None:
        path.write_bytes(content)
    assert main(["folds", str(path), "--json"]) == 1
    output = capsys.readouterr()
    assert ("shown.json: no such file" if content is None else "dvc exp show --json") in output.err
    assert output.err.count("\n") == 1 and not output.out
