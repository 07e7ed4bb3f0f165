"""Every key of params.yaml: effect, allowed values, present values, and the stages that a change re-runs.

Effects come from the settings' docstrings, ranges from their pydantic schema, values from params.yaml and the presets,
stages from dvc.yaml.
"""

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from panvision.config import Config
from panvision.core.params import Settings, load_params
from panvision_docs.stages import Stage, read_stages, rerun_by

PRESETS = ("laptop", "edge", "resnet50", "scratch")
NOUNS = {"integer": "whole number", "number": "number", "string": "text", "boolean": "`true` or `false`"}


def parameters_text(root: Path) -> str:
    """Return all keys of a project's params.yaml, section by section."""
    files = {"params.yaml": root / "params.yaml"} | {name: root / f"presets/{name}.yaml" for name in PRESETS}
    values = {name: dict(leaves(load_params(path))) for name, path in files.items()}
    stages = read_stages(root)
    lines: list[str] = []
    section = None
    for key in values["params.yaml"]:
        top = key.split(".")[0]
        if top != section:
            section = top
            lines += [f"## {top}", "", *_introduction(top)]
        lines += [*_entry(key, values, stages), ""]
    return "\n".join(lines)


def presets_text(root: Path) -> str:
    """Return a table of the keys in which the presets differ, each with its value in every preset."""
    values = [dict(leaves(load_params(root / f"presets/{name}.yaml"))) for name in PRESETS]
    lines = ["| key | " + " | ".join(f"`{name}`" for name in PRESETS) + " |", "|---" * (1 + len(PRESETS)) + "|"]
    for key in values[0]:
        row = [_text(preset[key]) for preset in values]
        if len(set(row)) > 1:
            lines.append(f"| [`{key}`](parameters.md#{anchor(key)}) | " + " | ".join(row) + " |")
    return "\n".join(lines)


def leaves(values: Mapping[str, Any], schema: type[Settings] = Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key of each setting, `train.phase1.lr`, and its value, which may be a mapping."""
    for name, value in values.items():
        field = schema.model_fields.get(name)
        inner = None if field is None else field.annotation
        if isinstance(inner, type) and issubclass(inner, Settings):
            yield from leaves(value, inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def effect(key: str) -> str:
    """Return the description of a key from its settings' docstring.

    Raises:
        KeyError: the docstring has none.
    """
    *path, name = key.split(".")
    schema: type[Settings] = Config
    for step in path:
        annotation = schema.model_fields[step].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, Settings)):
            raise KeyError(key)
        schema = annotation
    return _attributes(schema)[name]


def allowed(key: str) -> str:
    """Return type and range of a key."""
    schema = place = _schema()
    for step in key.split("."):
        place = place["properties"][step]
        place = schema["$defs"][place["$ref"].rsplit("/", 1)[-1]] if "$ref" in place else place
    return _kind(place)


def anchor(key: str) -> str:
    """Return the anchor of a key, `param-train-phase1-lr`."""
    return f"param-{re.sub(r'[._]', '-', key)}"


@cache
def _schema() -> dict[str, Any]:
    return Config.model_json_schema()


def _entry(key: str, values: Mapping[str, Mapping[str, Any]], stages: list[Stage]) -> list[str]:
    readers, later = rerun_by(key, stages)
    ran = ", ".join([*(f"**{name}**" for name in readers), *later])
    return [
        f"[`{key}`]{{#{anchor(key)}}}",
        f": {_sentence(effect(key))}",
        f": {_sentence(allowed(key))} {_values(key, values)}",
        f": Re-runs {ran}.",
    ]


def _introduction(section: str) -> list[str]:
    """Return the first paragraph of a section's docstring."""
    annotation = Config.model_fields[section].annotation
    if not (isinstance(annotation, type) and issubclass(annotation, Settings)):
        return []
    return [inspect.cleandoc(annotation.__doc__ or "").split("\n\n")[0].replace("\n", " "), ""]


def _attributes(schema: type[Settings]) -> dict[str, str]:
    """Return name → description from a Google docstring's `Attributes`; `val, test:` describes both."""
    text = inspect.cleandoc(schema.__doc__ or "").partition("Attributes:\n")[2]
    found: dict[str, str] = {}
    for names, words in re.findall(r"^    (\w[\w, ]*): (.*?)(?=^    \w|\Z)", text, flags=re.MULTILINE | re.DOTALL):
        found |= dict.fromkeys(re.split(r", ?", names), " ".join(words.split()))
    return found


def _kind(place: Mapping[str, Any]) -> str:
    """Return a JSON schema in words."""
    if "anyOf" in place:
        kinds = ["`null`" if one.get("type") == "null" else _kind(one) for one in place["anyOf"]]
        return (", or " if "," in kinds[0] else " or ").join(kinds)
    if "enum" in place or "const" in place:
        return "one of " + ", ".join(f"`{name}`" for name in place.get("enum", [place.get("const")]))
    if place["type"] == "object":
        return f"mapping of names to {_kind(place['additionalProperties'])}"
    if place["type"] == "array":
        items = _kind(place["items"])
        return f"list of {items.removeprefix('one of ')}" if "enum" in place["items"] else f"list of {items}s"
    return NOUNS[place["type"]] + "".join(f", {bound}" for bound in _bounds(place))


def _bounds(place: Mapping[str, Any]) -> Iterator[str]:
    low, high = place.get("minimum"), place.get("maximum")
    above, below = place.get("exclusiveMinimum"), place.get("exclusiveMaximum")
    if place["type"] == "integer":
        low = above + 1 if above is not None else low
        high = below - 1 if below is not None else high
        above = below = None
    if low is not None and high is not None:
        yield f"{_number(low)} to {_number(high)}"
    else:
        words = ((low, "at least"), (above, "above"), (high, "at most"), (below, "below"))
        yield from (f"{word} {_number(bound)}" for bound, word in words if bound is not None)
    if "multipleOf" in place:
        yield f"a multiple of {place['multipleOf']}"


def _number(bound: float) -> str:
    """5, 0.5, 100 000."""
    return f"{int(bound):,}".replace(",", "\N{NO-BREAK SPACE}") if bound == int(bound) else f"{bound:g}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False).replace('"', "")


def _values(key: str, values: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the key's values in params.yaml and in the presets; equal values once."""
    where: dict[str, list[str]] = {}
    for name, own in values.items():
        where.setdefault(_text(own[key]), []).append(name)
    if len(where) == 1:
        return f"`{next(iter(where))}` in params.yaml and every preset."
    return ", ".join(f"`{value}` in {_listed(names)}" for value, names in where.items()) + "."


def _listed(names: list[str]) -> str:
    """A, B and C."""
    return " and ".join(", ".join(names).rsplit(", ", 1))


def _sentence(text: str) -> str:
    text = text.rstrip(".")
    return f"{text[0].upper()}{text[1:]}."
