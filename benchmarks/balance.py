"""Gradient of each task on the shared backbone: `python benchmarks/balance.py [CHECKPOINT ...]`.

Prints, for fresh weights and for each checkpoint, the median norm over some training batches of the gradient of each
weighted task loss on the backbone's weights, its share, and the same for the parts of the detection loss. Run it after
`dvc repro`: it reads params.yaml, build/prepared and build/splits.csv. BatchNorm is in evaluation mode for checkpoints.
"""

import argparse
import statistics
from pathlib import Path

import torch

from panvision.core.params import read_sections
from panvision.model.checkpoint import load_checkpoint
from panvision.model.multitask import MultiTaskModel
from panvision.model.settings import ModelSettings
from panvision.training.data.sets import Sets, open_sets
from panvision.training.data.settings import AugmentSettings
from panvision.training.data.stream import TrainingStream
from panvision.training.losses import batch_terms, task_losses
from panvision.training.losses.targets import make_points
from panvision.training.losses.terms import LossContext
from panvision.training.losses.weights import loss_weights
from panvision.training.settings import LossSettings, TrainSettings

SECTIONS = {"model": ModelSettings, "augment": AugmentSettings, "loss": LossSettings, "train": TrainSettings}


def norms(model: MultiTaskModel, stream: TrainingStream, loss: LossSettings, batches: int) -> dict[str, float]:
    """Median gradient norm on the backbone of each weighted loss and of each term, by name."""
    context = LossContext(make_points(model.image_size, model.settings.strides), loss)
    model.backbone.freeze(weights=False, batch_norm=False)
    weights = [each for each in model.backbone.parameters() if each.requires_grad]
    factors = loss_weights(loss)
    found: dict[str, list[float]] = {}
    for number in range(batches):
        batch = stream[number]
        images = torch.cat(list(batch.images.values()))
        outputs = model(images, model.tasks, {name: len(own) for name, own in batch.images.items()})
        losses = task_losses(batch_terms(outputs, batch, context), loss)
        for name, value in losses.items():
            if not value.requires_grad:
                continue  # a term that is switched off
            scale = factors.get(name, factors["det"] if name.startswith("det_") else 1.0)
            grads = torch.autograd.grad(scale * value, weights, retain_graph=True, allow_unused=True)
            norm = torch.stack([grad.norm() for grad in grads if grad is not None]).norm()
            found.setdefault(name, []).append(float(norm))
    return {name: statistics.median(own) for name, own in found.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="*", type=Path, metavar="CHECKPOINT")
    parser.add_argument("--batches", type=int, default=8)
    args = parser.parse_args()
    settings = read_sections(SECTIONS)
    sets: Sets = open_sets("build/prepared", "build/splits.csv")
    stream = TrainingStream(
        sets.packed, sets.split("train"), settings["augment"], batch_size=settings["train"].batch_size, seed=1
    )
    torch.manual_seed(0)
    names = {"det_classes": sets.det_classes, "cls_classes": sets.cls_classes}
    models = {"fresh weights": MultiTaskModel(settings["model"], image_size=sets.image_size, **names).train()}
    models |= {str(path): load_checkpoint(path)[0].eval() for path in args.checkpoints}
    print(f"{'':32} {'seg':>14} {'det':>14} {'cls':>14}  det_class det_box det_centerness  total")
    for title, model in models.items():
        found = norms(model, stream, settings["loss"], args.batches)
        whole = sum(found[name] for name in ("seg", "det", "cls"))
        shares = " ".join(f"{found[name]:8.3f} {found[name] / whole:5.0%}" for name in ("seg", "det", "cls"))
        parts = " ".join(f"{found[name]:9.3f}" for name in ("det_class", "det_box", "det_centerness", "total"))
        print(f"{title:32} {shares} {parts}")


if __name__ == "__main__":
    main()
