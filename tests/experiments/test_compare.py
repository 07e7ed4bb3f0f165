import json
from dataclasses import replace

import pytest

from panvision.cli import compare
from panvision.cli.compare import described, markdown, summary, text
from panvision.cli.main import main
from panvision.experiments.paired import compare_results
from tests.cli.shown import json_keys
from tests.evaluation.made import all_results, box_results, mask_results, state_results


def compared(one, other):
    return compare_results(one, other, resamples=50, seed=0)


def test_different_test_sets_are_said_to_differ():
    found = compared(mask_results(count=12), mask_results(count=8))
    assert "the test sets differ: 4 images only in the first, 0 only in the second" in described(found)
    assert "differ" not in described(compared(mask_results(), mask_results()))
    other = state_results()
    other.images[0]["truth"] = 2
    assert "1 images bear other labels" in described(compared(state_results(), other))


def test_what_is_not_compared_has_its_reason_and_no_table():
    nothing = compared(box_results(), replace(box_results(), trained=False, images=[]))
    assert "\ndetection: not compared: trained in the first only\n" in text("a", "b", [nothing])
    assert "|" not in markdown("a", "b", [nothing])
    assert summary([nothing]) == "There is nothing to compare."


def test_better_and_worse_are_both_named_in_one_sentence():
    found = [
        compared(mask_results(error=0.3), mask_results(error=0.1)),
        compared(box_results(shift=1), box_results(shift=9)),
    ]
    said = summary(found)
    assert said.startswith("More than noise: better: segmentation miou") and "worse: detection map50" in said
    assert said.endswith("All else is within noise.")
    assert "**worse**" in markdown("a", "b", found)


def test_names_of_classes_do_not_break_the_table():
    results = replace(box_results(), classes=["a|b", "c"])
    assert "| ap50.a\\|b |" in markdown("x|y", "b", [compared(results, results)])


def test_params_that_differ_are_listed_first():
    found = [compared(mask_results(), mask_results())]
    params = {"loss.cls": {"one": 2.0, "other": 4.0}, "train.epoch_steps": {"one": None}}
    lines = text("main", "a-long-experiment", found, params).splitlines()
    assert lines[2:7] == [
        "params: 2 differ",
        "  key                main  a-long-ex…",
        "  loss.cls           2.0   4.0",
        "  train.epoch_steps  null  absent",
        "",
    ]
    assert "\nparams: the same in both\n\nsegmentation: " in text("a", "b", found, {})
    assert "params" not in text("a", "b", found) + markdown("a", "b", found)
    assert "\n| key | x\\|y | b |\n|---|---|---|\n| loss.cls | 2.0 | 4.0 |\n" in markdown("x|y", "b", found, params)
    assert "\nparams: the same in both\n\nsegmentation: " in markdown("a", "b", found, {})


def test_programs_read_the_same_as_json(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compare, "results_of", lambda folder, rev: all_results(error=0.1 if rev == "good" else 0.4))
    options = ["--json", "--resamples", "50", "--seed", "3"]
    assert main(["compare", "--project", str(tmp_path), "poor", "good", *options]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert set(found) == {"one", "other", "params", "resamples", "seed", "tasks"} <= json_keys("compare")
    assert found["params"] is None and not said.err  # that folder has no dvc.lock
    assert (found["one"], found["other"], found["resamples"], found["seed"]) == ("poor", "good", 50, 3)
    assert set(found["tasks"]) == {"segmentation", "detection", "classification"}
    assert found["tasks"]["segmentation"]["figures"]["miou"]["difference"] > 0


@pytest.mark.parametrize(("name", "said"), [("none", "no such file or directory"), ("file", "not a directory")])
def test_a_folder_that_is_none_is_one_line(tmp_path, capsys, name, said):
    (tmp_path / "file").touch()
    assert main(["compare", "HEAD", "--project", str(tmp_path / name)]) == 1
    text = capsys.readouterr().err
    assert text.startswith(f"panvision compare: {tmp_path / name}: {said}; ") and len(text.splitlines()) == 1
