"""Two hashes that are stored in a model: of the params that it was trained with and of the data.

Equal hashes mean that two model files come from the same settings and the same data. They contain no revision, time or
path, so the same run gives the same bytes.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Keys of a checkpoint's metadata that come from the params; the class names come from the data.
_SHAPED_BY = ("config", "model", "tasks", "image_size")
# Files of each packed dataset: index.csv has the hashes of every image's bytes and pixels, the others are its labels.
_LABELS = ("index.csv", "classes.json", "boxes.csv", "coverage.npy")


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
    hashes = {name: _file_hash(path) for name, path in named.items() if path.exists()}
    hashes["splits.csv"] = _file_hash(Path(splits))
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def _file_hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
