"""Coverage of the 95 % intervals: how often they contain the true value, on simulated test splits.

    python benchmarks/coverage.py
    python benchmarks/coverage.py --runs 200 --tasks classification
    python benchmarks/coverage.py --exact

Each run draws groups of images from a population of simulated results of two models, whose metrics are known, and lets
`evaluate` and `compare` make their intervals of them. For the runs without a difference, the two models' results are
exchanged in half of the groups, drawn at random.

`--exact` sums the probabilities of all outcomes instead, for the accuracy of independent images, and compares the
interval of a difference with published ones: Agresti and Min 2005, Bonett and Price 2012, and Tango 1998.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from statistics import NormalDist, fmean
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binom, multinomial

from panvision.evaluation.intervals import Spread, difference_interval, value_interval
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


def exact_value(images: int, accuracies: Sequence[float]) -> list[float]:
    """Return how often the interval of each accuracy contains it."""
    ends = []
    for right in range(images + 1):
        share = right / images
        found = value_interval(Spread(share, images, right, share * (1 - share) / (images - 1)))
        ends.append((found["low"], found["high"]))
    covers = [[low <= accuracy <= high for low, high in ends] for accuracy in accuracies]
    chances = [binom.pmf(np.arange(images + 1), images, accuracy) for accuracy in accuracies]
    return [float(np.dot(*pair)) for pair in zip(covers, chances, strict=True)]


# Ends of the interval of a difference of accuracies, from the images on which only the second model is right, those on
# which only the first one is, and all images.
Paired = Callable[[int, int, int], tuple[float, float]]
Z = NormalDist().inv_cdf(0.975)


def ours(gained: int, lost: int, images: int) -> tuple[float, float]:
    """Interval of `compare`."""
    gap, differing = (gained - lost) / images, gained + lost
    found = difference_interval(Spread(gap, images, differing, (differing / images - gap**2) / (images - 1)))
    return found["low"], found["high"]


def adjusted(pseudo: float) -> Paired:
    """Wald's interval with `pseudo` more images in each cell that differs, and two more in all."""

    def ends(gained: int, lost: int, images: int) -> tuple[float, float]:
        one, other = (gained + pseudo) / (images + 2), (lost + pseudo) / (images + 2)
        half = Z * ((one + other - (one - other) ** 2) / (images + 2)) ** 0.5
        return one - other - half, one - other + half

    return ends


def tango(gained: int, lost: int, images: int) -> tuple[float, float]:
    """Score interval: the differences that a test with the restricted variance does not reject."""

    def score(gap: float) -> float:
        linear = (2 * images - gained + lost) * gap - gained - lost
        less = ((linear**2 + 8 * images * lost * gap * (1 - gap)) ** 0.5 - linear) / (4 * images)
        return (gained - lost - images * gap) / max(images * (2 * less + gap * (1 - gap)), 1e-12) ** 0.5

    found, edge = (gained - lost) / images, 1 - 1e-6
    low = brentq(lambda gap: score(gap) - Z, -edge, min(found, edge)) if score(-edge) > Z else -1.0
    high = brentq(lambda gap: score(gap) + Z, max(found, -edge), edge) if score(edge) < -Z else 1.0
    return low, high


PAIRED: dict[str, Paired] = {
    "compare": ours,
    "Agresti and Min": adjusted(0.5),
    "Bonett and Price": adjusted(1.0),
    "Tango": tango,
}


def exact_difference(images: int, gain: float, loss: float, ends: Paired) -> float:
    """Return how often an interval contains gain - loss, the probabilities that only one of two models is right."""
    most = min(images, 40)  # more are never this improbable
    outcomes = [(gained, lost) for gained in range(most + 1) for lost in range(min(most, images - gained) + 1)]
    counts = [(*outcome, images - sum(outcome)) for outcome in outcomes]
    chances = multinomial.pmf(counts, images, [gain, loss, 1 - gain - loss])
    covered = 0.0
    for (gained, lost), chance in zip(outcomes, chances, strict=True):
        if chance > 1e-7:
            low, high = ends(gained, lost, images)
            covered += float(chance) * (low <= gain - loss <= high)
    return covered


def show_exact() -> None:
    """Print the exact coverages."""
    accuracies = np.arange(0.80, 0.9701, 0.001)
    print("images  accuracy 0.80   0.85   0.90   0.95 | 0.80 to 0.97: mean     least")
    for images in (10, 12, 15, 20, 30, 44, 100, 150):
        named, every = exact_value(images, (0.8, 0.85, 0.9, 0.95)), exact_value(images, accuracies)
        shown = "".join(f"{each:>7.1%}" for each in named)
        print(f"{images:>6}{'':>7}{shown} |{fmean(every):>19.1%}{min(every):>10.1%}")
    print("\ndifference      images " + "".join(f"{name:>18}" for name in PAIRED))
    # Disagreement as of the simulated models of `state_population`, one image in a group.
    models = ((0.85, 0.92, 0.107, 0.037), (0.95, 0.98, 0.042, 0.012), (0.85, 0.85, 0.083, 0.083))
    for first, second, gain, loss in models:
        for images in (10, 12, 20, 44, 150):
            row = "".join(f"{exact_difference(images, gain, loss, ends):>18.1%}" for ends in PAIRED.values())
            print(f"{first:.2f} to {second:.2f}{images:>10} {row}", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--tasks", nargs="+", default=["classification", "detection", "segmentation"])
    parser.add_argument("--exact", action="store_true", help="of the accuracy of independent images, without drawing")
    args = parser.parse_args()
    if args.exact:
        show_exact()
        return
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
