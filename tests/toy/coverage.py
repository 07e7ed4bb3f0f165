"""The toy task `coverage`: the fraction of the image that the pan covers, learned from the segmentation dataset.

`panvision/` mirrors the package: a task is one new module per room. `ROWS` are the rows of the rooms' tables.
"""

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
TASK = """\
    "coverage": TaskSpec(
        dataset="segmentation",
        loss="cov",
        outputs=("coverage",),
        metrics=(Metric("mae", "coverage error", smaller=True, limits_int8=True),),
    ),
"""
# Module with a table → the table's row.
ROWS = {
    "model.heads": "coverage.HEAD",
    "training.losses": "coverage.LOSS",
    "decoding.table": "coverage.DECODER",
    "scoring.table": "coverage.SCORER",
    "evaluation.table": "coverage.EVALUATION",
    "report.table": "coverage.SECTION",
}


def copy_with_coverage(folder: Path) -> Path:
    """Copy src into a folder, add the toy task, and return the copy."""
    source = folder / "src"
    shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    package = source / "panvision"
    shutil.copytree(Path(__file__).parent / "panvision", package, dirs_exist_ok=True)
    _insert(package / "core/tasks.py", TASK, after='optional=("cls_distance", "cls_features"),\n    ),\n')
    for module, row in ROWS.items():
        folder = package / module.removesuffix(".table").replace(".", "/")
        table = folder / ("table.py" if module.endswith(".table") else "__init__.py")
        room = ".".join(folder.relative_to(source).parts)
        _insert(
            table,
            f"from {room} import coverage\n",
            after=next(
                line
                for line in table.read_text().splitlines(True)
                if line.startswith("from panvision.core.tasks import")
            ),
        )
        last = next(line for line in table.read_text().splitlines(True) if line.startswith('    "classification": '))
        _insert(table, f'    "coverage": {row},\n', after=last)
    return source


def _insert(path: Path, text: str, *, after: str) -> None:
    """Insert text after an anchor that must be unique."""
    content = path.read_text(encoding="utf-8")
    assert content.count(after) == 1, f"{path}: {after!r}"
    path.write_text(content.replace(after, after + text), encoding="utf-8")
