"""Stage validate: the three packed sets judged together and split. `python stages/validate.py`."""

import sys

from panvision.ingest.packed import PackedError
from panvision.ingest.problems import IngestError
from panvision.ingest.settings import SplitSettings
from panvision.ingest.validate import judge, write_verdict
from panvision.params import ParamsError, read_sections


def main() -> None:
    """Stop with every error listed, or write build/splits.csv and metrics/data.json and print a table."""
    try:
        settings: SplitSettings = read_sections({"split": SplitSettings})["split"]
        verdict = judge("build/prepared", settings)
    except (ParamsError, IngestError, PackedError) as error:
        sys.exit(str(error))
    write_verdict(verdict, "build/splits.csv", "metrics/data.json")
    print(verdict.table())
    for found in verdict.assignment.problems:
        print(found, file=sys.stderr)


if __name__ == "__main__":
    main()
