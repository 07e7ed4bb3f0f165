"""Imported by every stage script before `panvision`, which then comes from the `src` beside the scripts.

An editable installation leads to one checkout only. `dvc queue` and `dvc exp run --temp` run a stage in a copy of the
repository and record the copy's code, so the copy's code is what has to run.
"""

import os
import sys
from pathlib import Path
from types import TracebackType

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))


def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Report an error of the system (a full disk, a file that may not be read) or Ctrl-C in one line.

    The scripts themselves report errors in the user's data and settings. PANVISION_DEBUG=1 prints the traceback.
    """
    if os.environ.get("PANVISION_DEBUG", "0") not in ("", "0"):
        sys.__excepthook__(kind, error, trace)
    elif isinstance(error, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    elif isinstance(error, OSError) and error.strerror:
        name = error.filename if error.filename2 is None else error.filename2
        print(f"{'' if name is None else f'{name}: '}{error.strerror}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = tell
