"""The `report` section of params.yaml."""

from typing import Annotated

from pydantic import Field

from panvision.core.params import Settings


class ReportSettings(Settings):
    """Content of the HTML report.

    Attributes:
        images: test images drawn per task, spread over the split.
        worst: test images drawn per task, the worst first.
        width: width of a drawn image in pixels.
        data_images: images shown of each kind of problem in the raw data; of copies, groups of images.
    """

    images: Annotated[int, Field(ge=0, le=200)] = 8
    worst: Annotated[int, Field(ge=0, le=200)] = 6
    width: Annotated[int, Field(ge=64, le=2048)] = 320
    data_images: Annotated[int, Field(ge=0, le=100)] = 6
