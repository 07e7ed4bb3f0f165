import copy
import math

import numpy as np
import pytest
import torch
from torch.optim import AdamW
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, OneCycleLR
from torch.utils._python_dispatch import TorchDispatchMode

from panvision.model.backbones.resnet import ResNet
from panvision.model.multitask import TASKS
from panvision.training.curves import COLUMNS, LOSSES, SEEN, WEIGHTS
from panvision.training.data.settings import AugmentSettings
from panvision.training.errors import TrainingError
from panvision.training.finite import Means
from panvision.training.loop import Phase, Plan
from panvision.training.losses import batch_terms, task_losses
from panvision.training.settings import LossSettings, TrainSettings
from tests.training.data.packed_sets import STILL
from tests.training.forks import thin_backbone
from tests.training.small import small_model, small_sets


@pytest.fixture(autouse=True)
def thin(monkeypatch):
    """What the loop does, does not depend on how wide the backbone is; how long it takes, does."""
    monkeypatch.setattr(ResNet, "__init__", thin_backbone)


class Recorder:
    """What a phase saved and logged."""

    def __init__(self):
        self.saved, self.rows = [], []

    def save(self, model, epoch, validation):
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        self.saved.append((epoch, validation, weights))

    def log(self, row):
        self.rows.append(row)


def make(sets=None, model=None, *, epochs=2, lr=1e-3, seed=1, augment=None, loss=None, name="phase2", **train):
    sets = sets or small_sets()
    phase = Phase(
        model or small_model(sets),
        sets,
        Plan(name, epochs, lr, seed),
        augment=augment or AugmentSettings(),
        loss=loss or LossSettings(),
        train=TrainSettings(**{"batch_size": 2, "schedule": "constant", **train}),
    )
    torch.manual_seed(seed)
    return phase


def run(*args, **kwargs):
    recorder = Recorder()
    make(*args, **kwargs).run(save=recorder.save, log=recorder.log)
    return recorder


def fails(phase):
    """The message that a phase stops with, and what it had saved."""
    recorder = Recorder()
    with pytest.raises(TrainingError) as error:
        phase.run(save=recorder.save, log=recorder.log)
    return str(error.value), recorder


def breaks_at(monkeypatch, number, name="seg", value=float("nan")):
    """From pass `number` through the losses on (0 is the first), one of them is not finite."""
    passes = []

    def broken(*args):
        losses = task_losses(*args)
        passes.append(len(passes))
        if passes[-1] >= number:
            losses[name] = losses[name] * value
        return losses

    monkeypatch.setattr("panvision.training.loop.task_losses", broken)


def equal(one, two):
    return all(torch.equal(value, two[name]) for name, value in one.items())


def test_an_epoch_is_one_pass_over_the_largest_set_unless_told_otherwise(monkeypatch):
    steps = []
    step = Phase._step
    monkeypatch.setattr(Phase, "_step", lambda self, batch: steps.append(batch) or step(self, batch))
    run(small_sets((7, 3, 2)), epochs=1)
    assert len(steps) == 4
    assert sorted({row for batch in steps for row in batch.rows["segmentation"]}) == list(range(7))
    steps.clear()
    run(epochs=2, epoch_steps=3)
    assert len(steps) == 6


def test_every_task_is_in_every_step_and_the_backbone_runs_once():
    sets = small_sets()
    model = small_model(sets)
    seen = []
    model.backbone.register_forward_hook(lambda module, args, output: seen.append((module.training, len(args[0]))))
    run(sets, model, epochs=1, epoch_steps=2)
    assert [images for training, images in seen if training] == [6, 6]


def test_the_best_validation_loss_is_saved_and_patience_ends_a_phase(monkeypatch):
    totals = iter([5.0, 4.0, 4.5, 4.0, 3.9, 6.0, 6.0, 6.0, 1.0])
    validate = Phase._validate

    def scripted(self, *given):
        found = validate(self, *given)
        found.losses["total"] = next(totals)
        return found

    monkeypatch.setattr(Phase, "_validate", scripted)
    recorder = run(epochs=9, epoch_steps=1, patience=3)
    assert [epoch for epoch, _, _ in recorder.saved] == [1, 2, 5]
    assert len(recorder.rows) == 8


def test_without_epochs_the_model_is_saved_as_it_is():
    sets = small_sets()
    model = small_model(sets)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    recorder = run(sets, model, epochs=0)
    assert len(recorder.saved) == 1 and recorder.rows == []
    assert equal(before, recorder.saved[0][2])


@pytest.mark.parametrize(("task", "steps"), [("segmentation", 4), ("detection", 2), ("classification", 1)])
def test_alone_a_task_passes_its_own_set_once_an_epoch(monkeypatch, task, steps):
    batches = []
    step = Phase._step
    monkeypatch.setattr(Phase, "_step", lambda self, batch: batches.append(batch) or step(self, batch))
    sets = small_sets((7, 3, 2))
    run(sets, small_model(sets, tasks=[task]), epochs=1)
    assert len(batches) == steps and all(set(batch.images) == {task} for batch in batches)


OWN_LOSSES = {
    "segmentation": {"seg"},
    "detection": {"det", "det_class", "det_box", "det_centerness"},
    "classification": {"cls"},
}
OWN_METRICS = {"segmentation": "miou", "detection": "map50", "classification": "accuracy"}


@pytest.mark.parametrize("tasks", [*([task] for task in OWN_LOSSES), ["segmentation", "classification"]])
def test_rows_are_empty_where_a_task_is_absent(tasks):
    sets = small_sets()
    recorder = run(sets, small_model(sets, tasks=tasks), epochs=1, ema_decay=0.5)
    row, validation = recorder.rows[0], recorder.saved[0][1]
    losses = {"total"}.union(*(OWN_LOSSES[task] for task in tasks))
    given = {f"{part}_{name}" for part in ("train", "val") for name in losses}
    given |= {"epoch", "lr", "backbone_lr", "grad_norm", *(OWN_METRICS[task] for task in tasks)}
    given |= {f"weight_{name}" for name in losses & {"seg", "det", "cls"}} | {f"seen_{task}" for task in tasks}
    assert set(row) == set(COLUMNS)
    assert {name for name, value in row.items() if value is not None} == given
    weights = {"seg": 1.0, "det": 1.0, "cls": 2.0}
    expected = sum(weight * validation.losses[name] for name, weight in weights.items() if name in losses)
    assert row["val_total"] == validation.losses["total"] == pytest.approx(expected)


def test_a_loss_that_is_not_finite_names_the_terms_there_are():
    sets = small_sets()
    model = small_model(sets, tasks=["segmentation"])
    with torch.no_grad():
        model.segmentation.classifier.bias.fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"seg nan, total nan, grad_norm nan\n  segmentation: "):
        run(sets, model)


def test_rows_hold_every_column():
    row = run(epochs=1).rows[0]
    assert set(row) == set(COLUMNS)
    assert all(math.isfinite(value) for value in row.values())
    assert row["lr"] == 1e-3 and row["epoch"] == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_the_same_seed_gives_the_same_weights_whatever_the_workers(workers):
    first, again = run(workers=0), run(workers=workers)
    assert equal(first.saved[-1][2], again.saved[-1][2])
    assert first.rows == again.rows
    assert not equal(first.saved[-1][2], run(seed=2).saved[-1][2])


def test_a_frozen_backbone_keeps_every_bit():
    sets = small_sets()
    model = small_model(sets)
    model.backbone.freeze(weights=True, batch_norm=True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    after = run(sets, model).saved[-1][2]
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"fpn", "segmentation", "detection", "classification"}


def test_the_averaged_model_is_what_is_saved():
    sets = small_sets()
    model = small_model(sets)
    saved = run(sets, model, ema_decay=0.9, epochs=1).saved[-1][2]
    assert saved.keys() == model.state_dict().keys()
    assert not equal(saved, model.state_dict())


def test_a_loss_that_is_not_finite_stops_training_with_every_term_and_the_files():
    sets = small_sets()
    model = small_model(sets)
    with torch.no_grad():
        model.segmentation.classifier.bias.fill_(float("nan"))
    told, recorder = fails(make(sets, model))
    first, *rest = told.splitlines()
    assert first == "phase2, epoch 1, step 1 of 3: a loss is not finite"
    assert all(f"{name} " in told for name in (*LOSSES, "grad_norm")) and "seg nan" in told
    assert "lower train.phase2.lr or train.grad_clip; look at these files" in rest[-1]
    assert all(len(line) <= 80 for line in told.splitlines())
    assert recorder.saved == [] and recorder.rows == []


@pytest.mark.parametrize("look_every", [1, 10])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_files_are_those_of_the_first_bad_step_however_seldom_one_looks(monkeypatch, look_every, accumulate):
    """On a GPU the figures are looked at every ten steps; what is told is the same."""
    breaks_at(monkeypatch, 5 * accumulate)
    phase = make(epochs=3, epoch_steps=4, accumulate=accumulate)
    phase._look_every = look_every
    told, recorder = fails(phase)
    assert told.startswith("phase2, epoch 2, step 2 of 4: a loss is not finite\n  seg nan, ")
    for task, packed in phase._sets.packed.items():
        indexes = range(5 * accumulate, 6 * accumulate)
        files = [packed.files[row] for index in indexes for row in phase._stream[index].rows[task]]
        assert f"  {task}: {', '.join(files)}\n" in told
    assert [epoch for epoch, _, _ in recorder.saved] == [1]


def test_a_loss_that_is_finite_again_still_stops_training(monkeypatch):
    step, numbers = Phase._step, iter(range(99))

    def once(self, *batches):
        values = step(self, *batches)
        return values | {"cls": values["cls"] * float("inf")} if next(numbers) == 1 else values

    monkeypatch.setattr(Phase, "_step", once)
    phase = make(epochs=1, epoch_steps=3)
    phase._look_every = 10
    told, recorder = fails(phase)
    assert "step 2 of 3: a loss is not finite" in told and "cls inf" in told
    assert recorder.saved == []


def with_gradients_that_are_not_finite(phase):
    hook = next(phase._model.fpn.parameters()).register_hook(lambda gradient: gradient * float("inf"))
    return phase, hook


def test_a_gradient_that_is_not_finite_stops_training():
    phase, _ = with_gradients_that_are_not_finite(make())
    told, recorder = fails(phase)
    assert told.startswith("phase2, epoch 1, step 1 of 3: the gradient is not finite\n")
    assert recorder.saved == []


def test_a_step_that_the_scaler_skips_is_no_fault_and_leaves_no_trace_in_the_curves():
    phase, hook = with_gradients_that_are_not_finite(make(epochs=1, epoch_steps=2))
    phase._precision.scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    step = phase._step

    def skipped_once(*batches):
        values = step(*batches)
        hook.remove()
        return values

    phase._step = skipped_once
    recorder = Recorder()
    phase.run(save=recorder.save, log=recorder.log)
    assert phase._precision.scaler.get_scale() == 2.0
    assert 0 < recorder.rows[0]["grad_norm"] < 1e6


def test_a_gradient_that_no_scale_makes_finite_stops_training():
    phase, _ = with_gradients_that_are_not_finite(make(epochs=1, epoch_steps=9))
    phase._precision.scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    # 4, 2 and 1 are scales that may have been too large; the fourth step's is a half.
    assert fails(phase)[0].startswith("phase2, epoch 1, step 4 of 9: the gradient is not finite\n")


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_model_whose_validation_is_not_finite_is_not_saved_and_the_files_are_named(epochs):
    phase = make(epochs=epochs)

    def spoil_evaluation(head, _, logits):
        return None if head.training else logits * float("nan")

    phase._model.classification.register_forward_hook(spoil_evaluation)
    told, recorder = fails(phase)
    assert told.startswith("phase2: the validation loss is not finite\n") and "total nan" in told
    assert "  classification: " in told and "detection: " not in told
    assert recorder.saved == []


def compiled_without_a_compiler(monkeypatch):
    """torch.compile follows the model, and then calls PyTorch's own operations; returns what it was called with."""
    original, models = torch.compile, []

    def compile_it(model, **options):
        models.append(model)
        return original(model, **options, backend="eager")

    monkeypatch.setattr("torch.compile", compile_it)
    return models


def test_a_compiled_phase_saves_the_same_names_and_goes_on_bit_for_bit(monkeypatch):
    models = compiled_without_a_compiler(monkeypatch)
    plain = run(epochs=2, epoch_steps=2)
    assert models == []
    whole = run(epochs=2, epoch_steps=2, compile=True, ema_decay=0.0)
    assert len(models) == 1
    assert whole.saved[-1][2].keys() == plain.saved[-1][2].keys()
    for name, value in plain.saved[-1][2].items():
        torch.testing.assert_close(whole.saved[-1][2][name], value, msg=name)
    first = make(epochs=2, epoch_steps=2, compile=True)
    batches = [first._stream[step] for step in range(2)]
    first._model.train()
    first._step(batches[0])
    state = copy.deepcopy(first.state_dict())
    assert state["objects"]["model"].keys() == plain.saved[-1][2].keys()
    first._step(batches[1])
    second = make(epochs=2, epoch_steps=2, compile=True)
    second.load_state_dict(state)
    second._model.train()
    second._step(batches[1])
    assert equal(second._model.state_dict(), first._model.state_dict())


class Waits(TorchDispatchMode):
    """Counts what would make a GPU wait: reading a number, or a shape that depends on the data."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero):
            self.found.append(func)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("more", [{}, {"accumulate": 2, "ema_decay": 0.9, "warmup_steps": 2, "schedule": "cosine"}])
@pytest.mark.parametrize("weighting", ["fixed", "uncertainty"])
def test_a_step_never_waits_for_the_device(more, weighting):
    phase = make(loss=LossSettings(weighting=weighting), **more)
    batches = [phase._stream[index] for index in range(more.get("accumulate", 1))]
    means = Means()
    with Waits() as waits:
        for step in range(2):
            values = phase._step(*batches)
            phase._watch.note(step, values)
            means.add(values)
            phase._schedule.rates()
    assert waits.found == []
    with waits:
        phase._watch.look()
    assert waits.found  # the counter counts


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle"])
def test_the_defaults_train_as_a_plain_loop_does_bit_for_bit(schedule):
    """AdamW, PyTorch's schedule, clipped gradients; nothing of what can be switched on leaves a trace."""
    sets = small_sets()
    phase = make(sets, epochs=1, epoch_steps=5, schedule=schedule)
    phase.run(save=lambda *_: None, log=lambda _: None)
    model = small_model(sets).train()
    parameters = list(model.parameters())
    groups = [[each for each in parameters if each.ndim >= 2], [each for each in parameters if each.ndim < 2]]
    optimizer = AdamW(
        [{"params": groups[0], "weight_decay": 1e-4}, {"params": groups[1], "weight_decay": 0.0}], lr=1e-3, fused=True
    )
    schedules = {
        "constant": lambda: ConstantLR(optimizer, factor=1.0),
        "cosine": lambda: CosineAnnealingLR(optimizer, T_max=5, eta_min=1e-3 * 0.01),
        "one_cycle": lambda: OneCycleLR(optimizer, max_lr=1e-3, total_steps=5, cycle_momentum=False),
    }
    theirs = schedules[schedule]()
    torch.manual_seed(1)
    for step in range(5):
        batch = phase._stream[step]
        outputs = model(torch.cat(list(batch.images.values())), TASKS, dict.fromkeys(TASKS, 2))
        losses = task_losses(batch_terms(outputs, batch, phase._points, LossSettings()), LossSettings())
        optimizer.zero_grad()
        losses["total"].backward()
        torch.nn.utils.clip_grad_norm_([*groups[0], *groups[1]], 1.0)
        optimizer.step()
        theirs.step()
    assert equal(model.state_dict(), phase._model.state_dict())


def frozen(sets):
    """A model whose BatchNorm does not see which images share a batch."""
    model = small_model(sets)
    model.backbone.freeze(weights=False, batch_norm=True)
    return model


@pytest.mark.parametrize("weighting", ["fixed", "uncertainty"])
def test_accumulated_batches_have_the_gradient_of_one_large_batch(weighting):
    sets = small_sets()
    # Parts differ in what detection is divided by: one has an image without boxes.
    sets.packed["detection"].boxes[1] = np.zeros((0, 4), np.float32)
    sets.packed["detection"].labels[1] = np.zeros(0, np.int64)
    found = []
    for batch_size, accumulate in ((4, 1), (2, 2), (1, 4)):
        loss = LossSettings(weighting=weighting)
        phase = make(sets, frozen(sets), loss=loss, batch_size=batch_size, accumulate=accumulate, grad_clip=None)
        phase._model.train()
        values = phase._step(*(phase._stream[index] for index in range(accumulate)))
        trained = [*phase._trained, *phase._weights.parameters()]
        found.append((values, torch.cat([each.grad.flatten() for each in trained])))
    (values, gradient), *others = found
    for other_values, other in others:
        assert torch.allclose(other, gradient, rtol=1e-3, atol=1e-5 * float(gradient.abs().max()))
        assert {name: float(value) for name, value in other_values.items()} == pytest.approx(
            {name: float(value) for name, value in values.items()}, rel=1e-4
        )


def test_accumulated_batches_train_as_one_large_batch_does():
    sets = small_sets((7, 5, 4))
    large = run(sets, frozen(sets), batch_size=4, epochs=2, schedule="cosine")
    small = run(sets, frozen(sets), batch_size=2, accumulate=2, epochs=2, schedule="cosine")
    for one, other in zip(large.rows, small.rows, strict=True):
        assert one == pytest.approx(other, rel=1e-2, abs=1e-3)
        assert [one[name] for name in (*SEEN, "lr")] == [other[name] for name in (*SEEN, "lr")]
    assert large.rows[0] != run(sets, frozen(sets), batch_size=2, epochs=2, schedule="cosine").rows[0]


def test_an_epoch_counts_optimiser_steps_however_many_batches_each_takes(monkeypatch):
    steps, step = [], Phase._step
    monkeypatch.setattr(Phase, "_step", lambda self, *batches: steps.append(batches) or step(self, *batches))
    run(small_sets((13, 3, 2)), epochs=1, accumulate=3)
    assert [len(batches) for batches in steps] == [3, 3, 3]  # 13 images, 6 a step
    assert {row for batches in steps for batch in batches for row in batch.rows["segmentation"]} == set(range(13))
    steps.clear()
    run(epochs=1, epoch_steps=2, accumulate=2)
    assert [len(batches) for batches in steps] == [2, 2]


def test_times_seen_are_the_mean_passes_so_far(monkeypatch):
    seen, step = [], Phase._step
    monkeypatch.setattr(Phase, "_step", lambda self, *batches: seen.extend(batches) or step(self, *batches))
    rows = run(epochs=2, epoch_steps=2, accumulate=2).rows
    for task, size in zip(TASKS, (6, 5, 4), strict=True):
        drawn = [row for batch in seen for row in batch.rows[task]]
        assert rows[0][f"seen_{task}"] == len(drawn) / 2 / size
        assert rows[1][f"seen_{task}"] == len(drawn) / size
        counts = np.bincount(drawn, minlength=size)
        assert {*counts} <= {math.floor(len(drawn) / size), math.ceil(len(drawn) / size)}


def test_learned_weights_move_are_told_and_do_not_choose_the_model():
    loss = LossSettings(weighting="uncertainty", cls=2.0)
    recorder = run(loss=loss, epochs=2, lr=1e-2)
    weights = [[row[name] for name in WEIGHTS] for row in recorder.rows]
    assert weights[0] != weights[1] and weights[0][0] != 1.0
    for row in recorder.rows:
        for part in ("train", "val"):
            fixed = row[f"{part}_seg"] + row[f"{part}_det"] + 2 * row[f"{part}_cls"]
            assert row[f"{part}_total"] == pytest.approx(fixed, rel=1e-4)
    assert not equal(recorder.saved[0][2], run(epochs=2, lr=1e-2).saved[0][2])


def test_fixed_weights_are_told_as_they_are():
    assert [run(epochs=1, loss=LossSettings(seg=0.5)).rows[0][name] for name in WEIGHTS] == [0.5, 1.0, 2.0]


def test_warm_up_is_told_in_the_rate_and_must_fit_the_phase():
    rows = run(epochs=2, epoch_steps=2, warmup_steps=2).rows
    assert rows[0]["lr"] == pytest.approx(0.5e-3, rel=0.01) and rows[1]["lr"] == 1e-3
    with pytest.raises(TrainingError, match=r"phase2: train.warmup_steps is 4, but the phase has 4 optimiser steps"):
        make(epochs=2, epoch_steps=2, warmup_steps=4)
    assert run(epochs=0, warmup_steps=4).saved


def test_the_averaged_model_follows_the_statistics_of_batch_norm():
    sets = small_sets()
    model = small_model(sets)
    before = model.backbone.bn1.running_mean.clone()
    saved = run(sets, model, ema_decay=0.9, epochs=1).saved[-1][2]
    averaged, trained = saved["backbone.bn1.running_mean"], model.state_dict()["backbone.bn1.running_mean"]
    assert not torch.equal(averaged, before) and not torch.equal(averaged, trained)
    assert saved["backbone.bn1.num_batches_tracked"] == model.backbone.bn1.num_batches_tracked == 3


def test_gradients_are_clipped_and_their_norm_is_logged():
    free, clipped = run(epochs=1, grad_clip=None), run(epochs=1, grad_clip=1e-6)
    assert clipped.rows[0]["grad_norm"] > 1e-3  # before clipping
    assert free.rows[0]["train_total"] != clipped.rows[0]["train_total"]


def test_the_state_losss_weight_acts_on_the_backbone():
    """Under AdamW a head alone hardly feels its weight; the shared backbone's gradient does."""

    def gradient(weight):
        sets = small_sets()
        model = small_model(sets)
        settings = TrainSettings(batch_size=2, schedule="constant", grad_clip=None)
        phase = Phase(
            model, sets, Plan("phase2", 1, 1e-9, 1), augment=STILL, loss=LossSettings(cls=weight), train=settings
        )
        model.train()
        phase._step(phase._stream[0])
        return torch.cat([parameter.grad.flatten() for parameter in model.backbone.parameters()])

    two, four = gradient(2.0), gradient(4.0)
    assert not torch.allclose(two, four, rtol=1e-2)


def test_progress_fits_80_columns(capsys):
    run(epochs=1)
    lines = capsys.readouterr().out.splitlines()
    assert lines and all(len(line) <= 80 for line in lines)
    assert lines[0].startswith("phase2   1/1 train ") and lines[0].endswith(" *")
