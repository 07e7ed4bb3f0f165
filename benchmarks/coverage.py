"""Coverage of the 95 % intervals: how often they contain the true value, on simulated test splits.

    python benchmarks/coverage.py
    python benchmarks/coverage.py --runs 200 --tasks classification

Each run draws groups of images from a population of simulated results of two models, whose metrics are known, and lets
`evaluate` and `compare` make their intervals of them. For the runs without a difference, the two models' results are
exchanged in half of the groups, drawn at random.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from panvision.evaluation.metrics import scores, tally
from panvision.evaluation.results import Results
from panvision.evaluation.table import EVALUATIONS
from panvision.experiments.paired import compare_results

Random = np.random.Generator
STATES = ["raw", "translucent", "golden", "browned", "burnt"]
BOXES = ["pan", "stirrer", "lid"]
POPULATION = 2000  # groups; of class labels images, times five


class Population(NamedTuple):
    """Results of two models on the same groups of images.

    Attributes:
        empty: results without an image.
        groups: of each group the records of its images by the first and by the second model.
    """

    empty: Results
    groups: list[tuple[list[Any], list[Any]]]

    def truth(self) -> tuple[dict[str, float], dict[str, float]]:
        """Return the metrics of both models on all images."""
        found = []
        for results in self.results(range(len(self.groups)), [False] * len(self.groups)):
            values = tally(results)(np.ones((1, len(results.images)), np.int32))
            found.append({name: float(value[0]) for name, value in values.items()})
        return found[0], found[1]

    def results(self, drawn: Sequence[int], exchanged: Sequence[bool]) -> tuple[Results, Results]:
        """Return both models' results on some groups; those of an exchanged group change places."""
        images: tuple[list[Any], list[Any]] = ([], [])
        for group, (row, swap) in enumerate(zip(drawn, exchanged, strict=True)):
            for model, records in enumerate(reversed(self.groups[row]) if swap else self.groups[row]):
                for number, record in enumerate(records):
                    named = {"file": f"{group}-{number}", "sha256": "", "group": str(group), "width": 640}
                    images[model].append({**named, "height": 480, **record})
        return replace(self.empty, images=images[0]), replace(self.empty, images=images[1])


def state_population(random: Random, accuracies: tuple[float, float], size: int) -> Population:
    """Class labels in groups of `size` images; images and groups are equally hard for both models."""
    groups = []
    for _ in range(5 * POPULATION // size):
        hard = random.normal() * 0.45  # a fifth of the variance, if a group has several images
        models: tuple[list[Any], list[Any]] = ([], [])
        for _ in range(size):
            truth, image = int(random.integers(len(STATES))), random.normal()
            for records, accuracy in zip(models, accuracies, strict=True):
                own = 0.63 * image + 0.63 * random.normal() + hard
                margin = NormalDist().inv_cdf(accuracy) - own / np.hypot(0.45, 0.63 * 2**0.5)
                called = truth if margin > 0 else min(truth + 1, 4) if random.uniform() < 0.5 else max(truth - 1, 0)
                called = called if margin > 0 or called != truth else abs(truth - 1)
                likely = 0.4 + 0.6 * float(np.tanh(abs(margin)))
                records.append(
                    {"truth": truth, "probabilities": [likely if c == called else (1 - likely) / 4 for c in range(5)]}
                )
        groups.append(models)
    return Population(Results("classification", "test", True, STATES, [], [None] * 5, None, STATES), groups)


def mask_population(random: Random) -> Population:
    """Masks of pans of different sizes."""
    groups = []
    for _ in range(POPULATION):
        pan, hard = random.uniform(20_000, 120_000), random.normal() * 0.5
        models: tuple[list[Any], list[Any]] = ([], [])
        for records, error in zip(models, (0.025, 0.02), strict=True):
            missed, more = (int(pan * min(0.9, error * np.exp(hard + 0.5 * random.normal()))) for _ in range(2))
            inside, apart = int(pan) - missed, (missed + more) / 600
            pixels = [inside, more, missed, 640 * 480 - inside - missed - more]
            records.append({"pixels": pixels, "boundary": {"mean": apart, "p95": 3 * apart}})
        groups.append(models)
    return Population(Results("segmentation", "test", True, ["background", "pan"], []), groups)


def box_population(random: Random) -> Population:
    """Photos of one to four boxes of three classes, of which the rarest is a fifth of the boxes."""
    groups = []
    for _ in range(POPULATION):
        corner = random.uniform(0, 400, (random.integers(1, 5), 2))
        truth = {
            "boxes": np.concatenate([corner, corner + random.uniform(30, 160, corner.shape)], axis=1),
            "labels": random.choice(3, len(corner), p=[0.5, 0.3, 0.2]),
        }
        hard = random.normal() * 0.6
        found = [_boxes(random, truth, skill - hard) for skill in (1.8, 2.3)]
        groups.append(tuple([EVALUATIONS["detection"].record(each, truth, BOXES)] for each in found))
    return Population(Results("detection", "test", True, BOXES, [], [0.4] * 3), groups)


def _boxes(random: Random, truth: dict[str, Any], skill: float) -> dict[str, Any]:
    """Return one model's boxes: some of the true ones, moved, and false alarms."""
    found = []
    for box, label in zip(truth["boxes"], truth["labels"], strict=True):
        own = skill + 0.5 * random.normal()
        if random.uniform() < _sigmoid(own):
            moved = box + random.normal(0, 0.09 * np.exp(-0.25 * skill) * (box[2:] - box[:2]).mean(), 4)
            found.append((_sigmoid(own - 0.8 + 0.8 * random.normal()), moved, label))
    for _ in range(random.poisson(0.6 * np.exp(0.4 * (1.8 - skill)))):
        corner = random.uniform(0, 400, 2)
        false = np.concatenate([corner, corner + random.uniform(30, 160, 2)])
        found.append((_sigmoid(random.normal() - 1.2), false, random.integers(3)))
    found.sort(key=lambda each: -each[0])
    return {
        "scores": [float(score) for score, _, _ in found],
        "boxes": [box.tolist() for _, box, _ in found],
        "labels": [int(label) for _, _, label in found],
    }


def _sigmoid(value: float) -> float:
    return float(1.0 / (1.0 + np.exp(-value)))


class Covered(NamedTuple):
    """One metric over the runs; fractions, NaN without an interval in any run.

    Attributes:
        metric: its name.
        truth: of the first model.
        given: runs with an interval.
        covers, width: of the first model's interval; the width is the median.
        difference: second less first model, in truth.
        difference_covers, difference_width: of the interval of the difference.
        false_verdicts: runs without a difference in which the verdict is `better` or `worse`.
    """

    metric: str
    truth: float
    given: float
    covers: float
    width: float
    difference: float
    difference_covers: float
    difference_width: float
    false_verdicts: float


def measure(population: Population, metrics: Sequence[str], *, groups: int, runs: int, seed: int = 0) -> list[Covered]:
    """Draw `runs` test splits of `groups` groups, and compare their intervals with the truth."""
    random = np.random.default_rng(seed)
    truth = population.truth()
    ends: dict[str, list[tuple[float, float]]] = {name: [] for name in metrics}
    gaps: dict[str, list[tuple[float, float]]] = {name: [] for name in metrics}
    verdicts: dict[str, list[str]] = {name: [] for name in metrics}
    for _ in range(runs):
        drawn = random.integers(0, len(population.groups), groups)
        one, other = population.results(drawn, [False] * groups)
        intervals = scores(one)["ci95"]
        paired = {each.name: each for each in compare_results(one, other).differences}
        equal = {
            each.name: each.verdict
            for each in compare_results(*population.results(drawn, random.random(groups) < 0.5)).differences
        }
        for name in metrics:
            if intervals[name] is not None:
                ends[name].append((intervals[name]["low"], intervals[name]["high"]))
            if name in paired and paired[name].reason is None:
                gaps[name].append((paired[name].low, paired[name].high))
            if equal.get(name, "undefined") != "undefined":
                verdicts[name].append(equal[name])
    return [
        Covered(
            name,
            truth[0][name],
            len(ends[name]) / runs,
            *_covers(ends[name], truth[0][name]),
            truth[1][name] - truth[0][name],
            *_covers(gaps[name], truth[1][name] - truth[0][name]),
            np.mean([verdict in ("better", "worse") for verdict in verdicts[name]]) if verdicts[name] else np.nan,
        )
        for name in metrics
    ]


def _covers(ends: list[tuple[float, float]], truth: float) -> tuple[float, float]:
    """Fraction of the intervals that contain the truth, and their median width."""
    if not ends:
        return np.nan, np.nan
    low, high = np.array(ends).T
    return float(((low <= truth) & (truth <= high)).mean()), float(np.median(high - low))


BOX_METRICS = ("map50", "map50_95", "macro_f1")
STATE_METRICS = ("accuracy", "balanced_accuracy", "recall.burnt", "mae_states", "quadratic_kappa", "nll", "ece")


def cells(random: Random, tasks: Sequence[str]) -> Iterator[tuple[str, Population, Sequence[str], Sequence[int]]]:
    """Yield images of a group, population, metrics and numbers of groups."""
    if "classification" in tasks:
        yield "1 image", state_population(random, (0.85, 0.92), 1), STATE_METRICS[:1], (10, 12, 20, 44, 150)
        yield "1 image", state_population(random, (0.95, 0.98), 1), STATE_METRICS[:1], (10, 12, 20, 44, 150)
        yield "5 images", state_population(random, (0.85, 0.92), 5), STATE_METRICS[:1], (10, 20)
        yield "5 images", state_population(random, (0.95, 0.98), 5), STATE_METRICS[:1], (10, 20)
        yield "1 image", state_population(random, (0.85, 0.92), 1), STATE_METRICS[1:], (44, 150)
    others: dict[str, tuple[Callable[[Random], Population], Sequence[str]]] = {
        "detection": (box_population, BOX_METRICS),
        "segmentation": (mask_population, ("miou", "dice", "boundary_mean_px")),
    }
    for task, (make, metrics) in others.items():
        if task in tasks:
            yield "1 image", make(random), metrics, (10, 25, 50)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--tasks", nargs="+", default=["classification", "detection", "segmentation"])
    args = parser.parse_args()
    start = time.perf_counter()
    print("groups of    metric              truth   given covers  width | difference covers  width | false verdicts")
    for label, population, metrics, sizes in cells(np.random.default_rng(0), args.tasks):
        for groups in sizes:
            for row in measure(population, metrics, groups=groups, runs=args.runs):
                print(
                    f"{groups:>3} {label:<9}{row.metric:<18}{row.truth:>7.3f}{row.given:>8.1%}{row.covers:>7.1%}"
                    f"{row.width:>7.3f} | {row.difference:>+10.3f}{row.difference_covers:>7.1%}"
                    f"{row.difference_width:>7.3f} | {row.false_verdicts:>7.1%}",
                    flush=True,
                )
    print(f"{args.runs} runs each, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
