"""A mask per image as PNG: 0 or 255, with the image's own pixels; the format has no confidence."""

import io

from PIL import Image

from panvision.core.tasks import Dataset
from panvision.labelling.labels import Labels
from panvision.labelling.writers.writer import File, Writer, beside


def _each(_task: Dataset, labels: Labels) -> list[File]:
    if labels.mask is None:
        return []
    content = io.BytesIO()
    Image.fromarray(labels.mask).save(content, format="PNG")
    return [(beside("masks", labels, ".png"), content.getvalue())]


WRITER = Writer(("segmentation",), each=_each)
