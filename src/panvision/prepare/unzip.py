"""An exported ZIP unpacked into a folder of datasets: bounded in size, without links, nothing outside the folder."""

import lzma
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

from panvision.core.tasks import DATASETS, TASKS, Dataset, Task
from panvision.dataset.problems import IngestError
from panvision.prepare.formats.readers import guess_dataset

MOST_BYTES = 20 * 2**30
MOST_FILES = 1_000_000
# Folders of archivers, beside the data.
_LITTER = frozenset({"__MACOSX"})
_CHUNK = 2**20
_DAMAGED = (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)


def unpack_datasets(archive: Path, folder: Path, tasks: tuple[Task, ...]) -> Path:
    """Unpack a ZIP, and return the folder with the datasets.

    The ZIP holds segmentation/, detection/ or classification/, or one dataset as Roboflow delivers it, which is put
    where its labels belong: masks, boxes or class folders. One folder around all of it is left out.

    Args:
        archive: the ZIP.
        folder: an empty folder to unpack into.
        tasks: the tasks that are asked for; those of one dataset say what the ZIP holds.

    Raises:
        IngestError: it cannot be read, is too large, or has links or names that lead out of the folder.
    """
    contents, root = folder / "contents", folder / "datasets"
    _unpack(archive, contents)
    top = _without_wrapping(contents)
    if any((top / dataset).is_dir() for dataset in DATASETS):
        return top
    asked = {TASKS[task].dataset for task in tasks}
    dataset: Dataset = asked.pop() if len(asked) == 1 else guess_dataset(top)
    root.mkdir()
    top.rename(root / dataset)
    return root


def _without_wrapping(folder: Path) -> Path:
    """Return the only folder in a folder, or the folder itself; a split folder is not a wrapping."""
    entries = list(folder.iterdir())
    if len(entries) != 1 or not entries[0].is_dir() or entries[0].name.lower() in (*DATASETS, "images", "train"):
        return folder
    return _without_wrapping(entries[0])


def _unpack(archive: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not _LITTER & {*PurePosixPath(member.filename).parts}]
            free = shutil.disk_usage(folder.parent).free
            _check_size(archive, members, min(MOST_BYTES, free))
            folder.mkdir()
            for member in members:
                path = folder / _safe_name(archive, member)
                if member.is_dir():
                    path.mkdir(parents=True, exist_ok=True)
                else:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    # Mode x: of two members with one name neither is the right one.
                    with opened.open(member) as source, path.open("xb") as target:
                        shutil.copyfileobj(source, target, _CHUNK)
    except IngestError:
        raise
    except _DAMAGED as error:
        raise IngestError(f"{archive}: cannot be unpacked: {error}; export it again") from error


def _check_size(archive: Path, members: list[zipfile.ZipInfo], most: int) -> None:
    # A member never unpacks to more than it states.
    size = sum(member.file_size for member in members)
    if size > most or len(members) > MOST_FILES:
        raise IngestError(
            f"{archive}: holds {len(members)} files of {size / 2**30:.1f} GiB, at most {MOST_FILES} of "
            f"{most / 2**30:.1f} GiB fit; unpack it yourself and name the folder"
        )


def _safe_name(archive: Path, member: zipfile.ZipInfo) -> PurePosixPath:
    """Return a member's path; refuse links, devices, passwords, and names that lead out of the folder."""
    path = PurePosixPath(member.filename.replace("\\", "/"))
    kind = stat.S_IFMT(member.external_attr >> 16)
    if path.is_absolute() or PureWindowsPath(path).drive or ".." in path.parts:
        raise IngestError(f"{archive}: {member.filename!r} leads out of the folder; pack it with relative names")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise IngestError(f"{archive}: {member.filename!r} is a link or a device; pack the files themselves")
    if member.flag_bits & 1:
        raise IngestError(f"{archive}: {member.filename!r} has a password; pack it without one")
    return path
