"""The one table of the report's sections."""

from panvision.core.tasks import Task
from panvision.report import classification, detection, segmentation
from panvision.report.section import Section

SECTIONS: dict[Task, Section] = {
    "segmentation": segmentation.SECTION,
    "detection": detection.SECTION,
    "classification": classification.SECTION,
}
