"""Imported by every stage script before `panvision`, which then comes from the `src` beside the scripts.

An editable installation leads to one checkout only. `dvc queue` and `dvc exp run --temp` run a stage in a copy of the
repository and record the copy's code, so the copy's code is what has to run.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
