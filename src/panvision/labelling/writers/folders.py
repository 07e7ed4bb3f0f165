"""Classification as a folder per class; the format has no confidence."""

from panvision.core.tasks import Dataset
from panvision.labelling.labels import Labels
from panvision.labelling.writers.writer import UNSAFE, Writer, WriterError

_LONGEST = 200  # bytes; file systems allow 255


def image_in_folder(_task: Dataset, labels: Labels) -> str:
    """Return the path of an image in the folder of its class.

    Raises:
        WriterError: the class cannot be the name of a folder.
    """
    name = labels.label
    wrong = name != name.strip() or name.startswith(".") or UNSAFE & set(name)
    if wrong or len(name.encode()) > _LONGEST:
        raise WriterError(f"the class {name!r} cannot be the name of a folder; use --to labelme, which has flags")
    return f"images/{name}/{labels.file}"


WRITER = Writer(("classification",), image=image_in_folder)
