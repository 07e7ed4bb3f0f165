"""The one table of writers; `prepare/formats/` reads all of them back."""

from collections.abc import Iterable, Sequence

from panvision.core.tasks import DATASETS, Dataset
from panvision.labelling.writers import coco, cvat, folders, labelme, masks, voc, yolo
from panvision.labelling.writers.writer import Writer, WriterError

WRITERS: dict[str, Writer] = {
    "coco": coco.WRITER,
    "yolo": yolo.WRITER,
    "cvat": cvat.WRITER,
    "labelme": labelme.WRITER,
    "voc": voc.WRITER,
    "masks": masks.WRITER,
    "folders": folders.WRITER,
}


def choose_writers(formats: Sequence[str], tasks: Iterable[str]) -> dict[Dataset, Writer]:
    """Return the writer of each dataset that a model has labels for.

    A later format replaces an earlier one for the datasets that it holds. Beside boxes, in a format without classes of
    whole images, these become folders.

    Args:
        formats: keys of `WRITERS`.
        tasks: of the model.

    Raises:
        WriterError: a format holds nothing that the model has.
    """
    available = [task for task in DATASETS if task in set(tasks)]
    chosen: dict[Dataset, Writer] = {}
    for name in formats:
        writer = WRITERS[name]
        if not set(writer.tasks) & set(available):
            needed = " or ".join(writer.tasks)
            fitting = ", ".join(each for each, other in WRITERS.items() if set(other.tasks) & set(available))
            raise WriterError(f"{name}: holds labels of {needed}, not {', '.join(available)}; choose {fitting}")
        chosen |= {task: writer for task in available if task in writer.tasks}
        if writer.has_shapes and "classification" in available:
            chosen.setdefault("classification", folders.WRITER)
    return chosen


__all__ = ["WRITERS", "Writer", "WriterError", "choose_writers"]
