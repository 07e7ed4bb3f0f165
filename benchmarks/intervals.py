"""Time of the confidence intervals of detection, and of all metrics behind them, on random results.

    python benchmarks/intervals.py
    python benchmarks/intervals.py --images 200 --classes 3

Every image has true boxes and `--boxes` predicted ones, the largest number that evaluation keeps; two of them are near
each true box. The goal is 10 seconds for 1,000 images and 10 classes.
"""

import argparse
import resource
import time

import numpy as np

from panvision.evaluation.metrics import scores
from panvision.evaluation.results import Results
from panvision.evaluation.table import EVALUATIONS

SIDES = (12.0, 200.0)


def random_results(images: int, classes: int, truths: int, boxes: int) -> Results:
    """Detection results of random boxes; scores of boxes near a true one are higher."""
    random = np.random.default_rng(0)
    records = []
    names = [f"class {label}" for label in range(classes)]
    for number in range(images):
        corner = random.uniform(0, 900, (truths, 2))
        true = np.concatenate([corner, corner + random.uniform(*SIDES, (truths, 2))], axis=1)
        labels = random.integers(0, classes, truths)
        near = true[np.arange(2 * truths) % truths] + random.normal(0, 4, (2 * truths, 4))
        corner = random.uniform(0, 900, (boxes - len(near), 2))
        found = np.concatenate([near, np.concatenate([corner, corner + random.uniform(*SIDES, corner.shape)], axis=1)])
        found_labels = np.concatenate([np.tile(labels, 2), random.integers(0, classes, len(corner))])
        score = np.concatenate([random.beta(4, 2, len(near)), random.beta(1, 6, len(corner))])
        order = np.argsort(-score)
        result = {
            "boxes": found[order].tolist(),
            "labels": found_labels[order].tolist(),
            "scores": score[order].tolist(),
            "class_names": [],
        }
        records.append(
            {
                "file": f"{number}.jpg",
                "sha256": "",
                "group": str(number),
                "width": 1200,
                "height": 1200,
                **EVALUATIONS["detection"].record(result, {"boxes": true, "labels": labels}, names),
            }
        )
    return Results("detection", "test", True, names, records, thresholds=[0.5] * classes)


def main() -> None:
    """Print the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--truths", type=int, default=10, help="true boxes per image")
    parser.add_argument("--boxes", type=int, default=100, help="predicted boxes per image")
    args = parser.parse_args()
    start = time.perf_counter()
    results = random_results(args.images, args.classes, args.truths, args.boxes)
    made = time.perf_counter()
    cpu = time.process_time()
    found = scores(results)
    seconds, cpu = time.perf_counter() - made, time.process_time() - cpu
    print(
        f"{args.images} images, {args.classes} classes, {args.truths} true and {args.boxes} predicted boxes per image"
    )
    print(f"matching and random boxes         {made - start:8.2f} s")
    print(f"metrics with intervals            {seconds:8.2f} s, {cpu:.2f} s of processor time")
    print(f"peak memory                       {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:8.0f} MB")
    for name in ("map50", "map50_95", "map_small"):
        low, high = found["ci95"][name].values() if found["ci95"][name] else (np.nan, np.nan)
        value = np.nan if found[name] is None else found[name]
        print(f"{name:<12}{value:.4f}  {low:.4f} to {high:.4f}")


if __name__ == "__main__":
    main()
