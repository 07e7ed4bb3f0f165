"""Checkpoints: tensors and plain metadata only, loaded without executing anything."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch

from panvision.files import replacing
from panvision.model.multitask import MultiTaskModel
from panvision.model.settings import ModelSettings
from panvision.params import TASKS

FORMAT = "panvision"
# 2: P2's convolution is depthwise, the mask head is normalised once, detection towers have a width of their own.
VERSION = 2


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file and the reason."""


class UnreadableError(ValueError):
    """A file that `read_plain` cannot read; the message is the reason in one line."""


def save_checkpoint(path: str | Path, model: MultiTaskModel, *, meta: Mapping[str, Any] | None = None) -> None:
    """Write `pack_checkpoint`'s bytes, whole or not at all.

    Raises:
        TypeError: as `pack_checkpoint`.
        OSError: the file cannot be written.
    """
    packed = pack_checkpoint(model, meta=meta)
    with replacing(path, durable=True) as scratch:
        scratch.write_bytes(packed)


def pack_checkpoint(model: MultiTaskModel, *, meta: Mapping[str, Any] | None = None) -> bytes:
    """A model's weights with what is needed to rebuild it, as the bytes of a checkpoint file.

    The same weights and metadata give the same bytes.

    Args:
        model: the model.
        meta: further plain values to keep (numbers, strings, lists, dicts).

    Raises:
        TypeError: `meta` holds something else.
    """
    metadata = {
        **(meta or {}),
        "model": model.settings.model_dump(mode="json"),
        "tasks": model.tasks,
        "image_size": model.image_size,
        "num_det_classes": len(model.det_classes),
        "num_cls_classes": len(model.cls_classes),
        "det_class_names": model.det_classes,
        "cls_class_names": model.cls_classes,
    }
    # How a tensor lay in memory while training is nobody's business.
    weights = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in model.state_dict().items()
    }
    # By way of JSON: NumPy's numbers become plain ones, and what could not be loaded again is refused now.
    plain = json.loads(json.dumps(metadata))
    document = {"format": FORMAT, "version": VERSION, "state_dict": weights, "metadata": plain}
    # Given a path, torch.save names the archive inside the file after it, and a full disk is no OSError.
    packed = io.BytesIO()
    torch.save(document, packed)
    return packed.getvalue()


def load_checkpoint(path: str | Path, device: str | torch.device = "cpu") -> tuple[MultiTaskModel, dict[str, Any]]:
    """Rebuild a model from a checkpoint.

    Returns:
        The model in evaluation mode on `device`, and the metadata that `save_checkpoint` wrote.

    Raises:
        CheckpointError: no such file, damaged, not a panvision checkpoint, or of another format version.
    """
    document = _read(path)
    try:
        metadata = document["metadata"]
        if not isinstance(metadata["image_size"], int):
            raise TypeError(f"image_size {metadata['image_size']!r}")
        settings = ModelSettings.parse(metadata["model"], prefix="model")
        model = MultiTaskModel(
            settings,
            image_size=metadata["image_size"],
            det_classes=metadata["det_class_names"],
            cls_classes=metadata["cls_class_names"],
            # Checkpoints from before models could have fewer heads do not name them.
            tasks=metadata.get("tasks", TASKS),
        )
        model.load_state_dict(document["state_dict"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: its weights do not fit the model that it describes: {error}") from error
    return model.to(device).eval(), metadata


def read_plain(path: str | Path | IO[bytes]) -> Any:
    """What `torch.save` wrote to a file or stream, if it is tensors and plain values only; nothing in it is executed.

    Raises:
        FileNotFoundError: no such file.
        UnreadableError: it cannot be read, is damaged, or holds something else.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnreadableError(error.strerror or str(error)) from error
    except Exception as error:
        # A damaged file makes PyTorch's readers stumble in any way, and their words advise to load it without care.
        raise UnreadableError("damaged, not PyTorch's, or more than tensors and plain values in it") from error


def _read(path: str | Path) -> dict[str, Any]:
    """The checkpoint's document, format checked."""
    try:
        document = read_plain(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such checkpoint") from error
    except UnreadableError as error:
        raise CheckpointError(f"{path}: not a readable checkpoint: {error}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not a panvision checkpoint; train one with `dvc repro` or `panvision train`")
    if document.get("version") != VERSION:
        raise CheckpointError(
            f"{path}: checkpoint format {document.get('version')!r}, but this panvision reads {VERSION}; "
            "train again, or install the panvision that wrote it"
        )
    return document
