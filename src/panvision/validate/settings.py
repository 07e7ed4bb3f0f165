"""The `split` section of params.yaml: the held-out images."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from panvision.core.params import Settings


class SplitSettings(Settings):
    """The settings of `validate`.

    Attributes:
        val, test: fractions of the images held out for validation and for the test.
        seed: decides which group goes where.
        method: `stable` assigns each group by its own hash, so that adding images moves none of the old ones, with two
            exceptions: a group that filled a gap (`split_topped_up`) moves back when others fill it, and a group moves
            if a new image joins it. It meets the shares on average only (`split_small`). `balanced` meets the shares of
            each dataset and class as closely as it can, and may move old images when images are added, unless they are
            pinned.
        pins: CSV file with the columns task, file and split (build/splits.csv is one); the images in it stay there.
            None pins nothing; the pipeline needs a file.
        folds: 0, or k for k-fold: fold number `fold` is the test split, the next one validation, the rest training.
        fold: which fold is the test split, 0 to `folds` - 1.
        copy_difference: two images are copies of one photo if, after undoing flip, crop and brightness, no part of
            them differs by more than this, in units of their contrast (`alignment.differences`); 0: equal pixels only.
        burst_seconds: photos that one camera took within this many seconds of each other stay together, and similar
            images with neighbouring numbers in their names, which are frames of a video; 0: both off.
    """

    val: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.15
    test: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.15
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    method: Literal["stable", "balanced"] = "stable"
    pins: Annotated[str, Field(min_length=1)] | None = "data/pins.csv"
    folds: Annotated[int, Field(ge=0, le=100)] = 0
    fold: Annotated[int, Field(ge=0, lt=100)] = 0
    copy_difference: Annotated[float, Field(ge=0.0, le=1.0)] = 0.38
    burst_seconds: Annotated[float, Field(ge=0.0, le=86400.0)] = 10.0

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> Self:
        if self.val + self.test >= 1.0:
            raise ValueError("val + test must be below 1, or nothing is left to train on")
        return self

    @model_validator(mode="after")
    def _folds_leave_a_training_split(self) -> Self:
        if self.folds in (1, 2):
            raise ValueError("folds must be 0 (off) or at least 3: one for the test, one for validation, the rest")
        if self.fold >= max(self.folds, 1):
            raise ValueError(f"fold must be below folds ({self.folds}), found {self.fold}")
        return self
