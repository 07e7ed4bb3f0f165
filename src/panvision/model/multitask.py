"""One backbone, one FPN, one head per task; only what is asked for is computed."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from panvision.core.tasks import DATASETS, TASKS, Task
from panvision.model.backbones import make_backbone
from panvision.model.distance import FeatureDistance
from panvision.model.fpn import FeaturePyramid
from panvision.model.heads import HEADS
from panvision.model.heads.base import HeadInputs
from panvision.model.settings import ModelSettings

# Between task and dataset in the name of a head's output on another task's images.
CROSSED = " on "
# Name of what `FeatureDistance` returns among the outputs.
DISTANCE = "distance"
# Output of each head by task. A task that was not asked for, or that the model does not have, is absent.
Outputs = dict[str, Any]


class MultiTaskModel(nn.Module):
    """The model. Input is RGB in 0..255; normalisation is part of it, so no caller can forget or vary it.

    Args:
        settings: architecture.
        image_size: side S of the square input in pixels, a multiple of 32.
        det_classes: names of the K detection classes; unused without the task.
        cls_classes: names of the C classes of the onions; unused without the task.
        tasks: the heads that it has, at least one. Without a head that reads the FPN it has no FPN.

    Attributes:
        tasks: the same, in the order of TASKS.
        levels: task → names of the feature maps that its head takes.
        distance: of an image's features from the training images; None until export has measured it.
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
        tasks: Collection[Task] = tuple(TASKS),
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
        classes = {"detection": det_classes, "classification": cls_classes}
        # Task → the feature maps that its head takes.
        self.levels: dict[Task, tuple[str, ...]] = {}
        for task, spec in TASKS.items():
            # Without names the task is absent and its head is dropped below; PyTorch warns of layers without outputs.
            count = max(len(classes.get(spec.dataset, ())), 1)
            head = HEADS[task].build(HeadInputs(settings, self.backbone.channels, count))
            self.add_module(task, head)
            self.levels[task] = tuple(head.levels)  # type: ignore[arg-type]
        self._drop_parts()
        self.distance: FeatureDistance | None = None
        # The backbone's constants, not learned: they stay out of the state dict, and an exported graph contains them.
        for name in ("pixel_mean", "pixel_std"):
            statistic = torch.tensor(getattr(self.backbone, name)).view(1, 3, 1, 1)
            self.register_buffer(name, statistic, persistent=False)

    def _drop_parts(self) -> None:
        """Drop the parts that no task of this model needs.

        They were built like the others, so a part's first weights do not depend on which other parts there are: a
        single-task baseline starts from the shared model's weights.
        """
        for task in TASKS:
            if task not in self.tasks:
                delattr(self, task)
                del self.levels[task]
        pyramid = set().union(*(_pyramid_levels(levels) for levels in self.levels.values()))
        if pyramid:
            self.fpn.train_only(pyramid)
        else:
            del self.fpn

    @property
    def classes(self) -> dict[str, list[str]]:
        """Class names by dataset; none of datasets without classes."""
        return {"segmentation": [], "detection": self.det_classes, "classification": self.cls_classes}

    def forward(
        self,
        images: Tensor,
        tasks: Collection[Task] | None = None,
        counts: Mapping[str, int] | None = None,
        crossed: Collection[tuple[Task, str]] = (),
    ) -> Outputs:
        """Run the tasks asked for.

        Args:
            images: (N, 3, S, S) RGB in 0..255, uint8 or float.
            tasks: which of the model's tasks to compute; by default all of them.
            counts: in training, how many images belong to each dataset. The batch is then the datasets' batches one
                behind the other in the order of DATASETS. It passes the backbone once, and each head sees the slice of
                its dataset. Without it every task sees every image.
            crossed: with `counts`, pairs of a task and another dataset: the head sees that dataset's slice, too.

        Returns:
            Outputs of the tasks asked for; those of `crossed` have names such as "detection on segmentation". A shipped
            model adds `DISTANCE`, as `FeatureDistance` returns it, if classification is asked for.

        Raises:
            ValueError: the model has no head for a task, or `counts` do not add up to the batch.
        """
        tasks = self.tasks if tasks is None else tasks
        if not set(tasks) <= set(self.tasks):
            raise ValueError(f"the model's tasks are {', '.join(self.tasks)}, asked for were {', '.join(tasks)}")
        runs: dict[str, tuple[Task, str]] = {task: (task, TASKS[task].dataset) for task in self.tasks if task in tasks}
        runs |= {task + CROSSED + dataset: (task, dataset) for task, dataset in crossed}
        features = self.backbone((images.float() - self.pixel_mean) / self.pixel_std)
        parts = _parts(features, {dataset for _, dataset in runs.values()}, counts)
        outputs: Outputs = {}
        # Heads that read the backbone alone first: their samples never enter the pyramid.
        for name, (task, dataset) in runs.items():
            if not _pyramid_levels(self.levels[task]):
                outputs[name] = getattr(self, task)(*_chosen(self.levels[task], parts[dataset], {}))
        pyramids = self._pyramids(parts, runs.values(), shared=counts is None)
        for name, (task, dataset) in runs.items():
            if name not in outputs:
                outputs[name] = getattr(self, task)(*_chosen(self.levels[task], parts[dataset], pyramids[dataset]))
        found = {name: outputs[name] for name in runs}
        if self.distance is not None and "classification" in tasks:
            found[DISTANCE] = self.distance(features)
        return found

    def _pyramids(
        self, parts: Mapping[str, list[Tensor]], runs: Collection[tuple[Task, str]], *, shared: bool
    ) -> dict[str, dict[int, Tensor]]:
        """Return the pyramid levels that each dataset's tasks need; `shared`: all datasets have the same images."""
        needs: dict[str, set[int]] = {}
        for task, dataset in runs:
            if levels := _pyramid_levels(self.levels[task]):
                needs.setdefault(dataset, set()).update(levels)
        if shared and needs:
            return dict.fromkeys(needs, self.fpn(parts[next(iter(needs))], set().union(*needs.values())))
        return {dataset: self.fpn(parts[dataset], levels) for dataset, levels in needs.items()}


def _pyramid_levels(levels: Collection[str]) -> set[int]:
    """Return the numbers of the FPN levels among names such as "P3" and "C5"."""
    return {int(level[1:]) for level in levels if level.startswith("P")}


def _chosen(levels: Sequence[str], backbone: list[Tensor], pyramid: Mapping[int, Tensor]) -> list[Tensor]:
    """Return the feature maps by name, "C2" to "C5" of the backbone and "P2" to "P5" of the pyramid."""
    return [pyramid[int(name[1:])] if name.startswith("P") else backbone[int(name[1:]) - 2] for name in levels]


def _parts(features: list[Tensor], used: Collection[str], counts: Mapping[str, int] | None) -> dict[str, list[Tensor]]:
    """Return the feature maps of each dataset's images; without `counts`, all of them for each."""
    datasets = [dataset for dataset in DATASETS if dataset in used]
    if counts is None:
        return dict.fromkeys(datasets, features)
    sizes = [counts[dataset] for dataset in datasets]
    if sum(sizes) != len(features[0]):
        raise ValueError(f"counts add up to {sum(sizes)} images, the batch holds {len(features[0])}")
    # One split per level: the backward pass joins the datasets' gradients at once, and neither pads nor adds them up.
    cuts = [level.split(sizes) for level in features]
    return {dataset: [level[number] for level in cuts] for number, dataset in enumerate(datasets)}
