import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from panvision.ingest.fingerprint import NO_HASH, file_hash, perceptual_hash, pixel_hash
from panvision.ingest.settings import SplitSettings
from tests.ingest.raw_sets import picture


def distance(one, two):
    return (int(perceptual_hash(np.array(one)), 16) ^ int(perceptual_hash(np.array(two)), 16)).bit_count()


def reencoded(image):
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=60)
    return Image.open(stream).convert("RGB")


@pytest.mark.parametrize(
    "copy",
    [
        reencoded,
        lambda image: image.resize((200, 150)),
        lambda image: ImageEnhance.Brightness(image).enhance(0.8),
        lambda image: image.convert("L").convert("RGB"),
    ],
)
def test_copies_are_near_and_others_far(copy):
    allowed = SplitSettings().near_duplicate_bits
    for seed in range(20):
        original = picture(seed, 320, 240)
        assert distance(original, copy(original)) <= allowed
        assert distance(original, picture(seed + 500, 320, 240)) > 10


def test_hash_is_sixteen_digits_with_half_of_the_bits():
    value = perceptual_hash(np.array(picture(1)))
    assert len(value) == 16 and int(value, 16).bit_count() == 32


@pytest.mark.parametrize("level", [0, 128, 255])
def test_plain_pictures_have_no_look(level):
    noise = np.random.default_rng(level).integers(-2, 3, (60, 80, 3))
    plain = np.clip(level + noise, 0, 255).astype(np.uint8)
    assert perceptual_hash(plain) == NO_HASH


def test_pixel_hash_sees_pixels_and_shape():
    image = np.array(picture(1))
    assert pixel_hash(image) == pixel_hash(image.copy())
    assert pixel_hash(image) == pixel_hash(image[:, ::-1][:, ::-1])
    changed = image.copy()
    changed[0, 0, 0] ^= 1
    assert pixel_hash(changed) != pixel_hash(image)
    assert pixel_hash(image.reshape(40, 30, 3)) != pixel_hash(image)


def test_file_hash_is_sha256():
    assert file_hash(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
