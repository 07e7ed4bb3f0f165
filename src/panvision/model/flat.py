"""The model as a deployed runtime sees it: uint8 pictures in, plain arrays out, five with all three tasks."""

import torch
from torch import Tensor, nn

from panvision.model.multitask import MultiTaskModel

INPUT_NAME = "images"
# Outputs of each task, in the order in which they stand in a file.
OUTPUTS_OF = {
    "segmentation": ("mask_logits",),
    "detection": ("class_logits", "ltrb", "centerness"),
    "classification": ("state_logits",),
}


class FlatModel(nn.Module):
    """Wraps a MultiTaskModel: channels last in, detection levels joined out; both backends run exactly this."""

    def __init__(self, model: MultiTaskModel) -> None:
        super().__init__()
        self.model = model

    @property
    def output_names(self) -> tuple[str, ...]:
        """What `forward` gives, by name."""
        return tuple(name for task in self.model.tasks for name in OUTPUTS_OF[task])

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Run all the model's heads.

        Args:
            images: (N, S, S, 3) uint8 RGB.

        Returns:
            Those of `output_names`, all float32: mask_logits (N, S, S); class_logits (N, P, K), ltrb (N, P, 4) in units
            of stride and centerness (N, P) over the P points of all levels, finest level first, row by row;
            state_logits (N, C).
        """
        # Cast before anything else: TensorRT takes a uint8 input in no other way.
        outputs = self.model(images.float().permute(0, 3, 1, 2))
        flat: list[Tensor] = []
        if "segmentation" in outputs:
            flat.append(outputs["segmentation"][:, 0])
        if "detection" in outputs:
            detection = outputs["detection"]
            flat += [join_levels(detection.class_logits), join_levels(detection.ltrb)]
            flat.append(join_levels(detection.centerness)[..., 0])
        if "classification" in outputs:
            flat.append(outputs["classification"])
        return tuple(output.float() for output in flat)


def join_levels(levels: list[Tensor]) -> Tensor:
    """[(N, D, h, w) per level] → (N, P, D), level by level, row by row."""
    return torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1)
