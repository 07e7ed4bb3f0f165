"""Training of one phase: steps, validation, the best epoch, early stopping."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from panvision.core.tasks import TASKS
from panvision.training.curves import epoch_line, epoch_row
from panvision.training.data.batches import Batch
from panvision.training.data.stream import training_batches
from panvision.training.devices import restore_random_state
from panvision.training.guards import Means, check_finite, excused_values, validation_not_finite
from panvision.training.hooks import EpochResult, Hook
from panvision.training.losses import whole_counts
from panvision.training.losses.objective import Objective
from panvision.training.optimisation import trained_weights
from panvision.training.state import Phase, TrainState
from panvision.training.validation import Validation, validate

# Steps between two reads of the losses on a GPU, which each make it wait.
REFRESH = 10
# Steps between two checks that all values are finite, by kind of device. A CPU has nothing to wait for.
CHECK_EVERY = {"cpu": 1}


def train_step(state: TrainState, objective: nn.Module, batches: Sequence[Batch], phase: Phase) -> dict[str, Tensor]:
    """Take one optimiser step over batches that count as one, and return its losses and gradient norm, () each.

    Nothing waits for a GPU.
    """
    state.optimizer.zero_grad(set_to_none=True)
    values = _backward(state, objective, batches, phase)
    state.scaler.unscale_(state.optimizer)
    limit = math.inf if phase.train.grad_clip is None else phase.train.grad_clip
    grad_norm = torch.nn.utils.clip_grad_norm_(trained_weights(state.model), limit)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.schedule.step()
    if state.ema is not None:
        state.ema.update(state.model)
    return values | {"grad_norm": grad_norm.detach()}


def _backward(state: TrainState, objective: nn.Module, batches: Sequence[Batch], phase: Phase) -> dict[str, Tensor]:
    """Compute gradients and losses of all batches, and of all ranks' shards of them, as if they were one."""
    ranks, parts = phase.ranks, len(batches) * phase.ranks.size
    counts = state.counts.update(_counts(state, batches, phase))
    sums: dict[str, Tensor] = {}
    for number, batch in enumerate(batches, 1):
        # Gradients are exchanged once, with the last batch.
        waits = isinstance(objective, DistributedDataParallel) and number < len(batches)
        with objective.no_sync() if waits else contextlib.nullcontext():  # type: ignore[operator]
            value, losses = objective(batch, counts, parts)
            # DDP divides by the number of ranks, and the objectives are parts of a sum.
            state.scaler.scale(value if ranks.size == 1 else value * ranks.size).backward()
        for name, loss in losses.items():
            sums[name] = sums[name] + loss.detach() if name in sums else loss.detach()
    if ranks.size > 1:
        own = ~torch.stack(list(sums.values())).isfinite().all()
        sums |= {f"rank {rank}": own.float() * (rank == ranks.rank) for rank in range(ranks.size)}
        ranks.add_up(list(sums.values()))
    return sums


def _counts(state: TrainState, batches: Sequence[Batch], phase: Phase) -> dict[str, Tensor]:
    """Return the counts of all terms over all batches and all ranks' shards of them."""
    counts = whole_counts(batches, state.model.tasks, phase.context(state.model))
    phase.ranks.add_up(list(counts.values()))
    return counts


def fit(
    state: TrainState, phase: Phase, hooks: Sequence[Hook] = (), *, random_state: dict[str, Any] | None = None
) -> None:
    """Train until the last epoch, or until `patience` epochs brought no better validation score.

    Args:
        state: where the phase is; a restored one continues.
        phase: what to do.
        hooks: called after steps, between batches of a validation, and after epochs, in their order.
        random_state: of the random generators, of a restored state.

    Raises:
        TrainingError: a loss or a gradient is not finite; the message names the batch's files.
    """
    if phase.epochs == 0:
        validation = _validate(state, phase, hooks)
        _after_epoch(hooks, state, EpochResult(row=None, validation=validation, kept=True))
        return
    steps = phase.epoch_steps(state.model)
    accumulate = phase.train.accumulate
    batches = training_batches(
        phase.stream(state.model, phase.ranks.rank),
        start=state.step * accumulate,
        stop=phase.epochs * steps * accumulate,
        workers=phase.train.workers,
        pin_memory=phase.ranks.device.type == "cuda",
    )
    objective = phase.ranks.wrap(Objective(state.model, state.loss_weights, phase.context(state.model), phase.train))
    if random_state is not None:
        # After the loader was made: it draws a number itself.
        restore_random_state(random_state, phase.ranks.device)
    while state.epoch < phase.epochs and state.stale < phase.train.patience:
        learned = _train_epoch(state, phase, objective, batches, hooks)
        validation = _validate(state, phase, hooks)
        state.epoch, state.means = state.epoch + 1, Means()
        score, loss = validation.score, validation.losses["total"]
        better = (score, -loss) > (state.best[0], -state.best[1])
        state.best, state.stale = ((score, loss), 0) if better else (state.best, state.stale + 1)
        if phase.ranks.leads:
            print(epoch_line(phase.name, state.epoch, phase.epochs, learned, validation, better=better), flush=True)
        kept = better or phase.train.select == "last"
        _after_epoch(hooks, state, EpochResult(epoch_row(state.epoch, learned, validation), validation, kept))
    if state.stale >= phase.train.patience and phase.ranks.leads:
        print(f"{phase.name}: {state.stale} epochs without a better validation score; stopped", flush=True)


def _train_epoch(
    state: TrainState, phase: Phase, objective: nn.Module, batches: Iterator[Batch], hooks: Sequence[Hook]
) -> dict[str, float]:
    """Take the remaining steps of an epoch; return its mean values, last rates, loss weights, and passes."""
    state.model.train()
    steps, device = phase.epoch_steps(state.model), phase.ranks.device
    done, excused = state.step - state.epoch * steps, excused_values(state.scaler)
    title = f"{phase.name} {state.epoch + 1}/{phase.epochs}"
    hidden = None if phase.ranks.leads else True
    with tqdm(total=steps, initial=done, desc=title, leave=False, disable=hidden, dynamic_ncols=True) as bar:
        for step in range(done + 1, steps + 1):
            state.rates = state.schedule.rates()
            own = [next(batches).to(device) for _ in range(phase.train.accumulate)]
            values = train_step(state, objective, own, phase)
            state.guard.note(state.step, values, excused=excused)
            state.means.add(values)
            state.step += 1
            if step % CHECK_EVERY.get(device.type, REFRESH) == 0 or step == steps:
                check_finite(state, phase)
                excused = excused_values(state.scaler)
            if step == steps:
                state.norms = _task_norms(state, objective, own, phase)
            if step % REFRESH == 0 or step == steps:
                learned = state.means.read()
                bar.set_postfix_str(
                    " ".join(f"{spec.loss} {learned[spec.loss]:.3f}" for spec in TASKS.values() if spec.loss in learned)
                )
                bar.update(step - bar.n)
            for hook in hooks:
                hook.after_step(state)
    learned = state.means.read() | state.norms
    drawn = state.step * phase.train.accumulate * phase.train.batch_size
    passes = {f"seen_{dataset}": drawn / size for dataset, size in phase.datasets(state.model).items()}
    return learned | state.rates | state.loss_weights.current(learned) | passes


def _task_norms(state: TrainState, objective: nn.Module, batches: Sequence[Batch], phase: Phase) -> dict[str, float]:
    """Return the norm of each weighted task loss's gradient on the backbone, `grad_norm_<loss>`, over a whole batch."""
    own: Any = objective.module if isinstance(objective, DistributedDataParallel) else objective
    counts = state.counts.divisors(_counts(state, batches, phase))  # those that the steps divide by
    sums: dict[str, Tensor] = {}
    for batch in batches:
        for name, gradient in own.task_gradients(batch, counts).items():
            sums[name] = sums[name] + gradient if name in sums else gradient
    for gradient in sums.values():
        phase.ranks.add_up([gradient])
    return {f"grad_norm_{name}": float(gradient.norm()) for name, gradient in sums.items()}


def _validate(state: TrainState, phase: Phase, hooks: Sequence[Hook]) -> Validation:
    def between() -> None:
        for hook in hooks:
            hook.between_batches(state)

    context = phase.context(state.model)
    phase.ranks.share_buffers(state.shipped)
    found = validate(state.shipped, phase.sets, context, phase.train, ranks=phase.ranks, between=between)
    if not math.isfinite(found.losses["total"]):
        raise validation_not_finite(phase.name, found.losses, found.unsound)
    return found


def _after_epoch(hooks: Sequence[Hook], state: TrainState, result: EpochResult) -> None:
    for hook in hooks:
        hook.after_epoch(state, result)
