"""Speed and memory of prepare and validate on large sets: `python benchmarks/ingest.py [--images 1000 10000 100000]`.

Draws that many JPEG photos into a temporary folder, a third for each task, runs prepare on every task and then the
joint checks, each in a process of its own, and prints images/s, seconds, and the peak memory of the process that takes
most (prepare's pool has one such process per core), mapped files left out. Linux only. Beside it, in the same run, the
plain way of loading the same photos: Pillow and torchvision's transforms, in one process, to tensors of the same size
(at most 3,000 photos are loaded so, for it takes long).
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

# As stages/prepare.py has it; for the processes that are measured.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from PIL import Image

TASKS = ("segmentation", "detection", "classification")
CLASSES = ("raw", "golden", "burnt")
PLAIN_PHOTOS = 3000


def draw(number: int, size: tuple[int, int]) -> Image.Image:
    """A photo-like picture that no other is like: coarse colours, edges and a little noise."""
    chance = np.random.default_rng(number)
    coarse = Image.fromarray(chance.integers(0, 255, (9, 12, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    left, top = chance.integers(0, size[0] // 2), chance.integers(0, size[1] // 2)
    box = (int(left), int(top), int(left) + size[0] // 3, int(top) + size[1] // 3)
    coarse.paste(tuple(int(value) for value in chance.integers(0, 255, 3)), box)
    noise = chance.integers(-8, 9, (size[1], size[0], 1), dtype=np.int16)
    return Image.fromarray(np.clip(np.asarray(coarse, np.int16) + noise, 0, 255).astype(np.uint8))


def write_part(root: str, task: str, numbers: range, size: tuple[int, int]) -> None:
    """Write some of one task's photos, and the masks."""
    for number in numbers:
        label = f"images/{CLASSES[number % 3]}" if task == "classification" else "images"
        draw(number + 10**7 * TASKS.index(task), size).save(Path(root, task, label, f"{number:06}.jpg"), quality=85)
        if task == "segmentation":
            mask = Image.new("L", size)
            mask.paste(255, (size[0] // 4, size[1] // 4, size[0] * 3 // 4 - number % 7, size[1] * 3 // 4))
            mask.save(Path(root, task, "masks", f"{number:06}.png"))


def write_sets(root: Path, images: int, size: tuple[int, int]) -> None:
    """The three raw sets."""
    count = images // 3
    for folder in ("segmentation/images", "segmentation/masks", "detection/images"):
        (root / folder).mkdir(parents=True)
    for name in CLASSES:
        (root / "classification/images" / name).mkdir(parents=True)
    with ProcessPoolExecutor() as pool:
        jobs = [
            pool.submit(write_part, str(root), task, range(start, min(start + 500, count)), size)
            for task in TASKS
            for start in range(0, count, 500)
        ]
        for job in jobs:
            job.result()
    document = {
        "categories": [{"id": 1, "name": "pan"}],
        "images": [{"id": n, "file_name": f"{n:06}.jpg", "width": size[0], "height": size[1]} for n in range(count)],
        "annotations": [
            {"id": n + 1, "image_id": n, "category_id": 1, "bbox": [10 + n % 20, 8 + n % 11, 90 + n % 30, 70]}
            for n in range(count)
        ],
    }
    (root / "detection/_annotations.coco.json").write_text(json.dumps(document))


def run_prepare(root: str, task: str, build: str, side: int) -> None:
    """Prepare one task."""
    from panvision.ingest.pack import prepare
    from panvision.ingest.settings import DataSettings

    prepare(task, DataSettings(root=root, image_size=side), Path(build) / task)  # type: ignore[arg-type]


def run_validate(build: str) -> None:
    """The joint checks and the split."""
    from panvision.ingest.settings import SplitSettings
    from panvision.ingest.validate import judge, write_verdict

    folder = Path(build)
    verdict = judge(folder, SplitSettings(), {})
    write_verdict(verdict, folder / "splits.csv", folder / "problems.csv", folder / "data.json")


def run_plain(root: str, side: int) -> None:
    """Load photos as a training script without a pipeline does, and say how long one took."""
    import torch
    from torchvision import transforms

    torch.set_num_threads(1)
    change = transforms.Compose([transforms.Resize((side, side)), transforms.ToTensor()])
    files = sorted(Path(root).glob("*/images/**/*.jpg"))
    files = files[:: max(1, len(files) // PLAIN_PHOTOS)][:PLAIN_PHOTOS]
    start = time.perf_counter()
    for path in files:
        with Image.open(path) as image:
            change(image.convert("RGB"))
    seconds = time.perf_counter() - start
    Path(root, "plain.txt").write_text(repr(len(files) / seconds))


def measured(function: Callable[..., None], *arguments: object) -> tuple[float, float]:
    """Run in a new process: seconds, and the peak MB that it or one of its children holds of its own."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_report, args=(sender, function, arguments))
    process.start()
    peak = 0.0
    while not receiver.poll(0.02):
        peak = max(peak, *(own_megabytes(number) for number in family(process.pid)))
    seconds = receiver.recv()
    process.join()
    return seconds, peak


def family(root: int | None) -> list[int]:
    """A process and all below it."""
    found = [root] if root else []
    for number in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{number}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def own_megabytes(number: int) -> float:
    """What a process holds of its own; mapped files, which the system drops when it needs the room, do not count."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{number}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _report(sender: "multiprocessing.connection.Connection", function: Callable[..., None], arguments: tuple) -> None:
    start = time.perf_counter()
    function(*arguments)
    sender.send(time.perf_counter() - start)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--size", type=int, nargs=2, default=[256, 192], metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--image-size", type=int, default=128, help="side of the packed images")
    parser.add_argument("--folder", help="where the temporary folder is made")
    args = parser.parse_args()
    size = (args.size[0], args.size[1])
    machine = f"{platform.machine()}, {multiprocessing.cpu_count()} cores"
    print(f"{machine}; JPEG {size[0]}x{size[1]}, packed at {args.image_size}")
    print(f"\n{'':8}{'prepare':>10}{'plain':>8}{'':7}{'prepare':>9}{'validate':>10}{'prepare':>9}{'validate':>10}")
    print(f"{'images':>8}{'images/s':>10}{'img/s':>8}{'ratio':>7}{'s':>9}{'s':>10}{'peak MB':>9}{'peak MB':>10}")
    for images in args.images:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            root, build = Path(folder, "raw"), Path(folder, "build")
            write_sets(root, images, size)
            prepared = [measured(run_prepare, str(root), task, str(build), args.image_size) for task in TASKS]
            validated = measured(run_validate, str(build))
            # Several rounds where they are short; the middle one counts.
            rates = []
            for _ in range(3 if images <= 10_000 else 1):
                measured(run_plain, str(root), args.image_size)
                rates.append(float(Path(root, "plain.txt").read_text()))
            plain = statistics.median(rates)
            seconds = sum(found[0] for found in prepared)
            rate = images / seconds
            memory = max(found[1] for found in prepared)
            print(
                f"{images:>8}{rate:>10.0f}{plain:>8.0f}{rate / plain:>7.2f}{seconds:>9.1f}{validated[0]:>10.1f}"
                f"{memory:>9.0f}{validated[1]:>10.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
