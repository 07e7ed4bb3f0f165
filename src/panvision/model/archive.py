"""A checkpoint's file looked over before PyTorch opens it: it must be no larger inside than outside, and plain.

PyTorch's own loader (`weights_only=True`) runs no code of a file, but it unpacks compressed entries of any size, and a
pickle of 1 kB may ask it for a `bytearray` of any length. What `torch.save` writes needs neither.
"""

import pickletools
import zipfile
import zlib
from pathlib import Path, PurePosixPath

# An archive of ResNet-101 has 750 entries, and a pickle of 90 kB.
_MOST_ENTRIES = 20_000
_MOST_PICKLED = 2**20
# What a pickle of tensors, texts, numbers, lists and dicts calls for; PyTorch has one kind of storage per dtype.
_NEEDED = frozenset({"collections OrderedDict", "torch._utils _rebuild_tensor_v2"})
# Opcodes that fetch something by its name, or make an object of a class; GLOBAL alone is what `torch.save` uses.
_FOREIGN = frozenset({"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD", "EXT1", "EXT2", "EXT4"})


class ArchiveError(ValueError):
    """A file that is not such an archive; the message is the reason in one line."""


class ForeignError(ArchiveError):
    """An archive of PyTorch that holds what no checkpoint of panvision holds."""


def check_archive(path: str | Path) -> None:
    """Look over a file that `torch.save` should have written, without unpacking or unpickling anything.

    Raises:
        OSError: it cannot be read.
        ArchiveError: it is not a zip archive, or holds compressed, overlapping, doubled or misplaced entries.
        ForeignError: its pickle calls for more than tensors.
    """
    size = Path(path).stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_entries(entries, size)
            pickled = [entry for entry in entries if PurePosixPath(entry.filename).name == "data.pkl"]
            if len(pickled) != 1 or pickled[0].file_size > _MOST_PICKLED:
                raise ArchiveError("holds no data.pkl, or too large a one")
            _check_pickle(archive.read(pickled[0]))
    except ArchiveError:
        raise
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, ValueError, LookupError, RuntimeError) as error:
        raise ArchiveError("damaged, or not an archive that PyTorch wrote") from error


def _check_entries(entries: list[zipfile.ZipInfo], size: int) -> None:
    if len(entries) > _MOST_ENTRIES:
        raise ArchiveError(f"holds {len(entries)} entries")
    if any(entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size for entry in entries):
        raise ArchiveError("holds compressed entries, which PyTorch does not write")
    if sum(entry.file_size for entry in entries) > size:
        raise ArchiveError("its entries are larger together than the file")
    names = [PurePosixPath(entry.filename) for entry in entries]
    misplaced = any(".." in name.parts or name.is_absolute() or len(name.parts) < 2 for name in names)
    if misplaced or len(set(names)) < len(names) or len({name.parts[0] for name in names}) > 1:
        raise ArchiveError("its entries are not in one folder, each once")


def _check_pickle(content: bytes) -> None:
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in _FOREIGN:
            raise ForeignError("holds more than tensors and plain values")
        if opcode.name == "GLOBAL" and argument not in _NEEDED and not _is_storage(str(argument)):
            raise ForeignError("holds more than tensors and plain values")


def _is_storage(name: str) -> bool:
    module, _, kind = name.partition(" ")
    return module == "torch" and kind.isalnum() and kind.endswith("Storage")
