"""The rooms and their import order, from the `layers` contract of pyproject.toml."""

import ast
import tomllib
from pathlib import Path


def rooms_text(root: Path) -> str:
    """Return a table: one line per layer, the top first, with what each room holds."""
    lines = ["| layer | room | holds |", "|---|---|---|"]
    for number, rooms in enumerate(layers(root), start=1):
        lines += [f"| {number} | `{room}` | {_holds(root, room)} |" for room in rooms]
    return "\n".join(lines)


def layers(root: Path) -> list[list[str]]:
    """Return the rooms of each layer. A room may import rooms of lower layers only."""
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    contract = next(each for each in contracts if each["type"] == "layers")
    rooms = [layer for layer in contract["layers"] if layer != "__main__"]
    return [[room.strip() for room in layer.split("|")] for layer in rooms]


def _holds(root: Path, room: str) -> str:
    folder = root / "src/panvision"
    file = folder / f"{room}.py" if (folder / f"{room}.py").exists() else folder / room / "__init__.py"
    words = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(words.split("\n\n")[0].split())
