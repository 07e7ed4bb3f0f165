import math

import pytest
import torch

from panvision.data.settings import AugmentSettings
from panvision.training.curves import COLUMNS
from panvision.training.loop import Phase, Plan, TrainingError
from panvision.training.settings import LossSettings, TrainSettings
from tests.data.packed_sets import STILL
from tests.training.small import small_model, small_sets, two_box_sets


class Recorder:
    """What a phase saved and logged."""

    def __init__(self):
        self.saved, self.rows = [], []

    def save(self, model, epoch, validation):
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        self.saved.append((epoch, validation, weights))

    def log(self, row):
        self.rows.append(row)


def run(sets=None, model=None, *, epochs=2, lr=1e-3, seed=1, augment=None, loss=None, name="phase2", **train):
    sets = sets or small_sets()
    model = model or small_model(sets)
    settings = TrainSettings(**{"batch_size": 2, "schedule": "constant", **train})
    recorder = Recorder()
    phase = Phase(
        model,
        sets,
        Plan(name, epochs, lr, seed),
        augment=augment or AugmentSettings(),
        loss=loss or LossSettings(),
        train=settings,
    )
    torch.manual_seed(seed)
    phase.run(save=recorder.save, log=recorder.log)
    return recorder


def equal(one, two):
    return all(torch.equal(value, two[name]) for name, value in one.items())


def test_four_images_are_learned_by_heart():
    """Overfitting: what the model cannot do on four images it has seen, it cannot do at all."""
    sets = two_box_sets()
    last = run(
        sets,
        epochs=1,
        lr=4e-3,
        augment=STILL,
        batch_size=4,
        epoch_steps=100,
        schedule="one_cycle",
        loss=LossSettings(box="giou", state="cross_entropy"),
    ).rows[-1]
    assert last["map50"] > 0.9
    assert last["miou"] > 0.9
    assert last["accuracy"] == 1.0


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

    def scripted(self, model):
        found = validate(self, model)
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
    given |= {"epoch", "lr", "grad_norm", *(OWN_METRICS[task] for task in tasks)}
    assert set(row) == set(COLUMNS)
    assert {name for name, value in row.items() if value is not None} == given
    weights = {"seg": 1.0, "det": 1.0, "cls": 2.0}
    expected = sum(weight * validation.losses[name] for name, weight in weights.items() if name in losses)
    assert row["val_total"] == validation.losses["total"] == pytest.approx(expected)


def test_a_model_of_one_task_learns():
    sets = two_box_sets()
    model = small_model(sets, tasks=["classification"])
    last = run(sets, model, epochs=1, lr=4e-3, augment=STILL, batch_size=4, epoch_steps=40).rows[-1]
    assert last["accuracy"] == 1.0


def test_a_loss_that_is_not_finite_names_the_terms_there_are():
    sets = small_sets()
    model = small_model(sets, tasks=["segmentation"])
    with torch.no_grad():
        model.segmentation.layers[-1].bias.fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"\(seg nan, total nan\)"):
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


def test_a_loss_that_is_not_finite_stops_training_with_every_term():
    sets = small_sets()
    model = small_model(sets)
    with torch.no_grad():
        model.segmentation.layers[-1].bias.fill_(float("nan"))
    with pytest.raises(
        TrainingError, match=r"phase2, epoch 1: a loss is not finite.*seg nan.*cls .*lower train.phase2.lr"
    ):
        run(sets, model)


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
