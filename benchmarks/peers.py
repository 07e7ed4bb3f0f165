"""Compare one panvision model with three networks of torchvision: `python benchmarks/peers.py DATA`.

    python benchmarks/ladder.py data/demo --seeds 1 2 3 --splits 1
    python benchmarks/peers.py data/demo --rung "zoom" --seeds 1 2 3 --splits 1 --jobs 2

The networks are torchvision's `FCN`, `FCOS` and a classifier (global average, dropout, linear layer) with torchvision's
heads, losses and widths. FCN reads C5 at stride 8, dilated as in `fcn_resnet50`; FCOS reads P3 to P7 as in
`fcos_resnet50_fpn`. All other choices are those of a rung of `benchmarks/ladder.py`: backbone, its first weights and
frozen BatchNorm, image size, splits, the two phases with their steps and learning rates, averaged weights, and the
choice of the epoch, here by the network's own metric. In each step a network gets the augmented images that panvision
gets of its dataset. The raw test images are scored by the same code, with the same non-maximum suppression.

Finished networks are kept in `--out`, and the same command continues. The row of panvision is read from `--ladder`. The
last row has 95 % intervals of the difference from pairs of runs with the same seed and split (Student's t). Trains on
the CPU.
"""

import argparse
import copy
import filecmp
import math
import multiprocessing
import os
import statistics
import sys
import time
from collections import OrderedDict
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 -- PyTorch's own convention
from ladder import METRICS, ROOT, Row, finished_row, interval, read_rungs, run_params, spread
from torch import Tensor, nn
from torch.optim import Optimizer
from torchvision.models.detection import FCOS
from torchvision.models.detection.image_list import ImageList
from torchvision.models.segmentation.fcn import FCN, FCNHead
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from panvision.cli.packing import Packed, held_out, pack
from panvision.config import Config
from panvision.core.files import write_json
from panvision.core.tasks import TASKS, Task
from panvision.dataset.packed import HALF_PAN, PackedSet
from panvision.decoding.decoder import RawOutputs, Thresholds
from panvision.evaluation.evaluate import evaluate
from panvision.inference.backend import ModelInfo
from panvision.inference.predictor import Predictor
from panvision.model.backbones import make_backbone
from panvision.model.backbones.base import Backbone
from panvision.model.checkpoint import load_checkpoint
from panvision.model.settings import ModelSettings
from panvision.model.weights import initialise_backbone
from panvision.scoring.table import SCORERS, score
from panvision.training.data.batches import NO_OBJECT, Batch, labelled_batch
from panvision.training.data.sets import Sets, open_sets
from panvision.training.data.stream import training_batches
from panvision.training.ddp import Ranks
from panvision.training.devices import algorithms, keep_freed_memory
from panvision.training.optimisation import MovingAverage, Schedule, backbone_shares, make_optimizer, trained_weights
from panvision.training.phases import phase_seed
from panvision.training.state import Phase
from panvision.training.validation import THRESHOLDS

COMPARED = ("mIoU", "mAP@0.5", "mAP", "accuracy")
COLUMNS = (*COMPARED, "minutes", "MB")
STRIDES = (8, 16, 32, 64, 128)  # of FCOS's levels
PYRAMID = 256  # channels, as in torchvision's builders
DROPOUT = 0.2  # of the classifier, as in torchvision's EfficientNet-B0 and MobileNets

Rows = dict[tuple[int, int], Row]  # by split and seed


class Features(nn.Module):
    """The backbone as torchvision's networks take it: P3 to P7 as in `BackboneWithFPN`, or C5 alone, named `out`."""

    def __init__(self, body: Backbone, *, pyramid: bool) -> None:
        super().__init__()
        self.body, self.out_channels = body, PYRAMID
        extra = LastLevelP6P7(PYRAMID, PYRAMID)
        self.fpn = FeaturePyramidNetwork([*body.channels[1:]], PYRAMID, extra) if pyramid else None
        for name in ("pixel_mean", "pixel_std"):
            self.register_buffer(name, torch.tensor(getattr(body, name)).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, 3, S, S) → feature maps by name, finest first."""
        maps = self.body((images.float() - self.pixel_mean) / self.pixel_std)
        return {"out": maps[-1]} if self.fpn is None else self.fpn(OrderedDict(zip("345", maps[1:], strict=True)))


class Classifier(nn.Module):
    """Global average, dropout and one linear layer, as in torchvision's classifiers."""

    def __init__(self, backbone: Features, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(backbone.body.channels[-1], classes))

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, S, S) → class logits (N, C)."""
        return self.classifier(self.backbone(images)["out"].mean((2, 3)))


def dilate(body: Backbone) -> None:
    """Turn the strides behind C3 into dilations, as `replace_stride_with_dilation` does: C5 gets stride 8."""
    stages = body.stages()
    for name, conv in body.named_modules():
        stage = stages.get(f"{name}.weight", 0)
        if isinstance(conv, nn.Conv2d) and stage >= 2:
            rate = 2 ** (stage - 2 + (conv.stride == (1, 1)))
            conv.padding = tuple(rate * (side // 2) for side in conv.kernel_size)
            conv.stride, conv.dilation = (1, 1), (rate, rate)


def make_network(task: Task, settings: ModelSettings, sets: Sets) -> nn.Module:
    """Make the network of a task with the backbone's first weights."""
    body = make_backbone(settings.backbone)
    initialise_backbone(body, settings)
    if task == "detection":
        if sets.image_size % STRIDES[-1]:
            sys.exit(f"data.image_size: FCOS needs a multiple of {STRIDES[-1]}, found {sets.image_size}")
        same = {"min_size": sets.image_size, "max_size": sets.image_size}
        plain = {"image_mean": [0.0] * 3, "image_std": [1.0] * 3}  # Features normalises
        return FCOS(Features(body, pyramid=True), len(sets.det_classes), **same, **plain)
    if task == "classification":
        return Classifier(Features(body, pyramid=False), len(sets.cls_classes))
    dilate(body)
    return FCN(Features(body, pyramid=False), FCNHead(body.channels[-1], 1))


def network_loss(task: Task, net: Any, batch: Batch) -> Tensor:
    """Return torchvision's loss of a batch, (): cross-entropy of pixels or states, or what FCOS returns, added up."""
    images, labels = batch.images[TASKS[task].dataset], batch.labels[TASKS[task].dataset]
    if task == "segmentation":
        return F.binary_cross_entropy_with_logits(net(images)["out"], labels["masks"].float() / 255)
    if task == "classification":
        return F.cross_entropy(net(images), labels["classes"])
    targets = [
        {"boxes": boxes[own > NO_OBJECT], "labels": own[own > NO_OBJECT]}
        for boxes, own in zip(labels["boxes"], labels["labels"], strict=True)
    ]
    # FCOS.forward without its resizing, and with losses in evaluation mode, too.
    maps = [*net.backbone(images).values()]
    anchors = net.anchor_generator(ImageList(images.float(), [tuple(images.shape[-2:])] * len(images)), maps)
    sizes = [each.shape[-2] * each.shape[-1] for each in maps]
    return sum(net.compute_loss(targets, net.head(maps), anchors, sizes).values())


class NetworkBackend:
    """A network behind panvision's predictor, with the raw outputs of a panvision model of one task."""

    def __init__(self, task: Task, net: Any, sets: Sets, thresholds: Thresholds) -> None:
        self._task, self._net = task, net.eval()
        names = tuple(sets.det_classes), tuple(sets.cls_classes)
        self.info = ModelInfo(sets.image_size, STRIDES, *names, thresholds, tasks=(task,))

    @torch.inference_mode()
    def run(self, images: npt.NDArray[np.uint8]) -> RawOutputs:
        """Run images (N, S, S, 3) uint8 RGB through the network."""
        pixels, net = torch.tensor(images).permute(0, 3, 1, 2), self._net
        if self._task == "detection":
            found = net.head([*net.backbone(pixels).values()])
            # torchvision measures from a cell's upper left corner, panvision from its centre.
            ltrb = found["bbox_regression"] + torch.tensor([0.5, 0.5, -0.5, -0.5])
            outputs = (found["cls_logits"], ltrb, found["bbox_ctrness"][..., 0])
        else:
            outputs = (net(pixels)["out"][:, 0] if self._task == "segmentation" else net(pixels),)
        return dict(zip(TASKS[self._task].outputs, (each.numpy() for each in outputs), strict=True))


def packed_truth(packed: PackedSet, row: int) -> dict[str, Any]:
    """Return the labels of a packed image as the scorers take them."""
    if packed.masks is not None:
        return {"mask": packed.masks[row] >= HALF_PAN}
    if packed.states is not None:
        return {"class_idx": int(packed.states[row])}
    boxes, labels = packed.packed_boxes(row), (packed.labels or [])[row]
    crowds = [] if packed.crowd_labels is None else packed.crowd_labels[row]
    return {"boxes": boxes, "labels": labels, "crowds": packed.packed_crowds(row), "crowd_labels": crowds}


def validation_score(task: Task, net: nn.Module, sets: Sets, size: int) -> tuple[float, float]:
    """Return the task's first metric on the packed validation images, and the negative loss, which decides ties."""
    packed, rows = sets.packed[TASKS[task].dataset], sets.rows[TASKS[task].dataset]["val"]
    predictor = Predictor(NetworkBackend(task, net, sets, THRESHOLDS))
    compared, total = [], 0.0
    for start in range(0, len(rows), size):
        own = rows[start : start + size]
        results = predictor.predict_squares(packed.images[own], [(sets.image_size,) * 2] * len(own))
        for result, row in zip(results, own, strict=True):
            compared.append(SCORERS[task].compare(result[task], packed_truth(packed, int(row))))
        with torch.inference_mode():
            total += float(network_loss(task, net, labelled_batch(packed, own))) * len(own)
    return score(task, compared, packed.classes)[TASKS[task].metrics[0].key] or 0.0, -total


def take_step(task: Task, net: nn.Module, optimizer: Optimizer, batches: list[Batch], clip: float | None) -> float:
    """Take one optimiser step over batches that count as one, and return their loss."""
    optimizer.zero_grad(set_to_none=True)
    total = 0.0
    for batch in batches:
        loss = network_loss(task, net, batch) / len(batches)
        loss.backward()
        total += loss.item()
    if not math.isfinite(total):
        raise FloatingPointError(f"{task}: the loss is {total}; lower the learning rates of the rung")
    nn.utils.clip_grad_norm_(trained_weights(net), clip or math.inf)
    optimizer.step()
    return total


def train_phase(task: Task, net: Any, sets: Sets, config: Config, number: int) -> None:
    """Train a network like panvision's phase 1 or 2, and leave the weights that `train.select` chooses in it."""
    train, body = config.train.for_weights(config.model.weights), net.backbone.body
    own, seed = (train.phase1 if number == 1 else train.phase2), phase_seed(config.seed, number)
    body.freeze(weights=number == 1, batch_norm=number == 1 or train.batch_norm == "frozen")
    parts = {"name": f"phase{number}", "seed": seed, "sets": sets, "train": train, "ranks": Ranks("cpu")}
    phase = Phase(**parts, augment=config.augment, loss=config.loss, **own.model_dump())
    steps = phase.epoch_steps(SimpleNamespace(tasks=config.tasks))
    stop = own.epochs * steps * train.accumulate
    stream = phase.stream(SimpleNamespace(tasks=(task,)), 0)
    batches = training_batches(stream, start=0, stop=stop, workers=train.workers, pin_memory=False)
    by_name = backbone_shares(SimpleNamespace(backbone=body), phase.backbone_factor, phase.layer_decay)
    shares = {name.replace("backbone.", "backbone.body.", 1): share for name, share in by_name.items()}
    optimizer = make_optimizer(net, own.lr, train.weight_decay, shares=shares)
    schedule = Schedule(optimizer, train, own.lr, max(1, own.epochs * steps))
    average = MovingAverage(net, train.ema_decay) if train.ema_decay else None
    best, stale, kept = (-math.inf, -math.inf), 0, copy.deepcopy(net.state_dict())
    torch.manual_seed(seed)
    for epoch in range(1, own.epochs + 1):
        net.train()
        for _ in range(steps):
            loss = take_step(task, net, optimizer, [next(batches) for _ in range(train.accumulate)], train.grad_clip)
            schedule.step()
            if average is not None:
                average.update(net)
        shipped = net if average is None else average.module
        found = validation_score(task, shipped, sets, 2 * train.batch_size)
        better = found > best
        best, stale = (found, 0) if better else (best, stale + 1)
        print(f"{task}, phase {number}, epoch {epoch}: loss {loss:.3f}, validation {found[0]:.3f}", flush=True)
        if better or train.select == "last":
            kept = copy.deepcopy(shipped.state_dict())
        if stale >= train.patience:
            break
    net.load_state_dict(kept)


def train_network(task: Task, params: dict[str, Any], packed: Packed, folder: Path) -> Row:
    """Train and score one network, unless it was done before; print into log.txt."""
    if row := finished_row(params, folder):
        return row
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    keep_freed_memory()
    folder.mkdir(parents=True, exist_ok=True)
    config, sets, began = Config.parse(params), open_sets(packed.prepared, packed.splits), time.monotonic()
    with (folder / "log.txt").open("w") as log, redirect_stdout(log), algorithms(torch.device("cpu")):
        torch.manual_seed(config.seed)
        net = make_network(task, config.model, sets).to(memory_format=torch.channels_last)
        for number in (1, 2):
            train_phase(task, net, sets, config, number)
        thresholds = Thresholds(THRESHOLDS.score, config.detection.nms_threshold, config.detection.max_detections)
        predictor = Predictor(NetworkBackend(task, net, sets, thresholds))
        metrics = evaluate(predictor, held_out(config, packed), choices={}).metrics[task]
    values = {name: metrics[key] for name, (own, key) in METRICS.items() if own == task and name in COMPARED}
    row = {name: value for name, value in values.items() if value is not None}
    row |= {"minutes": (time.monotonic() - began) / 60, "MB": megabytes(net)}
    write_json(folder / "done.json", {"params": params, "row": row})
    return row


def megabytes(net: nn.Module) -> float:
    """Return the size of all weights, in 10^6 bytes."""
    return sum(value.numel() * value.element_size() for value in net.state_dict().values()) / 1e6


def panvision_row(params: dict[str, Any], folder: Path, packed: Packed) -> Row | None:
    """Return the row of the ladder's run; None, with the reason printed, if there is none with the same images."""
    row = finished_row(params, folder)
    if row is None or not filecmp.cmp(folder / "build/splits.csv", packed.splits, shallow=False):
        print(f"{folder}: no run with these settings and these splits; run benchmarks/ladder.py", file=sys.stderr)
        return None
    return row | {"MB": megabytes(load_checkpoint(folder / "models/best_model.pth")[0])}


def show(panvision: Rows, peers: Rows) -> None:
    """Print the table in Markdown: mean ± standard deviation over the seeds of a split."""
    print(f"| | runs | {' | '.join(COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 2)}")
    for title, rows in (("panvision", panvision), ("torchvision's three", peers)):
        cells = [title, str(len(rows))]
        for name in COLUMNS:
            values = [row[name] for row in rows.values() if name in row]
            mean = f"{statistics.fmean(values):.3f}" if values else ""
            deviation = spread(rows, name)
            cells.append(mean if name not in COMPARED or math.isnan(deviation) else f"{mean} ± {deviation:.3f}")
        print(f"| {' | '.join(cells)} |")
    shared = sorted(panvision.keys() & peers.keys())
    pairs = []
    for name in COMPARED:
        both = [(panvision[key], peers[key]) for key in shared if name in panvision[key].keys() & peers[key]]
        pairs.append(interval([one[name] - other[name] for one, other in both]))
    print(f"| difference | {len(shared)} | {' | '.join(pairs)} | | |")


def main() -> None:
    """Train what is not done yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the three raw datasets")
    parser.add_argument("--rungs", type=Path, default=ROOT / "benchmarks/ladder.yaml")
    parser.add_argument("--rung", help="whose settings are used; by default the last one that trains one model")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--splits", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="networks at the same time")
    parser.add_argument("--ladder", type=Path, default=ROOT / "build/ladder", help="`--out` of benchmarks/ladder.py")
    parser.add_argument("--out", type=Path, default=ROOT / "build/peers")
    args = parser.parse_args()
    rungs = {rung.name: rung for rung in read_rungs(args.rungs, args.data) if not rung.single}
    if (name := args.rung or [*rungs][-1]) not in rungs:
        parser.error(f"--rung: {name!r} is not in {args.rungs}; expected one of {', '.join(rungs)}")
    out, ladder = (folder / args.data.name / name for folder in (args.out, args.ladder))
    panvision: Rows = {}
    futures: dict[tuple[int, int], list[Future[Row]]] = {}
    with ProcessPoolExecutor(args.jobs, multiprocessing.get_context("spawn")) as pool:
        for split in args.splits:
            with redirect_stdout(sys.stderr):
                config = Config.parse(run_params(rungs[name], 0, split))
                packed = pack(config, {}, out / f"split{split}")
            for seed in args.seeds:
                params, run = run_params(rungs[name], seed, split), f"split{split}-seed{seed}"
                if row := panvision_row(params, ladder / run, packed):
                    panvision[split, seed] = row
                futures[split, seed] = [
                    pool.submit(train_network, task, params, packed, out / run / task) for task in TASKS
                ]
        peers: Rows = {}
        for key, networks in futures.items():
            rows = [network.result() for network in networks]
            peers[key] = {metric: value for row in rows for metric, value in row.items()}
            peers[key] |= {metric: sum(row[metric] for row in rows) for metric in ("minutes", "MB")}
            print(f"split {key[0]}, seed {key[1]}: {peers[key]}", file=sys.stderr, flush=True)
    show(panvision, peers)


if __name__ == "__main__":
    main()
