"""Copies are found, and frames of one camera are not taken for copies."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from panvision.dataset.descriptors import LookStack, make_look
from panvision.validate.copies import candidates
from panvision.validate.copies.alignment import UNKNOWN, differences
from panvision.validate.copies.candidates import find_candidates
from panvision.validate.copies.search import find_copies
from panvision.validate.settings import SplitSettings
from tests.prepare.raw_sets import REAL, picture

LIMIT = SplitSettings().copy_difference


def saved(image, quality=60):
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def cropped(image, share=0.9, top=0.3, left=0.8):
    """A window of `share` of both sides; `top` and `left` say where, 0 to 1."""
    width, height = round(image.width * share), round(image.height * share)
    x, y = round((image.width - width) * left), round((image.height - height) * top)
    return image.crop((x, y, x + width, y + height))


def brighter(image, factor):
    return ImageEnhance.Brightness(image).enhance(factor)


COPIES = {
    "flipped": ImageOps.mirror,
    "upside down": ImageOps.flip,
    "turned": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "cropped": cropped,
    "cropped in the corner": lambda image: cropped(image, 0.9, 0.0, 1.0),
    "cropped to 90 % of the area": lambda image: cropped(image, 0.95),
    "brighter": lambda image: brighter(image, 1.3),
    "darker": lambda image: brighter(image, 0.7),
    "saved again": lambda image: saved(image, 40),
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "another shape": lambda image: image.resize((160, 120)),
    "grey": lambda image: image.convert("L").convert("RGB"),
}
AUGMENTED = {
    "flipped, cropped, brighter, resized, saved": lambda image: saved(
        brighter(cropped(ImageOps.mirror(image), 0.92, 0.7, 0.2), 1.2).resize((416, 416))
    ),
}


def stack(images):
    return LookStack([np.stack([make_look(image) for image in images])])


def found_pairs(images, limit=LIMIT):
    looks = stack(images)
    rows = np.arange(len(images))
    return {tuple(sorted(pair)) for pair in find_copies(looks, rows, limit, joined=lambda one, other: False)}


@pytest.mark.parametrize("kind", [*COPIES, *AUGMENTED])
def test_copies_of_drawn_pictures_are_found_and_nothing_else(kind):
    originals = [picture(seed, 320, 240) for seed in range(40)]
    copies = [{**COPIES, **AUGMENTED}[kind](image) for image in originals]
    assert found_pairs([*originals, *copies]) == {(number, number + 40) for number in range(40)}


@pytest.mark.skipif(not REAL.is_dir(), reason="no real data beside the checkout")
def test_copies_of_two_hundred_real_photos_are_found():
    """Every planted copy of every kind."""
    files = sorted(path for path in (REAL / "kitchen").rglob("*.jpg") if "masks" not in path.parts)
    chosen = [files[number] for number in np.random.default_rng(1).choice(len(files), 200, replace=False)]
    originals = [Image.open(path).convert("RGB") for path in chosen]
    for kind, change in COPIES.items():
        copies = [saved(change(image), 85) for image in originals]
        found = found_pairs([*originals, *copies])
        missed = [chosen[number].name for number in range(200) if (number, number + 200) not in found]
        assert not missed, kind


@pytest.mark.parametrize("moved", [24, 60])
def test_frames_of_one_camera_are_not_copies(moved):
    """The same scene with a tool in another place: nearly equal as a whole."""
    scene = picture(1, 320, 240)
    frames = []
    for place in (40, 40 + moved, 40 + 2 * moved):
        frame = scene.copy()
        frame.paste((250, 250, 250), (place, 60, place + 20, 200))
        frames.append(frame)
    assert found_pairs(frames) == set()


def test_a_small_mark_does_not_hide_a_copy():
    image = picture(5, 320, 240)
    dated = image.copy()
    dated.paste((255, 255, 0), (270, 220, 310, 232))
    assert found_pairs([image, dated, picture(6, 320, 240)]) == {(0, 1)}


def test_white_background_with_other_objects_is_not_a_copy():
    """All but an object agrees, and the object is smaller than the parts that may differ."""
    images = []
    for seed in (1, 2):
        image = Image.new("RGB", (320, 320), (255, 255, 255))
        image.paste(picture(seed, 60, 60), (130, 130))
        images.append(image)
    assert found_pairs(images) == set()


def test_pictures_that_are_over_exposed_cannot_be_compared():
    dark = np.zeros((1, 64, 64), np.float32)
    grey = np.full((1, 64, 64), 128.0, np.float32)
    assert differences(dark, np.array([[0.0, 0.0, 1.0]]), grey, limit=LIMIT).tolist() == [UNKNOWN]


def test_what_is_joined_already_is_not_compared(monkeypatch):
    images = [picture(1, 160, 120)] * 3
    monkeypatch.setattr("panvision.validate.copies.search.differences", lambda *given, **named: 1 / 0)
    found = find_copies(stack(images), np.arange(3), LIMIT, joined=lambda one, other: True)
    assert list(found) == []


def test_rows_are_those_of_the_stack():
    images = [picture(1, 160, 120), picture(2, 160, 120), picture(1, 160, 120).resize((80, 60)), picture(3, 160, 120)]
    looks = stack(images)
    found = list(find_copies(looks, np.array([2, 0, 3]), LIMIT, joined=lambda one, other: False))
    assert [tuple(sorted(pair)) for pair in found] == [(0, 2)]


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_looks(count):
    looks = LookStack([np.zeros((count, 64, 64), np.uint8)])
    assert len(find_candidates(looks, np.arange(count)).source) == 0


def test_find_copies_among_frames_of_one_camera():
    """All frames are similar to all others; only a few of the most similar are compared in detail."""
    scene = np.array(picture(1, 160, 120), np.int16)
    chance = np.random.default_rng(3)
    frames = []
    for _ in range(150):
        frame = scene.copy()
        x, y = chance.integers(0, 120), chance.integers(0, 80)
        frame[y : y + 40, x : x + 40] += chance.integers(-90, 90)
        frames.append(Image.fromarray(np.clip(frame, 0, 255).astype(np.uint8)))
    copies = [saved(image, 80) for image in frames[:20]]
    found = found_pairs([*frames, *copies])
    assert {(number, 150 + number) for number in range(20)} <= found


def test_find_candidates_does_not_depend_on_the_block(monkeypatch):
    originals = [picture(seed, 320, 240) for seed in range(30)]
    looks = stack([*originals, *(cropped(ImageOps.mirror(image)) for image in originals)])
    whole = find_candidates(looks, np.arange(60))
    assert {(0, 30), (30, 0)} & set(zip(whole.source.tolist(), whole.target.tolist(), strict=True))
    monkeypatch.setattr(candidates, "_BLOCK_ELEMENTS", 12 * 60 * 7)
    parts = find_candidates(looks, np.arange(60))
    assert (parts.source.tolist(), parts.target.tolist(), parts.variant.tolist()) == (
        whole.source.tolist(),
        whole.target.tolist(),
        whole.variant.tolist(),
    )
