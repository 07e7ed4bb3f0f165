import csv
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.config import Config
from panvision.core.params import ParamsError
from panvision.core.tasks import TASKS
from panvision.inference.predictor import Predictor
from panvision.model.checkpoint import load_checkpoint
from panvision.model.weights import WeightsError
from panvision.training import fit
from panvision.training.guards import TrainingError
from panvision.training.phases import PhaseFiles, phase_seed, train_phase1, train_phase2
from panvision.training.settings import (
    LossSettings,
    Phase1Settings,
    Phase2Settings,
    TrackingSettings,
    TrainSettings,
    WandbSettings,
)
from tests.training.small import MODEL, config, small_sets, write_weights


def first(folder, sets=None, settings=None, model=MODEL):
    """Phase 1 into 1.pth and 1.csv."""
    train_phase1(sets or small_sets(), settings or config(), model, PhaseFiles(folder / "1.pth", folder / "1.csv"))


def second(folder, sets=None, settings=None, start=None, name="2"):
    """Phase 2 into 2.pth and 2.csv."""
    files = PhaseFiles(folder / f"{name}.pth", folder / f"{name}.csv", start or folder / "1.pth")
    train_phase2(sets or small_sets(), settings or config(), files)


def both(folder, sets=None, settings=None, model=MODEL, tasks=tuple(TASKS)):
    sets, settings = sets or small_sets(), settings or config()
    first(folder, sets, replace(settings, tasks=tuple(tasks)), model)
    second(folder, sets, settings)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return both(tmp_path_factory.mktemp("trained"))


def rows(path):
    with path.open() as stream:
        return list(csv.DictReader(stream))


def weights(path):
    return load_checkpoint(path)[0].state_dict()


def test_phase1_freezes_the_backbone_and_phase2_trains_all(trained):
    one, two = weights(trained / "1.pth"), weights(trained / "2.pth")
    torch.manual_seed(3)
    assert any(not torch.equal(one[name], two[name]) for name in one if name.startswith("backbone.layer1"))
    moved = {name.split(".")[0] for name in one if not torch.equal(one[name], two[name])}
    assert moved == {"backbone", "fpn", "segmentation", "detection", "classification"}


def test_curves_have_a_row_per_epoch(trained):
    assert [row["epoch"] for row in rows(trained / "1.csv")] == ["1"]
    assert [row["epoch"] for row in rows(trained / "2.csv")] == ["1", "2"]


def test_the_checkpoint_has_the_training_settings(trained):
    _, metadata = load_checkpoint(trained / "2.pth")
    assert metadata["phase"] == "phase2" and metadata["epoch"] in (1, 2)
    assert metadata["config"]["train"]["phase1"]["epochs"] == 1
    assert metadata["config"]["train"]["phase2"]["epochs"] == 2
    assert set(metadata["config"]) == {"seed", "augment", "loss", "train", "model", "tasks"}
    assert metadata["tasks"] == metadata["config"]["tasks"] == ["segmentation", "detection", "classification"]
    parsed = Config.parse(metadata["config"])
    assert parsed.train.batch_norm == "train" and parsed.model == MODEL and parsed.seed == 3
    assert set(metadata["validation"]) == {"miou", "map50", "accuracy", "losses"}


def test_two_runs_of_one_configuration_write_the_same_bytes(trained, tmp_path):
    again = both(tmp_path)
    for name in ("1.pth", "1.csv", "2.pth", "2.csv"):
        assert (again / name).read_bytes() == (trained / name).read_bytes(), name


@pytest.mark.parametrize("task", TASKS)
def test_a_single_task_passes_both_phases_alone(tmp_path, task):
    sets = small_sets()
    for other in set(TASKS) - {task}:
        # What is not trained is not looked at: in its place nothing need be usable.
        sets.rows[other] = {"train": np.array([999]), "val": np.array([999])}
    folder = both(tmp_path, sets, tasks=[task])
    for name in ("1.pth", "2.pth"):
        model, metadata = load_checkpoint(folder / name)
        assert model.tasks == (task,) and metadata["config"]["tasks"] == [task]
    metrics = {name for name, value in metadata["validation"].items() if value is not None}
    assert metrics == {{"segmentation": "miou", "detection": "map50", "classification": "accuracy"}[task], "losses"}
    (row,) = rows(folder / "1.csv")
    own = {"segmentation": "val_seg", "detection": "val_det", "classification": "val_cls"}
    assert {name for name in own.values() if row[name]} == {own[task]} and row["val_total"]
    assert Config.parse(metadata["config"]).tasks == (task,)


def test_phase_two_asks_for_the_classes_of_its_own_tasks_only(tmp_path):
    folder = both(tmp_path, tasks=["classification"])
    sets = small_sets()
    sets.packed["detection"].classes[:] = ["lid", "ladle"]
    second(folder, sets, name="3")
    sets.packed["classification"].classes[:] = ["raw", "burnt"]
    with pytest.raises(TrainingError, match=r"raw.*run `python stages/train.py phase1`"):
        second(folder, sets, name="3")


def test_frozen_batch_norm_keeps_its_statistics_in_phase_two(tmp_path):
    write_weights(tmp_path / "first.pth")
    pretrained = MODEL.model_copy(update={"weights": str(tmp_path / "first.pth")})
    folder = both(tmp_path, settings=config(batch_norm="frozen"), model=pretrained)
    one, two = weights(folder / "1.pth"), weights(folder / "2.pth")
    norms = [name for name in one if name.startswith("backbone") and ("running" in name or "bn" in name)]
    assert norms and all(torch.equal(one[name], two[name]) for name in norms)
    assert not torch.equal(one["backbone.conv1.weight"], two["backbone.conv1.weight"])


def test_warm_start_counts_as_pretrained(trained, tmp_path, capsys):
    """Its BatchNorm may be frozen, though the earlier model began with random weights."""
    start = trained / "2.pth"
    warm = MODEL.model_copy(update={"weights": str(start)})
    sets = small_sets()
    sets.packed["detection"].classes.append("ladle")
    folder = both(tmp_path, sets, settings=config(batch_norm="frozen"), model=warm)
    said = capsys.readouterr().out
    assert f"segmentation, detection, classification from {start}\n  new" in said and "detection class ladle" in said
    before, one, two = weights(start), weights(folder / "1.pth"), weights(folder / "2.pth")
    norms = [name for name in one if name.startswith("backbone") and ("running" in name or "bn" in name)]
    assert norms and all(torch.equal(before[name], two[name]) for name in norms)
    # One epoch of AdamW at 0.001 moves a weight by a few thousandths, other first weights are further away.
    assert (one["fpn.lateral.3.weight"] - before["fpn.lateral.3.weight"]).abs().max() < 0.01
    assert load_checkpoint(folder / "2.pth")[1]["config"]["model"]["weights"] == str(start)


def test_ordinal_labels_follow_the_given_order(trained, tmp_path):
    names = small_sets().cls_classes
    settings = replace(config(loss=LossSettings(ordinal=0.4)), order=tuple(reversed(names)))
    folder = both(tmp_path, settings=settings)
    assert (folder / "1.csv").read_text() != (trained / "1.csv").read_text()
    _, metadata = load_checkpoint(folder / "2.pth")
    assert metadata["config"]["classification"] == {"order": names[::-1]}
    assert Config.parse(metadata["config"]).loss.ordinal == 0.4


@pytest.mark.parametrize(
    ("order", "message"),
    [(None, r"loss.ordinal: spreads .* is null; list"), (("raw",), r"classification.order is \['raw'\], .* set loss")],
)
def test_ordinal_labels_need_the_order_of_the_states(tmp_path, order, message):
    settings = replace(config(loss=LossSettings(ordinal=0.4)), order=order)
    with pytest.raises(ParamsError, match=message) as caught:
        both(tmp_path, settings=settings)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())
    both(tmp_path, settings=settings, tasks=["segmentation"])  # which has no states


def test_mask_class_teaches_both_heads_in_both_phases(trained, tmp_path):
    name = small_sets().det_classes[1]
    folder = both(tmp_path, settings=config(loss=LossSettings(mask_class=name)))
    for phase in ("1", "2"):
        for row, before in zip(rows(folder / f"{phase}.csv"), rows(trained / f"{phase}.csv"), strict=True):
            for column in (f"{split}_{loss}" for split in ("train", "val") for loss in ("seg_boxes", "det_masks")):
                assert float(row[column]) > 0 and before[column] == ""
            parts = sum(float(row[f"val_seg_{part}"]) for part in ("bce", "dice", "boxes"))
            assert float(row["val_seg"]) == pytest.approx(parts, rel=1e-4)


def test_mask_class_must_be_a_detection_class(tmp_path):
    settings = config(loss=LossSettings(mask_class="wok"))
    with pytest.raises(ParamsError, match=r"loss.mask_class: wok: no detection class; the classes are \['") as caught:
        both(tmp_path, settings=settings)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())
    both(tmp_path, settings=settings, tasks=["segmentation"])  # which learns no boxes


@pytest.mark.parametrize(
    ("chosen", "weights", "expected"),
    [
        ("auto", "none", "train"),
        ("auto", "imagenet", "frozen"),
        ("auto", None, "frozen"),
        ("frozen", "imagenet", "frozen"),
        ("train", "imagenet", "train"),
    ],
)
def test_batch_norm_auto_follows_the_first_weights(chosen, weights, expected):
    assert TrainSettings(batch_norm=chosen).for_weights(weights).batch_norm == expected


def test_batch_norm_auto_from_random_weights_is_trained(tmp_path):
    folder = both(tmp_path, settings=config(batch_norm="auto"))
    one, two = weights(folder / "1.pth"), weights(folder / "2.pth")
    norms = [name for name in one if name.startswith("backbone") and "running" in name]
    assert norms and not any(torch.equal(one[name], two[name]) for name in norms)


def test_batch_norm_of_random_weights_is_not_frozen(tmp_path):
    with pytest.raises(ParamsError, match=r"train.batch_norm: .* model.weights is none"):
        both(tmp_path, settings=config(batch_norm="frozen"))
    assert not (tmp_path / "2.pth").exists()


def test_checkpoint_has_temperature_and_shipped_sections(tmp_path):
    settings = config(shipped={"detection": {"score_threshold": 0.7}})
    _, metadata = load_checkpoint(both(tmp_path, settings=settings) / "2.pth")
    assert 0.05 <= metadata["calibration"]["temperature"] <= 5.0
    predictor = Predictor.load(tmp_path / "2.pth", "cpu")
    assert predictor.info.temperature == metadata["calibration"]["temperature"]
    assert predictor.score_threshold == 0.7 and "detection" not in metadata["config"]


def test_phase_one_may_have_no_epoch(tmp_path):
    folder = both(tmp_path, settings=config(phase1=Phase1Settings(epochs=0)))
    assert rows(folder / "1.csv") == []
    assert (folder / "2.pth").is_file()


def test_phase_two_refuses_a_start_made_for_other_classes(trained, tmp_path):
    sets = small_sets()
    sets.packed["detection"].classes[:] = ["lid", "ladle"]
    with pytest.raises(TrainingError, match=r"lid.*run `python stages/train.py phase1`"):
        second(tmp_path, sets, start=trained / "1.pth")
    assert not (tmp_path / "2.pth").exists()


def test_weights_that_cannot_be_had_stop_before_the_first_step(tmp_path):
    model = MODEL.model_copy(update={"weights": str(tmp_path / "missing.pth")})
    with pytest.raises(WeightsError, match=r"missing\.pth: no such file"):
        first(tmp_path, model=model)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("amp", ["auto", "off"])
def test_a_gpu_without_enough_memory_names_the_params_to_turn(tmp_path, monkeypatch, amp):
    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("panvision.model.multitask.MultiTaskModel.forward", full)
    settings_ = config(amp=amp, accumulate=3)
    with pytest.raises(TrainingError) as error:
        first(tmp_path, settings=settings_)
    told = str(error.value)
    assert told.startswith("phase1: the batch does not fit the GPU's memory")
    assert "train.batch_size (now 2 per dataset)" in told and "train.accumulate (now 3)" in told
    assert "data.image_size (now 64)" in told and ("train.amp" in told) is (amp == "off")
    assert "train.devices" not in told
    assert all(len(line) <= 80 for line in told.splitlines())
    assert not (tmp_path / "1.pth").exists()


@pytest.mark.parametrize("compiled", [True, False])
def test_what_cannot_be_compiled_names_the_param(tmp_path, monkeypatch, compiled):
    kind = type("InductorError", (RuntimeError,), {"__module__": "torch._inductor.exc"})

    def fail(*args, **kwargs):
        raise kind("\nNo working C++ compiler\nand more")

    monkeypatch.setattr("torch.compile", lambda *args, **kwargs: fail)
    monkeypatch.setattr(fit, "train_step", fail)
    with pytest.raises(TrainingError if compiled else kind) as error:
        first(tmp_path, settings=config(compile=compiled))
    if compiled:
        told = str(error.value)
        assert told.startswith("phase1: the model cannot be compiled (No working C++ compiler)")
        assert told.endswith("set train.compile to false")


def test_where_gpus_stand_idle_they_are_named_too(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("panvision.model.multitask.MultiTaskModel.forward", full)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    with pytest.raises(TrainingError, match=r"or raise train.devices \(now 1\): the GPUs share the batch"):
        first(tmp_path)


def test_the_backbone_of_phase_two_may_have_a_rate_of_its_own(trained, tmp_path):
    settings_ = config(phase2=Phase2Settings(epochs=1, lr=1e-3, backbone_factor=0.01))
    second(tmp_path, settings=settings_, start=trained / "1.pth")
    (row,) = rows(tmp_path / "2.csv")
    assert (row["lr"], row["backbone_lr"]) == ("0.001", "1e-05")
    before, after = weights(trained / "1.pth"), weights(tmp_path / "2.pth")

    def moved(name):
        return float((after[name] - before[name]).abs().max())

    # AdamW moves a weight by about its learning rate a step.
    assert 0 < moved("backbone.layer4.0.conv1.weight") < 1e-4 < moved("classification.layers.0.weight")


def test_in_phase_one_the_backbone_has_no_rate(trained):
    assert {row["backbone_lr"] for row in rows(trained / "1.csv")} == {""}
    assert {row["backbone_lr"] for row in rows(trained / "2.csv")} == {"0.001"}


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_phases_have_separate_seeds_valid_for_every_library(seed):
    seeds = {phase_seed(seed, phase) for phase in (1, 2)}
    assert len(seeds) == 2 and all(0 <= each < 2**32 for each in seeds)


@pytest.mark.parametrize(("amp", "precision"), [("auto", "tf32"), ("off", "ieee")])
def test_no_step_uses_tf32_if_amp_is_off(tmp_path, monkeypatch, amp, precision):
    seen, step = [], fit.train_step

    def counted(*given):
        seen.append(torch.backends.cudnn.conv.fp32_precision)
        return step(*given)

    monkeypatch.setattr(fit, "train_step", counted)
    first(tmp_path, settings=config(amp=amp))
    assert set(seen) == {precision} and torch.backends.cudnn.conv.fp32_precision == "tf32"


@pytest.mark.parametrize("wanted", [True, False])
def test_every_step_uses_the_algorithms_of_the_settings(tmp_path, monkeypatch, wanted):
    seen, step = [], fit.train_step

    def counted(*given):
        seen.append((torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark))
        return step(*given)

    monkeypatch.setattr(fit, "train_step", counted)
    first(tmp_path, settings=config(deterministic=wanted))
    assert set(seen) == {(wanted, not wanted)} and not torch.are_deterministic_algorithms_enabled()


def test_tracking_without_the_package_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    settings_ = config(tracking=TrackingSettings(wandb=WandbSettings(enabled=True)))
    with pytest.raises(ParamsError, match=r"pip install '\.\[wandb\]'"):
        first(tmp_path, settings=settings_)
