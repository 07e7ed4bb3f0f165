"""Where the states of interrupted trainings lie, and how long."""

import contextlib
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from panvision.core.locks import BusyError, lock_file
from panvision.training.state import LOCK

VARIABLE = "PANVISION_SCRATCH"
DEFAULT = ".panvision/scratch"
# Both phases of the two last interrupted experiments: who turns back, turns back to one of these.
KEPT_FOLDERS = 4
# A training that nobody has gone on with for so long is not coming back, and its states are large.
KEPT_SECONDS = 14 * 24 * 3600


@dataclass(frozen=True)
class Scratch:
    """The untracked folder for states.

    Attributes:
        folder: one sub-folder per phase and fingerprint.
        lock: the dvc.lock that will name the finished model's MD5. Until it does, DVC may have lost the model
            (killed, or its cache's disk full), so the phase keeps it. None: nobody stores the outputs away, and nothing
            is kept, but if `keep` says so.
        keep: keep the finished model without such a file, too; whoever asked for it removes it.
    """

    folder: Path
    lock: Path | None = None
    keep: bool = False

    @classmethod
    def of_stage(cls, environment: Mapping[str, str]) -> "Scratch":
        """The scratch folder of a stage script; DVC names the stage in the environment of what it runs."""
        lock = Path("dvc.lock") if "DVC_STAGE" in environment else None
        return cls(Path(environment.get(VARIABLE) or DEFAULT), lock)

    def stored(self, md5: str) -> bool:
        """Whether dvc.lock names a file of this MD5."""
        return self.lock is not None and self.lock.is_file() and md5 in self.lock.read_text(encoding="utf-8")

    def prune(self, current: str) -> None:
        """Remove states of other trainings: all but the newest, those too old, none that a process works on."""
        with contextlib.suppress(OSError):
            others = [path for path in self.folder.iterdir() if path.is_dir() and path.name != current]
            others.sort(key=_changed, reverse=True)
            oldest = time.time() - KEPT_SECONDS
            for number, path in enumerate(others):
                if number >= KEPT_FOLDERS - 1 or _changed(path) < oldest:
                    remove_training(path)


def _changed(folder: Path) -> float:
    """When a folder last got a state, in seconds since 1970."""
    return max((path.stat().st_mtime for path in folder.iterdir() if path.name != LOCK), default=folder.stat().st_mtime)


def remove_training(folder: Path) -> None:
    """Remove one training's states, if no process works on it."""
    try:
        lock = lock_file(folder / LOCK)
    except BusyError:
        return
    with lock:
        shutil.rmtree(folder, ignore_errors=True)


def scratch_below(folder: Path, environment: Mapping[str, str]) -> Scratch:
    """The scratch folder of a training without DVC, by default below `folder`."""
    return Scratch(Path(environment.get(VARIABLE) or folder))
