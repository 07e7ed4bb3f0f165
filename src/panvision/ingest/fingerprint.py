"""What tells that two files show the same photo: hashes of the file, of its pixels, of its look."""

import hashlib

import numpy as np
import numpy.typing as npt
from PIL import Image

from panvision.pixels import RgbArray

# Grey levels: a picture whose 32 × 32 copy varies less has no look to recognise it by.
_PLAIN = 2.0
_SIDE = 32

NO_HASH = "0" * 16


def _dct_matrix(side: int, rows: int) -> npt.NDArray[np.float64]:
    """Frequencies 1 to `rows` of the DCT-II of `side` samples, (rows, side); the mean (frequency 0) is left out."""
    samples, frequencies = np.arange(side), np.arange(1, rows + 1)
    return np.cos(np.pi * frequencies[:, None] * (2 * samples + 1) / (2 * side))


_DCT = _dct_matrix(_SIDE, 8)


def file_hash(content: bytes) -> str:
    """sha256 of a file's bytes, 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def pixel_hash(rgb: RgbArray) -> str:
    """sha256 of the decoded pixels and their size: equal for copies that were renamed or saved again without loss."""
    digest = hashlib.sha256(f"{rgb.shape[1]}x{rgb.shape[0]}:".encode())
    digest.update(np.ascontiguousarray(rgb).data)
    return digest.hexdigest()


def perceptual_hash(rgb: RgbArray) -> str:
    """64-bit pHash, 16 hex digits; NO_HASH for a picture so plain that every such picture would look alike.

    Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010), section 3.2.1, as in
    phash.org's `ph_dct_imagehash`: grey, 32 × 32, DCT, the 8 × 8 frequencies next to the mean, each compared with
    their median. Few bits differ after re-encoding and resizing, more where brightening burns out highlights.
    """
    grey = Image.fromarray(rgb).convert("L").resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    values = np.asarray(grey, dtype=np.float64)
    if values.std() < _PLAIN:
        return NO_HASH
    frequencies = _DCT @ values @ _DCT.T  # (8, 8)
    bits = frequencies > np.median(frequencies)
    return np.packbits(bits.ravel()).tobytes().hex()
