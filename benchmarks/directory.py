"""A folder of photos: `python benchmarks/directory.py --checkpoint models/panvision.onnx [--images 300 10000]`.

Writes that many JPEG photos and predicts them one by one, as `Predictor.predict` and a mask's PNG for each come to, and
with `predict_directory`, which decodes in threads and predicts in batches. Prints photos per second, their ratio, the
same per second of CPU, and the most memory that the process has held beyond what it held before. One by one stops after
`--plain` photos, because it takes long. Rounds of both alternate; the median counts.
"""

import argparse
import itertools
import multiprocessing
import os
import platform
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

SAME = 200  # photos drawn; beyond them, copies under other names


def draw(number: int, size: tuple[int, int]) -> Image.Image:
    """A photo-like picture: coarse colours, an ellipse and a little noise."""
    chance = np.random.default_rng(number)
    coarse = Image.fromarray(chance.integers(0, 255, (9, 12, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    noise = chance.integers(-8, 9, (size[1], size[0], 1), dtype=np.int16)
    return Image.fromarray(np.clip(np.asarray(coarse, np.int16) + noise, 0, 255).astype(np.uint8))


def write_photos(folder: Path, count: int, size: tuple[int, int]) -> None:
    """The photos."""
    folder.mkdir()
    for number in range(min(count, SAME)):
        draw(number, size).save(folder / f"{number:06}.jpg", quality=85)
    for number in range(SAME, count):
        shutil.copyfile(folder / f"{number % SAME:06}.jpg", folder / f"{number:06}.jpg")


def one_by_one(checkpoint: str, photos: Path, out: Path, plain: int) -> int:
    """Loop over `Predictor.predict`, saving each mask; return the number of images."""
    from panvision.inference import Predictor
    from panvision.inference.inputs import find_images

    predictor = Predictor.load(checkpoint)
    paths = [Path(image.path) for image in find_images(photos).images][:plain]
    out.mkdir()
    start = marks()
    for path in paths:
        Image.fromarray(predictor.predict(path)["segmentation"]["mask"]).save(out / f"{path.stem}_mask.png")
    report(start, len(paths))
    return len(paths)


def together(checkpoint: str, photos: Path, out: Path, plain: int) -> int:
    """The folder as a whole."""
    from panvision.inference import Predictor
    from panvision.inference.directory import predict_directory
    from panvision.inference.inputs import find_images

    predictor = Predictor.load(checkpoint)
    count = len(find_images(photos).images)
    start = marks()
    predict_directory(predictor, photos, out)
    report(start, count)
    return count


def marks() -> tuple[float, float, float]:
    """Time, CPU time and the most memory held so far, MB."""
    return time.perf_counter(), time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


_SENDER: list = []


def report(start: tuple[float, float, float], count: int) -> None:
    """Hand what it took to the process that asks."""
    now = marks()
    _SENDER[0].send((count / (now[0] - start[0]), count / (now[1] - start[1]), now[2] - start[2]))


def _run(sender, way, *arguments) -> None:
    _SENDER.append(sender)
    way(*arguments)


def measured(way, *arguments) -> tuple[float, float, float]:
    """Run in a separate process: photos/s, photos per second of CPU, MB."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(sender, way, *arguments))
    process.start()
    sender.close()
    found = receiver.recv()
    process.join()
    return found


def table(checkpoint: str, count: int, *, size: tuple[int, int], plain: int, rounds: int) -> None:
    """Measure one folder and print its figures."""
    with tempfile.TemporaryDirectory() as scratch:
        photos, numbers = Path(scratch, "in"), itertools.count()
        write_photos(photos, count, size)
        found: dict = {one_by_one: [], together: []}
        for _ in range(rounds if count <= 1000 else 1):
            for way, figures in found.items():
                out = Path(scratch, f"out{next(numbers)}")
                figures.append(measured(way, checkpoint, photos, out, plain))
                shutil.rmtree(out)
    one, all_at_once = (
        [statistics.median(values) for values in zip(*figures, strict=True)] for figures in found.values()
    )
    print(f"\n{platform.machine()}, {len(os.sched_getaffinity(0))} cores; {count} JPEG {size[0]}x{size[1]}")
    print(f"{'':18}{'one by one':>12}{'together':>10}{'ratio':>7}")
    for title, first, second in zip(("photos/s", "photos/s of CPU", "peak MB more"), one, all_at_once, strict=True):
        ratio = f"{second / first:>7.2f}" if first else ""
        print(f"{title:18}{first:>12.1f}{second:>10.1f}{ratio}", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--images", type=int, nargs="+", default=[300, 10_000])
    parser.add_argument("--size", type=int, nargs=2, default=[1280, 720], metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--plain", type=int, default=300, help="photos that are predicted one by one")
    parser.add_argument("--rounds", type=int, default=3, help="up to 1,000 photos; beyond, one")
    args = parser.parse_args()
    for count in args.images:
        table(args.checkpoint, count, size=tuple(args.size), plain=args.plain, rounds=args.rounds)


if __name__ == "__main__":
    main()
