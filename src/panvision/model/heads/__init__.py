"""Task heads: one module per task, one row each in `HEADS`."""

from panvision.core.tasks import Task
from panvision.model.heads import classification, detection, segmentation
from panvision.model.heads.base import HeadSpec

HEADS: dict[Task, HeadSpec] = {
    "segmentation": segmentation.HEAD,
    "detection": detection.HEAD,
    "classification": classification.HEAD,
}
