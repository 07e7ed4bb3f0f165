import json
from dataclasses import replace

import pytest

from panvision.cli.main import main
from panvision.experiments import revisions
from panvision.experiments.compare import ABSENT, described, differing, markdown, shown, text
from panvision.experiments.paired import compare_results
from tests.cli.shown import json_keys
from tests.evaluation.made import all_results, box_results, mask_results, state_results


def compared(one, other):
    return compare_results(one, other)


def test_described_names_other_images_and_labels():
    found = compared(mask_results(count=12), mask_results(count=8))
    assert "the test splits differ: 4 images only in the first, 0 only in the second" in described(found)
    assert "differ" not in described(compared(mask_results(), mask_results()))
    other = state_results()
    other.images[0]["truth"] = 2
    assert "1 images have other labels" in described(compared(state_results(), other))


def test_a_task_that_is_not_compared_has_a_reason_and_no_table():
    nothing = compared(box_results(), replace(box_results(), trained=False, images=[]))
    said = text("a", "b", [nothing])
    assert said.startswith("detection       not compared: trained in the first only\n")
    assert "\ndetection: not compared: trained in the first only\n" in said
    assert "|" not in markdown("a", "b", [nothing])


def test_the_first_lines_are_a_verdict_per_task():
    found = [
        compared(mask_results(error=0.3), mask_results(error=0.1)),
        compared(box_results(shift=1), box_results(shift=9)),
        compared(state_results(), state_results()),
    ]
    first, second, third, *_ = text("a", "b", found).splitlines()
    one, other = (next(each for each in found[0].differences if each.name == "miou"), found[1].differences[0])
    interval = f"({one.low:+.3f} to {one.high:+.3f})"
    assert first == f"segmentation    better  mIoU {one.one:.3f} to {one.other:.3f}: {one.difference:+.3f} {interval}"
    assert second.startswith(f"detection       worse   mAP@0.5 {other.one:.3f} to ")
    assert third == "classification  noise   accuracy 0.750 to 0.750: +0.000 (+0.000 to +0.000)"
    assert "of 10 metrics 10 better and 0 worse" in described(found[0])
    assert markdown("a", "b", found).startswith("- segmentation: better") and "**worse**" in markdown("a", "b", found)


def test_text_fits_80_columns_with_classes_below_metrics():
    results = replace(state_results(), order=["burnt", "raw", "golden"])
    found = [
        compared(mask_results(), mask_results()),
        compared(box_results(), box_results()),
        compared(results, results),
    ]
    params = {"train.phase2.backbone_lr": {"one": "x" * 90, "other": ["y" * 90]}}
    lines = text("a-long-experiment", "workspace", found, params).splitlines()
    assert max(map(len, lines)) <= 80
    place = lines.index("  f1_at_threshold")
    assert [line.split()[0] for line in lines[place + 1 : place + 3]] == ["raw", "golden"]
    place = lines.index("  recall", lines.index("  f1_at_threshold") - 20)
    assert [line.split()[0] for line in lines[place + 1 : place + 4]] == ["burnt", "raw", "golden"]
    place = lines.index("  precision", lines.index("  ap50"))
    assert [line.split()[0] for line in lines[place + 1 : place + 3]] == ["lid", "stirrer"]


def test_class_names_do_not_break_the_markdown_table():
    results = replace(box_results(), classes=["a|b", "c"])
    assert "| ap50.a\\|b |" in markdown("x|y", "b", [compared(results, results)])


def test_params_that_differ_are_listed_first():
    found = [compared(mask_results(), mask_results())]
    params = {"loss.cls": {"one": 2.0, "other": 4.0}, "train.epoch_steps": {"one": None}}
    lines = text("main", "a-long-experiment", found, params).splitlines()
    assert lines[2:7] == [
        "params: 2 differ",
        "  key                main  a-long-e…",
        "  loss.cls           2.0   4.0",
        "  train.epoch_steps  null  absent",
        "",
    ]
    assert "\nparams: the same in both\n\nsegmentation: " in text("a", "b", found, {})
    assert "params" not in text("a", "b", found) + markdown("a", "b", found)
    assert "\n| key | x\\|y | b |\n|---|---|---|\n| loss.cls | 2.0 | 4.0 |\n" in markdown("x|y", "b", found, params)
    assert "\nparams: the same in both\n\nsegmentation: " in markdown("a", "b", found, {})


def test_differing_keys_values_and_types():
    one = {"a": 1, "b": True, "gone": None, "same": [1, {"x": 2}]}
    other = {"a": 2, "b": 1, "new": "x", "same": [1, {"x": 2}]}
    found = differing(one, other)
    assert found == {
        "a": {"one": 1, "other": 2},
        "b": {"one": True, "other": 1},
        "gone": {"one": None},
        "new": {"other": "x"},
    }
    cells = [("1", "2"), ("true", "1"), ("null", ABSENT), (ABSENT, '"x"')]
    assert [shown(sides) for sides in found.values()] == cells
    assert differing(one, one) == {} and differing(None, {}) is None and differing({}, None) is None
    assert len(shown({"one": ["a long name"] * 9})[0]) == 18


@pytest.mark.process
def test_command_prints_json(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(revisions, "results_of", lambda folder, rev: all_results(error=0.1 if rev == "good" else 0.4))
    assert main(["compare", "--project", str(tmp_path), "poor", "good", "--json"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert set(found) == {"one", "other", "params", "tasks"} <= json_keys("compare")
    assert found["params"] is None and not printed.err  # that folder has no dvc.lock
    assert (found["one"], found["other"]) == ("poor", "good")
    assert set(found["tasks"]) == {"segmentation", "detection", "classification"}
    assert found["tasks"]["segmentation"]["figures"]["miou"]["difference"] > 0


@pytest.mark.parametrize(("name", "reason"), [("none", "no such file or directory"), ("file", "not a directory")])
def test_command_needs_a_project_folder(tmp_path, capsys, name, reason):
    (tmp_path / "file").touch()
    assert main(["compare", "HEAD", "--project", str(tmp_path / name)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"panvision compare: {tmp_path / name}: {reason}; ") and error.count("\n") == 1
