"""Typed settings from params.yaml, with every error reported together.

DVC writes params.yaml as YAML 1.2 (``1e-05`` is a number, ``on`` is a word), PyYAML reads YAML 1.1
(``1e-05`` is a word, ``on`` is true). This loader resolves plain scalars by YAML 1.2's core schema
(https://yaml.org/spec/1.2.2/#103-core-schema), so that a value means the same to both.
"""

import copy
import difflib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from panvision.core.tasks import TASKS, Task

SECTIONS = (
    "seed",
    "tasks",
    "scenes",
    "data",
    "split",
    "augment",
    "model",
    "loss",
    "train",
    "tracking",
    "detection",
    "decision",
    "classification",
    "evaluation",
    "export",
    "report",
)

# Bounds on a file of settings; params.yaml has 100 values on 3 levels.
_MOST_BYTES = 2**20
_MOST_VALUES = 10_000
_DEEPEST = 32
_LONGEST_NUMBER = 40  # characters of a whole number
_LONGEST_SHOWN = 120  # characters of a value in a message
_MOST_HINTS = 3  # keys that may be meant in place of an unknown one
_TAGS = "tag:yaml.org,2002:"


class ParamsError(ValueError):
    """params.yaml cannot be used; the message lists every error with its key and the remedy."""


class FrozenError(AttributeError):
    """Raised if a setting is assigned; the message shows how to make a changed copy."""


class Settings(BaseModel):
    """Base of all settings: frozen, unknown keys refused, no silent conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse every assignment.

        Raises:
            FrozenError: always.
        """
        # The properties of Config with other names know the key of their setting.
        key = getattr(getattr(type(self), name, None), "key", "train.batch_size")
        raise FrozenError(
            f"{name} cannot be set: settings are frozen; make a changed copy of the whole Config, for example "
            f"`config = config.changed('{key}=VALUE')`"
        )

    @classmethod
    def parse(cls, values: Mapping[str, Any], prefix: str = "") -> Self:
        """Validate plain values.

        Raises:
            ParamsError: listing every error, each with its key path below `prefix`.
        """
        try:
            # Strict JSON mode takes lists for tuples but never a bool or a string for a number.
            return cls.model_validate_json(json.dumps(values))
        except ValidationError as error:
            raise ParamsError("\n".join(_describe(error, prefix, cls))) from error
        except RecursionError as error:
            raise ParamsError(f"{prefix or 'settings'}: nested too deeply") from error


def _in_order(tasks: tuple[Task, ...]) -> tuple[Task, ...]:
    """Return the tasks in the order of TASKS."""
    twice = [task for task in TASKS if tasks.count(task) > 1]
    if twice:
        raise ValueError(f"each task at most once, found {', '.join(twice)} more than once")
    return tuple(task for task in TASKS if task in tasks)


if TYPE_CHECKING:
    TaskName = str
else:
    TaskName = Literal[tuple(TASKS)]

# The heads of a model: the top-level `tasks`.
Tasks = Annotated[tuple[TaskName, ...], Field(min_length=1), AfterValidator(_in_order)]


# The range that NumPy's, PyTorch's and Python's generators take.
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class _TopLevel(Settings):
    seed: Seed = 42
    tasks: Tasks = tuple(TASKS)


class _Yaml12Loader(yaml.SafeLoader):
    """SafeLoader with the types of YAML 1.2's core schema, and no others, in place of YAML 1.1's."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}
    # `None` refuses all other tags.
    yaml_constructors: ClassVar[dict[str | None, Any]] = {
        tag: yaml.SafeLoader.yaml_constructors[tag]
        for tag in (None, *(f"{_TAGS}{name}" for name in ("null", "bool", "float", "str", "seq")))
    }


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    """Return a YAML 1.2 integer: `010` is ten, octal is written `0o10`."""
    text = loader.construct_scalar(node)
    if len(text) > _LONGEST_NUMBER:
        raise ParamsError(f"{_line(node)}: a number of {len(text)} digits")
    bases = {"0o": 8, "0x": 16}
    return int(text[2:], bases[text[:2]]) if text[:2] in bases else int(text)


def _construct_mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    """Return a mapping with unique scalar keys; PyYAML would silently keep the last of equal ones."""
    if not isinstance(node, yaml.MappingNode):
        raise ParamsError(f"{_line(node)}: expected keys with values")
    loader.flatten_mapping(node)
    mapping: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise ParamsError(f"{_line(key_node)}: a key must be a word, not a list or a section")
        key = loader.construct_object(key_node, deep=True)
        if key in mapping:
            raise ParamsError(f"{_line(key_node)}: duplicate key {_shown(key)}; keep one")
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


_Yaml12Loader.add_constructor(f"{_TAGS}int", _construct_int)
_Yaml12Loader.add_constructor(f"{_TAGS}map", _construct_mapping)
for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", list("-+0123456789")),
    (
        "float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        list("-+.0123456789"),
    ),
    ("merge", r"^<<$", ["<"]),
):
    _Yaml12Loader.add_implicit_resolver(f"{_TAGS}{_tag}", re.compile(_pattern), _first)


def _parse_yaml(text: str) -> Any:
    """Return the plain value of YAML text.

    Raises:
        ParamsError: it is not YAML, or not plain; the message has the line.
    """
    try:
        loader = _Yaml12Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _count_values(node, {})
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        found = ((error.context, error.context_mark), (error.problem, error.problem_mark))
        parts = [f"{words} (line {mark.line + 1})" if mark else words for words, mark in found if words]
        raise ParamsError(f"not valid YAML: {': '.join(parts)}") from error
    except yaml.YAMLError as error:
        raise ParamsError(f"not valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise ParamsError(f"more than {_DEEPEST} levels of nesting") from error
    except (ValueError, LookupError) as error:
        # A tag that does not fit its value, as `!!int abc`.
        raise error if isinstance(error, ParamsError) else ParamsError(f"not valid YAML: {error}") from error


def _count_values(node: yaml.Node, known: dict[yaml.Node, int], depth: int = 1) -> int:
    """Return the number of values that a node describes, aliases counted each time, before any is built.

    Ten lines of aliases to aliases can describe more values than fit into memory ("billion laughs").
    """
    if depth > _DEEPEST:
        raise ParamsError(f"{_line(node)}: more than {_DEEPEST} levels of nesting")
    if node in known:
        if not known[node]:
            raise ParamsError(f"{_line(node)}: refers to itself")
        return known[node]
    known[node] = 0
    values = node.value if isinstance(node, yaml.CollectionNode) else ()
    children = [child for value in values for child in (value if isinstance(value, tuple) else (value,))]
    size = 1 + sum(_count_values(child, known, depth + 1) for child in children)
    if size > _MOST_VALUES:
        raise ParamsError(f"{_line(node)}: more than {_MOST_VALUES} values, with aliases")
    known[node] = size
    return size


def _line(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}"


def load_params(path: str | Path = "params.yaml") -> dict[str, Any]:
    """Read a params file into plain values.

    Raises:
        ParamsError: no such file, not YAML, or an unknown section.
    """
    params = load_values(path)
    if unknown := _unknown_sections(params):
        raise ParamsError("\n".join(f"{path}: {error}" for error in unknown))
    return params


def load_values(path: str | Path) -> dict[str, Any]:
    """Read a params file into plain values, with any sections.

    Raises:
        ParamsError: no such file, not YAML, or no sections in it.
    """
    missing = "no such file; run from the project's root, or write one: `panvision presets laptop`"
    text = read_settings_text(path, kind="valid YAML", missing=missing)
    try:
        params = _parse_yaml(text)
    except ParamsError as error:
        raise ParamsError(f"{path}: {error}") from error
    if not isinstance(params, dict):
        raise ParamsError(f"{path}: expected sections ({', '.join(SECTIONS)}), found {type(params).__name__}")
    return params


def _unknown_sections(params: Mapping[str, Any]) -> list[str]:
    return [_unknown_key(str(key), SECTIONS) for key in params if key not in SECTIONS]


def read_settings_text(path: str | Path, *, kind: str, missing: str) -> str:
    """Read the UTF-8 text of a file of settings.

    Args:
        path: the file.
        kind: the expected content, for messages.
        missing: the message for a missing file.

    Raises:
        ParamsError: it cannot be read, is not UTF-8, or is larger than any settings are.
    """
    try:
        with Path(path).open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)  # a device file has no end
        text = content.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise ParamsError(f"{path}: {missing}") from error
    except OSError as error:
        raise ParamsError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ParamsError(f"{path}: not {kind}: line {line} is not UTF-8 text; save it as UTF-8") from error
    except ValueError as error:
        raise ParamsError(f"{_shown(str(path))}: not a file name: {error}") from error
    if len(content) > _MOST_BYTES:
        raise ParamsError(f"{path}: more than {_MOST_BYTES // 2**20} MiB; not a file of settings")
    return text


def read_sections(
    schemas: Mapping[str, type[Settings]],
    path: str | Path = "params.yaml",
    *,
    top: Sequence[Literal["seed", "tasks"]] = (),
) -> dict[str, Any]:
    """Read the named sections of a params file into typed settings; a missing section gets its deerrors.

    Args:
        schemas: section name → settings class, for example ``{"model": ModelSettings}``.
        path: the params file.
        top: keys outside every section to read too: `seed` (a whole number from 0 to 2³² - 1; default 42), `tasks`
            (any of TASKS, returned in their order; default all).

    Raises:
        ParamsError: one message with every error of these sections and keys.
    """
    params = load_values(path)
    sections: dict[str, Any] = {}
    errors = _unknown_sections(params)
    try:
        top_level = _TopLevel.parse({key: params[key] for key in top if key in params})
        sections.update({key: getattr(top_level, key) for key in top})
    except ParamsError as error:
        errors.extend(str(error).splitlines())
    for name, schema in schemas.items():
        values = params.get(name)
        if values is not None and not isinstance(values, dict):
            errors.append(f"{name}: expected keys below it, found {_shown(values)}")
            continue
        try:
            sections[name] = schema.parse(values or {}, prefix=name)
        except ParamsError as error:
            errors.extend(str(error).splitlines())
    if errors:
        raise ParamsError("\n".join(f"{path}: {fault}" for fault in errors))
    return sections


def override(params: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Return plain values with some keys changed, like `dvc exp run -S`.

    Args:
        params: the values of `load_params`.
        assignments: each `section.key=value`, the value in YAML.

    Raises:
        ParamsError: one message with every invalid assignment.
    """
    changed: dict[str, Any] = copy.deepcopy(dict(params))
    errors = []
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        try:
            value = _parse_yaml(text)
        except ParamsError:
            equals = ""
        *sections, key = path.split(".")
        inner = changed
        for section in sections:
            inner = inner.setdefault(section, {}) if isinstance(inner, dict) else {}
        if not equals or not isinstance(inner, dict) or not all([*sections, key]):
            errors.append(f"{assignment}: expected section.key=value, for example loss.cls=4.0")
        else:
            inner[key] = value
    if errors:
        raise ParamsError("\n".join(errors))
    return changed


def _describe(error: ValidationError, prefix: str, schema: type[Settings]) -> list[str]:
    """Return one line per error: key path, allowed values, found value."""
    lines = []
    for each in error.errors():
        path = ".".join([prefix, *(_word(step) for step in each["loc"])]).strip(".") or "settings"
        if each["type"] == "extra_forbidden":
            above = f"{path.rpartition('.')[0]}." if "." in path else ""
            siblings = [above + name for name in _fields_at(schema, each["loc"][:-1])]
            lines.append(_unknown_key(path, siblings, setting_keys(schema, prefix)))
        else:
            message = each["msg"].removeprefix("Value error, ")
            # A rule between keys names them itself; its input is the whole section.
            whole = each["type"] == "missing" or (each["type"] == "value_error" and isinstance(each["input"], dict))
            found = "" if whole else f", found {_shown(each['input'])}"
            lines.append(f"{path}: {message}{found}")
    return lines


def _fields_at(schema: type[Settings], location: tuple[int | str, ...]) -> list[str]:
    """Return the names of the settings at a location inside `schema`."""
    for step in location:
        annotation = schema.model_fields[str(step)].annotation if str(step) in schema.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, Settings)):
            return []
        schema = annotation
    return list(schema.model_fields)


def setting_keys(schema: type[Settings], prefix: str = "") -> list[str]:
    """Return the dotted keys of all settings in `schema`, in their order, each below `prefix`."""
    keys = []
    for name, field in schema.model_fields.items():
        path = f"{prefix}.{name}".strip(".")
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Settings):
            keys += setting_keys(inner, path)
        else:
            keys.append(path)
    return keys


def _word(step: object) -> str:
    """Return a key on one line, however long it is."""
    text = str(step)
    return text if text.isprintable() and len(text) <= _LONGEST_SHOWN else _shown(text)


def _shown(value: object) -> str:
    """Return the beginning of a value, to show in a message."""
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"


def matching_keys(name: str, keys: Sequence[str]) -> list[str]:
    """Return the keys whose last part is `name`, in any case: `train.phase2.lr` for `lr` and for `LR`."""
    return [key for key in keys if key.rpartition(".")[2] == name.lower()]


def _unknown_key(path: str, known: Sequence[str], keys: Sequence[str] = ()) -> str:
    """Return the message of an unknown key.

    Args:
        path: the key.
        known: keys of the same section.
        keys: keys of all sections.
    """
    path = _word(path)
    close = matching_keys(path.rpartition(".")[2], keys) or difflib.get_close_matches(path, known, n=1)
    hint = f"did you mean {' or '.join(close[:_MOST_HINTS])}?" if close else f"known here: {', '.join(known)}"
    return f"{path}: unknown key; {hint}"
