"""Classification head: C5 to one logit per class."""

from torch import Tensor, nn

from panvision.model.heads.base import HeadInputs, HeadSpec


class ClassificationHead(nn.Module):
    """C5 (N, D, ·, ·) → class logits (N, C): global average pool and two fully connected layers.

    The up to 2,048 pooled values are all positive and similar in all images. A step of Adam changes each weight of a
    hidden unit by about the learning rate, mostly with one sign, so the unit's sum changes by a multiple of itself.
    Without LayerNorm (Ba et al. 2016), ReLU soon turns most units off for every image, and learning stops.
    """

    levels = ("C5",)

    def __init__(self, in_channels: int, num_classes: int, *, hidden: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(in_channels, hidden, bias=False),
            nn.LayerNorm(hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, c5: Tensor) -> Tensor:
        """Return class logits (N, C)."""
        # mean(), not AdaptiveAvgPool2d: the latter's backward pass is not deterministic on CUDA.
        return self.layers(c5.mean((2, 3)))


def _build(inputs: HeadInputs) -> ClassificationHead:
    settings = inputs.settings
    return ClassificationHead(
        inputs.backbone_channels[-1], inputs.num_classes, hidden=settings.cls_hidden, dropout=settings.dropout
    )


def _flatten(logits: Tensor) -> tuple[Tensor, ...]:
    """(N, C) → state_logits (N, C)."""
    return (logits,)


HEAD = HeadSpec(build=_build, flatten=_flatten, class_layer="layers.4")
