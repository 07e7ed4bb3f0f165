"""One backbone, one pyramid, three heads; only what is asked for is computed."""

from collections.abc import Collection, Mapping, Sequence
from typing import TypedDict

import torch
from torch import Tensor, nn

from panvision.core.tasks import TASKS
from panvision.model.backbones import make_backbone
from panvision.model.fpn import FeaturePyramid
from panvision.model.heads import ClassificationHead, DetectionHead, DetectionOutput, SegmentationHead
from panvision.model.settings import ModelSettings


class Outputs(TypedDict, total=False):
    """Outputs by task; a task that was not asked for, or that the model has no head for, is absent."""

    segmentation: Tensor  # (N, 1, S, S) logits
    detection: DetectionOutput
    classification: Tensor  # (N, C) logits


class MultiTaskModel(nn.Module):
    """The model. Input is RGB in 0..255; normalisation is part of it, so that no caller can forget or vary it.

    Args:
        settings: architecture.
        image_size: side S of the square input in pixels, a multiple of 32.
        det_classes: names of the detection classes, K of them; without detection the model has none.
        cls_classes: names of the states, C of them; likewise.
        tasks: which heads it has, at least one; without segmentation and detection it has no pyramid either.

    Attributes:
        tasks: the same, in the order of TASKS.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        settings: ModelSettings,
        *,
        image_size: int,
        det_classes: Sequence[str],
        cls_classes: Sequence[str],
        tasks: Collection[str] = TASKS,
    ) -> None:
        super().__init__()
        if not tasks or not set(tasks) <= set(TASKS):
            raise ValueError(f"tasks must be some of {', '.join(TASKS)}, found {list(tasks)}")
        self.tasks = tuple(task for task in TASKS if task in tasks)
        self.settings = settings
        self.image_size = image_size
        self.det_classes = list(det_classes) if "detection" in tasks else []
        self.cls_classes = list(cls_classes) if "classification" in tasks else []
        self.backbone = make_backbone(settings.backbone)
        self.fpn = FeaturePyramid(self.backbone.channels, settings.fpn_channels)
        self.segmentation = SegmentationHead(settings.fpn_channels, settings.seg_channels)
        # Without names the task is absent and its head let go below; PyTorch warns of layers without outputs.
        boxes, states = max(len(det_classes), 1), max(len(cls_classes), 1)
        self.detection = DetectionHead(
            settings.fpn_channels,
            settings.det_channels,
            boxes,
            num_levels=len(settings.strides),
            num_convs=settings.head_convs,
        )
        self.classification = ClassificationHead(
            self.backbone.channels[-1], states, hidden=settings.cls_hidden, dropout=settings.dropout
        )
        self._drop_parts()
        self.detection_levels = tuple(stride.bit_length() - 1 for stride in settings.strides)  # stride 8 → P3
        # The backbone's constants, not learned: they stay out of the state dict, and an exported graph contains them.
        for name in ("pixel_mean", "pixel_std"):
            statistic = torch.tensor(getattr(self.backbone, name)).view(1, 3, 1, 1)
            self.register_buffer(name, statistic, persistent=False)

    def _drop_parts(self) -> None:
        """Let go of the parts that no task of this model needs.

        They were made like the others, so that a part's first weights do not depend on which others there are: a
        single-task baseline starts from the shared model's weights.
        """
        unneeded: list[str] = [task for task in TASKS if task not in self.tasks]
        if self.tasks == ("classification",):
            unneeded.append("fpn")
        for name in unneeded:
            delattr(self, name)

    def forward(
        self, images: Tensor, tasks: Collection[str] | None = None, counts: Mapping[str, int] | None = None
    ) -> Outputs:
        """Run the tasks asked for.

        Args:
            images: (N, 3, S, S) RGB in 0..255, uint8 or float.
            tasks: which of the model's tasks to compute; by default all of them.
            counts: in training, how many images belong to each task: the batch is then the tasks' batches one
                behind the other in the order of TASKS, passes the backbone once, and each head sees its own slice
                (classification's samples never enter the pyramid). Without it every task sees every image.

        Returns:
            Outputs of the tasks asked for.

        Raises:
            ValueError: the model has no head for a task, or `counts` do not add up to the batch.
        """
        tasks = self.tasks if tasks is None else tasks
        if not set(tasks) <= set(self.tasks):
            raise ValueError(f"the model's tasks are {', '.join(self.tasks)}, asked for were {', '.join(tasks)}")
        features = self.backbone((images.float() - self.pixel_mean) / self.pixel_std)
        parts = _parts(features, tasks, counts)
        outputs: Outputs = {}
        if "classification" in tasks:
            outputs["classification"] = self.classification(parts["classification"][-1])
        pyramids = self._pyramids(parts, shared=counts is None)
        if "segmentation" in tasks:
            outputs["segmentation"] = self.segmentation(pyramids["segmentation"][2])
        if "detection" in tasks:
            levels = pyramids["detection"]
            outputs["detection"] = self.detection([levels[level] for level in self.detection_levels])
        return outputs

    def _pyramids(self, parts: Mapping[str, list[Tensor]], *, shared: bool) -> dict[str, dict[int, Tensor]]:
        """The pyramid levels that each task needs: P2 for the mask, `detection_levels` for the boxes."""
        needs = {"segmentation": {2}, "detection": set(self.detection_levels)}
        wanted = [task for task in needs if task in parts]
        if shared and wanted:
            levels = self.fpn(parts[wanted[0]], set().union(*(needs[task] for task in wanted)))
            return dict.fromkeys(wanted, levels)
        return {task: self.fpn(parts[task], needs[task]) for task in wanted}


def _parts(features: list[Tensor], tasks: Collection[str], counts: Mapping[str, int] | None) -> dict[str, list[Tensor]]:
    """The feature maps of each task's images; without `counts`, all of them for each."""
    if counts is None:
        return dict.fromkeys(tasks, features)
    sizes = {task: counts[task] for task in TASKS if task in tasks}
    if sum(sizes.values()) != len(features[0]):
        raise ValueError(f"counts add up to {sum(sizes.values())} images, the batch holds {len(features[0])}")
    # One cut a level: the backward pass joins the tasks' gradients at once, and neither pads nor adds them up.
    cuts = [level.split(list(sizes.values())) for level in features]
    return {task: [level[number] for level in cuts] for number, task in enumerate(sizes)}
