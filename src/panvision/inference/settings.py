"""The sections `detection` and `decision` of params.yaml: what the shipped model reports."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from panvision.core.params import Settings

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Cost = Annotated[float, Field(ge=0.0, le=1e5)]

# Score threshold of a class for which none was chosen.
DEFAULT_SCORE = 0.3


def _checked_score(value: object) -> object:
    """Refuse in one line what is neither `auto` nor a number from 0 to 1, alone or for each class."""
    numbers: list[Any] = list(value.values()) if isinstance(value, dict) else [value]
    if value == "auto" or (numbers and all(type(each) in (int, float) and 0.0 <= each <= 1.0 for each in numbers)):
        return value
    raise ValueError("expected auto, a number from 0 to 1, or such a number for each class")


class DetectionSettings(Settings):
    """Thresholds of inference; training and mAP do not use the score threshold.

    Attributes:
        score_threshold: boxes with a lower score are not reported: a number, or one for each class by its name; `auto`:
            chosen for each class on validation images, as `DecisionSettings` says.
        nms_threshold: of two boxes of one class with a larger IoU, the one with the lower score is dropped.
        max_detections: boxes kept per image, best first.
    """

    score_threshold: Annotated[Fraction | Literal["auto"] | dict[str, Fraction], BeforeValidator(_checked_score)] = (
        DEFAULT_SCORE
    )
    nms_threshold: Fraction = 0.5
    max_detections: Annotated[int, Field(ge=1, le=1000)] = 100


class CostSettings(Settings):
    """Costs of mistakes, in any unit.

    Attributes:
        miss: an object without a box.
        false_alarm: a box too many.
        confusions: of class labels: true one → predicted one → cost. Others cost 1, and a right answer nothing.
    """

    miss: Cost = 1.0
    false_alarm: Cost = 1.0
    confusions: dict[str, dict[str, Cost]] = Field(default_factory=dict)


class DecisionSettings(Settings):
    """Choice of the thresholds of boxes on validation images, and costs of mistakes.

    Attributes:
        criterion: of each class's threshold: `f1`: the highest F1; `precision`: the most objects found with at least
            `min_precision`; `cost`: the lowest cost of misses and false alarms.
        min_precision: the least precision.
        costs: of mistakes.
    """

    criterion: Literal["f1", "precision", "cost"] = "f1"
    min_precision: Annotated[float, Field(gt=0.0, le=1.0)] = 0.9
    costs: CostSettings = CostSettings()
