"""A mask per image as PNG: 0 or 255, with the image's own pixels; the format has no confidence."""

import io
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from PIL import Image

from panvision.core.tasks import Dataset
from panvision.labelling.forms import MASKS
from panvision.labelling.labels import Classes, Labels
from panvision.labelling.writers.writer import File, Writer, WriterError, beside


def _each(_task: Dataset, labels: Labels) -> list[File]:
    if labels.mask is None:
        return []
    content = io.BytesIO()
    Image.fromarray(labels.mask).save(content, format="PNG")
    return [(beside("masks", labels, ".png"), content.getvalue())]


def _check(folder: Path, _task: Dataset, _classes: Classes, names: Collection[str]) -> None:
    """Refuse images that have a mask under another name that is read: `a_mask.png`, `a.jpg.png` or `a.bmp`."""
    images = {path.stem for path in (folder / "images").glob("*")}
    masks = (folder / MASKS).glob("*")
    others = {path.stem: path for path in masks if path.suffix != ".png" or path.stem not in images}
    for name in names:
        stem = PurePosixPath(name).stem
        for other in {stem, f"{stem}_mask", name} & others.keys():
            if others[other].name != f"{stem}.png":
                raise WriterError(f"{others[other]}: is a mask of {name}; choose another folder with --into")


WRITER = Writer(("segmentation",), MASKS, each=_each, check=_check)
