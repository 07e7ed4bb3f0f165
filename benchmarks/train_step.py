"""Speed of training steps, against two peers and the machine's limit: `python benchmarks/train_step.py`.

One step of each contender in turn, on the same random pictures and labels, `--rounds` times over; printed are medians:

    panvision   one pass of the three tasks' batches through the backbone together, each head with what it needs
    separate    the same model, losses and optimiser, but a whole forward pass for each task's batch: backbone, all
                levels of the pyramid, and its head; one backward pass of the summed losses
    torchvision fcos_resnet50_fpn, fcn_resnet50 and resnet50 at the same size, one step of each after the other

`limit` is the speed of the fastest of some 3×3 convolutions of this machine, measured in every round as well; a step's
share of it is the arithmetic of its convolutions and matrix products (as PyTorch's counter has it), over its time.
`ratio` is by how much panvision's step is faster, the median over rounds with the smallest and the largest.

On a shared machine, `--clock process` with OMP_NUM_THREADS=1 counts the process's own time.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 -- PyTorch's own convention
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from panvision.core.params import read_sections
from panvision.core.tasks import DATASETS
from panvision.model.multitask import MultiTaskModel, Outputs
from panvision.model.settings import ModelSettings
from panvision.photos.settings import DataSettings
from panvision.training.data.batches import Batch
from panvision.training.devices import algorithms, keep_freed_memory
from panvision.training.losses import batch_terms, task_losses
from panvision.training.losses.targets import make_points
from panvision.training.losses.terms import LossContext
from panvision.training.optimisation import Precision, make_optimizer, trained_weights
from panvision.training.settings import LossSettings, TrainSettings

PRESETS = Path(__file__).parents[1] / "presets"
BOX_CLASSES, STATES = ["pan", "stirrer", "inlet pipe"], ["raw", "translucent", "golden", "browned", "burnt"]
# Channels and side of the 3×3 convolutions among which the fastest is the limit.
LIMIT_SHAPES = ((64, 64), (128, 32), (256, 32), (256, 16))
SECTIONS = {"data": DataSettings, "model": ModelSettings, "loss": LossSettings, "train": TrainSettings}

Step = Callable[[], None]


def random_batch(side: int, size: int, device: torch.device) -> Batch:
    """Pictures and labels of each task; three boxes a picture."""
    chance = torch.Generator().manual_seed(0)
    corners = torch.rand((size, 3, 2, 2), generator=chance).sort(dim=2).values * side
    boxes = torch.cat([corners[:, :, 0], corners[:, :, 1] + 1], dim=-1)
    pictures = torch.randint(0, 256, (len(DATASETS), size, side, side, 3), dtype=torch.uint8, generator=chance)
    return Batch(
        images={task: of_task.permute(0, 3, 1, 2) for task, of_task in zip(DATASETS, pictures, strict=True)},
        labels={
            "segmentation": {"masks": torch.randint(0, 2, (size, 1, side, side), dtype=torch.uint8, generator=chance)},
            "detection": {"boxes": boxes, "labels": torch.randint(0, len(BOX_CLASSES), (size, 3), generator=chance)},
            "classification": {"classes": torch.randint(0, len(STATES), (size,), generator=chance)},
        },
        rows={task: np.arange(size) for task in DATASETS},
    ).to(device)


def together(model: nn.Module, batch: Batch) -> Outputs:
    """Run the forward pass of the training loop: one batch of all tasks."""
    images = torch.cat([batch.images[task] for task in DATASETS])
    return model(images, DATASETS, {task: len(batch.images[task]) for task in DATASETS})


def separate(model: MultiTaskModel, batch: Batch) -> Outputs:
    """A complete forward pass for each task."""
    outputs: Outputs = {}
    for task in DATASETS:
        features = model.backbone((batch.images[task].float() - model.pixel_mean) / model.pixel_std)
        pyramid = model.fpn(features)
        if task == "segmentation":
            outputs["segmentation"] = model.segmentation(pyramid[2])
        elif task == "detection":
            outputs["detection"] = model.detection(*(pyramid[int(name[1:])] for name in model.levels["detection"]))
        else:
            outputs["classification"] = model.classification(features[-1])
    return outputs


def own_step(
    forward: Callable[[MultiTaskModel, Batch], Outputs], sections: dict, batch: Batch, *, phase: int, compiled: bool
) -> Step:
    """A step of our model as the training loop takes it, but for figures, schedule and state."""
    train, loss, device = sections["train"], sections["loss"], batch.images["detection"].device
    side = batch.images["detection"].shape[-1]
    torch.manual_seed(0)
    model = MultiTaskModel(sections["model"], image_size=side, det_classes=BOX_CLASSES, cls_classes=STATES)
    model.backbone.freeze(weights=phase == 1, batch_norm=phase == 1 or train.batch_norm == "frozen")
    model.to(device).to(memory_format=torch.channels_last).train()
    run = torch.compile(model, dynamic=False) if compiled else model
    context = LossContext(make_points(side, model.settings.strides).to(device), loss)
    optimizer, trained = make_optimizer(model, 1e-5, train.weight_decay), trained_weights(model)
    precision = Precision(device, train.amp)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with precision.autocast():
            outputs = forward(run, batch)
        losses = task_losses(batch_terms(outputs, batch, context), loss)
        losses["total"].backward()
        torch.nn.utils.clip_grad_norm_(trained, train.grad_clip or torch.inf)
        optimizer.step()

    return step


def torchvision_step(sections: dict, batch: Batch, *, phase: int) -> Step:
    """One step of each of torchvision's three models; in phase 1 their backbones are frozen as well."""
    from torchvision.models import resnet50
    from torchvision.models.detection import fcos_resnet50_fpn
    from torchvision.models.segmentation import fcn_resnet50

    side, device = batch.images["detection"].shape[-1], batch.images["detection"].device
    labels = batch.labels
    true_masks = labels["segmentation"]["masks"].float()
    boxes = fcos_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=len(BOX_CLASSES), min_size=side, max_size=side
    )
    masks = fcn_resnet50(weights=None, weights_backbone=None, num_classes=1)
    states = resnet50(weights=None, num_classes=len(STATES))
    if phase == 1:
        for frozen in (
            boxes.backbone.body,
            masks.backbone,
            *(part for name, part in states.named_children() if name != "fc"),
        ):
            frozen.requires_grad_(False)
    precision = Precision(device, sections["train"].amp)
    targets = [
        {"boxes": own, "labels": names}
        for own, names in zip(labels["detection"]["boxes"], labels["detection"]["labels"], strict=True)
    ]

    def floats(task: str) -> Tensor:
        return batch.images[task].float() / 255

    losses = {
        boxes: lambda: sum(boxes(list(floats("detection")), targets).values()),
        masks: lambda: F.binary_cross_entropy_with_logits(masks(floats("segmentation"))["out"], true_masks),
        states: lambda: F.cross_entropy(states(floats("classification")), labels["classification"]["classes"]),
    }
    optimizers = {}
    for model in losses:
        model.to(device).to(memory_format=torch.channels_last).train()
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizers[model] = torch.optim.AdamW(trained, lr=1e-5, fused=True)

    def step() -> None:
        for model, loss in losses.items():
            optimizers[model].zero_grad(set_to_none=True)
            with precision.autocast():
                value = loss()
            value.backward()
            optimizers[model].step()

    return step


def limit_steps(size: int, device: torch.device, amp: str) -> list[tuple[Step, float]]:
    """Convolutions with their floating point operations."""
    precision = Precision(device, amp)
    steps = []
    for channels, side in LIMIT_SHAPES:
        x = torch.randn(size, channels, side, side, device=device).to(memory_format=torch.channels_last)
        weight = torch.randn(channels, channels, 3, 3, device=device).to(memory_format=torch.channels_last)

        def step(x: Tensor = x, weight: Tensor = weight) -> None:
            with torch.no_grad(), precision.autocast():
                F.conv2d(x, weight, padding=1)

        steps.append((step, 2.0 * 9 * channels**2 * side**2 * size))
    return steps


def seconds(step: Step, clock: Callable[[], float], device: torch.device) -> float:
    """Time one call."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = clock()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def operations(step: Step) -> float:
    """Floating point operations of one call, convolutions and matrix products."""
    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops())


def compare(name: str, phase: int, sections: dict, args: argparse.Namespace) -> None:
    """Print the rows of one preset and phase."""
    device = torch.device(args.device)
    clock = time.process_time if args.clock == "process" else time.perf_counter
    size = args.batch_size or sections["train"].batch_size
    side = sections["data"].image_size
    batch = random_batch(side, size, device)
    make = partial(own_step, sections=sections, batch=batch, phase=phase)
    contenders = {"panvision": make(together, compiled=False), "separate": make(separate, compiled=False)}
    if args.compile:
        contenders["panvision, compiled"] = make(together, compiled=True)
    if not args.skip_torchvision:
        contenders["torchvision"] = torchvision_step(sections, batch, phase=phase)
    work = {contender: 0.0 if "compiled" in contender else operations(step) for contender, step in contenders.items()}
    work["panvision, compiled"] = work["panvision"]
    limits = limit_steps(3 * size, device, sections["train"].amp)
    taken: dict[str, list[float]] = {contender: [] for contender in contenders}
    best: list[float] = []
    for number in range(args.rounds + 1):
        speeds = [flops / seconds(step, clock, device) for step, flops in limits for _ in range(5)]
        times = {contender: seconds(step, clock, device) for contender, step in contenders.items()}
        if number:  # the first round warms up
            best.append(max(speeds))
            for contender, value in times.items():
                taken[contender].append(value)
    limit = statistics.median(best)
    print(f"\n{name}, phase {phase}: {size} images a task at {side} px; limit {limit / 1e9:.0f} GFLOP/s")
    print(f"{'':22}{'samples/s':>10}{'GFLOP/sample':>14}{'of limit':>10}{'ratio':>8}{'range':>14}")
    for contender, values in taken.items():
        share = statistics.median(work[contender] / value / speed for value, speed in zip(values, best, strict=True))
        ratios = [value / own for value, own in zip(values, taken["panvision"], strict=True)]
        print(
            f"{contender:22}{3 * size / statistics.median(values):>10.2f}{work[contender] / 3 / size / 1e9:>14.1f}"
            f"{share:>10.0%}{statistics.median(ratios):>8.2f}{min(ratios):>8.2f}-{max(ratios):.2f}",
            flush=True,
        )


def main() -> None:
    """Print a table for each preset and phase."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["laptop", "resnet50"], help="(default: %(default)s)")
    parser.add_argument("--phases", nargs="+", type=int, default=[1, 2], choices=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch-size", type=int, help="images per task (default: the preset's)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--clock", choices=["wall", "process"], default="wall")
    parser.add_argument("--compile", action="store_true", help="torch.compile as a contender as well")
    parser.add_argument("--skip-torchvision", action="store_true")
    args = parser.parse_args()
    device = torch.device(args.device)
    if device.type == "cpu":
        keep_freed_memory()
    what = f"{torch.get_num_threads()} threads" if device.type == "cpu" else torch.cuda.get_device_name(device)
    print(f"PyTorch {torch.__version__}, {what}, {args.clock} time, medians of {args.rounds} interleaved rounds")
    for name in args.presets:
        sections = read_sections(SECTIONS, PRESETS / f"{name}.yaml")
        for phase in args.phases:
            with algorithms(device):
                compare(name, phase, sections, args)


if __name__ == "__main__":
    main()
