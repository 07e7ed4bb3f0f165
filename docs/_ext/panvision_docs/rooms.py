"""The rooms of the house and who may import whom, out of pyproject.toml's import contracts."""

import ast
import tomllib
from pathlib import Path


def rooms_text(root: Path) -> str:
    """A table: room, what is in it, which other rooms it may import."""
    lines = ["| room | holds | may import |", "|---|---|---|"]
    for room, others in imports(root).items():
        words = ast.get_docstring(ast.parse((root / f"src/panvision/{room}/__init__.py").read_text(encoding="utf-8")))
        holds = " ".join((words or "").split("\n\n")[0].split())
        lines.append(f"| `{room}` | {holds} | {', '.join(f'`{name}`' for name in others) or 'no other room'} |")
    return "\n".join(lines)


def imports(root: Path) -> dict[str, list[str]]:
    """Room → the rooms that it may import, in the order of pyproject.toml."""
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    forbidden = {
        _room(contract["source_modules"][0]): {_room(name) for name in contract["forbidden_modules"]}
        for contract in contracts
        # A room's own contract bears its name; the others are about what is heavy.
        if contract["source_modules"] == [f"panvision.{contract['id']}"]
    }
    return {
        room: [other for other in forbidden if other != room and other not in banned]
        for room, banned in forbidden.items()
    }


def _room(module: str) -> str:
    return module.removeprefix("panvision.")
