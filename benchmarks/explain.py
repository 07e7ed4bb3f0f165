"""Deletion test of explanations: covering the marked area costs more of the score than covering as much elsewhere.

    python benchmarks/explain.py models/best_model.pth build

explains the predicted class label and the best two boxes of each test image. The cells with the largest values are
covered with the image's mean colour; then the same shape is covered at other places, which overlap it as little as
possible. BUILD has prepared/ and splits.csv, as the pipeline writes them.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from panvision.core.boxes import box_iou
from panvision.dataset.packed import open_packed, read_splits
from panvision.decoding.classification import softmax
from panvision.decoding.detection import decode_ltrb, sigmoid
from panvision.decoding.points import level_points
from panvision.inference.explanation import ClassTarget, Target, targets_of
from panvision.inference.predictor import Predictor
from panvision.photos.heat import resize_heat

Square = npt.NDArray[np.uint8]
Area = npt.NDArray[np.bool_]

FRACTIONS = {"classification": (0.1, 0.2), "detection": (0.02, 0.04)}
BOXES = 2  # explained in an image, best first
PLACES = 4  # elsewhere
TRIES = 40  # to find a place without overlap


def marked(heat: npt.NDArray[np.float32], fraction: float) -> Area:
    """Return this fraction of the pixels of a map (S, S), those with the largest values."""
    order = np.argsort(-heat.ravel(), kind="stable")[: round(fraction * heat.size)]
    area = np.zeros(heat.size, bool)
    area[order] = True
    return area.reshape(heat.shape)


def elsewhere(area: Area, random: np.random.Generator) -> Area:
    """Return the same shape, shifted around the edges of the image to where it overlaps the least of TRIES shifts."""
    best = area
    for _ in range(TRIES):
        shift = tuple(random.integers(0, len(area), 2))
        moved = np.roll(area, shift, (0, 1))
        if (moved & area).sum() < (best & area).sum():
            best = moved
        if not (best & area).any():
            break
    return best


def covered(square: Square, area: Area) -> Square:
    """Return a copy with the mean colour on an area."""
    copy = square.copy()
    copy[area] = np.rint(square.mean(axis=(0, 1)))
    return copy


def scores(predictor: Predictor, squares: Square, target: Target) -> npt.NDArray[np.float64]:
    """Return what images (N, S, S, 3) score: the label's probability, or the best box of the class at this place."""
    outputs = predictor.raw(squares)
    if isinstance(target, ClassTarget):
        calibrated = softmax(outputs["state_logits"] / np.float64(predictor.info.temperature))
        return np.asarray(calibrated[:, target.label])
    points, strides = level_points(predictor.image_size, predictor.info.strides)
    found = []
    for logits, ltrb, centerness in zip(outputs["class_logits"], outputs["ltrb"], outputs["centerness"], strict=True):
        same = box_iou(np.array([target.box]), decode_ltrb(points, strides, ltrb))[0] >= 0.5
        found.append(np.sqrt(sigmoid(logits[:, target.label]) * sigmoid(centerness))[same].max(initial=0.0))
    return np.array(found, np.float64)


def drops(
    predictor: Predictor, square: Square, target: Target, fraction: float, random: np.random.Generator
) -> tuple[float, float, float]:
    """Return the score of an image (S, S, 3), what covering the marked area costs of it, and elsewhere on average."""
    [heat] = predictor.activations(square[None], [target])
    area = marked(resize_heat(heat, *square.shape[:2]), fraction)
    areas = [area, *(elsewhere(area, random) for _ in range(PLACES))]
    whole, own, *others = scores(predictor, np.stack([square, *(covered(square, each) for each in areas)]), target)
    return whole, whole - own, whole - float(np.mean(others))


def explained(predictor: Predictor, squares: Sequence[Square], task: str) -> Iterator[tuple[Square, Target]]:
    """Yield each image with the class label, or with each of its best boxes."""
    size, states = predictor.image_size, task == "classification"
    for square in squares:
        result = predictor.predict_squares(square[None], [(size, size)])[0]
        own = [each for each in targets_of(result, (1.0, 1.0)) if isinstance(each, ClassTarget) == states]
        yield from ((square, target) for target in own[:BOXES])


def main() -> None:
    """Print a line per task and covered fraction."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("build", type=Path)
    parser.add_argument("--images", type=int, default=10_000, help="test images of each dataset, at most")
    args = parser.parse_args()
    predictor = Predictor.load(args.model)
    print("| explained | images | number | covered | score | drop, marked | drop, elsewhere | marked drops more |")
    print("|---|---|---|---|---|---|---|---|")
    for task, fractions in FRACTIONS.items():
        if task not in predictor.tasks:
            continue
        packed = open_packed(args.build / "prepared" / task, task)
        rows = read_splits(args.build / "splits.csv", task, packed.files)["test"][: args.images]
        pairs = list(explained(predictor, [np.asarray(packed.images[row]) for row in rows], task))
        for fraction in fractions:
            random = np.random.default_rng(0)
            found = np.array([drops(predictor, *pair, fraction, random) for pair in pairs]).reshape(-1, 3)
            score, own, others = found.mean(axis=0)
            more = (found[:, 1] > found[:, 2]).mean()
            print(
                f"| {task} | {len(rows)} | {len(pairs)} | {fraction:.0%} | {score:.3f} | {own:.3f} | {others:.3f} | "
                f"{more:.0%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
