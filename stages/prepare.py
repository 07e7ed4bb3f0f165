"""Stage prepare: check and pack one raw dataset. `python stages/prepare.py segmentation`."""

import os
import sys
from collections import Counter
from pathlib import Path

import source  # noqa: F401 -- first, so that panvision is this checkout's

# NumPy's threads would be idle here, and a process without threads starts others quickly.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from panvision.core.params import ParamsError, read_sections
from panvision.core.tasks import DATASETS
from panvision.dataset.problems import IngestError
from panvision.photos.settings import DataSettings
from panvision.prepare.pack import prepare
from panvision.prepare.workers import WorkerError

PACKED = Path("build/prepared")


def main() -> None:
    """Pack the dataset named on the command line."""
    task = next((task for task in DATASETS if sys.argv[1:] == [task]), None)
    if task is None:
        sys.exit(f"usage: python stages/prepare.py {{{','.join(DATASETS)}}}")
    try:
        settings: DataSettings = read_sections({"data": DataSettings})["data"]
        result = prepare(task, settings, PACKED / task)
    except (ParamsError, IngestError, WorkerError) as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{PACKED / task}: cannot be written: {error}")
    counts = Counter(found.severity for found in result.problems)
    listed = f"; {PACKED / task}/problems.csv" if result.problems else ""
    found = ", ".join(f"{counts[kind]} {word}" for kind, word in _WORDS.items() if counts[kind]) or "no problems"
    print(f"{task}: {result.images} images packed, {found}{listed}")


_WORDS = {"error": "errors", "warning": "warnings", "fixed": "fixed"}

if __name__ == "__main__":
    main()
