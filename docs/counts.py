"""Counts of the code's structure: `python docs/counts.py`."""

import ast
import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src/panvision"
# The tables of tasks: core's, and those that the rooms loop over.
TABLES = re.compile(r"core/tasks\.py|\w+/(__init__|table)\.py")
TASKS = ("segmentation", "detection", "classification")


def code_deps() -> int:
    """Return the number of code files and folders that dvc.yaml lists as deps, over all stages."""
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    return len(re.findall(r"^ +- (?:src|stages)/", text, flags=re.MULTILINE))


def task_literals() -> Counter[str]:
    """Return the number of task names among the string literals of each module outside the tables."""
    counts: Counter[str] = Counter()
    for path in SOURCE.rglob("*.py"):
        name = path.relative_to(SOURCE).as_posix()
        if not TABLES.fullmatch(name):
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            counts[name] += sum(isinstance(node, ast.Constant) and node.value in TASKS for node in nodes)
    return +counts


def lines(folder: str) -> int:
    """Return the number of lines of Python below a folder."""
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / folder).rglob("*.py"))


if __name__ == "__main__":
    literals = task_literals()
    print(f"code deps in dvc.yaml    {code_deps()}")
    print(f"task literals in src     {literals.total()} in {len(literals)} modules")
    for module, count in literals.most_common():
        print(f"  {count:3}  {module}")
    print(f"lines of src             {lines('src')}")
    print(f"lines of tests           {lines('tests')}")
    print(f"modules in training      {len(list((SOURCE / 'training').rglob('*.py')))}")
