"""Checkpoint files that `torch.save` would not write, or that describe what they do not hold."""

import functools
import io
import re
import tarfile
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from panvision.model.checkpoint import pack_checkpoint
from tests.model.hostile import KINDS, write_hostile
from tests.model.small import small_model


class Calls:
    """Calls something when it is unpickled."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.function, self.arguments


def archive(content: bytes, edit: Callable[[str, bytes], bytes] | None = None, **extra: bytes) -> bytes:
    """A checkpoint's archive packed again, with its entries edited and others added."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(packed, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, data if edit is None else edit(name, data))
        for name, data in extra.items():
            target.writestr(name, data)
    return packed.getvalue()


def bomb(content: bytes) -> bytes:
    """A checkpoint with an entry of 2 MB that holds 2 GB of zeros."""
    pressed = zlib.compressobj(9, wbits=-15)
    block = pressed.compress(bytes(2**24)) + pressed.flush(zlib.Z_FULL_FLUSH)
    packed = io.BytesIO(archive(content))
    with zipfile.ZipFile(packed, "a") as target:
        target.writestr("archive/data/9999", block * 125 + pressed.flush())
        # As the directory has it from now on.
        target.filelist[-1].compress_type, target.filelist[-1].file_size = zipfile.ZIP_DEFLATED, 125 * 2**24
    return packed.getvalue()


def overlapping(content: bytes) -> bytes:
    """An archive whose directory lists its largest entry 50 times, all in one place."""
    packed = io.BytesIO(content)
    with zipfile.ZipFile(packed, "a") as target:
        largest = max(target.infolist(), key=lambda entry: entry.file_size)
        for number in range(50):
            copy = zipfile.ZipInfo(f"archive/data/x{number}")
            copy.header_offset, copy.CRC = largest.header_offset, largest.CRC
            copy.file_size = copy.compress_size = largest.file_size
            target.filelist.append(copy)
            target.NameToInfo[copy.filename] = copy
        target._didModify = True
    return packed.getvalue()


def longer(number: bytes, name: str, data: bytes) -> bytes:
    """A pickle whose first storage says that it has another length: `number` is that of the opcodes."""
    if not name.endswith("data.pkl"):
        return data
    pattern = rb"(cpuq.)(?:K.|M..|J....)(tq.Q)"
    edited, count = re.subn(pattern, lambda match: match[1] + number + match[2], data, count=1, flags=re.S)
    assert count == 1
    return edited


def packed(document: object, **options: bool) -> bytes:
    stream = io.BytesIO()
    torch.save(document, stream, **options)
    return stream.getvalue()


def laughs(levels: int = 60) -> list[object]:
    """A list of two references to a list of two references to … ."""
    value: list[object] = [1]
    for _ in range(levels):
        value = [value, value]
    return value


def circle(times: int = 1) -> list[object]:
    """A list that holds itself."""
    value: list[object] = []
    value += [value] * times
    return value


def nested(levels: int = 200) -> list[object]:
    value: list[object] = []
    for _ in range(levels):
        value = [value]
    return value


def documents(good: bytes) -> Iterator[tuple[str, dict[str, object]]]:
    """Documents of the right form with one thing wrong in each."""

    def changed(change: Callable[[dict], object]) -> dict[str, object]:
        document = torch.load(io.BytesIO(good), weights_only=True)
        change(document)
        return document

    first, whole = next(iter(changed(lambda _: None)["state_dict"].items()))
    weights = {
        "shape": torch.zeros(3, 3),
        "of two numbers": torch.zeros(1).expand(whole.shape),
        "in doubles": whole.double(),
        "in halves": whole.half(),
        "complex": whole.to(torch.complex64),
        "whole numbers": whole.int(),
        "NaN": whole * float("nan"),
        "infinite": whole + float("inf"),
        "sparse": whole.reshape(len(whole), -1).to_sparse(),
        "nowhere": whole.to("meta"),
        "text": "x",
        "enormous": torch.zeros(1).expand(10**6, 10**6),
    }
    for name, value in weights.items():
        yield f"weight {name}", changed(lambda document, value=value: document["state_dict"].update({first: value}))
    settings = changed(lambda _: None)["metadata"]["model"]
    metadata = {
        "of laughs": {"config": laughs()},
        "in a circle": {"config": circle()},
        "in a wide circle": {"config": circle(400_000)},
        "nested": {"config": nested()},
        "with a tensor": {"config": torch.zeros(1)},
        "with a set": {"config": {1, 2}},
        "with keys that are numbers": {"config": {1: 2}},
        "of many names": {"det_class_names": ["a"] * 10**5},
        "of names that are numbers": {"det_class_names": [1, 2]},
        "of the same names": {"det_class_names": ["a", "a"]},
        "of names that move the cursor": {"cls_class_names": ["\x1b[2J", "b", "c"]},
        "of an enormous size": {"image_size": 32 * 10**9},
        "of size true": {"image_size": True},
        "of size 33": {"image_size": 33},
        "of size 0": {"image_size": 0},
        "of a larger model": {"model": {**settings, "fpn_channels": 64}},
        "of NaN": {"model": {**settings, "dropout": float("nan")}},
        "of text": {"model": "resnet10"},
    }
    for name, values in metadata.items():
        yield f"metadata {name}", changed(lambda document, values=values: document["metadata"].update(values))
    yield "metadata a list", changed(lambda document: document.update(metadata=[1]))
    yield "version of the future", changed(lambda document: document.update(version=99))
    yield "version true", changed(lambda document: document.update(version=True))
    yield "version of many digits", changed(lambda document: document.update(version=10**4200))
    yield "weights a list", changed(lambda document: document.update(state_dict=[1]))
    yield "weights missing", changed(lambda document: document["state_dict"].pop(first))
    yield "weights too many", changed(lambda document: document["state_dict"].update(x=torch.zeros(1)))
    yield (
        "weights of a name that moves the cursor",
        changed(lambda document: document["state_dict"].update({"\x1b[2J": torch.zeros(1)})),
    )
    yield "weights without names", changed(lambda document: document["state_dict"].update({1: torch.zeros(1)}))


def files(good: bytes, folder: Path, mark: Path) -> Iterator[tuple[str, bytes]]:
    """Every hostile file by name; `mark` is what they would make, were they executed."""
    for kind in KINDS:
        yield f"{kind} that runs code", write_hostile(folder / "scratch", mark, kind).read_bytes()
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as target:
        entry = tarfile.TarInfo("../../pickle")
        entry.size = 4
        target.addfile(entry, io.BytesIO(b"abcd"))
    yield "tar", tar.getvalue()
    yield "ten gigabytes asked for", packed({"format": "panvision", "metadata": Calls(bytearray, 10**10)})
    yield "old format", packed(torch.load(io.BytesIO(good), weights_only=True), _use_new_zipfile_serialization=False)
    yield "zip bomb", bomb(good)
    yield "overlapping entries", overlapping(good)
    yield "entry above", archive(good, **{"../../x": b"1"})
    yield "entry at the root", archive(good, **{"/x": b"1"})
    yield "entry in another folder", archive(good, **{"other/x": b"1"})
    yield "two pickles", archive(good, **{"archive/deeper/data.pkl": b"1"})
    yield "large pickle", archive(good, lambda name, data: data + bytes(2**21) if name.endswith(".pkl") else data)
    yield "no pickle", archive(b"PK\5\6" + bytes(18), **{"archive/data/0": b"1"})
    yield "empty archive", b"PK\5\6" + bytes(18)
    for number in (b"J\x00\x00\x00\x40", b"J\xff\xff\xff\xff", b"K\x00"):
        yield f"storage of another length {number.hex()}", archive(good, functools.partial(longer, number))
    yield "another model's weights", packed(OrderedDict(conv1=torch.zeros(1)))
    yield "a whole module", packed(torch.nn.Linear(2, 2))
    yield "text", b"not a checkpoint\n" * 99
    yield "empty", b""
    for name, document in documents(good):
        yield name, packed(document)
    chance = np.random.default_rng(0)
    for place in chance.integers(0, len(good), 4).tolist():
        yield f"cut at {place}", good[:place]


def write_corpus(folder: Path, mark: Path) -> list[str]:
    """Write every hostile file as `<name>.pth`, and a good one as `whole.pth`; gives the names of the former."""
    good = pack_checkpoint(small_model())
    (folder / "whole.pth").write_bytes(good)
    names = []
    for name, content in files(good, folder, mark):
        (folder / f"{name}.pth").write_bytes(content)
        names.append(name)
    return names
