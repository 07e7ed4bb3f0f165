"""Speed and memory of prepare and validate on large sets: `python benchmarks/ingest.py [--images 1000 10000 100000]`.

Draws that many JPEG photos into a temporary folder, a third for each dataset, runs prepare on each of them and then the
joint checks, each in a separate process, and prints photos/s, seconds, and the peak memory of the largest process
(prepare has one process per core) without mapped files. Linux only. Alternately, the same photos are loaded the plain
way: Pillow and torchvision's transforms, in one process, to tensors of the same size (at most 3,000 photos, because it
is slow), and the same in as many processes as prepare uses. Imports before the first photo are not counted on either
side. Up to 10,000 photos there are three rounds, and the median counts.

`ratio` is by the clock and against one plain process, first of prepare alone, then of prepare and validate together,
then of plain loading in all processes; `CPU ms` is the processor time per photo of all processes together, prepare's
and validate's added, which other programs on the machine change less.

Every photo is different: colours, a patch and its place are random. Only the grain over them is one of 64, because
drawing grain takes longer than all the rest; it makes the files as large as a camera's.
"""

import argparse
import contextlib
import functools
import json
import multiprocessing
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

# As in stages/prepare.py: the measured processes inherit it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from PIL import Image, ImageChops

TASKS = ("segmentation", "detection", "classification")
CLASSES = ("raw", "golden", "burnt")
PLAIN_PHOTOS = 3000
GRAINS = 64
CHUNK = 250
ROUNDS, LARGE = 3, 10_000


@functools.cache
def grain(number: int, size: tuple[int, int]) -> Image.Image:
    """Noise of up to 8 grey levels around 128."""
    chance = np.random.default_rng(number)
    noise = chance.integers(120, 137, (size[1], size[0], 1), dtype=np.uint8)
    return Image.fromarray(np.repeat(noise, 3, axis=2))


def draw(number: int, size: tuple[int, int]) -> Image.Image:
    """A photo-like picture that no other is like: coarse colours, edges and a little noise."""
    chance = np.random.default_rng(number)
    coarse = Image.fromarray(chance.integers(0, 255, (9, 12, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    left, top = chance.integers(0, size[0] // 2), chance.integers(0, size[1] // 2)
    box = (int(left), int(top), int(left) + size[0] // 3, int(top) + size[1] // 3)
    coarse.paste(tuple(int(value) for value in chance.integers(0, 255, 3)), box)
    return ImageChops.add(coarse, grain(number % GRAINS, size), offset=-128)


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
            pool.submit(write_part, str(root), task, range(start, min(start + CHUNK, count)), size)
            for task in TASKS
            for start in range(0, count, CHUNK)
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


def prepare_job(root: str, task: str, build: str, side: int) -> Callable[[], object]:
    """Preparing one task."""
    from panvision.photos.settings import DataSettings
    from panvision.prepare.pack import prepare

    Image.preinit()
    return functools.partial(prepare, task, DataSettings(root=root, image_size=side), Path(build) / task)


def validate_job(build: str) -> Callable[[], object]:
    """The joint checks and the split."""
    from panvision.validate.settings import SplitSettings
    from panvision.validate.verdict import judge, write_verdict

    def work() -> None:
        folder = Path(build)
        verdict = judge(folder, SplitSettings(), {})
        write_verdict(verdict, folder / "splits.csv", folder / "problems.csv", folder / "data.json")

    return work


def plain_job(files: Sequence[Path], side: int, processes: int = 1) -> Callable[[], object]:
    """Loading photos as a training script without a pipeline does, each process a share of them."""
    import torch
    from torchvision import transforms

    Image.preinit()
    torch.set_num_threads(1)
    change = transforms.Compose([transforms.Resize((side, side)), transforms.ToTensor()])

    def load(share: Sequence[Path]) -> None:
        for path in share:
            with Image.open(path) as image:
                change(image.convert("RGB"))

    def work() -> None:
        # Forked processes start at once, with everything imported.
        context = multiprocessing.get_context("fork")
        helpers = [context.Process(target=load, args=(files[part::processes],)) for part in range(1, processes)]
        for helper in helpers:
            helper.start()
        load(files[::processes])
        for helper in helpers:
            helper.join()

    return work


class Cost(NamedTuple):
    """Cost of a job: wall and processor time, in seconds, and the peak MB of its largest process."""

    seconds: float
    cpu: float
    peak: float


def measured(job: Callable[..., Callable[[], object]], *arguments: object) -> Cost:
    """Do a job in a new process, which imports what it needs before the clock starts."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_report, args=(sender, job, arguments))
    process.start()
    peak = 0.0
    while not receiver.poll(0.05):
        peak = max(peak, *(own_megabytes(number) for number in family(process.pid)))
    seconds, cpu = receiver.recv()
    process.join()
    return Cost(seconds, cpu, peak)


def _report(sender: "multiprocessing.connection.Connection", job: Callable[..., Callable], arguments: tuple) -> None:
    work = job(*arguments)
    start, used = time.perf_counter(), _cpu()
    work()
    sender.send((time.perf_counter() - start, _cpu() - used))


def _cpu() -> float:
    """Processor time of this process and of its children that have ended, in seconds."""
    uses = (resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(use.ru_utime + use.ru_stime for use in uses)


def family(root: int | None) -> list[int]:
    """A process and all below it."""
    found = [root] if root else []
    for number in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{number}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def own_megabytes(number: int) -> float:
    """Return the memory of a process without mapped files, which the system drops when it needs the space."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{number}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1024
    return 0.0


class Round(NamedTuple):
    """One round: prepare on all tasks, validate, and the plain loading of `photos` photos in one process and in all."""

    prepare: Cost
    validate: Cost
    plain: Cost
    plain_all: Cost
    photos: int

    def line(self, images: int) -> str:
        """A line of the table."""
        plain = self.photos / self.plain.seconds
        both = self.prepare.seconds + self.validate.seconds
        ours = (self.prepare.cpu + self.validate.cpu) / images * 1000
        return (
            f"{images:>8}{images / self.prepare.seconds:>10.0f}{plain:>10.0f}"
            f"{images / self.prepare.seconds / plain:>7.2f}{images / both / plain:>7.2f}"
            f"{self.plain.seconds / self.plain_all.seconds:>7.2f}"
            f"{ours:>8.2f}{self.plain.cpu / self.photos * 1000:>7.2f}"
            f"{self.prepare.seconds:>10.1f}{self.validate.seconds:>10.1f}"
            f"{self.prepare.peak:>10.0f}{self.validate.peak:>10.0f}"
        )


HEADER = f"""
{"":8}{"prepare":>10}{"plain":>10}{"ratio":>7}{"ratio":>7}{"ratio":>7}{"CPU ms":>8}{"CPU ms":>7}\
{"prepare":>10}{"validate":>10}{"prepare":>10}{"validate":>10}
{"images":>8}{"photos/s":>10}{"photos/s":>10}{"prep.":>7}{"both":>7}{"plain":>7}{"ours":>8}{"plain":>7}\
{"s":>10}{"s":>10}{"peak MB":>10}{"peak MB":>10}"""


def one_round(root: Path, build: Path, side: int) -> Round:
    """Measure everything once; plain loading in four parts around the others, for machines change their speed."""
    files = sorted(root.glob("*/images/**/*.jpg"))
    files = files[:: max(1, len(files) // PLAIN_PHOTOS)][:PLAIN_PHOTOS]
    parts = [files[part :: len(TASKS) + 1] for part in range(len(TASKS) + 1)]
    prepared, plain, plain_all = [], [], []
    for part, share in enumerate(parts):
        plain.append(measured(plain_job, share, side))
        plain_all.append(measured(plain_job, share, side, multiprocessing.cpu_count()))
        if part < len(TASKS):
            prepared.append(measured(prepare_job, str(root), TASKS[part], str(build), side))
    validated = measured(validate_job, str(build))
    return Round(added(prepared), validated, added(plain), added(plain_all), len(files))


def added(costs: Sequence[Cost]) -> Cost:
    """Jobs one after the other."""
    seconds, cpu, peak = zip(*costs, strict=True)
    return Cost(sum(seconds), sum(cpu), max(peak))


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
    print(HEADER)
    for images in args.images:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            root, build = Path(folder, "raw"), Path(folder, "build")
            write_sets(root, images, size)
            rounds = [one_round(root, build, args.image_size) for _ in range(ROUNDS if images <= LARGE else 1)]
            rounds.sort(key=lambda found: (found.prepare.seconds + found.validate.seconds) / found.plain.seconds)
            print(rounds[len(rounds) // 2].line(images), flush=True)


if __name__ == "__main__":
    main()
