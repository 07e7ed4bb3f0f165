"""What made a model, as two hashes that travel with it: of the params that shaped it and of the data it has seen.

Equal hashes say that a model file and a checkpoint, or two model files, come from the same settings and the same data,
without a revision, a time or a path in them: the files repeat byte for byte.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# What of a checkpoint's metadata the params decided; the class names came from the data.
_SHAPED_BY = ("config", "model", "tasks", "image_size")
# Of each packed set: index.csv holds the hashes of every photo's bytes and pixels, the others are its labels.
_LABELS = ("index.csv", "classes.json", "boxes.csv", "masks.npy")


def params_hash(metadata: Mapping[str, Any]) -> str:
    """SHA-256 of the settings that a checkpoint was trained with, 64 hex digits.

    Args:
        metadata: of the checkpoint. Seed, augmentation, losses and phases (`config`), the network, its tasks and the
            size of its input count; thresholds and export do not, for they shape no weight.
    """
    shaped = {name: metadata.get(name) for name in _SHAPED_BY}
    return hashlib.sha256(json.dumps(shaped, sort_keys=True).encode()).hexdigest()


def data_hash(prepared: str | Path, splits: str | Path) -> str:
    """SHA-256 of the photos, their labels and who is held out, 64 hex digits.

    Args:
        prepared: folder of `prepare`'s outputs, one subfolder per task; all of them count.
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
