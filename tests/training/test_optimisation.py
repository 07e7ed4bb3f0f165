import contextlib

import pytest
import torch
from torch import nn

from panvision.training.optimisation import Precision, make_average, make_optimizer, make_schedule
from panvision.training.settings import TrainSettings


def small_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def rates(schedule, steps, lr=0.1):
    optimizer = make_optimizer(small_model(), lr, 0.0)
    scheduler = make_schedule(optimizer, TrainSettings(schedule=schedule), lr, steps)
    seen = []
    for _ in range(steps):
        seen.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return seen


def test_only_weights_with_two_dimensions_decay():
    model = small_model()
    decaying, rest = make_optimizer(model, 1e-3, 0.05).param_groups
    assert {tuple(weight.shape) for weight in decaying["params"]} == {(4, 3, 3, 3), (2, 4)}
    assert decaying["weight_decay"] == 0.05 and rest["weight_decay"] == 0
    assert len(decaying["params"]) + len(rest["params"]) == len(list(model.parameters()))


def test_what_is_frozen_is_not_optimised():
    model = small_model()
    model[0].requires_grad_(False)
    assert sum(len(group["params"]) for group in make_optimizer(model, 1e-3, 0.0).param_groups) == 4


def test_constant_stays():
    assert rates("constant", 10) == pytest.approx([0.1] * 10)


def test_cosine_falls_from_the_peak_to_a_hundredth():
    seen = rates("cosine", 100)
    assert (
        seen[0] == pytest.approx(0.1)
        and seen[50] == pytest.approx(0.0505)
        and seen[-1] == pytest.approx(0.001, rel=0.05)
    )
    assert seen == sorted(seen, reverse=True)


def test_one_cycle_rises_to_the_peak_and_falls():
    seen = rates("one_cycle", 100)
    assert max(seen) == pytest.approx(0.1, rel=1e-3) and seen[0] == pytest.approx(0.004) and seen[-1] < 1e-4
    assert 25 < seen.index(max(seen)) < 35


def test_one_step_suffices_for_every_schedule():
    for schedule in ("constant", "cosine", "one_cycle"):
        assert len(rates(schedule, 1)) == 1


def test_a_cpu_never_computes_in_half_precision():
    precision = Precision(torch.device("cpu"), "auto")
    assert isinstance(precision.autocast(), contextlib.nullcontext)
    assert not precision.scaler.is_enabled()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("amp", "half"), [("auto", True), ("off", False)])
def test_a_gpu_computes_in_half_precision_unless_told_not_to(amp, half):
    device = torch.device("cuda")
    with Precision(device, amp).autocast():
        product = torch.ones(2, 2, device=device) @ torch.ones(2, 2, device=device)
    assert (product.dtype != torch.float32) is half


def test_no_average_without_a_decay():
    assert make_average(small_model(), 0.0) is None


def test_the_average_follows_fast_at_first_and_slowly_later():
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = make_average(model, 0.9)
    average.update_parameters(model)
    nn.init.ones_(model.weight)
    average.update_parameters(model)
    # The second update: decay (1 + 1) / (10 + 1).
    assert average.module.weight.item() == pytest.approx(1 - 2 / 11)
    for _ in range(200):
        average.update_parameters(model)
    nn.init.zeros_(model.weight)
    average.update_parameters(model)
    assert average.module.weight.item() == pytest.approx(0.9, abs=1e-4)


def test_frozen_batch_norm_stays_bit_equal_in_the_average_and_counters_stay_whole():
    model = small_model()
    before = {name: value.clone() for name, value in model[1].state_dict().items()}
    average = make_average(model, 0.99)
    for _ in range(5):
        average.update_parameters(model)
    for name, value in average.module[1].state_dict().items():
        assert torch.equal(value, before[name]) and value.dtype == before[name].dtype
