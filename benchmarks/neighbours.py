"""What the search for neighbours by look finds in a large set: `python benchmarks/neighbours.py PHOTOS`.

PHOTOS is a folder that holds photos at any depth. Of each, `--cuttings` windows are cut at random, with other
brightness and colours: there should be more than the 8,192 up to which all are compared with all. The neighbours that
`find_neighbours` finds are held against those of a plain search, for a sample of the cuttings: once with the cuttings
of a photo as one group, as a burst is, and once with each as a group of its own. `found` is the share of the five
nearest groups that are found, `less like` the mean similarity that is lost, of 1 for equal pictures, and `CPU s` the
processor time of the whole search.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from panvision.photos.pixels import IMAGE_SUFFIXES, resize_image
from panvision.validate.checks.neighbours import find_neighbours
from panvision.validate.checks.suspicions import describe_colours

COUNT, SAMPLE, SIDE = 5, 1500, 64
SCALE = np.float32(2047)


def cuttings(path: Path, count: int, chance: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Windows of a photo, (count, 64, 64, 3)."""
    with Image.open(path) as image:
        photo = image.convert("RGB")
    photo.thumbnail((400, 400))
    found = []
    for share in chance.uniform(0.35, 0.9, count):
        width, height = max(1, int(photo.width * share)), max(1, int(photo.height * share))
        left, top = chance.integers(0, photo.width - width + 1), chance.integers(0, photo.height - height + 1)
        window = resize_image(photo.crop((int(left), int(top), int(left) + width, int(top) + height)), SIDE)
        changed = np.asarray(window) * chance.uniform(0.85, 1.15) + chance.normal(0, 4, 3)
        found.append(np.clip(changed, 0, 255).astype(np.uint8))
    return np.stack(found)


def plain_search(
    looks: npt.NDArray[np.float32], groups: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The neighbours of some rows and their mean similarity, each compared with all."""
    whole = np.rint(looks * SCALE)
    nearest, nearness = np.empty((len(rows), COUNT), np.int64), np.empty(len(rows))
    for number, row in enumerate(rows):
        alike = whole @ whole[row]
        alike[groups == groups[row]] = -np.inf
        total = 0.0
        for place in range(COUNT):
            nearest[number, place] = best = alike.argmax()
            total += alike[best]
            alike[groups == groups[best]] = -np.inf
        nearness[number] = total / COUNT / float(SCALE) ** 2
    return nearest, nearness


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--cuttings", type=int, default=28, help="of each photo (default: %(default)s)")
    args = parser.parse_args()
    files = sorted(
        path for path in args.photos.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and "masks" not in path.parts
    )
    if not files:
        sys.exit(f"{args.photos}: no photos found")
    chance = np.random.default_rng(0)
    looks = np.concatenate([describe_colours(cuttings(path, args.cuttings, chance)) for path in files])
    photos = np.repeat(np.arange(len(files)), args.cuttings)
    rows = np.sort(chance.choice(len(looks), min(SAMPLE, len(looks)), replace=False))
    print(f"{len(looks)} cuttings of {len(files)} photos\n")
    print(f"{'groups':12}{'found':>8}{'less like':>11}{'CPU s':>8}")
    for name, groups in (("of a photo", photos), ("of one", np.arange(len(looks)))):
        start = time.process_time()
        nearest, nearness = find_neighbours(looks, groups, COUNT)
        taken = time.process_time() - start
        best, exact = plain_search(looks, groups, rows)
        pairs = zip(groups[nearest[rows]], groups[best], strict=True)
        found = np.mean([len(set(own) & set(wanted)) / COUNT for own, wanted in pairs])
        lost = float(np.mean(exact - nearness[rows]))
        print(f"{name:12}{found:>8.1%}{lost:>11.5f}{taken:>8.1f}", flush=True)


if __name__ == "__main__":
    main()
