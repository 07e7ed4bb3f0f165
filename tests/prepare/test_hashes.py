import numpy as np

from panvision.prepare.hashes import file_hash, pixel_hash
from tests.prepare.raw_sets import picture


def test_pixel_hash_sees_pixels_and_size():
    image = np.array(picture(1))
    known = pixel_hash(image, (640, 480))
    assert known == pixel_hash(image.copy(), (640, 480))
    assert known == pixel_hash(image[:, ::-1][:, ::-1], (640, 480))
    changed = image.copy()
    changed[0, 0, 0] ^= 1
    assert pixel_hash(changed, (640, 480)) != known
    assert pixel_hash(image, (480, 640)) != known


def test_file_hash_is_sha256():
    assert file_hash(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
