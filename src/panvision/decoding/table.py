"""The one table of decoders."""

from panvision.core.tasks import Task
from panvision.decoding import classification, detection, segmentation
from panvision.decoding.decoder import Decoder

DECODERS: dict[Task, Decoder] = {
    "segmentation": segmentation.DECODER,
    "detection": detection.DECODER,
    "classification": classification.DECODER,
}
