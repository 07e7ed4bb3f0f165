"""Stage validate: check the packed datasets together and split them. `python stages/validate.py`."""

import os
import sys

import source  # noqa: F401 -- first, so that panvision is this checkout's

# The search for copies starts one thread per core; NumPy's own threads would compete with them.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from panvision.core.params import ParamsError, read_sections
from panvision.core.states import ClassificationSettings
from panvision.dataset.packed import PackedError
from panvision.dataset.problems import IngestError
from panvision.validate.settings import SplitSettings
from panvision.validate.splits.pins import read_pins
from panvision.validate.verdict import judge, write_verdict


def main() -> None:
    """Stop and list every error, or write splits, problems and metrics and print a table."""
    try:
        params = read_sections({"split": SplitSettings, "classification": ClassificationSettings}, top=("tasks",))
        settings: SplitSettings = params["split"]
        order = params["classification"].order
        if settings.pins is None:
            raise ParamsError("split.pins: the pipeline needs a file, as data/pins.csv; its header alone pins nothing")
        verdict = judge("build/prepared", settings, read_pins(settings.pins), tasks=params["tasks"], order=order)
    except (ParamsError, IngestError, PackedError) as error:
        sys.exit(str(error))
    if verdict.errors:
        sys.exit(verdict.refusal())
    write_verdict(verdict, "build/splits.csv", "build/problems.csv", "metrics/data.json")
    print(verdict.table())
    if verdict.problems:
        print("each with its file, reason and remedy: build/problems.csv")


if __name__ == "__main__":
    main()
