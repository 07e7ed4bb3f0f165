"""Check of an ONNX file before ONNX Runtime opens it: one graph of standard operators in a single file.

ONNX is a protocol buffer (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto; the wire format:
https://protobuf.dev/programming-guides/encoding/). This module walks its structure and skips the weights, so that a
device needs no further package, and ONNX Runtime never gets a file that makes it open other files, or loop.
"""

import math
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_MOST_PARTS = 50_000  # nodes, weights and attributes; ResNet-101 as INT8 has 4000
_MOST_METADATA = 2**20  # bytes
_STANDARD = frozenset({b"", b"ai.onnx"})
_DEQUANTIZE = b"DequantizeLinear"

# Field numbers of onnx.proto.
_GRAPH, _METADATA, _TRAINING, _FUNCTIONS = 7, 14, 20, 25
_NODE, _INITIALIZER, _SPARSE_INITIALIZER = 1, 5, 15
_OP_TYPE, _ATTRIBUTE, _DOMAIN = 4, 5, 7
_TENSOR, _SUBGRAPH, _TENSORS, _SUBGRAPHS, _SPARSE, _SPARSES = 5, 6, 10, 11, 22, 23
_DIMS, _EXTERNAL_DATA, _DATA_LOCATION = 1, 13, 14
_KEY, _VALUE = 1, 2

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


class OnnxFileError(ValueError):
    """Raised for a file that does not pass the check; the message is the reason in one line."""


class OnnxFile(NamedTuple):
    """The parts of a file that are read before a runtime opens it.

    Attributes:
        metadata: texts by key.
        quantised: True if some operators compute with integers.
    """

    metadata: dict[str, str]
    quantised: bool


class _Field(NamedTuple):
    number: int
    value: int  # of a varint, otherwise 0
    content: memoryview  # of a field with a length, otherwise empty
    has_length: bool


def read_onnx(path: str | Path) -> OnnxFile:
    """Check and describe an ONNX file with one plain graph.

    Raises:
        OSError: the file cannot be read.
        OnnxFileError: the file is not ONNX, refers to other files, or has subgraphs, functions, operators of other
            domains, or tensors that claim more numbers than the file has.
    """
    with Path(path).open("rb") as stream:
        # Mapped, not read, because most of the file is weights, which are skipped.
        return _check_model(memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)))


def _check_model(model: memoryview) -> OnnxFile:
    graphs, quantised = 0, False
    metadata: dict[str, str] = {}
    for field in _fields(model):
        if field.number == _GRAPH:
            graphs += 1
            quantised = _check_graph(field.content)
        elif field.number in (_TRAINING, _FUNCTIONS):
            raise OnnxFileError("has functions or training, unlike an exported model")
        elif field.number == _METADATA:
            key, value = _entry(field.content)
            if key in metadata:
                raise OnnxFileError(f"duplicate metadata key {key[:80]!r}")
            metadata[key] = value
    if graphs != 1:
        raise OnnxFileError("not an ONNX model" if graphs == 0 else "has several graphs")
    return OnnxFile(metadata, quantised)


def _check_graph(graph: memoryview) -> bool:
    """Check a graph; return True if it has quantised values."""
    parts, quantised = 0, False
    for field in _fields(graph):
        if field.number == _NODE:
            operator, count = _check_node(field.content)
            parts += count
            quantised = quantised or operator == _DEQUANTIZE
        elif field.number == _INITIALIZER:
            parts += 1
            _check_tensor(field.content)
        elif field.number == _SPARSE_INITIALIZER:
            raise OnnxFileError("has sparse weights, unlike an exported model")
        if parts > _MOST_PARTS:
            raise OnnxFileError(f"has more than {_MOST_PARTS} nodes and weights")
    return quantised


def _check_node(node: memoryview) -> tuple[bytes, int]:
    """Check a node; return its operator and the number of its parts."""
    parts, operator, domain = 1, b"", b""
    for field in _fields(node):
        if field.number == _ATTRIBUTE:
            parts += 1
            _check_attribute(field.content)
        elif field.number == _OP_TYPE:
            operator = bytes(field.content[:80])
        elif field.number == _DOMAIN:
            domain = bytes(field.content[:80])
    if domain not in _STANDARD:
        raise OnnxFileError(f"has the operator {_text(operator)!r} of {_text(domain)!r}, which is not a standard one")
    return operator, parts


def _check_attribute(attribute: memoryview) -> None:
    for field in _fields(attribute):
        if field.number in (_SUBGRAPH, _SUBGRAPHS):
            raise OnnxFileError("has a loop or a condition, unlike an exported model")
        if field.number in (_SPARSE, _SPARSES):
            raise OnnxFileError("has sparse weights, unlike an exported model")
        if field.number in (_TENSOR, _TENSORS):
            _check_tensor(field.content)


def _check_tensor(tensor: memoryview) -> None:
    sides: list[int] = []
    for field in _fields(tensor):
        if field.number == _EXTERNAL_DATA or (field.number == _DATA_LOCATION and field.value):
            raise OnnxFileError("has weights in another file; export it as one file")
        if field.number == _DIMS:
            # One number, or several packed ones.
            sides += _varints(field.content) if field.has_length else [field.value]
        if len(sides) > 64:
            break
    # The smallest types have 4 bits per number; a text counts as one number.
    if len(sides) > 64 or math.prod(sides) > 2 * len(tensor):
        raise OnnxFileError("has weights that claim more numbers than the file has")


def _entry(message: memoryview) -> tuple[str, str]:
    """Return key and value of a metadata entry."""
    if len(message) > _MOST_METADATA:
        raise OnnxFileError("its metadata are too large")
    found = {field.number: field.content for field in _fields(message)}
    return _text(found.get(_KEY, b"")), _text(found.get(_VALUE, b""))


def _text(content: bytes | memoryview) -> str:
    return bytes(content).decode("utf-8", "backslashreplace")


def _fields(message: memoryview) -> Iterator[_Field]:
    """Yield the fields of a message.

    Raises:
        OnnxFileError: the message is damaged.
    """
    offset, nothing = 0, message[:0]
    while offset < len(message):
        tag, offset = _varint(message, offset)
        number, kind = tag >> 3, tag & 7
        value, content = 0, nothing
        if kind == _VARINT:
            value, offset = _varint(message, offset)
        elif kind == _LENGTH:
            length, offset = _varint(message, offset)
            content = message[offset : offset + length]
            offset += length
        elif kind in (_FIXED64, _FIXED32):
            offset += 8 if kind == _FIXED64 else 4
        else:
            raise OnnxFileError("not an ONNX file, or damaged")
        if number == 0 or offset > len(message):
            raise OnnxFileError("not an ONNX file, or its end is missing")
        yield _Field(number, value, content, kind == _LENGTH)


def _varints(message: memoryview) -> list[int]:
    values: list[int] = []
    offset = 0
    while offset < len(message) and len(values) <= 64:
        value, offset = _varint(message, offset)
        values.append(value)
    return values


def _varint(message: memoryview, offset: int) -> tuple[int, int]:
    """Return an integer of 64 bits, stored with seven bits per byte, low ones first; and the offset after it."""
    value = 0
    for step, byte in enumerate(message[offset : offset + 10]):
        value |= (byte & 127) << (7 * step)
        if byte < 128:
            return value & (2**64 - 1), offset + step + 1
    raise OnnxFileError("not an ONNX file, or its end is missing")
