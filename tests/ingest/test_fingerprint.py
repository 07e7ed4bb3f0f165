import numpy as np

from panvision.ingest.fingerprint import file_hash, pixel_hash
from tests.ingest.raw_sets import picture


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
