"""The model as a deployed runtime sees it: uint8 pictures in, five plain arrays out."""

import torch
from torch import Tensor, nn

from panvision.model.multitask import MultiTaskModel

INPUT_NAME = "images"
OUTPUT_NAMES = ("mask_logits", "class_logits", "ltrb", "centerness", "state_logits")


class FlatModel(nn.Module):
    """Wraps a MultiTaskModel: channels last in, detection levels joined out; both backends run exactly this."""

    def __init__(self, model: MultiTaskModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Run all three heads.

        Args:
            images: (N, S, S, 3) uint8 RGB.

        Returns:
            mask_logits (N, S, S); class_logits (N, P, K), ltrb (N, P, 4) in units of stride and centerness (N, P)
            over the P points of all levels, finest level first, row by row; state_logits (N, C). All float32.
        """
        outputs = self.model(images.permute(0, 3, 1, 2).float())
        detection = outputs["detection"]
        return (
            outputs["segmentation"][:, 0].float(),
            join_levels(detection.class_logits).float(),
            join_levels(detection.ltrb).float(),
            join_levels(detection.centerness)[..., 0].float(),
            outputs["classification"].float(),
        )


def join_levels(levels: list[Tensor]) -> Tensor:
    """[(N, D, h, w) per level] → (N, P, D), level by level, row by row."""
    return torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1)
