"""Files written whole or not at all, the same bytes for the same values."""

import contextlib
import csv
import glob
import io
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replacing(path: str | Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a scratch path in the target's folder that becomes the target when the block ends without an error.

    The target's folder is created if missing. After an error, or a kill, the target is unchanged.

    Args:
        path: the target.
        durable: wait until it is on the disk, so that a power loss leaves the old file or the whole new one.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)
    os.close(handle)
    scratch = Path(name)
    try:
        yield scratch
        # mkstemp makes private files; the pipeline's outputs are readable by all.
        scratch.chmod(0o644)
        if durable:
            _wait_for_disk(scratch)
        scratch.replace(target)
        if durable:
            _wait_for_disk(target.parent)
    except OSError as error:
        # Python does not name the file of a failed write, as on a full disk.
        if error.errno is not None and error.filename is None:
            error.filename = str(target)
        raise
    finally:
        scratch.unlink(missing_ok=True)


def remove_partials(path: str | Path) -> None:
    """Remove the scratch files of killed writers of a target; no process may be writing it now."""
    target = Path(path)
    for left in target.parent.glob(f".{glob.escape(target.name)}.*.partial"):
        left.unlink(missing_ok=True)


def _wait_for_disk(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk."""
    if path.is_dir() and os.name != "posix":  # Windows opens no folders
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: str | Path, text: str, *, durable: bool = False) -> None:
    """Write UTF-8 text with Unix line ends, whole or not at all; `durable` as in `replacing`."""
    with replacing(path, durable=durable) as scratch:
        scratch.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON with sorted keys and a final newline.

    Raises:
        ValueError: a NaN or an infinity; undefined metrics are `None`.
    """
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")


def write_rows(
    path: str | Path, header: Sequence[str], rows: Sequence[Sequence[object]], *, durable: bool = False
) -> None:
    """Write a CSV file: strings quoted where needed, floats in their shortest exact form, None as empty.

    `durable` as in `replacing`.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue(), durable=durable)
