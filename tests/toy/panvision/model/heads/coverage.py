"""Coverage head: C5 to one logit of the fraction of the image that the pan covers."""

from torch import Tensor, nn

from panvision.model.heads.base import HeadInputs, HeadSpec


class CoverageHead(nn.Module):
    """C5 (N, D, ·, ·) → logits (N,)."""

    levels = ("C5",)

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.layer = nn.Linear(in_channels, 1)

    def forward(self, c5: Tensor) -> Tensor:
        """Return logits (N,)."""
        return self.layer(c5.mean((2, 3)))[:, 0]


def _build(inputs: HeadInputs) -> CoverageHead:
    return CoverageHead(inputs.backbone_channels[-1])


def _flatten(logits: Tensor) -> tuple[Tensor, ...]:
    return (logits,)


HEAD = HeadSpec(build=_build, flatten=_flatten)
