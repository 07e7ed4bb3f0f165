import itertools

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR

from panvision.core.params import ParamsError
from panvision.training.optimisation import make_optimizer
from panvision.training.schedule import WARMUP_START, Schedule
from panvision.training.settings import TrainSettings

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
