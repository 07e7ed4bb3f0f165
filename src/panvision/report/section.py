"""The interface of a task's section in the report."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from panvision.core.tasks import headline_metrics
from panvision.evaluation.results import Results
from panvision.report.mistakes import Mistakes, Verdict

# Key of thresholds: set or chosen on the validation split, not measured.
CHOSEN = "threshold"
_NAMES = {key: name for _, key, name in headline_metrics()}


@dataclass(frozen=True)
class ShownMetric:
    """A metric of the tables.

    Attributes:
        key: its dotted key in the metrics file; of a metric by class, the part before the class.
        name: its name; that of a headline metric may be left out.
        pixels: True if its unit is pixels; otherwise it is a fraction or has no unit.
        bar: True if a bar from 0 to 1 is drawn for it.
        smaller: True if smaller values are better.
        optional: True if it is left out where undefined, because not every project asks for it.
    """

    key: str
    name: str = ""
    pixels: bool = False
    bar: bool = True
    smaller: bool = False
    optional: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or _NAMES.get(self.key, self.key))


def _nothing(plots: Path, metrics: Mapping[str, float | None], results: Results) -> dict[str, Any]:
    return {}


class Section(NamedTuple):
    """A row of `SECTIONS`.

    Attributes:
        intro: what the task predicts and how it is scored; `{images}` is replaced by the number of test images.
        metrics: metrics of the whole test split.
        verdict: (record of an image, results) → caption of its prediction.
        mistakes: (record of an image, results) → what is wrong with it, or None.
        class_metrics: metrics of each class.
        noun: name of a class in the table of classes.
        remark: explanation of the metrics.
        facts: title of the class names in the head of the report, "" without.
        color: number of the metric's colour in the chart of validation metrics.
        errors: True if the worst images show where the mask is wrong.
        template: file of this folder with further plots, "" without.
        plots: (folder of plots, metrics by dotted key, results) → variables of the template.
    """

    intro: str
    metrics: tuple[ShownMetric, ...]
    verdict: Callable[[Mapping[str, Any], Results], Verdict]
    mistakes: Callable[[Mapping[str, Any], Results], Mistakes | None]
    class_metrics: tuple[ShownMetric, ...] = ()
    noun: str = "class"
    remark: str = ""
    facts: str = ""
    color: int = 0
    errors: bool = False
    template: str = ""
    plots: Callable[[Path, Mapping[str, float | None], Results], dict[str, Any]] = _nothing
