"""The model as a deployed runtime sees it: uint8 images in, plain arrays out."""

from torch import Tensor, nn

from panvision.core.tasks import TASKS, output_names
from panvision.model.heads import HEADS
from panvision.model.multitask import DISTANCE, MultiTaskModel, Outputs

INPUT_NAME = "images"


def flat_outputs(outputs: Outputs) -> dict[str, Tensor]:
    """Return the raw outputs of a model file by name, float32, from the outputs of the heads."""
    flat: dict[str, Tensor] = {}
    for task, own in outputs.items():
        if task == DISTANCE:
            continue
        flat |= zip(TASKS[task].outputs, HEADS[task].flatten(own), strict=True)
        if TASKS[task].optional and DISTANCE in outputs:
            flat |= zip(TASKS[task].optional, outputs[DISTANCE], strict=True)
    return {name: output.float() for name, output in flat.items()}


class FlatModel(nn.Module):
    """Wraps a MultiTaskModel: channels last in, `TaskSpec.outputs` out. Both backends run exactly this."""

    def __init__(self, model: MultiTaskModel) -> None:
        super().__init__()
        self.model = model

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs of `forward`, in order."""
        return output_names(self.model.tasks, optional=self.model.distance is not None)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Run all heads of the model.

        Args:
            images: (N, S, S, 3) uint8 RGB.

        Returns:
            The outputs of `output_names`, all float32: mask_logits (N, S, S); class_logits (N, P, K), ltrb (N, P, 4) in
            strides and centerness (N, P) over the P locations of all levels, finest level first, row by row;
            state_logits (N, C); and if the model has the distance, cls_distance (N,) and cls_features (N, k).
        """
        # Cast before anything else: TensorRT accepts a uint8 input in no other way.
        return tuple(flat_outputs(self.model(images.float().permute(0, 3, 1, 2))).values())
