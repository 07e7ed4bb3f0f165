"""What a model file scores on the test split, by the evaluator of the checkpoint, and what INT8 costs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from panvision.evaluation.results import Choices
from panvision.evaluation.score import evaluate
from panvision.evaluation.settings import EvaluationSettings
from panvision.inference.predictor import Predictor
from panvision.photos.settings import DataSettings

# Headline figure → task: what a shipped file is judged by.
HEADLINE = {"miou": "segmentation", "map50": "detection", "map50_95": "detection", "accuracy": "classification"}

Scores = dict[str, float | None]


@dataclass(frozen=True)
class HeldOut:
    """The raw test pictures and how they are scored.

    Attributes:
        prepared: folder of `prepare`'s outputs, one subfolder per task.
        splits: the splits.csv that `validate` wrote.
        data: where the raw pictures lie and how large they may be.
        settings: how `evaluate` scores.
    """

    prepared: Path
    splits: Path
    data: DataSettings
    settings: EvaluationSettings

    def score(self, predictor: Predictor) -> Scores:
        """The figures of HEADLINE, fractions; None where undefined, and of tasks that the model has not.

        Raises:
            EvaluationError: the model has other classes than the data.
            PackedError: the packed sets or splits cannot be used, or the raw data are no longer those packed.
            ImageError: a raw picture or mask cannot be read.
        """
        found = evaluate(
            predictor,
            prepared=self.prepared,
            splits=self.splits,
            data=self.data,
            # No figure here has an interval, or depends on what is chosen on the validation split.
            settings=EvaluationSettings(
                min_score=self.settings.min_score, batch_size=self.settings.batch_size, resamples=0
            ),
            choices=Choices(),
        )
        return {figure: getattr(found, task)[figure] for figure, task in HEADLINE.items()}


@dataclass(frozen=True)
class Verdict:
    """What INT8 costs against the float file, on the same pictures.

    Attributes:
        drop: figure → float's less INT8's, a fraction, negative where INT8 is the better; None where undefined.
        accepted: no figure drops by more than the limit; None where no figure is defined.
    """

    drop: Scores
    accepted: bool | None

    def to_json(self) -> dict[str, Any]:
        """The metrics."""
        return {"accepted": self.accepted, "drop": self.drop}


def judge(exported: Mapping[str, float | None], int8: Mapping[str, float | None], max_drop: float) -> Verdict:
    """Compare what two files score, figure by figure.

    Args:
        exported: of the float file.
        int8: of the INT8 file.
        max_drop: what no figure may lose more than.
    """
    drop: Scores = {}
    for figure, before in exported.items():
        after = int8[figure]
        # Rounded: 0.95 - 0.94 is a little more than 0.01 in floats.
        drop[figure] = None if before is None or after is None else round(before - after, 9)
    defined = [value for value in drop.values() if value is not None]
    return Verdict(drop, max(defined) <= max_drop if defined else None)
