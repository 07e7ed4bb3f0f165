"""Steps that all ONNX files of panvision share; without PyTorch."""

from collections.abc import Iterable
from typing import Any

import onnx

from panvision import __version__


def finish(proto: onnx.ModelProto, metadata: Iterable[onnx.StringStringEntryProto]) -> None:
    """Remove from a model what describes the machine, and add the producer and its metadata."""
    _strip(proto)
    proto.producer_name, proto.producer_version = "panvision", __version__
    proto.metadata_props.extend(metadata)


def _strip(message: Any) -> None:
    """Clear the fields that describe the machine and not the model: doc strings, stack traces, source files, scopes."""
    for name in ("doc_string", "metadata_props"):
        if name in message.DESCRIPTOR.fields_by_name:
            message.ClearField(name)
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                _strip(part)
