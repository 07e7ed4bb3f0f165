"""Which params differ between two revisions: those that their results were made with, whatever params.yaml says now."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

LOCK = "dvc.lock"
WORKSPACE = "workspace"
# Stages that read the results, so that their own params change no score.
AFTERWARDS = ("export", "report")
ABSENT = "absent"
_LONGEST = 24


def params_of(project: Path, rev: str) -> dict[str, Any] | None:
    """What dvc.lock says of a revision's params, by dotted key; None where it has none or a damaged one.

    Args:
        project: the repository's folder.
        rev: a git revision or DVC experiment that exists, or `workspace`.
    """
    import yaml
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException

    try:
        if rev == WORKSPACE:
            text = (project / LOCK).read_text(encoding="utf-8")
        else:
            text = DVCFileSystem(str(project), rev=rev).read_text(LOCK, encoding="utf-8")
        stages = yaml.safe_load(text)["stages"]
        return {key: value for name in stages if name not in AFTERWARDS for key, value in _locked(stages[name])}
    except (OSError, UnicodeDecodeError, DvcException, yaml.YAMLError, AttributeError, KeyError, TypeError):
        return None


def _locked(stage: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The params of one stage."""
    from panvision.report.inputs import leaves

    for values in stage.get("params", {}).values():
        yield from ((".".join(path), value) for path, value in leaves(values))


def differing(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> dict[str, dict[str, Any]] | None:
    """Key → `one` and `other`, each left out where it has no such key; None where params are not known."""
    if one is None or other is None:
        return None
    found: dict[str, dict[str, Any]] = {}
    for key in sorted({*one, *other}):
        sides = {name: side[key] for name, side in (("one", one), ("other", other)) if key in side}
        if len(sides) == 1 or _kind(sides["one"]) != _kind(sides["other"]):
            found[key] = sides
    return found


def _kind(value: Any) -> str:
    """True is not 1 here."""
    return json.dumps(value, sort_keys=True, default=str)


def shown(sides: Mapping[str, Any]) -> tuple[str, str]:
    """Both values as text."""
    cells = {name: cut(json.dumps(value, ensure_ascii=False, default=str), _LONGEST) for name, value in sides.items()}
    return cells.get("one", ABSENT), cells.get("other", ABSENT)


def cut(text: str, longest: int) -> str:
    """Text of at most so many signs, the last an ellipsis where more followed."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
