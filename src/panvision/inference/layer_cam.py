"""LayerCAM (Jiang et al. 2021, IEEE TIP 30, "LayerCAM: Exploring Hierarchical Class Activation Maps for Localization").

The map of a score y on a feature map A (K, h, w) is ReLU(sum over k of ReLU(dy/dA_k) * A_k), divided by its maximum:
each cell is weighted by its own gradient, so that levels with many cells give a sharp map. Maps of several levels are
joined by their element-wise maximum.

The paper's A follows a ReLU. The stages of EfficientNet-Lite end in a linear layer, so here A is cut at 0 as well.
`benchmarks/explain.py` measures what the maps find.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 -- PyTorch's own convention
from torch import Tensor

from panvision.core.tasks import Task
from panvision.decoding.decoder import FloatArray
from panvision.decoding.detection import decode_ltrb
from panvision.decoding.points import level_points
from panvision.inference.explanation import BoxTarget, ClassTarget, Target
from panvision.model.flat import flat_outputs
from panvision.model.multitask import MultiTaskModel

# Backbone levels that explain a class label: those before the deepest one that its head reads, whose cells are too
# coarse (4 x 4 at 128 px).
CLASS_LEVELS = 2


def layer_cam(model: MultiTaskModel, images: Tensor, targets: Sequence[Target]) -> list[FloatArray]:
    """Explain a score of each image by the features of the backbone.

    The score of a class label is the logarithm of its probability, explained on the `CLASS_LEVELS` levels before the
    deepest one that the head reads. The score of a box is the logarithm of class probability times centerness at its
    location, explained on the backbone's level with the stride of that location.

    Args:
        model: in evaluation mode, with the heads of the targets; no other thread may run it meanwhile.
        images: (N, S, S, 3) uint8 RGB.
        targets: one for each image.

    Returns:
        A map (h, w) float32 from 0 to 1 for each image, with the cells of its finest level; 0 everywhere if nothing
        raises the score.
    """
    features: list[Tensor] = []
    handle = model.backbone.register_forward_hook(lambda module, inputs, outputs: features.extend(outputs))
    tasks: set[Task] = {"classification" if isinstance(target, ClassTarget) else "detection" for target in targets}
    try:
        with torch.enable_grad():
            # Of a frozen backbone no weight has a gradient; the input has one, and so do all features.
            outputs = flat_outputs(model(images.float().permute(0, 3, 1, 2).requires_grad_(), tasks=tasks))
            scores, levels = [], []
            for row, target in enumerate(targets):
                own = {name: output[row] for name, output in outputs.items()}
                score, used = _score(model, own, target)
                scores.append(score)
                levels.append(used)
            needed = sorted(set().union(*levels))
            # The images do not influence each other: the gradient of the sum has each image's own.
            gradients = torch.autograd.grad(torch.stack(scores).sum(), [features[level - 2] for level in needed])
    finally:
        handle.remove()
    by_level = dict(zip(needed, gradients, strict=True))
    return [
        _joined((features[level - 2][row].detach(), by_level[level][row]) for level in own)
        for row, own in enumerate(levels)
    ]


def _score(model: MultiTaskModel, outputs: dict[str, Tensor], target: Target) -> tuple[Tensor, list[int]]:
    """Return the score of a target, and the levels that explain it, the finest first."""
    if isinstance(target, ClassTarget):
        return _class_score(model, outputs, target)
    return _box_score(model, outputs, target)


def _class_score(model: MultiTaskModel, outputs: dict[str, Tensor], target: ClassTarget) -> tuple[Tensor, list[int]]:
    """Return the log-probability of a class label, and the levels that explain it, the finest first."""
    deepest = max(int(level[1:]) for level in model.levels["classification"])
    levels = list(range(max(2, deepest - CLASS_LEVELS), max(3, deepest)))
    return torch.log_softmax(outputs["state_logits"], dim=0)[target.label], levels


def _box_score(model: MultiTaskModel, outputs: dict[str, Tensor], target: BoxTarget) -> tuple[Tensor, list[int]]:
    """Return the logarithm of a box's squared score, and the level of its location."""
    points, strides = level_points(model.image_size, model.settings.strides)
    scores = F.logsigmoid(outputs["class_logits"][:, target.label]) + F.logsigmoid(outputs["centerness"])  # (P,)
    boxes = decode_ltrb(points, strides, outputs["ltrb"].detach().cpu().numpy()).clip(0.0, model.image_size)
    # The box does not name its location: it is the one with this score and these edges.
    apart = np.abs(boxes - np.array(target.box)).max(axis=1) / model.image_size
    apart += np.abs((0.5 * scores.detach()).exp().cpu().numpy() - target.score)
    place = int(apart.argmin())
    return scores[place], [int(strides[place]).bit_length() - 1]


def _joined(levels: Iterable[tuple[Tensor, Tensor]]) -> FloatArray:
    """Return the map of an image, from features (K, h, w) and their gradients of each level, the finest first."""
    # Of two factors cut at 0, the sum needs no ReLU.
    maps = [_scaled((F.relu(gradients) * F.relu(features)).sum(dim=0)) for features, gradients in levels]
    size = maps[0].shape
    enlarged = [F.interpolate(each[None, None], size=size, mode="bilinear", align_corners=False) for each in maps]
    return _scaled(torch.cat(enlarged).amax(dim=(0, 1))).cpu().numpy()


def _scaled(values: Tensor) -> Tensor:
    """Divide by the maximum; a map of zeros stays one."""
    return values / values.max().clamp(min=torch.finfo(values.dtype).tiny)
