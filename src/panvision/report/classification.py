"""The section on class labels."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from panvision.evaluation.results import Results
from panvision.report.charts import Chart, Point, Series, line_chart
from panvision.report.inputs import ReportError, ordered, read_rows, read_table
from panvision.report.mistakes import SURE, UNSURE, WRONG_CLASS, Mistake, Mistakes, Verdict, percent
from panvision.report.section import CHOSEN, Section, ShownMetric

# Probabilities of reliability.csv → colour, and the key of their calibration error.
RELIABILITY = {"as shipped": (8, "ece"), "uncalibrated": (2, "ece_uncalibrated")}
_PERFECT = 6  # colour


@dataclass(frozen=True)
class Cell:
    """Number of images of the row's class that were called the column's, and their fraction of the row's images."""

    count: int
    fraction: float


@dataclass(frozen=True)
class Confusion:
    """Class labels, and for each true one (row) a cell per predicted one (column)."""

    names: list[str]
    rows: list[list[Cell]]


@dataclass(frozen=True)
class Bin:
    """Images of similar confidence: its mean, the fraction of right ones, and their number."""

    probabilities: str
    confidence: float
    accuracy: float
    images: int


@dataclass(frozen=True)
class Reliability:
    """Accuracy over confidence, and the bins that it is drawn from."""

    chart: Chart
    bins: list[Bin]


def _predicted(image: Mapping[str, Any]) -> int:
    """Return the shipped class index; results of earlier versions have the most probable one."""
    probabilities = image["probabilities"]
    return int(image.get("predicted", max(range(len(probabilities)), key=lambda label: probabilities[label])))


def verdict(image: Mapping[str, Any], results: Results) -> Verdict:
    """Compare the predicted class with the true one."""
    probabilities, true = image["probabilities"], image["truth"]
    said = _predicted(image)
    names = results.classes
    right = said == true
    return Verdict("right" if right else "wrong", right, names[true], f"{names[said]} {probabilities[said]:.0%}")


def mistakes(image: Mapping[str, Any], results: Results) -> Mistakes | None:
    """Find the mistake of a class label; the lower the probability of the true one, the worse."""
    names, probabilities, true = results.classes, image["probabilities"], image["truth"]
    said = _predicted(image)
    chance = probabilities[true]
    if said != true:
        text = f"Called {names[said]} with {percent(probabilities[said])}; {names[true]}, the truth, "
        found = Mistake(WRONG_CLASS, f"{text}got {percent(chance)}.")
    elif chance < SURE:
        rival = max((label for label in range(len(names)) if label != true), key=lambda label: probabilities[label])
        text = f"{names[true]} is right, with {percent(chance)}; {names[rival]} got {percent(probabilities[rival])}."
        found = Mistake(UNSURE, text)
    else:
        return None
    # A wrong answer is worse than any right one.
    return Mistakes(image["file"], 1.0 - chance + (said != true), [found])


def plots(folder: Path, metrics: Mapping[str, float | None], results: Results) -> dict[str, Any]:
    """Read the confusion matrix and the reliability of the probabilities."""
    return {
        "confusion": read_confusion(folder / "confusion.csv", results.ordered_classes),
        "reliability": read_reliability(folder / "reliability.csv", metrics),
    }


def read_confusion(path: Path, names: Sequence[str]) -> Confusion:
    """Count true and predicted class labels; `names` come first, other labels of the file after them.

    Raises:
        ReportError: the file is missing or damaged.
    """
    pairs = Counter((row["actual"], row["predicted"]) for row in read_table(path, ("actual", "predicted")))
    labels = ordered(names, (name for pair in pairs for name in pair))
    rows = []
    for actual in labels:
        total = max(sum(pairs[actual, predicted] for predicted in labels), 1)
        rows.append([Cell(pairs[actual, predicted], pairs[actual, predicted] / total) for predicted in labels])
    return Confusion(labels, rows)


def read_reliability(path: Path, metrics: Mapping[str, float | None]) -> Reliability:
    """Draw accuracy over confidence, a line for each kind of probabilities, with its calibration error.

    Args:
        path: reliability.csv.
        metrics: of classification, by key.

    Raises:
        ReportError: the file is missing or damaged.
    """
    bins = []
    rows = read_rows(path, ("confidence", "accuracy", "images"), ("probabilities",))
    for number, (row, cells) in enumerate(rows, start=2):
        confidence, accuracy, images = row["confidence"], row["accuracy"], row["images"]
        if confidence is None or accuracy is None or images is None:
            raise ReportError(f"{path}: line {number}: a number is missing; run `dvc repro` again")
        bins.append(Bin(cells["probabilities"], confidence, accuracy, int(images)))
    series = [Series("perfect", [[(0.0, 0.0), (1.0, 1.0)]], color=_PERFECT, plain=True)]
    for name in dict.fromkeys(each.probabilities for each in bins):
        own = sorted((each for each in bins if each.probabilities == name), key=lambda each: each.confidence)
        series.append(_reliability_series(name, own, metrics))
    title, names = "Accuracy over confidence", ("confidence", "accuracy")
    return Reliability(line_chart(title, series, names=names, y_range=(0.0, 1.0)), bins)


def _reliability_series(name: str, bins: Sequence[Bin], metrics: Mapping[str, float | None]) -> Series:
    color, key = RELIABILITY.get(name, (0, ""))
    points: list[Point] = [(each.confidence, each.accuracy) for each in bins]
    total = max(sum(each.images for each in bins), 1)
    return Series(
        name,
        [points],
        note="" if (error := metrics.get(key)) is None else f"ECE {error:.3f}",
        color=color,
        texts={each.confidence: f", {each.images} image{'' if each.images == 1 else 's'}" for each in bins},
        fractions={each.confidence: each.images / total for each in bins},
    )


SECTION = Section(
    intro="The state of what is cooking: one answer for each of {images}.",
    metrics=(
        ShownMetric("accuracy"),
        ShownMetric("balanced_accuracy"),
        ShownMetric("macro_f1", "F1, mean over states"),
        ShownMetric("expected_cost", "cost of confusions, per image", bar=False, smaller=True, optional=True),
        ShownMetric("answered", "images that get an answer", optional=True),
        ShownMetric("mae_states", "error in states, mean", bar=False, smaller=True, optional=True),
        ShownMetric("quadratic_kappa", "quadratic kappa", bar=False, optional=True),
        ShownMetric("ece", "calibration error (ECE)", bar=False, smaller=True),
        ShownMetric("ece_uncalibrated", "calibration error, uncalibrated", bar=False, smaller=True),
        ShownMetric("nll", "negative log-likelihood", bar=False, smaller=True),
        ShownMetric("nll_uncalibrated", "negative log-likelihood, uncalibrated", bar=False, smaller=True),
    ),
    verdict=verdict,
    mistakes=mistakes,
    class_metrics=(
        ShownMetric("recall", "recall"),
        ShownMetric("precision", "precision"),
        ShownMetric("f1", "F1"),
        ShownMetric("f1_at_threshold", "F1 at threshold"),
        ShownMetric(CHOSEN, "threshold"),
    ),
    noun="state",
    remark="Recall, precision and F1 are those of the predicted state; a threshold separates one state from the "
    "rest. Thresholds and the temperature of the probabilities were chosen on the validation split.",
    facts="States",
    color=5,
    template="classification.html.jinja",
    plots=plots,
)
