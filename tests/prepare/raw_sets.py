"""Small raw sets for the tests of this room."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from panvision.photos.settings import DataSettings
from panvision.prepare.formats.readers import read_set
from panvision.prepare.load import load_sample
from panvision.prepare.pack import PackResult, prepare
from panvision.prepare.whole import check_dataset

SIDE = 64
REAL = Path(__file__).parents[3] / "shared" / "realdata"


def picture(seed, width=40, height=30):
    """A picture that looks like no other: smooth random blobs, so that copies keep their perceptual hash."""
    coarse = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def save(path, image=None, **options):
    """Save an image (a seed makes one), its folders made if missing; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = image if isinstance(image, Image.Image) else picture(image or 0)
    image.save(path, **options)
    return path


def save_mask(path, width=40, height=30, pan=(10, 5, 30, 25), value=255):
    mask = np.zeros((height, width), np.uint8)
    left, top, right, bottom = pan
    mask[top:bottom, left:right] = value
    return save(path, Image.fromarray(mask))


def rotated(image, orientation):
    """Save options that make `image` an EXIF-rotated file."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return {"image": image, "exif": exif}


def coco(images, annotations, categories=("pot",)):
    """A COCO document: images (name, width, height), annotations (image, category, box), all numbered from 0."""
    return {
        "categories": [{"id": number, "name": name, "supercategory": "none"} for number, name in enumerate(categories)],
        "images": [
            {"id": number, "file_name": name, "width": width, "height": height}
            for number, (name, width, height) in enumerate(images)
        ],
        "annotations": [
            {"id": number, "image_id": image, "category_id": category, "bbox": box, "iscrowd": 0}
            for number, (image, category, box) in enumerate(annotations)
        ],
    }


def save_coco(path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))


def segmentation_set(root, count=6, start=0):
    """Images and masks in the flat layout below `root`/segmentation."""
    for number in range(start, start + count):
        save(root / "segmentation" / "images" / f"s{number}.png", number)
        save_mask(root / "segmentation" / "masks" / f"s{number}.png")
    return root / "segmentation"


def detection_set(root, count=6, start=100):
    """Images with one box each in the flat layout below `root`/detection."""
    names = [f"d{number}.png" for number in range(start, start + count)]
    for number, name in enumerate(names):
        save(root / "detection" / "images" / name, start + number)
    document = coco([(name, 40, 30) for name in names], [(n, 0, [5, 5, 10, 10]) for n in range(count)])
    save_coco(root / "detection" / "_annotations.coco.json", document)
    return root / "detection"


def classification_set(root, count=6, start=200, classes=("raw", "burnt")):
    """Images of each class in the flat layout below `root`/classification."""
    for place, name in enumerate(classes):
        for number in range(count):
            seed = start + place * 1000 + number
            save(root / "classification" / "images" / name / f"c{seed}.png", seed)
    return root / "classification"


def all_sets(root):
    segmentation_set(root)
    detection_set(root)
    classification_set(root)


def set_settings(root, **settings):
    """The `data` section for the small pictures of these sets."""
    return DataSettings(**{"root": str(root), "image_size": SIDE, "min_side": 16, **settings})


def pack(root, task, out=None, **settings):
    """Run prepare on one set below `root`."""
    out = out or root / "prepared" / task
    return prepare(task, set_settings(root, **settings), out)


def load(root, task, **settings):
    """Read one set below `root` and load its samples; returns the reading and what was loaded."""
    reading = read_set(task, root / task, set_settings(root, **settings).pan_names)
    return reading, [load_sample(sample, root / task, set_settings(root, **settings)) for sample in reading.samples]


def check(root, task, **settings):
    """Return what prepare finds, without writing anything."""
    reading, loaded = load(root, task, **settings)
    problems = [*reading.problems, *(found for one in loaded for found in one.problems)]
    names = set_settings(root, **settings).pan_names
    problems = check_dataset(reading.samples, [one.facts for one in loaded], problems, names)
    return PackResult(sum(one.image is not None for one in loaded), sorted(set(problems)))


def pack_all(root, **settings):
    return [pack(root, task, **settings) for task in ("segmentation", "detection", "classification")]


def codes(result):
    return sorted(found.code for found in result.problems)
