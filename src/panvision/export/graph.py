"""What every ONNX file of ours has in common; without PyTorch."""

from collections.abc import Iterable
from typing import Any

import onnx

from panvision import __version__


def finish(proto: onnx.ModelProto, metadata: Iterable[onnx.StringStringEntryProto]) -> None:
    """Take out of a model what describes how and where it was made, and put in whose it is and its metadata."""
    _strip(proto)
    proto.producer_name, proto.producer_version = "panvision", __version__
    proto.metadata_props.extend(metadata)


def _strip(message: Any) -> None:
    """Clear what describes the machine and not the model: doc strings, stack traces, source files, scopes."""
    for name in ("doc_string", "metadata_props"):
        if name in message.DESCRIPTOR.fields_by_name:
            message.ClearField(name)
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                _strip(part)
