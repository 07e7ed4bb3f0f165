"""The `data` section of params.yaml: the raw data, and how they are packed."""

from typing import Annotated, Literal

from pydantic import Field

from panvision.core.params import Settings


class DataSettings(Settings):
    """The settings of `prepare`.

    Attributes:
        root: folder with segmentation/, detection/ and classification/.
        image_size: side S of the packed square images in pixels; a multiple of 32, the coarsest stride.
        max_pixels: images with more pixels are refused before they are decoded (decompression bombs).
        min_side: images with a shorter side in pixels are reported.
        pan_classes: the labels of masks or outlines that are pan, by name, number or colour (`36,100,50`); `all`; null:
            all if there is one, else an error.
        zero_area_boxes: `drop` leaves boxes without area out and reports them, `refuse` stops the pipeline.
    """

    root: Annotated[str, Field(min_length=1)] = "data/demo"
    image_size: Annotated[int, Field(ge=64, le=2048, multiple_of=32)] = 256
    max_pixels: Annotated[int, Field(ge=4096)] = 100_000_000
    min_side: Annotated[int, Field(ge=1)] = 32
    pan_classes: tuple[Annotated[str, Field(min_length=1)] | int, ...] | Literal["all"] | None = None
    zero_area_boxes: Literal["drop", "refuse"] = "drop"

    @property
    def pan_names(self) -> tuple[str, ...] | Literal["all"] | None:
        """`pan_classes` with numbers as text."""
        return tuple(map(str, self.pan_classes)) if isinstance(self.pan_classes, tuple) else self.pan_classes
