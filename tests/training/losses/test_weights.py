import math

import pytest
import torch

from panvision.training.losses.weights import TaskWeights
from panvision.training.settings import LossSettings

LOSSES = {name: torch.tensor(value) for name, value in (("seg", 0.5), ("det", 2.0), ("cls", 0.125), ("total", 3.0))}


def learned(**weights):
    return TaskWeights(LossSettings(weighting="uncertainty", **weights))


def test_fixed_weights_minimise_the_total_and_learn_nothing():
    weights = TaskWeights(LossSettings(seg=0.5, cls=3.0))
    assert weights.objective(LOSSES) is LOSSES["total"]
    assert list(weights.parameters()) == []
    assert weights.current(("seg", "det", "cls")) == {"weight_seg": 0.5, "weight_det": 1.0, "weight_cls": 3.0}


def test_learned_weights_start_at_the_fixed_ones():
    weights = learned(seg=0.5, cls=3.0)
    assert weights.current(("seg", "det", "cls")) == {"weight_seg": 0.5, "weight_det": 1.0, "weight_cls": 3.0}
    assert weights.objective(LOSSES).item() == pytest.approx(0.5 * 0.5 + 2.0 + 3 * 0.125)


def test_objective_is_equation_10_times_the_fixed_weights():
    weights = learned(cls=3.0)
    with torch.no_grad():
        for task, value in {"seg": 0.3, "det": -1.0, "cls": 2.0}.items():
            weights.log_variances[task].fill_(value)
    terms = [
        math.exp(-0.3) * 0.5 + 0.3 / 2,
        math.exp(1.0) * 2.0 - 1.0 / 2,
        3 * (math.exp(-2.0) * 0.125 + 2.0 / 2),
    ]
    assert weights.objective(LOSSES).item() == pytest.approx(sum(terms))
    assert weights.current(("seg", "det", "cls"))["weight_cls"] == pytest.approx(3 * math.exp(-2.0))


def test_best_variances_weight_a_loss_by_half_its_inverse():
    weights = learned(cls=3.0)
    optimizer = torch.optim.SGD(weights.parameters(), lr=0.5)
    for _ in range(300):
        optimizer.zero_grad()
        weights.objective(LOSSES).backward()
        optimizer.step()
    current = weights.current(("seg", "det", "cls"))
    assert current["weight_seg"] == pytest.approx(1 / (2 * 0.5), rel=1e-3)
    assert current["weight_det"] == pytest.approx(1 / (2 * 2.0), rel=1e-3)
    assert current["weight_cls"] == pytest.approx(3 / (2 * 0.125), rel=1e-3)


def test_a_task_with_weight_zero_is_off():
    weights = learned(det=0.0)
    weights.objective(LOSSES).backward()
    assert weights.log_variances["det"].grad == 0
    assert weights.log_variances["cls"].grad != 0


def test_parts_add_up_to_the_whole():
    weights = learned()
    with torch.no_grad():
        weights.log_variances["det"].fill_(0.7)
    halves = {name: loss / 2 for name, loss in LOSSES.items()}
    total = weights.objective(halves, parts=2) + weights.objective(halves, parts=2)
    assert total.item() == pytest.approx(weights.objective(LOSSES).item())
