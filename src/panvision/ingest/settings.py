"""The `data` and `split` sections of params.yaml: where raw data lie, how they are packed and split."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from panvision.params import Settings


class DataSettings(Settings):
    """What `prepare` reads.

    Attributes:
        root: folder with segmentation/, detection/ and classification/.
        image_size: side S of the packed square images in pixels; a multiple of 32, the coarsest stride.
        max_pixels: an image with more pixels is refused before it is decoded (decompression bombs).
        zero_area_boxes: `drop` leaves boxes without area out and reports them, `refuse` stops the pipeline.
    """

    root: Annotated[str, Field(min_length=1)] = "data/demo"
    image_size: Annotated[int, Field(ge=64, le=2048, multiple_of=32)] = 256
    max_pixels: Annotated[int, Field(ge=4096)] = 100_000_000
    zero_area_boxes: Literal["drop", "refuse"] = "drop"


class SplitSettings(Settings):
    """What `validate` reads.

    Attributes:
        val, test: shares of the images held out for validation and for the test.
        near_duplicate_bits: two images whose 64-bit perceptual hashes differ in at most this many bits
            are one group; 0 joins equal hashes only. Half of a hash's bits are set, so distances are even.
        seed: decides which group goes where.
    """

    val: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.15
    test: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.15
    near_duplicate_bits: Annotated[int, Field(ge=0, le=16)] = 4
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> Self:
        if self.val + self.test >= 1.0:
            raise ValueError("val + test must be below 1, or nothing is left to train on")
        return self
