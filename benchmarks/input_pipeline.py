"""Speed of the training stream, of plain loading and of a training step: `python benchmarks/input_pipeline.py`.

Draws images of 640 × 480 for each dataset, saves them as JPEG in a temporary folder and packs them like prepare. Times
three jobs alternately in one process, `--rounds` times, and prints medians:

    packed   training batches of panvision: memory-mapped images, the preset's augmentation, stacked tensors
    plain    the same images by Pillow and torchvision's transforms: decode, resize, flips, colour jitter (affine too if
             the preset has it), to a tensor; a mask is read from PNG, resized and left unchanged
    step     a training step of the preset, phase 2, from benchmarks/train_step.py

One worker of the loader yields as many samples as `packed`; `workers` is the number that keeps the step busy.
"""

import argparse
import math
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from train_step import PRESETS, SECTIONS, own_step, random_batch, together

from panvision.core.params import read_sections
from panvision.core.tasks import DATASETS
from panvision.dataset.packed import PackedSet
from panvision.photos.pixels import resize_image
from panvision.training.data.settings import AugmentSettings
from panvision.training.data.stream import TrainingStream
from panvision.training.devices import algorithms, keep_freed_memory

WIDTH, HEIGHT = 640, 480


def draw(number: int) -> Image.Image:
    """Return an image like a photograph: coarse colours, a hard edge, a little noise."""
    chance = np.random.default_rng(number)
    coarse = Image.fromarray(chance.integers(0, 255, (9, 12, 3), dtype=np.uint8))
    pixels = np.array(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.int16)
    pixels[100:300, 150:400] //= 2
    noise = chance.integers(-8, 9, (HEIGHT, WIDTH, 1), dtype=np.int16)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def write_photos(folder: Path, count: int) -> dict[str, list[Path]]:
    """Write `count` images for each dataset, and a mask beside each image of segmentation."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[100:300, 150:400] = 255
    photos: dict[str, list[Path]] = {task: [] for task in DATASETS}
    for number in range(count * len(DATASETS)):
        task = DATASETS[number % len(DATASETS)]
        path = folder / f"{number}.jpg"
        draw(number).save(path, quality=90)
        if task == "segmentation":
            Image.fromarray(mask).save(path.with_suffix(".png"))
        photos[task].append(path)
    return photos


def pack(folder: Path, photos: dict[str, list[Path]], side: int) -> dict[str, PackedSet]:
    """Return the images packed like prepare does, with three boxes on each image of detection."""
    box = np.array([[150, 100, 400, 300], [20, 30, 200, 90], [300, 200, 600, 470]], np.float32)
    sets = {}
    for task, paths in photos.items():
        np.save(folder / f"{task}.npy", np.stack([np.asarray(resize_image(Image.open(path), side)) for path in paths]))
        count = len(paths)
        masks = np.zeros((count, side, side), np.uint8)
        masks[:, side // 4 : side // 2] = 255
        np.save(folder / "coverage.npy", masks)
        sets[task] = PackedSet(
            task=task,
            folder=folder,
            files=[path.name for path in paths],
            sizes=np.full((count, 2), (WIDTH, HEIGHT), np.int32),
            classes=["a", "b", "c"],
            images=np.load(folder / f"{task}.npy", mmap_mode="r"),
            looks=np.zeros((count, 64, 64), np.uint8),
            masks=np.load(folder / "coverage.npy", mmap_mode="r") if task == "segmentation" else None,
            boxes=[box] * count if task == "detection" else None,
            labels=[np.arange(3)] * count if task == "detection" else None,
            states=np.arange(count) % 3 if task == "classification" else None,
        )
    return sets


def plain_transforms(augment: AugmentSettings, side: int) -> object:
    """Return torchvision's counterpart of the preset's augmentation."""
    from torchvision import transforms

    parts = [
        transforms.Resize((side, side)),
        transforms.RandomHorizontalFlip(augment.horizontal_flip),
        transforms.RandomVerticalFlip(augment.vertical_flip),
        transforms.ColorJitter(augment.brightness, augment.contrast, augment.saturation, augment.hue),
        transforms.PILToTensor(),
    ]
    if augment.scale or augment.translate:
        shift, zoom = (augment.translate, augment.translate), (1 - augment.scale, 1 + augment.scale)
        parts.insert(3, transforms.RandomAffine(0, shift, zoom))
    return transforms.Compose(parts)


def load_plain(photos: dict[str, list[Path]], numbers: range, transform: object, side: int) -> None:
    """Load a batch of each dataset by Pillow and torchvision."""
    for task, paths in photos.items():
        chosen = [paths[number % len(paths)] for number in numbers]
        torch.stack([transform(Image.open(path).convert("RGB")) for path in chosen])
        if task == "segmentation":
            masks = [
                Image.open(path.with_suffix(".png")).resize((side, side), Image.Resampling.NEAREST) for path in chosen
            ]
            torch.stack([torch.from_numpy(np.array(mask)) for mask in masks])


def measure(name: str, rounds: int, photos: dict[str, list[Path]], folder: Path) -> None:
    """Print one preset's rows."""
    sections = read_sections({**SECTIONS, "augment": AugmentSettings}, PRESETS / f"{name}.yaml")
    side, augment = sections["data"].image_size, sections["augment"]
    size = sections["train"].batch_size
    packed = pack(folder, photos, side)
    rows = {task: np.arange(len(of_task)) for task, of_task in packed.items()}
    stream = TrainingStream(packed, rows, augment, batch_size=size, seed=1)
    transform = plain_transforms(augment.of("detection"), side)
    few = min(size, 4)  # a step of more takes half a minute on a CPU
    step = own_step(together, sections, random_batch(side, few, torch.device("cpu")), phase=2, compiled=False)
    batches = max(1, 32 // size)
    taken: dict[str, list[float]] = {"packed": [], "plain": [], "step": []}
    for number in range(rounds + 1):
        jobs = {
            "packed": lambda number=number: [stream[number * batches + index] for index in range(batches)],
            "plain": lambda number=number: load_plain(photos, range(number * 32, number * 32 + 32), transform, side),
            "step": step,
        }
        for job, run in jobs.items():
            start = time.process_time()
            run()
            if number:  # the first round warms up
                taken[job].append(time.process_time() - start)
    samples = {"packed": 3 * batches * size, "plain": 3 * 32, "step": 3 * few}
    rates = {job: samples[job] / statistics.median(values) for job, values in taken.items()}
    ratio = rates["packed"] / rates["plain"]
    workers = math.ceil(rates["step"] / rates["packed"])
    print(
        f"{name:10}{side:>6}{rates['packed']:>12.0f}{rates['plain']:>12.0f}{ratio:>8.1f}{rates['step']:>12.1f}{workers:>9}",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["laptop", "resnet50"], help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--photos", type=int, default=48, help="per task (default: %(default)s)")
    args = parser.parse_args()
    keep_freed_memory()
    print(f"samples/s of one process ({torch.get_num_threads()} threads in the step), process time")
    print(f"{'preset':10}{'px':>6}{'packed':>12}{'plain':>12}{'ratio':>8}{'step':>12}{'workers':>9}")
    with tempfile.TemporaryDirectory() as name, algorithms(torch.device("cpu")):
        folder = Path(name)
        photos = write_photos(folder, args.photos)
        for preset in args.presets:
            measure(preset, args.rounds, photos, folder)


if __name__ == "__main__":
    main()
