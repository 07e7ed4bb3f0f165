"""A model small enough to run many times."""

import itertools

import torch

from panvision.core.tasks import TASKS
from panvision.model.multitask import MultiTaskModel
from panvision.model.settings import ModelSettings

SIDE = 64
SUBSETS = [subset for size in (1, 2, 3) for subset in itertools.combinations(TASKS, size)]
SMALL = ModelSettings(
    backbone="resnet10", weights="none", fpn_channels=32, head_convs=1, det_channels=16, seg_channels=8, cls_hidden=8
)


def small_model(side=SIDE, tasks=TASKS, **changes):
    """A model of random weights, the same at each call: 2 classes of boxes, 3 states; levels P3 to P5."""
    torch.manual_seed(0)
    settings = SMALL.model_copy(update=changes)
    return MultiTaskModel(
        settings, image_size=side, det_classes=["lid", "pot"], cls_classes=["a", "b", "c"], tasks=tasks
    )


def pictures(count=2, side=SIDE, seed=0):
    """(N, 3, S, S) uint8 noise."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


def calls(module, run):
    """Count the images that pass each submodule, by name, while `run()` runs; those that none passes are absent."""
    seen = {}

    def count(name):
        def hook(_module, inputs, _output):
            first = inputs[0][0] if isinstance(inputs[0], (list, tuple)) else inputs[0]
            seen[name] = seen.get(name, 0) + len(first)

        return hook

    handles = [part.register_forward_hook(count(name)) for name, part in module.named_modules() if name]
    run()
    for handle in handles:
        handle.remove()
    return seen


def with_gradient(model):
    """Names of the parts directly below the model in which some parameter has a gradient that is not all 0."""
    return {
        name.split(".")[0]
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().sum() > 0
    }
