"""What tells that two files are the same: hashes of the bytes and of the pixels."""

import hashlib

import numpy as np

from panvision.photos.pixels import RgbArray


def file_hash(content: bytes) -> str:
    """sha256 of a file's bytes, 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def pixel_hash(packed: RgbArray, size: tuple[int, int]) -> str:
    """sha256 of a picture's packed pixels and of its own size: equal for copies that were renamed or saved losslessly.

    Args:
        packed: (S, S, 3) uint8, the pixels that the model will see; what differs in none of them is one picture to it.
        size: width and height before packing.
    """
    digest = hashlib.sha256(f"{size[0]}x{size[1]}:".encode())
    digest.update(np.ascontiguousarray(packed).data)
    return digest.hexdigest()
