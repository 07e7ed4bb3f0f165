"""Share of images without an answer, by kind: test images, which must be answered, and others, which must not.

    python benchmarks/no_answer.py models/panvision.onnx data/demo --other kitchen/segmentation/images

Black, white and noisy frames, a covered lens, an empty table and a cooking unit of another seed are rendered; the
turned images are test images. The last column is the accuracy of the labels that the model would give anyway.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from panvision.dataset.packed import read_table
from panvision.decoding.answers import NO_PAN
from panvision.inference.predictor import Predictor
from panvision.photos.pixels import read_picture, resize_rgb
from panvision.scenes.frames import Presence, render_frame
from panvision.scenes.onions import STATES
from panvision.scenes.settings import SceneSettings
from panvision.scenes.units import make_unit

Random = np.random.Generator
Image = npt.NDArray[np.uint8]
# An image and its true class label, if it has one.
Pair = tuple[Image, str | None]

OTHER_SEED = 1234  # of the units that no training image shows
HEIGHT, WIDTH = 240, 320


def _black(random: Random) -> Image:
    return _clipped(random.normal(2.0, 2.0 * random.random(), (HEIGHT, WIDTH, 3)))


def _white(random: Random) -> Image:
    return _clipped(255.0 - random.gamma(1.0, 2.0 * random.random() + 1e-3, (HEIGHT, WIDTH, 3)))


def _noise(random: Random) -> Image:
    return random.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def _covered(random: Random) -> Image:
    """A hand or steam on the lens: dark to medium, smooth, with the sensor's noise."""
    field = cv2.resize(random.uniform(0.4, 1.6, (3, 3)), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    colour = random.uniform(5.0, 120.0) * np.array([1.2, 0.85, 0.7])
    return _clipped(colour * field[:, :, None] + random.normal(0.0, 3.0, (HEIGHT, WIDTH, 3)))


def _table(random: Random) -> Image:
    unit = make_unit(SceneSettings(), int(random.integers(SceneSettings().units)))
    return _rendered(random, unit, Presence(False, False, (False,) * len(unit.pipes)), "raw")


def _rendered(random: Random, unit: object, presence: Presence, state: str) -> Image:
    return render_frame(random, unit, state=state, presence=presence, difficulty=0.5).photo  # type: ignore[arg-type]


def _other_unit(number: int, random: Random) -> Pair:
    unit = make_unit(SceneSettings(seed=OTHER_SEED), number % SceneSettings().units)
    state = STATES[number % len(STATES)]
    return _rendered(random, unit, Presence(True, True, (True,) * len(unit.pipes)), state), state


def _clipped(values: npt.NDArray[np.float64]) -> Image:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


RENDERED: dict[str, Callable[[Random], Image]] = {
    "black": _black,
    "white": _white,
    "noise": _noise,
    "covered lens": _covered,
    "empty table": _table,
}
TURNS = {"camera turned by 90°": 1, "camera turned by 180°": 2}


def kinds(test: Sequence[Pair], others: Sequence[Path], count: int) -> Iterator[tuple[str, list[Pair]]]:
    """Yield the name of each kind and its images."""
    yield "test images", list(test)
    for row, (name, draw) in enumerate(RENDERED.items()):
        yield name, [(draw(np.random.default_rng([row, number])), None) for number in range(count)]
    for other in others:
        files = sorted(path for path in other.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
        chosen = files[:: max(1, len(files) // (2 * count))]
        yield f"other kitchen, `{other.name}`", [(read_picture(str(path)).rgb, None) for path in chosen]
    for name, turns in TURNS.items():
        yield name, [(np.ascontiguousarray(np.rot90(image, turns)), label) for image, label in test]
    yield "another cooking unit", [_other_unit(n, np.random.default_rng([99, n])) for n in range(count)]


def row(predictor: Predictor, name: str, pairs: Sequence[Pair]) -> str:
    """Return a row of the table."""
    squares = np.stack([resize_rgb(image, predictor.image_size) for image, _ in pairs])
    sizes = [(image.shape[1], image.shape[0]) for image, _ in pairs]
    found = [
        result["classification"]
        for start in range(0, len(pairs), 8)
        for result in predictor.predict_squares(squares[start : start + 8], sizes[start : start + 8])
    ]
    left = [one for one in found if not one["answered"]]
    pan = sum(one["reason"] == NO_PAN for one in left)
    right = [one["class_name"] == label for one, (_, label) in zip(found, pairs, strict=True) if label is not None]
    drift = np.median([one["distance"] for one in found])
    accuracy = f"{np.mean(right):.3f}" if right else ""
    cells = (name, len(found), f"{len(left) / len(found):.3f}", pan, len(left) - pan, f"{drift:.2f}", accuracy)
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="shipped .onnx or .pth")
    parser.add_argument("data_root", type=Path)
    parser.add_argument("--splits", type=Path, default=Path("build/splits.csv"), help="of the model's training")
    parser.add_argument("--other", type=Path, action="append", default=[], help="folder of images of another kitchen")
    parser.add_argument("--count", type=int, default=64, help="rendered images of each kind")
    args = parser.parse_args()
    predictor = Predictor.load(args.model, "cpu")
    if predictor.info.limits is None:
        parser.error(f"{args.model}: answers every image; export it with export.rejected")
    table = read_table(args.splits, ("task", "file", "split"))
    own = table[(table["task"] == "classification") & (table["split"] == "test")]
    test = [
        (read_picture(str(path)).rgb, path.parent.name)
        for path in (args.data_root / "classification" / file for file in own["file"])
    ]
    print(
        "| kind | images | unanswered | no pan | unlike | median distance | accuracy |\n|---|---|---|---|---|---|---|"
    )
    for name, pairs in kinds(test, args.other, args.count):
        print(row(predictor, name, pairs), flush=True)


if __name__ == "__main__":
    main()
