import pytest
import torch
from torch import nn

from panvision.training.ema import MovingAverage


def small_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


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


def test_frozen_batch_norm_stays_bit_equal_in_the_average_and_counters_stay_whole():
    model = small_model()
    before = {name: value.clone() for name, value in model[1].state_dict().items()}
    average = MovingAverage(model, 0.99)
    for _ in range(5):
        average.update(model)
    for name, value in average.module[1].state_dict().items():
        assert torch.equal(value, before[name]) and value.dtype == before[name].dtype


def test_statistics_of_batch_norm_are_averaged_like_weights_and_its_counter_is_copied():
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


def test_an_average_goes_on_where_another_was():
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
