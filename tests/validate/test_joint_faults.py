"""Problems of the three datasets together: one small broken input per code, checked as in the stage."""

import json

import pytest
from PIL import Image

from panvision.dataset.problems import CATALOGUE
from panvision.validate.settings import SplitSettings
from panvision.validate.splits.pins import read_pins
from panvision.validate.verdict import judge
from tests.prepare.raw_sets import (
    classification_set,
    coco,
    detection_set,
    pack_all,
    picture,
    save,
    save_coco,
    save_mask,
    segmentation_set,
)

PIN = "task,file,split\n"


def boxes(root, others, odd):
    """A detection set whose boxes are all like one, but for the last image's."""
    count = 60
    names = [f"d{number}.png" for number in range(count)]
    for number, name in enumerate(names):
        save(root / "detection" / "images" / name, picture(5000 + number, 160, 120))
    given = [(number, 0, [others[0] + number % 7, others[1] + number % 5, *others[2:]]) for number in range(count - 1)]
    given += [(count - 1, 0, box) for box in odd]
    save_coco(root / "detection" / "_annotations.coco.json", coco([(name, 160, 120) for name in names], given))


def copy_of(seed, path, change=lambda image: image):
    save(path.parent / f"original_{path.name}", picture(seed, 160, 120))
    save(path, change(picture(seed, 160, 120)))


def cropped(image):
    return image.crop((8, 6, 152, 114))


def states(root):
    """Two classes of one colour each, and one picture of the second one's colour in the first."""
    folder = root / "classification" / "images"
    for number in range(40):
        for shift, (name, colour) in enumerate({"raw": (220, 210, 120), "burnt": (60, 30, 20)}.items()):
            tint = Image.new("RGB", (80, 60), colour)
            image = Image.blend(picture(6000 + number + 100 * shift, 80, 60), tint, 0.8)
            save(folder / name / f"p{number}.png", image)
    odd = Image.blend(picture(6999, 80, 60), Image.new("RGB", (80, 60), (60, 30, 20)), 0.8)
    save(folder / "raw" / "odd.png", odd)


def moved_group(root):
    """The pins know two images apart; a copy that is like both makes them one group."""
    folder = root / "segmentation" / "images"
    image = picture(70, 160, 120)
    save(folder / "s0.png", image)
    save(folder / "s1.png", image.resize((120, 90)))
    for number in (0, 1):
        save_mask(root / "segmentation" / "masks" / f"s{number}.png", *((160, 120) if number == 0 else (120, 90)))
    return f"{PIN}segmentation,images/s0.png,train\nsegmentation,images/s1.png,test\n"


def own_splits(root, leak):
    for split, seeds in {"train": range(8), "valid": range(8, 12), "test": range(12, 16)}.items():
        for seed in seeds:
            shown = 0 if leak and seed == 12 else seed
            for place, name in enumerate(("raw", "burnt")):
                save(root / "classification" / split / name / f"{seed}.png", picture(8000 + shown + 50 * place))


def one_photo(root):
    for number in range(6):
        save(root / "segmentation" / "images" / f"s{number}.png", picture(3))


def one_burst(root):
    """Twenty photos of one minute, which chance sends to test whole, and eight others."""
    folder = root / "segmentation"
    for number in range(20):
        name = f"IMG_20240501_1200{number:02}"
        save(folder / "images" / f"{name}.png", picture(9000 + number))
        save_mask(folder / "masks" / f"{name}.png")


def one_video(root):
    """Thirty frames of one still scene, in which a grey bar moves."""
    folder = root / "segmentation"
    for number in range(30):
        name = f"frame_{number:03}"
        image = picture(9100, 160, 120)
        image.paste((128, 128, 128), (5 * number, 0, 5 * number + 8, 60))
        save(folder / "images" / f"{name}.png", image)
        save_mask(folder / "masks" / f"{name}.png", 160, 120)


# Code → what spoils the sets (it may give the text of the pins), and settings.
CORPUS = {
    "label_conflict": (
        lambda root: save(root / "classification" / "images" / "burnt" / "x.png", picture(200), compress_level=0),
        {},
    ),
    "label_conflict_near": (
        lambda root: [
            save(root / "classification" / "images" / "raw" / "x.png", picture(71, 160, 120)),
            save(root / "classification" / "images" / "burnt" / "y.png", cropped(picture(71, 160, 120))),
        ],
        {},
    ),
    "copies_in_set": (
        lambda root: copy_of(72, root / "classification" / "images" / "raw" / "x.png", cropped),
        {},
    ),
    "copies_across_sets": (
        lambda root: save(root / "classification" / "images" / "raw" / "x.png", picture(0), compress_level=0),
        {},
    ),
    "split_leak": (lambda root: own_splits(root, leak=True), {"classification": False}),
    "frames_torn": (one_video, {"segmentation": False, "copy_difference": 0.0}),
    "split_empty": (one_photo, {}),
    "split_uneven": (one_burst, {"method": "stable", "seed": 2}),
    "split_small": (
        lambda root: boxes(root, (20, 20, 60, 40), [[20, 20, 60, 40]]),
        {"detection": False, "method": "stable", "val": 0.1, "test": 0.1, "seed": 2},
    ),
    "split_topped_up": (lambda root: None, {"method": "stable"}),
    "class_absent": (lambda root: save(root / "classification" / "images" / "golden" / "x.png", 999), {}),
    "group_moved": (moved_group, {}),
    "pin_unknown": (lambda root: f"{PIN}segmentation,images/gone.png,test\n", {}),
    "own_split_pooled": (lambda root: own_splits(root, leak=False), {"classification": False, "folds": 3}),
    "box_unusual_size": (lambda root: boxes(root, (20, 20, 60, 40), [[20, 20, 4, 3]]), {"detection": False}),
    "box_unusual_place": (lambda root: boxes(root, (20, 20, 30, 20), [[120, 95, 30, 20]]), {"detection": False}),
    "boxes_duplicated": (
        lambda root: boxes(root, (20, 20, 60, 40), [[20, 20, 60, 40], [21, 20, 60, 41]]),
        {"detection": False},
    ),
    "boxes_off_grid": (
        lambda root: boxes(root, (20, 20, 60, 40), [[20, 20, 4, 3]]),
        {"detection": False},
    ),
    "neighbours_disagree": (states, {"classification": False}),
}


def judged(root, spoil, *, segmentation=True, detection=True, classification=True, **settings):
    """The verdict over three sound sets, those left out made by `spoil`, which may also give pins."""
    for wanted, make in (
        (segmentation, segmentation_set),
        (detection, detection_set),
        (classification, classification_set),
    ):
        if wanted:
            make(root)
    pins = spoil(root)
    path = root / "pins.csv"
    path.write_text(pins if isinstance(pins, str) else PIN)
    pack_all(root)
    chosen = SplitSettings(**{"method": "balanced", "val": 0.2, "test": 0.2, **settings})
    return judge(root / "prepared", chosen, read_pins(path))


@pytest.mark.parametrize("code", CORPUS)
def test_each_is_found_under_its_own_code(tmp_path, code):
    spoil, settings = CORPUS[code]
    verdict = judged(tmp_path, spoil, **settings)
    found = [problem for problem in verdict.problems if problem.code == code]
    assert found
    assert {(problem.severity, problem.remedy) for problem in found} == {CATALOGUE[code]}
    assert all(problem.file and problem.reason for problem in found)
    assert json.dumps(verdict.metrics(), allow_nan=False)
    assert bool(verdict.refusal()) is (CATALOGUE[code][0] == "error")


def test_sound_sets_have_no_problems(tmp_path):
    assert judged(tmp_path, lambda root: None).problems == []
