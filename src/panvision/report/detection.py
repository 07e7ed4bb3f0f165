"""The section on boxes."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from panvision.core.boxes import box_iou
from panvision.evaluation.results import Results
from panvision.report.charts import Chart, Point, Series, line_chart
from panvision.report.inputs import Numbers, ReportError, ordered, read_rows
from panvision.report.mistakes import (
    FALSE_ALARM,
    FOUND,
    KINDS,
    LOOSE_BOX,
    MISSED,
    TIGHT,
    WRONG_CLASS,
    Mistake,
    Mistakes,
    Verdict,
)
from panvision.report.section import CHOSEN, Section, ShownMetric

# A box of the right class with this IoU touches the object at all.
TOUCHES = 0.1
# A caption names at most this number of boxes.
MOST_NAMES = 8
# Metrics over the threshold, and the numbers of their colours in page.css.
DRAWN_METRICS = {"precision": 8, "recall": 2, "f1": 5, "cost": 6}


class _Box(NamedTuple):
    """A predicted box: its number in the results, class name, score, threshold of the class, and edges."""

    number: int
    name: str
    score: float
    limit: float
    edges: list[float]

    @property
    def reported(self) -> bool:
        """True if the model reports it."""
        return self.score >= self.limit


def _boxes(image: Mapping[str, Any], results: Results) -> list[_Box]:
    found, names = image["found"], results.classes
    limits = [limit or 0.0 for limit in results.thresholds]
    columns = zip(found["labels"], found["scores"], found["boxes"], found["ignored"]["all"], strict=True)
    # Boxes on a crowd are neither right nor wrong: ignored at IoU 0.5, the first bit.
    return [
        _Box(number, names[label], score, limits[label], edges)
        for number, (label, score, edges, ignored) in enumerate(columns)
        if not ignored & 1
    ]


def verdict(image: Mapping[str, Any], results: Results) -> Verdict:
    """Count the objects that a reported box found, and the boxes too many."""
    truth, match = image["truth"]["labels"], image["found"]["match"]
    reported = [box for box in _boxes(image, results) if box.reported]
    hits = sum(match[box.number] >= 0 for box in reported)
    extra = len(reported) - hits
    short = f"{hits} of {len(truth)} found" if truth else "no objects"
    if extra:
        short += f", {extra} too many"
    true = _listed([results.classes[label] for label in truth])
    return Verdict(short, hits == len(truth) and not extra, true, _listed([_scored(box) for box in reported]))


def mistakes(image: Mapping[str, Any], results: Results) -> Mistakes | None:
    """Find the mistakes of an image's boxes; the larger the sum of their weights, the worse."""
    truth, found = image["truth"], image["found"]
    boxes = _boxes(image, results)
    reported = [box for box in boxes if box.reported]
    match = found["match"]
    holder = {match[box.number]: box for box in boxes if match[box.number] >= 0}
    spare = [box for box in reported if match[box.number] < 0]
    wrong = []
    for row, (edges, label) in enumerate(zip(truth["boxes"], truth["labels"], strict=True)):
        own = holder.get(row)
        if own is None or not own.reported:
            wrong.append(_missing(results.classes[label], edges, own, spare))
            continue
        overlap = _iou(own.edges, edges)
        if overlap < TIGHT:
            weight = max(0.1, min(1.0, (TIGHT - overlap) / (TIGHT - FOUND)))
            wrong.append(Mistake(LOOSE_BOX, f"{_scored(own)}: IoU {_floored(overlap)} with the object.", weight))
    for box in spare:
        again = found["iou"][box.number] >= FOUND
        where = "where an object of this class has its box already" if again else "where there is none"
        wrong.append(Mistake(FALSE_ALARM, f"{_scored(box)} {where}."))
    wrong.sort(key=lambda mistake: (-mistake.weight, KINDS.index(mistake.kind)))
    return Mistakes(image["file"], round(sum(mistake.weight for mistake in wrong), 6), wrong) if wrong else None


def _missing(name: str, edges: list[float], faint: _Box | None, spare: list[_Box]) -> Mistake:
    """Explain an object without a box. A box that explains it leaves `spare`, because it is not a false alarm."""
    overlaps = sorted(((_iou(box.edges, edges), box) for box in spare), key=lambda pair: (-pair[0], pair[1].number))
    for overlap, box in overlaps:
        # A box of its class with a larger overlap would be its match.
        if box.name == name and overlap >= TOUCHES:
            spare.remove(box)
            return Mistake(LOOSE_BOX, f"{_scored(box)}: IoU {_floored(overlap)} with the object, too little to count.")
        if overlap >= FOUND:
            spare.remove(box)
            return Mistake(WRONG_CLASS, f"The {name} is called {_scored(box)}, IoU {overlap:.2f}.")
    if faint is not None:
        return Mistake(MISSED, f"The {name} is missed: its box scores {faint.score:.2f}, below {faint.limit:.2f}.")
    return Mistake(MISSED, f"The {name} is missed.")


def _iou(one: Sequence[float], other: Sequence[float]) -> float:
    return float(box_iou(one, other)[0, 0])


def _scored(box: _Box) -> str:
    return f"{box.name} {box.score:.2f}"


def _floored(overlap: float) -> str:
    """Two decimals, rounded down: a value below a limit does not look like the limit."""
    return f"{math.floor(overlap * 100) / 100:.2f}"


def _listed(names: Sequence[str]) -> str:
    """The first names, and the number of others: an untrained model may predict a hundred boxes."""
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def plots(folder: Path, metrics: Mapping[str, float | None], results: Results) -> dict[str, Any]:
    """Read precision over recall, and what thresholds give."""
    areas = {key.removeprefix("ap50."): value for key, value in metrics.items() if key.startswith("ap50.")}
    return {
        "precision_recall": read_precision_recall(folder / "precision_recall.csv", areas, results.classes),
        "thresholds": read_thresholds(folder / "thresholds.csv", results),
    }


def read_thresholds(path: Path, results: Results) -> list[Chart]:
    """Draw precision, recall, F1 and cost over the threshold, a chart for each class, its threshold marked.

    The cost is drawn as a fraction of that of the highest threshold, where the model reports nothing, and only up to
    it: low thresholds cost many times as much.

    Raises:
        ReportError: the file is missing or damaged.
    """
    rows: dict[str, list[Numbers]] = {}
    for row, cells in read_rows(path, ("threshold", "precision", "recall", "f1", "cost"), ("class",)):
        rows.setdefault(cells["class"], []).append(row)
    limits = dict(zip(results.classes, results.thresholds, strict=True))
    charts = []
    for name in ordered(results.classes, rows):
        if name in rows:
            shown = [_over_threshold(metric, rows[name], color) for metric, color in DRAWN_METRICS.items()]
            limit = limits.get(name)
            mark = "" if limit is None else f"{limit:.2f}"
            title = f"{name}, threshold {mark}" if mark else name
            names = "score threshold", "fraction"
            charts.append(line_chart(title, shown, names=names, y_range=(0.0, 1.0), divider=limit, mark=mark))
    return charts


def _over_threshold(metric: str, rows: Sequence[Numbers], color: int) -> Series:
    """Return the line of a metric."""
    whole = rows[-1]["cost"] if metric == "cost" else 1.0
    points: list[Point] = []
    for row in rows:
        value = row[metric]
        shown = None if value is None or not whole or value > whole else value / whole
        points.append((row["threshold"] or 0.0, shown))
    note = f"(1 is {whole:.3g} per image)" if metric == "cost" and whole else ""
    return Series({"f1": "F1"}.get(metric, metric), [points], note=note, color=color)


def read_precision_recall(path: Path, areas: Mapping[str, float | None], names: Sequence[str]) -> Chart:
    """Draw precision over recall, a line per class that has one, in the colour of its boxes and with its AP.

    Args:
        path: precision_recall.csv.
        areas: average precision of each class.
        names: the classes by index; other classes of the file follow.

    Raises:
        ReportError: the file is missing or damaged.
    """
    points: dict[str, list[Point]] = {}
    for row, cells in read_rows(path, ("recall", "precision"), ("class",)):
        if row["recall"] is None:
            raise ReportError(f"{path}: {cells['class']}: a recall is missing; run `dvc repro` again")
        points.setdefault(cells["class"], []).append((row["recall"], row["precision"]))
    series = [
        Series(name, [points[name]], note="" if (area := areas.get(name)) is None else f"AP {area:.3f}", color=color)
        for color, name in enumerate(ordered(names, points))
        if name in points
    ]
    title = "Precision over recall at IoU 0.5"
    return line_chart(title, series, names=("recall", "precision"), y_range=(0.0, 1.0))


SECTION = Section(
    intro="Which objects are over the pan: boxes, scored by COCO's average precision on {images}.",
    metrics=(
        ShownMetric("map50"),
        ShownMetric("map50_95"),
        ShownMetric("map_small", "mAP, small objects", optional=True),
        ShownMetric("map_medium", "mAP, medium objects", optional=True),
        ShownMetric("map_large", "mAP, large objects", optional=True),
        ShownMetric("macro_f1", "F1, mean over classes"),
        ShownMetric("expected_cost", "cost of misses and false alarms, per image", bar=False, smaller=True),
    ),
    verdict=verdict,
    mistakes=mistakes,
    class_metrics=(
        ShownMetric("ap50", "AP@0.5"),
        ShownMetric("precision", "precision"),
        ShownMetric("recall", "recall"),
        ShownMetric("f1", "F1"),
        ShownMetric(CHOSEN, "threshold"),
    ),
    remark="Precision, recall, F1 and cost are at IoU 0.5 and count the boxes that the model reports: those from the "
    "threshold of their class on.",
    facts="Objects",
    color=2,
    template="detection.html.jinja",
    plots=plots,
)
