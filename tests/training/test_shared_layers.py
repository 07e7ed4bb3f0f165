"""Layers that see the whole batch, on two ranks that are threads here."""

import threading
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from panvision.training import shared_layers
from panvision.training.distributed import Alone
from panvision.training.shared_layers import SharedBatchNorm, SharedDropout, share_layers


class Threads:
    """torch.distributed between threads, as far as the layers need it."""

    def __init__(self, size):
        self.size, self.barrier = size, threading.Barrier(size, timeout=20)
        self.given, self.own = [None] * size, threading.local()

    def all_gather(self, shares, own):
        self.given[self.own.rank] = own.clone()
        self.barrier.wait()
        for share, given in zip(shares, self.given, strict=True):
            share.copy_(given)
        self.barrier.wait()

    def all_reduce(self, tensor):
        shares = [torch.empty_like(tensor) for _ in range(self.size)]
        self.all_gather(shares, tensor)
        tensor.copy_(torch.stack(shares).sum(0))

    def run(self, work):
        """`work(rank)` on every rank → what each returned."""
        found = [None] * self.size

        def on(rank):
            self.own.rank = rank
            found[rank] = work(rank)

        threads = [threading.Thread(target=on, args=(rank,)) for rank in range(self.size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found


@pytest.fixture
def two(monkeypatch):
    threads = Threads(2)
    monkeypatch.setattr(shared_layers, "dist", threads)
    return threads


def layer(seed=0):
    torch.manual_seed(seed)
    made = nn.BatchNorm2d(5)
    nn.init.normal_(made.weight)
    nn.init.normal_(made.bias)
    return made


def passed(made, inputs, slopes):
    """Output, all gradients and statistics after one pass and the way back."""
    inputs = inputs.clone().requires_grad_()
    output = made(inputs)
    (output * slopes).sum().backward()
    return output.detach(), inputs.grad, made.weight.grad, made.bias.grad, made.running_mean, made.running_var


@pytest.mark.parametrize("momentum", [0.1, 0.5])
def test_shares_pass_batch_norm_as_the_whole_batch_does(two, momentum):
    inputs, slopes = 3 * torch.randn(6, 5, 4, 4) + 7, torch.randn(6, 5, 4, 4)
    whole = layer()
    whole.momentum = momentum
    expected = passed(whole, inputs, slopes)

    plain = [layer(), layer()]  # not in the threads, which share the generator

    def share(rank):
        plain[rank].momentum = momentum
        rows = slice(3 * rank, 3 * rank + 3)
        return passed(SharedBatchNorm(plain[rank], 2), inputs[rows], slopes[rows])

    shares = two.run(share)
    assert torch.allclose(torch.cat([each[0] for each in shares]), expected[0], atol=1e-5)
    assert torch.allclose(torch.cat([each[1] for each in shares]), expected[1], atol=1e-5)
    for place in (2, 3):  # the parameters' gradients are parts of the whole's
        assert torch.allclose(shares[0][place] + shares[1][place], expected[place], atol=1e-4)
    for place in (4, 5):
        for each in shares:
            assert torch.allclose(each[place], expected[place], rtol=1e-5)


def test_its_gradient_is_that_of_its_output():
    """By finite differences in double precision, on one rank: there is nobody to ask."""
    torch.manual_seed(0)
    alone = SimpleNamespace(all_gather=lambda shares, own: shares[0].copy_(own), all_reduce=lambda tensor: None)
    with pytest.MonkeyPatch.context() as context:
        context.setattr(shared_layers, "dist", alone)
        context.setattr(torch.Tensor, "float", lambda self: self)
        inputs = torch.randn(3, 2, 2, 2, dtype=torch.float64, requires_grad=True)
        weight, bias = (torch.randn(2, dtype=torch.float64, requires_grad=True) for _ in "wb")
        normalise = shared_layers._Normalise.apply
        assert torch.autograd.gradcheck(lambda *given: normalise(*given, 1e-5, 1)[0], (inputs, weight, bias))


def test_in_evaluation_it_is_the_layer_that_it_was_made_from():
    plain = layer()
    plain(torch.randn(4, 5, 3, 3))
    shared = SharedBatchNorm(plain, 2).eval()
    images = torch.randn(4, 5, 3, 3)
    assert torch.equal(shared(images), plain.eval()(images))


def test_dropout_keeps_the_rows_of_the_whole_batch_and_the_generators_together(two):
    inputs = torch.randn(6, 50)
    torch.manual_seed(3)
    expected = nn.Dropout(0.4)(inputs)
    after = torch.rand(3)
    for rank in (0, 1):
        torch.manual_seed(3)
        rows = slice(3 * rank, 3 * rank + 3)
        assert torch.allclose(SharedDropout(0.4, rank=rank, size=2)(inputs[rows]), expected[rows])
        assert torch.equal(torch.rand(3), after)
    assert torch.equal(SharedDropout(0.4, rank=0, size=2).eval()(inputs), inputs)


def test_layers_take_their_place_with_the_same_parameters_under_the_same_names():
    model = nn.Sequential(nn.Conv2d(3, 5, 1), nn.Sequential(layer(), nn.ReLU()), nn.Dropout(0.25)).eval()
    before = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    share_layers(model, Alone())
    assert type(model[1][0]) is nn.BatchNorm2d
    share_layers(model, SimpleNamespace(rank=1, size=2))
    after = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    assert after.keys() == before.keys() and all(after[name] is before[name] for name in before)
    assert isinstance(model[1][0], SharedBatchNorm) and not model[1][0].training
    assert isinstance(model[2], SharedDropout) and model[2].p == 0.25 and not model[2].training
