"""Checkpoints: tensors and plain metadata only, loaded without executing anything."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from panvision.core.files import replacing
from panvision.core.tasks import MOST_CLASSES, TASKS
from panvision.model.archive import ArchiveError, ForeignError, check_archive
from panvision.model.distance import LEVEL, FeatureDistance
from panvision.model.multitask import MultiTaskModel
from panvision.model.settings import ModelSettings

FORMAT = "panvision"
# 2: P2's convolution is depthwise, the mask head is normalised once, detection towers have their own width.
# 3: the state head's hidden layer is normalised.
VERSION = 3
_REMEDY = "train one with `dvc repro` or `panvision train`, which takes a backbone's weights as model.weights"

# Names of classes, and plain values in the metadata, each counted as often as it is referred to.
_MOST_NAMES = MOST_CLASSES
_MOST_VALUES = 100_000
_DEEPEST = 50
_SHOWN = 3  # names in a message
_LONGEST_REASON = 500  # characters


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
    # A checkpoint's bytes must not depend on the memory layout that training used.
    weights = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in model.state_dict().items()
    }
    apart = {} if model.distance is None else {"distance": model.distance.parts()}
    # By way of JSON: NumPy's numbers become plain ones, and what could not be loaded again is refused now.
    plain = json.loads(json.dumps(metadata))
    document = {"format": FORMAT, "version": VERSION, "state_dict": weights, "metadata": plain, **apart}
    # Given a path, torch.save names the archive inside the file after it, and a full disk does not raise an OSError.
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
        metadata, weights = document["metadata"], document["state_dict"]
        _check_plain(metadata)
        if type(metadata["image_size"]) is not int:
            raise TypeError(f"image_size {metadata['image_size']!r}")
        _check_tensors(weights, Path(path).stat().st_size)
        settings = ModelSettings.parse(metadata["model"], prefix="model")
        model = MultiTaskModel(
            settings,
            image_size=metadata["image_size"],
            det_classes=_names(metadata["det_class_names"]),
            cls_classes=_names(metadata["cls_class_names"]),
            # Checkpoints from before models could have fewer heads do not name them.
            tasks=metadata.get("tasks", TASKS),
        )
        _check_fit(weights, model.state_dict())
        model.load_state_dict(weights)
        if "distance" in document:
            _check_tensors(document["distance"], Path(path).stat().st_size)
            channels, classes = model.backbone.channels[LEVEL - 2], len(model.cls_classes)
            model.distance = FeatureDistance.from_parts(document["distance"], channels=channels, classes=classes)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: its weights do not fit the model that it describes: {_one_line(error)}"
        ) from error
    return model.to(device).eval(), metadata


def _one_line(error: Exception) -> str:
    """An error's words, in which there may be names of the file's own."""
    words = "; ".join(str(error).splitlines())[:_LONGEST_REASON]
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in words)


def _check_plain(metadata: Any) -> None:
    """Raise TypeError unless the metadata are what JSON can say, and not too much of it.

    A pickle can refer to one list many times, and to a list from within itself: a few such lines would keep a
    reader that walks through it busy for ever.
    """
    count, waiting = 1, [(metadata, 0)]
    while waiting:
        value, depth = waiting.pop()
        count += len(value) if isinstance(value, (dict, list)) else 0
        if count > _MOST_VALUES or depth > _DEEPEST:
            raise TypeError("the metadata are too large or nested too deeply")
        if type(value) is dict and all(type(key) is str for key in value):
            waiting += [(inner, depth + 1) for inner in value.values()]
        elif type(value) is list:
            waiting += [(inner, depth + 1) for inner in value]
        elif value is not None and type(value) not in (str, int, float, bool):
            raise TypeError(f"the metadata hold a {type(value).__name__}")


def _names(value: Any) -> list[str]:
    """Class names, if they are."""
    if not isinstance(value, list) or len(value) > _MOST_NAMES or not all(type(name) is str for name in value):
        raise TypeError(f"class names are not a list of at most {_MOST_NAMES} texts")
    return value


def _check_tensors(weights: Any, size: int) -> None:
    """Raise unless the weights are plain finite tensors, and no more of them than a file of `size` bytes holds."""
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise TypeError("state_dict is not a dict of tensors")
    plain = all(
        value.layout is torch.strided and value.device.type == "cpu" and value.is_contiguous()
        for value in weights.values()
    )
    # A tensor may claim any shape over a storage of one number, and many tensors may share one.
    if not plain or sum(value.nbytes for value in weights.values()) > size:
        raise ValueError("its tensors claim more numbers than the file holds")
    broken = [name for name, value in weights.items() if not bool(value.isfinite().all())]
    if broken:
        raise ValueError(f"{some_names(broken)} {'is' if len(broken) == 1 else 'are'} not finite")


def _check_fit(weights: dict[str, Tensor], own: dict[str, Tensor]) -> None:
    """Raise ValueError unless the weights are the model's by name, shape and dtype."""
    missing, foreign = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    other = [
        f"{name} of {_kind(weights[name])} where {_kind(value)} belongs"
        for name, value in own.items()
        if name in weights and _kind(weights[name]) != _kind(value)
    ]
    groups = (("it lacks ", missing), ("it has ", foreign), ("it has ", other))
    faults = [f"{words}{some_names(names)}" for words, names in groups if names]
    if faults:
        raise ValueError("; ".join(faults))


def _kind(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def some_names(names: list[str]) -> str:
    """The first names of many, each cut to what a line can hold."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(str(name)[:80] for name in names[:_SHOWN]) + more


def read_plain(path: str | Path | IO[bytes]) -> Any:
    """Read tensors and plain values that `torch.save` wrote to a file or stream; nothing in it is executed.

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
        check_archive(path)
        document = read_plain(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such checkpoint") from error
    except OSError as error:
        raise CheckpointError(f"{path}: not a readable checkpoint: {error.strerror or error}") from error
    except ForeignError as error:
        raise CheckpointError(f"{path}: not a panvision checkpoint: {error}; {_REMEDY}") from error
    except (ArchiveError, UnreadableError) as error:
        raise CheckpointError(f"{path}: not a readable checkpoint: {error}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not a panvision checkpoint; {_REMEDY}")
    version = document.get("version")
    if type(version) is not int or version != VERSION:
        raise CheckpointError(
            f"{path}: checkpoint format {repr(version)[:40]}, but this panvision reads {VERSION}; "
            "train again, or install the panvision that wrote it"
        )
    return document
