"""Measure how many planted copies of real photos are found: `python benchmarks/copies.py PHOTOS`.

PHOTOS is a folder with photos at any depth. Of each chosen photo one copy of each kind is made and saved as JPEG.
Originals and copies of one kind are then searched together. `found` counts originals joined with their own copy.
`false` counts pairs of an original with another original's copy, unless these two originals are joined themselves. The
last lines list the originals that are joined. Look at them: are they one photo?
"""

import argparse
import io
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from panvision.dataset.descriptors import Looks, LookStack, make_look
from panvision.photos.pixels import IMAGE_SUFFIXES, resize_image
from panvision.validate.copies.search import find_copies
from panvision.validate.settings import SplitSettings

Change = Callable[[Image.Image, random.Random], Image.Image]


def crop(image: Image.Image, chance: random.Random, share: float = 0.9) -> Image.Image:
    """A window of `share` of both sides, anywhere."""
    width, height = round(image.width * share), round(image.height * share)
    left, top = chance.randint(0, image.width - width), chance.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height))


def brightness(image: Image.Image, factor: float) -> Image.Image:
    """All values times a factor."""
    return ImageEnhance.Brightness(image).enhance(factor)


def several(image: Image.Image, chance: random.Random) -> Image.Image:
    """Mirrored, cropped to 90 %, another brightness, 416 × 416."""
    changed = crop(ImageOps.mirror(image), chance)
    return brightness(changed, chance.uniform(0.75, 1.25)).resize((416, 416))


def augmented(image: Image.Image, chance: random.Random) -> Image.Image:
    """Augment as Roboflow does at its highest settings: `several`, and turned by up to 10°, blurred, noisy."""
    changed = several(image, chance).rotate(chance.uniform(-10, 10), resample=Image.Resampling.BILINEAR)
    changed = changed.filter(ImageFilter.GaussianBlur(chance.uniform(0, 1.5)))
    pixels = np.array(changed)
    noise = np.random.default_rng(chance.randint(0, 10**6)).random(pixels.shape[:2]) < 0.02
    pixels[noise] = 255
    return Image.fromarray(pixels)


KINDS: dict[str, Change] = {
    "mirrored": lambda image, _: ImageOps.mirror(image),
    "upside down": lambda image, _: ImageOps.flip(image),
    "turned by 90°": lambda image, _: image.transpose(Image.Transpose.ROTATE_90),
    "cropped to 90 % of the sides": crop,
    "cropped to 90 % of the area": lambda image, chance: crop(image, chance, 0.9**0.5),
    "brighter by 30 %": lambda image, _: brightness(image, 1.3),
    "darker by 30 %": lambda image, _: brightness(image, 0.7),
    "saved again at quality 40": lambda image, _: saved(image, 40),
    "half the size": lambda image, _: image.resize((max(1, image.width // 2), max(1, image.height // 2))),
    "another shape, 160 × 120": lambda image, _: image.resize((160, 120)),
    "mirror, crop, brightness, size": several,
    "augmented, name lost": augmented,
}


def saved(image: Image.Image, quality: int) -> Image.Image:
    """Through a JPEG file."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def look(image: Image.Image, side: int) -> Looks:
    """The look of a picture, as prepare makes it at a `data.image_size`."""
    return make_look(image, resize_image(image, side))


def search(looks: Sequence[Looks], limit: float) -> tuple[set[tuple[int, int]], float]:
    """The pairs that are joined, and the seconds it took."""
    start = time.perf_counter()
    rows = np.arange(len(looks))
    found = find_copies(LookStack([np.stack(looks)]), rows, limit, joined=lambda one, other: False)
    return {(min(pair), max(pair)) for pair in found}, time.perf_counter() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=200, help="photos drawn by chance; 0: all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=float, default=SplitSettings().copy_difference, help="split.copy_difference")
    parser.add_argument("--image-size", type=int, default=256, help="data.image_size (default: %(default)s)")
    args = parser.parse_args()
    files = sorted(
        path for path in args.photos.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and "masks" not in path.parts
    )
    if not files:
        sys.exit(f"{args.photos}: no photos found")
    if args.count:
        files = sorted(random.Random(args.seed).sample(files, min(args.count, len(files))))
    originals = [Image.open(path).convert("RGB") for path in files]
    looks = [look(image, args.image_size) for image in originals]
    count = len(files)
    joined, seconds = search(looks, args.limit)
    print(f"{count} photos, limit {args.limit:g}\n\n{'copies':34}{'found':>7}{'of':>7}{'false':>7}{'seconds':>9}")
    for kind, change in KINDS.items():
        chances = [random.Random(f"{args.seed} {kind} {path.name}") for path in files]
        copies = [
            look(saved(change(image, chance), 85), args.image_size)
            for image, chance in zip(originals, chances, strict=True)
        ]
        pairs, taken = search([*looks, *copies], args.limit)
        across = {(one, other - count) for one, other in pairs if one < count <= other}
        own = sum(one == other for one, other in across)
        false = [
            (one, other) for one, other in across if one != other and (min(one, other), max(one, other)) not in joined
        ]
        print(f"{kind:34}{own:>7}{count:>7}{len(false):>7}{taken:>9.1f}", flush=True)
    print(f"\noriginals joined: {len(joined)} of {count * (count - 1) // 2} pairs ({seconds:.1f} s)")
    for one, other in sorted(joined):
        print(f"  {files[one].relative_to(args.photos)}  {files[other].relative_to(args.photos)}")


if __name__ == "__main__":
    main()
