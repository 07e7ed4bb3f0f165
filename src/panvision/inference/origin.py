"""The origin of a model, stored in its file: hashes of the params, of the data, and of each training image.

Equal hashes mean that two model files come from the same settings and the same data. They contain no revision, time or
path, so the same run gives the same bytes.

An image is known by the SHA-256 of its file's bytes. Unlike the hash of its packed pixels, it is the same for models of
every input size and for every version of the decoders, and a renamed file keeps it. A file that was saved again does
not: near-duplicates are found by `panvision validate`, not here.
"""

import base64
import csv
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

# Keys of a checkpoint's metadata that come from the params; the class names come from the data.
_SHAPED_BY = ("config", "model", "tasks", "image_size")
# Files of each packed dataset: index.csv has the hashes of every image's bytes and pixels, the others are its labels.
_LABELS = ("index.csv", "classes.json", "boxes.csv", "coverage.npy")
# Splits whose images shape a model: weights come from the first; the best epoch, the temperature and thresholds from
# the second.
_LEARNED_FROM = ("train", "val")
# Bytes of a hash that are kept. Of 10,000 training and 10,000 other images, one is mistaken with probability 5e-12.
_KEPT = 8
# More images would exceed the 1 MiB that an ONNX file's metadata may have.
MOST_IMAGES = 65_536


def params_hash(metadata: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the settings that a checkpoint was trained with, 64 hex digits.

    Args:
        metadata: of the checkpoint. Seed, augmentation, losses and phases (`config`), the network, its tasks and its
            input size count; thresholds and export do not, because they change no weight.
    """
    shaped = {name: metadata.get(name) for name in _SHAPED_BY}
    return hashlib.sha256(json.dumps(shaped, sort_keys=True).encode()).hexdigest()


def data_hash(prepared: str | Path, splits: str | Path) -> str:
    """Return the SHA-256 of the images, their labels and the splits, 64 hex digits.

    Args:
        prepared: folder of `prepare`'s outputs, one subfolder per dataset; all of them count.
        splits: the splits.csv that `validate` wrote.
    """
    folders = sorted(path for path in Path(prepared).iterdir() if path.is_dir())
    named = {f"{folder.name}/{name}": folder / name for folder in folders for name in _LABELS}
    hashes = {name: file_hash(path) for name, path in named.items() if path.exists()}
    hashes["splits.csv"] = file_hash(Path(splits))
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def pack_images(
    prepared: str | Path, splits: str | Path, datasets: Collection[str], earlier: str | None = None
) -> str | None:
    """Return the hashes of the training and validation images: base64 of 8 bytes each, sorted.

    Args:
        prepared: folder of `prepare`'s outputs, one subfolder per dataset.
        splits: the splits.csv that `validate` wrote.
        datasets: the datasets that the model learns from.
        earlier: such a text of images that the model learned from before; they are kept.

    Returns:
        The text, which `unpack_images` reads; None for more than MOST_IMAGES images.
    """
    learned = {
        (row["task"], row["file"])
        for row in _rows(Path(splits))
        if row["task"] in datasets and row["split"] in _LEARNED_FROM
    }
    found = {
        bytes.fromhex(row["sha256"])[:_KEPT]
        for task in datasets
        for row in _rows(Path(prepared) / task / "index.csv")
        if (task, row["file"]) in learned
    } | unpack_images(earlier or "")
    return base64.b64encode(b"".join(sorted(found))).decode("ascii") if len(found) <= MOST_IMAGES else None


def unpack_images(text: str) -> frozenset[bytes]:
    """Return the hashes, 8 bytes each, that `pack_images` packed.

    Raises:
        ValueError: the text is something else.
    """
    content = base64.b64decode(text, validate=True)
    if len(content) % _KEPT:
        raise ValueError(f"{len(content)} bytes are not hashes of {_KEPT} bytes")
    return frozenset(content[start : start + _KEPT] for start in range(0, len(content), _KEPT))


def is_among(sha256: str, images: Collection[bytes]) -> bool:
    """True if an image, by the SHA-256 of its file (64 hex digits), is among `unpack_images`' hashes."""
    return bytes.fromhex(sha256)[:_KEPT] in images


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        yield from csv.DictReader(stream)


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
