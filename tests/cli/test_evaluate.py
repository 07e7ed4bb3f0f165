import json
import re
import shutil

import pytest

from panvision.cli.evaluate import Gate
from panvision.cli.exits import Exit
from panvision.cli.framework import Args
from panvision.cli.main import main
from panvision.cli.options import ON_CPU
from panvision.cli.packing import open_model
from panvision.core.tasks import TASKS
from panvision.model.checkpoint import load_checkpoint, save_checkpoint
from tests.cli.shown import json_keys


def evaluate(capsys, *arguments):
    """Return the exit code, standard output and standard error."""
    code = main(["evaluate", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_metrics_are_those_of_the_split_that_was_trained(raw, trained, tmp_path, capsys):
    model = trained / "best_model.pth"
    code, out, err = evaluate(capsys, model, raw, "--json", "--results", tmp_path / "kept")
    found = json.loads(out)
    assert code == 0 and found["passed"] and set(found) <= json_keys("evaluate")
    splits = (tmp_path / "kept/build/splits.csv").read_text()
    assert splits == (trained / "build/splits.csv").read_text() and "groups that span datasets" in err
    for task in TASKS:
        assert found["metrics"][task]["images"] == sum(
            line.startswith(f"{task},") and line.endswith(",test") for line in splits.splitlines()
        )
        assert json.loads((tmp_path / f"kept/metrics/{task}.json").read_text()) == found["metrics"][task]


def test_all_images_are_tested_on_request_and_shown_on_a_page(raw, trained, tmp_path, capsys):
    page = tmp_path / "page.html"
    code, out, _ = evaluate(capsys, trained / "best_model.pth", raw, "--images", "all", "--html", page)
    assert code == 0 and "segmentation    mIoU" in out
    text = page.read_text()
    assert 'id="detection"' in text and 'id="training"' not in text and "panvision evaluate" in text


def test_a_gate_that_is_not_passed_is_the_exit_code(raw, trained, capsys):
    model = trained / "best_model.pth"
    code, out, _ = evaluate(capsys, model, raw, "--min", "miou=0", "--max", "ap50.pan=-1", "--json")
    gates = json.loads(out)["gates"]
    assert code == Exit.GATE and [gate["passed"] for gate in gates] == [True, False]
    assert gates[1]["metric"] == "detection.ap50.pan" and gates[1]["max"] == -1


def test_gates_on_unknown_metrics_are_wrong_usage(raw, trained, tmp_path, capsys):
    """The command ends before it reads an image."""
    for root in (raw, tmp_path):
        code, out, err = evaluate(capsys, trained / "best_model.pth", root, "--min", "mioo=0.5")
        assert code == Exit.USAGE and "mioo: no metric has this key" in err and "miou" in err and not out
    for text in ("miou", "miou=high", "=1", "miou=nan"):
        code, _, err = evaluate(capsys, trained / "best_model.pth", raw, "--max", text)
        assert code == Exit.USAGE and f"--max: expected KEY=NUMBER, as miou=0.9, found '{text}'" in err


@pytest.mark.parametrize(("value", "least", "passed"), [(0.9, True, True), (0.9, False, True), (None, True, False)])
def test_limits_themselves_pass_and_undefined_metrics_do_not(value, least, passed):
    assert Gate("miou", 0.9, least).check({"segmentation.miou": value})["passed"] is passed


def test_a_key_of_two_tasks_needs_the_task():
    values = {"segmentation.precision": 0.5, "classification.precision": 0.7}
    with pytest.raises(Exception, match="several metrics have this key; choose one of segmentation"):
        Gate("precision", 0.6, True).check(values)
    assert Gate("classification.precision", 0.6, True).check(values)["passed"]


def test_a_missing_model_is_one_line(raw, tmp_path, capsys):
    code, out, err = evaluate(capsys, tmp_path / "model.onnx", raw)
    assert code == Exit.ERROR and out == "" and err.count("\n") == 1 and "model.onnx" in err


def test_a_split_that_may_not_be_the_trained_one_is_a_warning(raw, trained, tmp_path, capsys):
    """The split is only known from a configuration beside the model or `--set split`, if the file names no images."""
    model = tmp_path / "model.pth"
    network, metadata = load_checkpoint(trained / "best_model.pth")
    save_checkpoint(model, network, meta={**metadata, "training_images": None})
    split = ["--set", "split.method=balanced", "--set", "split.val=0.25", "--set", "split.test=0.25"]
    assert "may be training images" in evaluate(capsys, model, raw)[2]
    assert "may be training images" not in evaluate(capsys, model, raw, *split)[2]
    assert "may be training images" not in evaluate(capsys, model, raw, "--images", "all")[2]
    assert "may be training images" not in evaluate(capsys, trained / "best_model.pth", raw)[2]


def test_training_images_that_are_tested_are_counted(raw, trained, tmp_path, capsys):
    """The model file names its training images, so other splits are compared with them, not suspected."""
    model = tmp_path / "model.pth"
    shutil.copy(trained / "best_model.pth", model)
    split = ["--set", "split.method=balanced", "--set", "split.val=0.25", "--set", "split.test=0.25"]
    known = "name the configuration of its training with --config, or test other images with --images all"
    unseen = "test images that it did not learn from"
    for more, remedy in (([], known), (split, None), (["--images", "all"], unseen)):
        said = evaluate(capsys, model, raw, *more)[2]
        warning = re.search(r"warning: .*: \d+ of the \d+ test images are its training or .* images; (.*)", said)
        assert (warning and warning[1]) == remedy


def test_settings_of_the_options_win_over_those_of_the_model(raw, trained):
    changes = ["detection.nms_threshold=0.25", "classification.order=[burnt,browned,golden,translucent,raw]"]
    args = Args(model=trained / "best_model.pth", config=None, set=changes, data_root=str(raw), data_root_option=None)
    predictor, config, *_ = open_model(args, ON_CPU)
    assert (predictor.nms_threshold, predictor.score_threshold) == (0.25, 0.3)
    assert config.classification.order[0] == "burnt"
    predictor, config, *_ = open_model(Args(**{**vars(args), "set": []}), ON_CPU)
    assert predictor.nms_threshold == 0.5 and config.classification.order[0] == "raw"


@pytest.fixture
def shipped(trained, tmp_path):
    """A model with thresholds by class and costs, its configuration beside it."""
    network, metadata = load_checkpoint(trained / "best_model.pth")
    costs = {"confusions": {"raw": {"burnt": 5.0}}}
    limits = {"score_threshold": dict.fromkeys(metadata["det_class_names"], 0.4), "nms_threshold": 0.6}
    sections = {"decision": {"costs": costs}, "detection": limits}
    save_checkpoint(tmp_path / "model.pth", network, meta={**metadata, **sections})
    config = json.loads(next(trained.glob("config_*.json")).read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **sections}))
    return tmp_path / "model.pth"


def opened(model, raw, *changes):
    return open_model(
        Args(model=model, config=None, set=list(changes), data_root=str(raw), data_root_option=None), ON_CPU
    )


def test_a_setting_counts_in_every_form(raw, shipped):
    before = opened(shipped, raw).predictor
    assert before.info.costs and (before.score_threshold, before.nms_threshold) == (0.4, 0.6)
    name = before.det_class_names[0]
    one = opened(shipped, raw, f"detection.score_threshold.{name}=0.99").predictor.score_threshold
    assert (one[name], one[before.det_class_names[1]]) == (0.99, 0.4)
    section = opened(shipped, raw, "detection={score_threshold: 0.9}").predictor
    assert (section.score_threshold, section.nms_threshold) == (0.9, 0.6)
    for off in ("decision.costs.confusions={}", "decision.costs={confusions: {}}"):
        assert not opened(shipped, raw, off).predictor.info.costs
    assert opened(shipped, raw, "decision.costs.miss=2").predictor.info.costs == before.info.costs


def test_auto_has_thresholds_chosen(raw, trained, capsys):
    auto = ("--set", "detection.score_threshold=auto", "--set", "decision.criterion=cost")
    code, out, _ = evaluate(capsys, trained / "best_model.pth", raw, "--json", *auto)
    limits = json.loads(out)["metrics"]["detection"]["threshold"]
    assert code == 0 and set(limits.values()) != {0.3}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["decision.criterion=precision"], "decision.criterion: says how thresholds are chosen"),
        (["decision={min_precision: 0.8}"], "decision.min_precision: says how thresholds are chosen"),
        (["detection.score_threshold=auto", "--images", "all"], "which --images all does not have"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(raw, trained, capsys, words, message):
    code, out, err = evaluate(capsys, trained / "best_model.pth", raw, "--set", *words)
    assert code == Exit.ERROR and not out and message in err and err.count("\n") == 1
