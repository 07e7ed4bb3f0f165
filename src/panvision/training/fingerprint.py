"""Fingerprint of a training: a training checkpoint is used only where all that it depends on is the same."""

import hashlib
import importlib.metadata
import json
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from panvision.training.data.sets import Sets

PACKAGE = "panvision"
# Distributions that compute batches and weights; albumentations works with albucore and OpenCV.
LIBRARIES = ("torch", "torchvision", "numpy", "albumentations", "albucore", "opencv-python-headless")
# Rows of an array that are read at once.
CHUNK = 256


def fingerprint(
    described: Mapping[str, Any], sets: Sets, model: torch.nn.Module, *, start: str | Path | None, device: torch.device
) -> str:
    """Return the SHA-256 of settings, data, first weights, code, versions and kind of device, as 64 hexadecimal digits.

    Args:
        described: the settings that can change the result, as plain values.
        sets: packed datasets and splits; all their bytes are read.
        model: before its first step.
        start: the checkpoint that it came from, if any.
        device: its type counts, not its number.
    """
    parts = {
        "settings": described,
        "data": _data(sets),
        "weights": _weights(model),
        "start": None if start is None else hashlib.sha256(Path(start).read_bytes()).hexdigest(),
        "code": code_files(),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in LIBRARIES},
        },
        "device": device.type,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def code_files() -> dict[str, str]:
    """Return the SHA-256 of every module of ours that is imported, and of the script that runs, by name."""
    modules = {name: module for name, module in sys.modules.items() if name.split(".")[0] == PACKAGE}
    files = {name: getattr(module, "__file__", None) for name, module in modules.items()}
    files["__main__"] = getattr(sys.modules["__main__"], "__file__", None)
    return {
        name: hashlib.sha256(Path(file).read_bytes()).hexdigest()
        for name, file in sorted(files.items())
        if file is not None and Path(file).is_file()
    }


def _data(sets: Sets) -> str:
    """Return a hash of what training reads of the packed datasets and the splits."""
    digest = hashlib.sha256()
    for task, packed in sorted(sets.packed.items()):
        rows = {split: [int(row) for row in found] for split, found in sets.rows[task].items()}
        digest.update(json.dumps([task, packed.files, packed.classes, rows], sort_keys=True).encode())
        for array in (packed.sizes, packed.images, packed.masks, packed.states):
            _add_array(digest, array)
        for arrays in (packed.boxes, packed.labels, packed.crowds, packed.crowd_labels):
            for own in arrays or ():
                _add_array(digest, own)
    return digest.hexdigest()


def _add_array(digest: Any, array: npt.NDArray[Any] | None) -> None:
    if array is None:
        digest.update(b"none")
        return
    digest.update(f"{array.dtype} {array.shape}".encode())
    for start in range(0, len(array), CHUNK):
        digest.update(np.ascontiguousarray(array[start : start + CHUNK]).tobytes())


def _weights(model: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
