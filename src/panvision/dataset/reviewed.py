"""The table of findings that a person has dismissed: `dataset`, `file` and `what`; other columns are ignored."""

import csv
from pathlib import Path

COLUMNS = ("dataset", "file", "what")
# Below the project's folder.
REVIEWED = "data/reviewed.csv"
# (dataset, file, what) of a finding; of a problem, `what` is its code.
Key = tuple[str, str, str]


class ReviewedError(ValueError):
    """Raised for a table that cannot be used; the message names the file and the remedy."""


def read_reviewed(path: str | Path) -> set[Key]:
    """Read the table.

    Raises:
        ReviewedError: it cannot be read, or is not such a table.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            rows = [] if missing else list(reader)
    except OSError as error:
        raise ReviewedError(f"{path}: cannot be read: {error.strerror}; name another file with --reviewed") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise ReviewedError(f"{path}: not a CSV table ({error}); write the columns {', '.join(COLUMNS)}") from error
    if missing:
        raise ReviewedError(f"{path}: has no column {', '.join(missing)}; the columns are {', '.join(COLUMNS)}")
    for number, row in enumerate(rows, start=2):
        if None in (row["dataset"], row["file"], row["what"]):
            raise ReviewedError(f"{path}: line {number} has too few cells; write {', '.join(COLUMNS)} in each line")
    return {(row["dataset"], row["file"], row["what"]) for row in rows}
