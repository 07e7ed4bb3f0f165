import contextlib
import itertools
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR

from panvision.core.params import ParamsError
from panvision.model.backbones import make_backbone
from panvision.training.optimisation import (
    WARMUP_START,
    MovingAverage,
    Precision,
    Schedule,
    backbone_shares,
    make_optimizer,
    trained_weights,
)
from panvision.training.settings import TrainSettings
from tests.training import small


def small_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def test_only_weights_with_two_dimensions_decay():
    model = small_model()
    decaying, rest = make_optimizer(model, 1e-3, 0.05).param_groups
    assert {tuple(weight.shape) for weight in decaying["params"]} == {(4, 3, 3, 3), (2, 4)}
    assert decaying["weight_decay"] == 0.05 and rest["weight_decay"] == 0
    assert len(decaying["params"]) + len(rest["params"]) == len(list(model.parameters()))


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_a_step_is_the_plain_one_in_either_memory_layout(layout):
    """PyTorch's fused AdamW takes numbers in memory order; a gradient must have the weight's memory format."""
    ours, plain = small_model().to(memory_format=layout), small_model()
    optimizers = [make_optimizer(ours, 1e-2, 0.0), torch.optim.AdamW(plain.parameters(), lr=1e-2, weight_decay=0.0)]
    x = torch.randn(2, 3, 3, 3)
    for _ in range(3):
        for model, optimizer in zip((ours, plain), optimizers, strict=True):
            optimizer.zero_grad()
            model.eval()(x.to(memory_format=layout)).square().sum().backward()
            optimizer.step()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, msg=name)


def test_what_is_frozen_is_not_optimised():
    model = small_model()
    model[0].requires_grad_(False)
    assert sum(len(group["params"]) for group in make_optimizer(model, 1e-3, 0.0).param_groups) == 4


def test_a_cpu_never_computes_in_half_precision():
    precision = Precision(torch.device("cpu"), "auto")
    assert isinstance(precision.autocast(), contextlib.nullcontext)
    assert not precision.make_scaler().is_enabled()


@pytest.mark.parametrize(("capability", "dtype"), [(7, torch.float16), (8, torch.bfloat16)])
def test_precision_is_bfloat16_only_where_native(monkeypatch, capability, dtype):
    """A T4 or V100 (capability 7) emulates bfloat16."""
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(major=capability))
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda _: True)
    precision = Precision(torch.device("cuda"), "auto")
    # A GPU need not be there to ask autocast what it would compute in; the scaler switches itself off without one.
    monkeypatch.setattr(torch, "autocast", lambda kind, dtype: contextlib.nullcontext((kind, dtype)))
    monkeypatch.setattr(torch.amp, "GradScaler", lambda kind, enabled: (kind, enabled))
    with precision.autocast() as chosen:
        assert chosen == ("cuda", dtype)
    assert precision.make_scaler() == ("cuda", dtype == torch.float16)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("amp", "half"), [("auto", True), ("off", False)])
def test_a_gpu_uses_half_precision_by_default(amp, half):
    device = torch.device("cuda")
    with Precision(device, amp).autocast():
        product = torch.ones(2, 2, device=device) @ torch.ones(2, 2, device=device)
    assert (product.dtype != torch.float32) is half


def test_the_backbone_has_groups_of_its_own_with_its_own_rate():
    model = small.small_model(small.small_sets())
    shares = backbone_shares(model, 0.1, 1.0)
    groups = make_optimizer(model, 1e-3, 0.05, shares=shares).param_groups
    backbone = {id(parameter) for parameter in model.backbone.parameters()}
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert set(rates) == {id(parameter) for parameter in model.parameters()}
    assert all(rate == pytest.approx(1e-4 if parameter in backbone else 1e-3) for parameter, rate in rates.items())
    assert all((group["weight_decay"] == 0.05) is (group["params"][0].ndim >= 2) for group in groups)


def test_without_a_rate_of_its_own_the_backbone_has_the_others():
    model = small.small_model(small.small_sets())
    assert {group["lr"] for group in make_optimizer(model, 1e-3, 0.0).param_groups} == {1e-3}


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0", "mobilenet_v2", "convnext_tiny"])
def test_layer_decay_lowers_the_rate_of_each_earlier_stage(name):
    backbone = make_backbone(name)
    stages = backbone.stages()
    assert stages.keys() == {name for name, _ in backbone.named_parameters()} and {*stages.values()} == {0, 1, 2, 3}
    model = SimpleNamespace(backbone=backbone)
    shares = backbone_shares(model, 0.5, 0.5)
    assert {stages[name.removeprefix("backbone.")]: share for name, share in shares.items()} == {
        3: 0.5, 2: 0.25, 1: 0.125, 0: 0.0625
    }  # fmt: skip
    features = backbone.eval()(torch.ones(1, 3, 32, 32))
    with torch.no_grad():
        for own, parameter in backbone.named_parameters():
            if stages[own] > 1:
                parameter.zero_()
    changed = backbone(torch.ones(1, 3, 32, 32))
    assert [torch.equal(*pair) for pair in zip(features, changed, strict=True)] == [True, True, False, False]


def test_stages_leave_mode_and_statistics_unchanged():
    backbone = make_backbone("resnet10").train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    backbone.stages()
    assert backbone.training and backbone.bn1.training
    assert all(torch.equal(before[name], value) for name, value in backbone.state_dict().items())
    backbone.freeze(weights=False, batch_norm=True)
    assert not any("bn" in name for name in backbone.stages())


def test_loss_weights_are_learned_and_do_not_decay():
    weight = nn.Parameter(torch.zeros(()))
    group = make_optimizer(small_model(), 1e-3, 0.05, loss_weights=[weight]).param_groups[-1]
    assert group["params"] == [weight] and group["weight_decay"] == 0 and group["lr"] == 1e-3


def test_a_gradients_norm_is_added_up_weights_first():
    model = small_model()
    model[0].requires_grad_(False)
    trained = trained_weights(model)
    assert [parameter.ndim for parameter in trained] == [2, 1, 1, 1]


def test_the_average_follows_fast_at_first_and_slowly_later():
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = MovingAverage(model, 0.9)
    average.update(model)
    nn.init.ones_(model.weight)
    average.update(model)
    # The second update: decay (1 + 1) / (10 + 1).
    assert average.module.weight.item() == pytest.approx(1 - 2 / 11)
    for _ in range(200):
        average.update(model)
    nn.init.zeros_(model.weight)
    average.update(model)
    assert average.module.weight.item() == pytest.approx(0.9, abs=1e-4)


def test_average_keeps_frozen_batch_norm_bit_equal():
    model = small_model()
    before = {name: value.clone() for name, value in model[1].state_dict().items()}
    average = MovingAverage(model, 0.99)
    for _ in range(5):
        average.update(model)
    for name, value in average.module[1].state_dict().items():
        assert torch.equal(value, before[name]) and value.dtype == before[name].dtype


def test_average_of_batch_norm_statistics_and_counter():
    model = small_model()
    average = MovingAverage(model, 0.9)
    average.update(model)
    model(torch.randn(2, 3, 3, 3))  # moves running_mean, running_var and num_batches_tracked
    average.update(model)
    ours, theirs = average.module[1], model[1]
    rate = 2 / 11
    assert not torch.equal(theirs.running_mean, torch.zeros(4))
    assert torch.allclose(ours.running_mean, (1 - rate) * theirs.running_mean)
    assert torch.allclose(ours.running_var, rate + (1 - rate) * theirs.running_var)
    assert ours.num_batches_tracked == theirs.num_batches_tracked == 1


def test_the_average_of_the_first_step_is_its_weights():
    model = small_model()
    average = MovingAverage(model, 0.9)
    with torch.no_grad():
        model[0].weight.add_(1)
    average.update(model)
    assert torch.equal(average.module[0].weight, model[0].weight)


def test_an_average_resumes_from_another():
    model = small_model()
    one = MovingAverage(model, 0.9)
    for _ in range(3):
        one.update(model)
    other = MovingAverage(small_model(), 0.9)
    other.load_state_dict(one.state_dict())
    with torch.no_grad():
        model[0].weight.add_(1)
    for average in (one, other):
        average.update(model)
    assert torch.equal(one.module[0].weight, other.module[0].weight)
    assert not torch.equal(one.module[0].weight, model[0].weight)


SCHEDULES = ("constant", "cosine", "exponential", "one_cycle")


class Two(nn.Module):
    """A backbone and a head."""

    def __init__(self):
        super().__init__()
        self.backbone, self.head = nn.Linear(2, 2), nn.Linear(2, 2)


def optimizer_of(model, lr, backbone_lr):
    shares = {name: (backbone_lr or lr) / lr for name, _ in model.named_parameters() if name.startswith("backbone.")}
    return make_optimizer(model, lr, 0.0, shares=shares)


def make(schedule, steps, *, lr=0.1, backbone_lr=None, **settings):
    optimizer = optimizer_of(Two(), lr, backbone_lr)
    return Schedule(optimizer, TrainSettings(schedule=schedule, **settings), lr, steps)


def course(schedule, steps, *, rate="lr", **changes):
    made, seen = make(schedule, steps, **changes), []
    for _ in range(steps):
        seen.append(made.rates()[rate])
        made.step()
    return seen


def test_constant_stays():
    assert course("constant", 10) == pytest.approx([0.1] * 10)


def test_cosine_falls_from_the_peak_to_a_hundredth():
    seen = course("cosine", 100)
    assert (
        seen[0] == pytest.approx(0.1)
        and seen[50] == pytest.approx(0.0505)
        and seen[-1] == pytest.approx(0.001, rel=0.05)
    )
    assert seen == sorted(seen, reverse=True)


def test_one_cycle_rises_to_the_peak_and_falls():
    seen = course("one_cycle", 100)
    assert max(seen) == pytest.approx(0.1, rel=1e-3) and seen[0] == pytest.approx(0.004) and seen[-1] < 1e-4
    assert 25 < seen.index(max(seen)) < 35


def test_one_step_suffices_for_every_schedule():
    for schedule in SCHEDULES:
        assert len(course(schedule, 1)) == 1


def test_exponential_falls_by_one_factor_to_the_final_share():
    seen = course("exponential", 100, final_lr=0.05)
    assert seen[0] == 0.1 and seen[50] == pytest.approx(0.1 * 0.05**0.5) and seen[-1] == pytest.approx(0.005, rel=0.05)
    assert [late / early for early, late in itertools.pairwise(seen)] == pytest.approx([0.05**0.01] * 99)


def test_cosine_ends_at_the_final_share():
    assert course("cosine", 200, final_lr=0.3)[-1] == pytest.approx(0.03, rel=0.01)


@pytest.mark.parametrize("steps", [1, 7, 64])
@pytest.mark.parametrize("schedule", ["cosine", "one_cycle"])
def test_without_warm_up_the_rates_are_pytorchs_bit_for_bit(schedule, steps):
    optimizer = make_optimizer(Two(), 0.02, 0.0)
    if schedule == "cosine":
        theirs = CosineAnnealingLR(optimizer, T_max=steps, eta_min=0.02 * 0.01)
    else:
        theirs = OneCycleLR(optimizer, max_lr=0.02, total_steps=steps, cycle_momentum=False)
    seen = []
    for _ in range(steps):
        seen.append(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()
    assert course(schedule, steps, lr=0.02) == seen


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warm_up_rises_linearly_to_the_schedule(schedule):
    bare, warm = course(schedule, 40), course(schedule, 40, warmup_steps=10)
    assert warm[10:] == bare[10:]
    factors = [with_ / without for with_, without in zip(warm[:11], bare[:11], strict=True)]
    assert factors[0] == pytest.approx(WARMUP_START) and factors[10] == 1
    assert [late - early for early, late in itertools.pairwise(factors)] == pytest.approx([0.0999] * 10)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_backbones_rate_keeps_its_proportion(schedule):
    heads = course(schedule, 30, warmup_steps=5, backbone_lr=0.01)
    backbone = course(schedule, 30, warmup_steps=5, backbone_lr=0.01, rate="backbone_lr")
    assert backbone == pytest.approx([rate / 10 for rate in heads])
    assert heads == course(schedule, 30, warmup_steps=5)


def test_the_optimizer_gets_the_given_rates():
    optimizer = optimizer_of(Two(), 0.1, 0.01)
    made = Schedule(optimizer, TrainSettings(schedule="cosine"), 0.1, 9)
    for _ in range(4):
        made.step()
    assert {group["lr"] for group in optimizer.param_groups} == set(made.rates().values())


def test_a_frozen_backbone_has_no_rate():
    model = Two()
    model.backbone.requires_grad_(False)
    made = Schedule(make_optimizer(model, 0.1, 0.0), TrainSettings(), 0.1, 3)
    assert made.rates() == {"lr": 0.1}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("done", [0, 3, 7, 8])
def test_a_schedule_resumes_from_another(schedule, done):
    one, other = (make(schedule, 8, warmup_steps=5, backbone_lr=0.02) for _ in range(2))
    for _ in range(done):
        one.step()
    other.load_state_dict(one.state_dict())
    for _ in range(8 - done):
        assert other.rates() == one.rates()
        one.step()
        other.step()
    assert other.rates() == one.rates() and other.state_dict() == one.state_dict()


@pytest.mark.parametrize(
    "values", [{"warmup_steps": -1}, {"final_lr": 0.0}, {"final_lr": 1.5}, {"schedule": "linear"}, {"accumulate": 0},
               {"phase2": {"backbone_factor": 0.0}}, {"warmup_steps": 1.5}]
)  # fmt: skip
def test_settings_out_of_range_are_refused(values):
    with pytest.raises(ParamsError):
        TrainSettings.parse(values)


def test_pytorchs_random_numbers_are_left_alone():
    torch.manual_seed(0)
    made = make("one_cycle", 5)
    before = torch.get_rng_state()
    made.step()
    assert torch.equal(before, torch.get_rng_state())
