"""Hashes of files and of pixels, by which copies are recognised."""

import hashlib

import numpy as np

from panvision.photos.pixels import RgbArray


def file_hash(content: bytes) -> str:
    """Return the sha256 of a file's bytes, 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def pixel_hash(packed: RgbArray, size: tuple[int, int]) -> str:
    """Return the sha256 of an image's packed pixels and size: equal for renamed or losslessly saved copies.

    Args:
        packed: (S, S, 3) uint8, the pixels that the model will see.
        size: width and height before packing.
    """
    digest = hashlib.sha256(f"{size[0]}x{size[1]}:".encode())
    digest.update(np.ascontiguousarray(packed).data)
    return digest.hexdigest()
