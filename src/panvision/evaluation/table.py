"""The one table of evaluations."""

from panvision.core.tasks import Task
from panvision.evaluation import classification, detection, segmentation
from panvision.evaluation.evaluation import Evaluation

EVALUATIONS: dict[Task, Evaluation] = {
    "segmentation": segmentation.EVALUATION,
    "detection": detection.EVALUATION,
    "classification": classification.EVALUATION,
}
