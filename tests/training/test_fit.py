import copy
import math

import numpy as np
import pytest
import torch
from torch.optim import AdamW
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, OneCycleLR
from torch.utils._python_dispatch import TorchDispatchMode

from panvision.core.tasks import DATASETS, TASKS
from panvision.training import fit as module
from panvision.training.curves import COLUMNS, SEEN, WEIGHTS
from panvision.training.fit import fit, train_step
from panvision.training.guards import TrainingError
from panvision.training.hooks import Hook
from panvision.training.losses import averaged_terms, batch_terms, loss_names, task_losses, whole_counts
from panvision.training.losses import objective as objective_module
from panvision.training.losses.objective import Objective
from panvision.training.losses.terms import CountAverage
from panvision.training.settings import LossSettings
from panvision.training.state import start
from tests.training.data.packed_sets import STILL
from tests.training.small import plan, small_model, small_sets, thin_backbones


@pytest.fixture(autouse=True)
def thin(monkeypatch):
    thin_backbones(monkeypatch)


class Recorder(Hook):
    """Keeps rows, the weights of every better model, and its validation."""

    def __init__(self):
        self.saved, self.rows = [], []

    def after_epoch(self, state, result):
        if result.row is not None:
            self.rows.append(result.row)
        if result.kept:
            weights = {name: value.clone() for name, value in state.shipped.state_dict().items()}
            self.saved.append((state.epoch, result.validation, weights))


class Run:
    """A phase with its state, not yet trained."""

    def __init__(self, sets=None, model=None, **settings):
        self.sets = sets or small_sets()
        self.phase = plan(self.sets, **settings)
        self.model = model or small_model(self.sets)
        self.state = start(self.model, self.phase)
        self.recorder = Recorder()
        torch.manual_seed(self.phase.seed)

    @property
    def objective(self):
        return Objective(self.model, self.state.loss_weights, self.phase.context(self.model), self.phase.train)

    def batch(self, number):
        return self.phase.stream(self.model, 0)[number]

    def step(self, *numbers):
        return train_step(self.state, self.objective, [self.batch(number) for number in numbers], self.phase)

    def fit(self):
        fit(self.state, self.phase, [self.recorder])
        return self.recorder

    def fails(self):
        with pytest.raises(TrainingError) as error:
            self.fit()
        return str(error.value)


def run(*args, **settings):
    return Run(*args, **settings).fit()


@pytest.fixture
def taken(monkeypatch):
    """The batches of every optimiser step that is taken."""
    steps = []

    def counted(state, objective, batches, phase):
        steps.append(batches)
        return train_step(state, objective, batches, phase)

    monkeypatch.setattr(module, "train_step", counted)
    return steps


def breaks_at(monkeypatch, number, name="seg", value=float("nan"), once=False):
    """Make a loss non-finite from forward pass `number` on, counted from 0."""
    passes = []

    def broken(*args):
        losses = task_losses(*args)
        passes.append(len(passes))
        if passes[-1] == number or (passes[-1] > number and not once):
            losses[name] = losses[name] * value
        return losses

    monkeypatch.setattr(objective_module, "task_losses", broken)


def equal(one, two):
    return all(torch.equal(value, two[name]) for name, value in one.items())


def frozen(sets):
    """A model whose BatchNorm does not see which images share a batch."""
    model = small_model(sets)
    model.backbone.freeze(weights=False, batch_norm=True)
    return model


class TestEpochs:
    def test_epoch_is_one_pass_over_the_largest_dataset(self, taken):
        run(small_sets((7, 3, 2)), epochs=1)
        assert len(taken) == 4
        assert sorted({row for (batch,) in taken for row in batch.rows["segmentation"]}) == list(range(7))

    def test_epoch_steps_sets_the_length(self, taken):
        run(epochs=2, epoch_steps=3)
        assert len(taken) == 6

    def test_epoch_counts_optimiser_steps(self, taken):
        run(small_sets((13, 3, 2)), epochs=1, accumulate=3)
        assert [len(batches) for batches in taken] == [3, 3, 3]  # 13 images, 6 a step
        assert {row for batches in taken for batch in batches for row in batch.rows["segmentation"]} == set(range(13))

    @pytest.mark.parametrize(("task", "steps"), [("segmentation", 4), ("detection", 2), ("classification", 1)])
    def test_single_task_passes_its_own_dataset(self, taken, task, steps):
        sets = small_sets((7, 3, 2))
        run(sets, small_model(sets, tasks=[task]), epochs=1)
        assert len(taken) == steps and all(set(batch.images) == {task} for (batch,) in taken)

    def test_backbone_runs_once_per_step(self):
        sets = small_sets()
        model = small_model(sets)
        seen = []
        model.backbone.register_forward_hook(lambda own, args, output: seen.append((own.training, len(args[0]))))
        run(sets, model, epochs=1, epoch_steps=2)
        assert [images for training, images in seen if training] == [6, 6]

    def test_min_steps_lengthens_the_epochs_of_a_small_dataset(self, taken):
        run(small_sets((7, 3, 2)), epochs=2, min_steps=9)
        assert len(taken) == 10
        run(small_sets((7, 3, 2)), epochs=2, min_steps=3)
        assert len(taken) == 10 + 8

    @pytest.mark.parametrize(("select", "kept"), [("best", [1, 2, 5]), ("last", [1, 2, 3, 4, 5, 6, 7, 8])])
    def test_best_validation_is_kept_and_patience_ends_the_phase(self, monkeypatch, select, kept):
        """The best has the highest mean of the metrics; of equal ones the lowest loss."""
        scripts = iter([(0.2, 5), (0.4, 6), (0.4, 6), (0.3, 1), (0.4, 5), (0.3, 1), (0.2, 1), (0.4, 5), (0.9, 1)])
        validate = module.validate

        def scripted(*given, **named):
            found = validate(*given, **named)
            score, found.losses["total"] = next(scripts)
            found.metrics.update(miou=score, map50=None, accuracy=score)
            return found

        monkeypatch.setattr(module, "validate", scripted)
        recorder = run(epochs=9, epoch_steps=1, patience=3, select=select)
        assert [epoch for epoch, _, _ in recorder.saved] == kept
        assert len(recorder.rows) == 8

    def test_without_epochs_the_model_is_kept_unchanged(self):
        sets = small_sets()
        model = small_model(sets)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        recorder = run(sets, model, epochs=0)
        assert len(recorder.saved) == 1 and recorder.rows == []
        assert equal(before, recorder.saved[0][2])

    def test_warmup_must_fit_the_phase(self):
        rows = run(epochs=2, epoch_steps=2, warmup_steps=2).rows
        assert rows[0]["lr"] == pytest.approx(0.5e-3, rel=0.01) and rows[1]["lr"] == 1e-3
        with pytest.raises(TrainingError, match=r"phase2: train.warmup_steps is 4, but the phase has 4 optimiser"):
            Run(epochs=2, epoch_steps=2, warmup_steps=4)
        assert run(epochs=0, warmup_steps=4).saved


class TestRows:
    def test_every_column_is_finite(self):
        row = run(epochs=1, loss=LossSettings(mask_class=small_sets().det_classes[0])).rows[0]
        assert set(row) == set(COLUMNS)
        assert all(math.isfinite(value) for value in row.values())
        assert row["lr"] == 1e-3 and row["epoch"] == 1

    @pytest.mark.parametrize(
        ("tasks", "losses", "metrics"),
        [
            (["segmentation"], {"seg", "seg_bce", "seg_dice"}, {"miou"}),
            (["detection"], {"det", "det_class", "det_box", "det_centerness"}, {"map50"}),
            (["segmentation", "classification"], {"seg", "seg_bce", "seg_dice", "cls"}, {"miou", "accuracy"}),
        ],
    )
    def test_absent_tasks_have_empty_columns(self, tasks, losses, metrics):
        sets = small_sets()
        recorder = run(sets, small_model(sets, tasks=tasks), epochs=1, ema_decay=0.5)
        row, validation = recorder.rows[0], recorder.saved[0][1]
        given = {f"{part}_{name}" for part in ("train", "val") for name in losses | {"total"}}
        given |= {"epoch", "lr", "backbone_lr", "score", "grad_norm", *metrics} | {f"seen_{task}" for task in tasks}
        given |= {f"{part}_{name}" for part in ("weight", "grad_norm") for name in losses & {"seg", "det", "cls"}}
        assert {name for name, value in row.items() if value is not None} == given
        weights = {"seg": 1.0, "det": 1.0, "cls": 2.0}
        expected = sum(weight * validation.losses[name] for name, weight in weights.items() if name in losses)
        assert row["val_total"] == validation.losses["total"] == pytest.approx(expected)

    def test_times_seen_are_the_mean_passes_so_far(self, taken):
        rows = run(epochs=2, epoch_steps=2, accumulate=2).rows
        for dataset, size in zip(DATASETS, (6, 5, 4), strict=True):
            drawn = [row for batches in taken for batch in batches for row in batch.rows[dataset]]
            assert rows[0][f"seen_{dataset}"] == len(drawn) / 2 / size
            assert rows[1][f"seen_{dataset}"] == len(drawn) / size
            counts = np.bincount(drawn, minlength=size)
            assert {*counts} <= {math.floor(len(drawn) / size), math.ceil(len(drawn) / size)}

    def test_learned_weights_move_and_do_not_choose_the_model(self):
        recorder = run(loss=LossSettings(weighting="uncertainty", cls=2.0), epochs=2, lr=1e-2)
        weights = [[row[name] for name in WEIGHTS] for row in recorder.rows]
        assert weights[0] != weights[1] and weights[0][0] != 1.0
        for row in recorder.rows:
            for part in ("train", "val"):
                fixed = row[f"{part}_seg"] + row[f"{part}_det"] + 2 * row[f"{part}_cls"]
                assert row[f"{part}_total"] == pytest.approx(fixed, rel=1e-4)
        assert not equal(recorder.saved[0][2], run(epochs=2, lr=1e-2).saved[0][2])

    def test_fixed_weights_are_the_settings(self):
        assert [run(epochs=1, loss=LossSettings(seg=0.5)).rows[0][name] for name in WEIGHTS] == [0.5, 1.0, 2.0]

    def test_gradients_are_clipped_after_their_norm_is_logged(self):
        free, clipped = run(epochs=1, grad_clip=None), run(epochs=1, grad_clip=1e-6)
        assert clipped.rows[0]["grad_norm"] > 1e-3
        assert free.rows[0]["train_total"] != clipped.rows[0]["train_total"]

    def test_progress_fits_80_columns(self, capsys):
        run(epochs=1)
        lines = capsys.readouterr().out.splitlines()
        assert lines and all(len(line) <= 80 for line in lines)
        assert lines[0].startswith("phase2   1/1 train ") and lines[0].endswith(" *")


class TestRepeat:
    @pytest.mark.parametrize("workers", [0, 2])
    @pytest.mark.process
    def test_same_seed_gives_the_same_weights(self, workers):
        first, again = run(workers=0), run(workers=workers)
        assert equal(first.saved[-1][2], again.saved[-1][2])
        assert first.rows == again.rows
        assert not equal(first.saved[-1][2], run(seed=2).saved[-1][2])

    def test_frozen_backbone_keeps_every_bit(self):
        sets = small_sets()
        model = small_model(sets)
        model.backbone.freeze(weights=True, batch_norm=True)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        after = run(sets, model).saved[-1][2]
        changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
        assert changed == {"fpn", *TASKS}

    @pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle"])
    def test_defaults_train_like_a_plain_loop_bit_for_bit(self, schedule):
        """AdamW, PyTorch's schedule, clipped gradients; nothing of what can be switched on leaves a trace."""
        own = Run(epochs=1, epoch_steps=5, schedule=schedule)
        own.fit()
        model = small_model(own.sets).train()
        parameters = [each for each in model.parameters() if each.requires_grad]
        groups = [[each for each in parameters if each.ndim >= 2], [each for each in parameters if each.ndim < 2]]
        decays = [{"params": groups[0], "weight_decay": 1e-4}, {"params": groups[1], "weight_decay": 0.0}]
        optimizer = AdamW(decays, lr=1e-3, fused=True)
        schedules = {
            "constant": lambda: ConstantLR(optimizer, factor=1.0),
            "cosine": lambda: CosineAnnealingLR(optimizer, T_max=5, eta_min=1e-3 * 0.01),
            "one_cycle": lambda: OneCycleLR(optimizer, max_lr=1e-3, total_steps=5, cycle_momentum=False),
        }
        theirs = schedules[schedule]()
        counts = CountAverage(averaged_terms())
        torch.manual_seed(1)
        for step in range(5):
            batch = own.batch(step)
            outputs = model(torch.cat(list(batch.images.values())), list(TASKS), dict.fromkeys(DATASETS, 2))
            context = own.phase.context(model)
            averaged = counts.update(whole_counts([batch], list(TASKS), context))
            losses = task_losses(batch_terms(outputs, batch, context), LossSettings(), averaged)
            optimizer.zero_grad()
            losses["total"].backward()
            torch.nn.utils.clip_grad_norm_([*groups[0], *groups[1]], 1.0)
            optimizer.step()
            theirs.step()
        assert equal(model.state_dict(), own.model.state_dict())

    def test_restored_state_continues_bit_for_bit(self):
        settings = {"epochs": 2, "epoch_steps": 2, "ema_decay": 0.9, "schedule": "one_cycle"}
        first = Run(loss=LossSettings(weighting="uncertainty"), **settings)
        first.model.train()
        first.step(0)
        state = copy.deepcopy(first.state.state_dict())
        first.step(1)
        second = Run(loss=LossSettings(weighting="uncertainty"), **settings)
        second.state.load_state_dict(state)
        second.model.train()
        second.step(1)
        assert equal(second.model.state_dict(), first.model.state_dict())
        assert equal(second.state.shipped.state_dict(), first.state.shipped.state_dict())

    @pytest.mark.slow
    def test_compiled_phase_keeps_names_and_values(self, monkeypatch):
        original, models = torch.compile, []

        def compile_it(model, **options):
            """torch.compile follows the model, and then calls PyTorch's own operations."""
            models.append(model)
            return original(model, **options, backend="eager")

        monkeypatch.setattr("torch.compile", compile_it)
        plain = run(epochs=2, epoch_steps=2)
        assert models == []
        whole = run(epochs=2, epoch_steps=2, compile=True)
        assert len(models) == 1
        assert whole.saved[-1][2].keys() == plain.saved[-1][2].keys()
        for name, value in plain.saved[-1][2].items():
            torch.testing.assert_close(whole.saved[-1][2][name], value, msg=name)


class TestAveraging:
    def test_averaged_model_is_what_is_kept(self):
        sets = small_sets()
        model = small_model(sets)
        saved = run(sets, model, ema_decay=0.9, epochs=1).saved[-1][2]
        assert saved.keys() == model.state_dict().keys()
        assert not equal(saved, model.state_dict())

    def test_averaged_model_follows_batch_norm_statistics(self):
        sets = small_sets()
        model = small_model(sets)
        before = model.backbone.bn1.running_mean.clone()
        saved = run(sets, model, ema_decay=0.9, epochs=1).saved[-1][2]
        averaged, trained = saved["backbone.bn1.running_mean"], model.state_dict()["backbone.bn1.running_mean"]
        assert not torch.equal(averaged, before) and not torch.equal(averaged, trained)
        assert saved["backbone.bn1.num_batches_tracked"] == model.backbone.bn1.num_batches_tracked == 3


class TestNotFinite:
    # Losses with loss.mask_class are absent without it.
    NAMES = ({*loss_names()} - {"seg_boxes", "det_masks"}) | {"grad_norm"}

    def test_loss_stops_training_with_every_term_and_the_files(self):
        own = Run()
        with torch.no_grad():
            own.model.segmentation.classifier.bias.fill_(float("nan"))
        message = own.fails()
        first, *rest = message.splitlines()
        assert first == "phase2, epoch 1, step 1 of 3: a loss is not finite"
        values = " ".join(message.split())
        assert all(f" {name} " in values for name in self.NAMES) and " seg nan" in values
        assert "lower train.phase2.lr or train.grad_clip; look at these files" in rest[-1]
        assert all(len(line) <= 80 for line in message.splitlines())
        assert own.recorder.saved == [] and own.recorder.rows == []

    @pytest.mark.parametrize("check_every", [1, 10])
    @pytest.mark.parametrize("accumulate", [1, 2])
    def test_files_are_those_of_the_first_bad_step(self, monkeypatch, check_every, accumulate):
        """A GPU reads its values every ten steps; the message is the same."""
        breaks_at(monkeypatch, 6 * accumulate)  # of five steps, and of the first epoch's gradient norms
        monkeypatch.setitem(module.CHECK_EVERY, "cpu", check_every)
        own = Run(epochs=3, epoch_steps=4, accumulate=accumulate)
        message = own.fails()
        assert message.startswith("phase2, epoch 2, step 2 of 4: a loss is not finite\n  seg_bce ")
        assert " seg nan, " in " ".join(message.split())
        for dataset, packed in own.sets.packed.items():
            numbers = range(5 * accumulate, 6 * accumulate)
            files = [packed.files[row] for number in numbers for row in own.batch(number).rows[dataset]]
            assert f"  {dataset}: {', '.join(files)}\n" in message
        assert [epoch for epoch, _, _ in own.recorder.saved] == [1]

    def test_gradient_stops_training(self):
        own = Run()
        next(own.model.fpn.parameters()).register_hook(lambda gradient: gradient * float("inf"))
        assert own.fails().startswith("phase2, epoch 1, step 1 of 3: the gradient is not finite\n")
        assert own.recorder.saved == []

    def test_step_that_the_scaler_skips_leaves_no_trace(self, monkeypatch):
        own = Run(epochs=1, epoch_steps=2)
        hook = next(own.model.fpn.parameters()).register_hook(lambda gradient: gradient * float("inf"))
        own.state.scaler = torch.amp.GradScaler("cpu", init_scale=4.0)

        def skipped_once(*given):
            values = train_step(*given)
            hook.remove()
            return values

        monkeypatch.setattr(module, "train_step", skipped_once)
        recorder = own.fit()
        assert own.state.scaler.get_scale() == 2.0
        assert 0 < recorder.rows[0]["grad_norm"] < 1e6

    def test_gradient_that_no_scale_makes_finite_stops_training(self):
        own = Run(epochs=1, epoch_steps=9)
        next(own.model.fpn.parameters()).register_hook(lambda gradient: gradient * float("inf"))
        own.state.scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
        # 4, 2 and 1 are scales that may have been too large; the fourth step's is a half.
        assert own.fails().startswith("phase2, epoch 1, step 4 of 9: the gradient is not finite\n")

    @pytest.mark.parametrize("epochs", [0, 1])
    def test_validation_names_its_files_and_keeps_no_model(self, epochs):
        own = Run(epochs=epochs)
        own.model.classification.register_forward_hook(
            lambda head, _, logits: None if head.training else logits * float("nan")
        )
        message = own.fails()
        assert message.startswith("phase2: the validation loss is not finite\n") and "total nan" in message
        assert "  classification: " in message and "detection: " not in message
        assert own.recorder.saved == []


class Waits(TorchDispatchMode):
    """Counts what would make a GPU wait: reading a number, or a shape that depends on the data."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero):
            self.found.append(func)
        return func(*args, **(kwargs or {}))


class TestTrainStep:
    @pytest.mark.parametrize("more", [{}, {"accumulate": 2, "ema_decay": 0.9, "warmup_steps": 2, "schedule": "cosine"}])
    @pytest.mark.parametrize("weighting", ["fixed", "uncertainty"])
    def test_never_waits_for_the_device(self, more, weighting):
        own = Run(loss=LossSettings(weighting=weighting), **more)
        objective, batches = own.objective, [own.batch(number) for number in range(more.get("accumulate", 1))]
        with Waits() as waits:
            for step in range(2):
                values = train_step(own.state, objective, batches, own.phase)
                own.state.guard.note(step, values)
                own.state.means.add(values)
                own.state.schedule.rates()
        assert waits.found == []
        with waits:
            own.state.guard.find()
        assert waits.found  # the counter counts

    @pytest.mark.parametrize("weighting", ["fixed", "uncertainty"])
    def test_accumulation_has_the_gradient_of_a_large_batch(self, weighting):
        sets = small_sets()
        # Parts differ in what detection is divided by: one has an image without boxes.
        sets.packed["detection"].boxes[1] = np.zeros((0, 4), np.float32)
        sets.packed["detection"].labels[1] = np.zeros(0, np.int64)
        found = []
        for batch_size, accumulate in ((4, 1), (2, 2), (1, 4)):
            settings = {"batch_size": batch_size, "accumulate": accumulate, "grad_clip": None}
            own = Run(sets, frozen(sets), loss=LossSettings(weighting=weighting), **settings)
            own.model.train()
            values = own.step(*range(accumulate))
            trained = [*own.model.parameters(), *own.state.loss_weights.parameters()]
            found.append((values, torch.cat([each.grad.flatten() for each in trained if each.requires_grad])))
        (values, gradient), *others = found
        for other_values, other in others:
            assert torch.allclose(other, gradient, rtol=1e-3, atol=1e-5 * float(gradient.abs().max()))
            assert {name: float(value) for name, value in other_values.items()} == pytest.approx(
                {name: float(value) for name, value in values.items()}, rel=1e-4
            )

    def test_accumulated_batches_train_like_one_large_batch(self):
        sets = small_sets((7, 5, 4))
        loss = LossSettings(dice=0.5, mask_class=sets.det_classes[0])
        large = run(sets, frozen(sets), batch_size=4, epochs=2, schedule="cosine", loss=loss)
        small = run(sets, frozen(sets), batch_size=2, accumulate=2, epochs=2, schedule="cosine", loss=loss)
        for one, other in zip(large.rows, small.rows, strict=True):
            assert one == pytest.approx(other, rel=1e-2, abs=1e-3)
            assert [one[name] for name in (*SEEN, "lr")] == [other[name] for name in (*SEEN, "lr")]
        assert large.rows[0] != run(sets, frozen(sets), batch_size=2, epochs=2, schedule="cosine", loss=loss).rows[0]

    def test_class_weight_acts_on_the_backbone(self):
        """AdamW makes a head alone nearly independent of its weight; the shared backbone's gradient depends on it."""

        def gradient(weight):
            own = Run(loss=LossSettings(cls=weight), augment=STILL, grad_clip=None)
            own.model.train()
            own.step(0)
            return torch.cat([parameter.grad.flatten() for parameter in own.model.backbone.parameters()])

        assert not torch.allclose(gradient(2.0), gradient(4.0), rtol=1e-2)
