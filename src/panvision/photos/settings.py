"""The `data` section of params.yaml: the raw data, and how they are packed."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from panvision.core.params import Settings


def _local(root: str) -> str:
    """Return the path of a folder, `~` replaced by the home folder; an address is refused."""
    if re.match(r"file://", root, re.IGNORECASE):
        raise ValueError("expected a path; leave out file://")
    if re.match(r"[a-z][a-z0-9+.-]*://", root, re.IGNORECASE):
        raise ValueError(
            f"expected a local folder; run `dvc import-url {root} data/photos`, then set data.root to data/photos"
        )
    try:
        return str(Path(root).expanduser()) if root.startswith("~") else root
    except RuntimeError as error:
        raise ValueError("has no home folder; write the whole path") from error


class DataSettings(Settings):
    """The settings of `prepare`.

    Attributes:
        root: folder with segmentation/, detection/ and classification/; `~` is the home folder.
        image_size: side S of the packed square images in pixels; a multiple of 32, the coarsest stride.
        max_pixels: images with more pixels are refused before they are decoded (decompression bombs).
        min_side: images with a shorter side in pixels are reported.
        pan_classes: the labels of masks or outlines that are pan, by name, number or colour (`36,100,50`); `all`; null:
            all if there is one, else an error.
        zero_area_boxes: `drop` leaves boxes without area out and reports them, `refuse` stops the pipeline.
    """

    root: Annotated[str, Field(min_length=1), AfterValidator(_local)] = "data/demo"
    image_size: Annotated[int, Field(ge=64, le=2048, multiple_of=32)] = 256
    max_pixels: Annotated[int, Field(ge=4096)] = 100_000_000
    min_side: Annotated[int, Field(ge=1)] = 32
    pan_classes: tuple[Annotated[str, Field(min_length=1)] | int, ...] | Literal["all"] | None = None
    zero_area_boxes: Literal["drop", "refuse"] = "drop"

    @property
    def pan_names(self) -> tuple[str, ...] | Literal["all"] | None:
        """`pan_classes` with numbers as text."""
        return tuple(map(str, self.pan_classes)) if isinstance(self.pan_classes, tuple) else self.pan_classes
