"""What tells that two files are the same: hashes of the bytes and of the pixels."""

import hashlib

import numpy as np

from panvision.pixels import RgbArray


def file_hash(content: bytes) -> str:
    """sha256 of a file's bytes, 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def pixel_hash(rgb: RgbArray) -> str:
    """sha256 of the decoded pixels and their size: equal for copies that were renamed or saved again without loss."""
    digest = hashlib.sha256(f"{rgb.shape[1]}x{rgb.shape[0]}:".encode())
    digest.update(np.ascontiguousarray(rgb).data)
    return digest.hexdigest()
