"""The ground floor: params.yaml read once, typed, with every fault reported together.

DVC writes params.yaml as YAML 1.2 (``1e-05`` is a number, ``on`` is a word), PyYAML reads YAML 1.1
(``1e-05`` is a word, ``on`` is true). The loader here resolves plain scalars by YAML 1.2's core schema
(https://yaml.org/spec/1.2.2/#103-core-schema), so that a value means the same to both.
"""

import copy
import difflib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

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
    "classification",
    "evaluation",
    "export",
    "report",
)

# What a file of settings may hold; the system's own has 100 values on 3 levels.
_MOST_BYTES = 2**20
_MOST_VALUES = 10_000
_DEEPEST = 32
_LONGEST_NUMBER = 40  # signs of a whole number
_LONGEST_SHOWN = 120  # signs of a value in a message
_TAGS = "tag:yaml.org,2002:"


class ParamsError(ValueError):
    """params.yaml cannot be used; the message lists every fault with its key and the remedy."""


class Settings(BaseModel):
    """Base of every room's settings: frozen, unknown keys refused, no silent conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, values: Mapping[str, Any], prefix: str = "") -> Self:
        """Validate plain values (as YAML or JSON gives them).

        Raises:
            ParamsError: listing every fault, each with its key path below `prefix`.
        """
        try:
            # Strict JSON mode takes lists for tuples but never a bool or a string for a number.
            return cls.model_validate_json(json.dumps(values))
        except ValidationError as error:
            raise ParamsError("\n".join(_describe(error, prefix, cls))) from error
        except RecursionError as error:
            raise ParamsError(f"{prefix or 'settings'}: nested too deeply") from error


def _in_order(tasks: tuple[Task, ...]) -> tuple[Task, ...]:
    """The tasks in the order of TASKS, each once."""
    twice = [task for task in TASKS if tasks.count(task) > 1]
    if twice:
        raise ValueError(f"each task at most once, but {', '.join(twice)} stands several times")
    return tuple(task for task in TASKS if task in tasks)


if TYPE_CHECKING:
    TaskName = str
else:
    TaskName = Literal[tuple(TASKS)]

# Which heads a model has: the top-level `tasks`.
Tasks = Annotated[tuple[TaskName, ...], Field(min_length=1), AfterValidator(_in_order)]


# What every generator of random numbers takes: NumPy's, PyTorch's and Python's.
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class _TopLevel(Settings):
    seed: Seed = 42
    tasks: Tasks = tuple(TASKS)


class _Yaml12Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's core schema in place of YAML 1.1's types, and with bounds on what a file may describe.

    Ten lines of aliases to aliases can stand for more values than fit into memory ("billion laughs"), so everything is
    counted as often as it is referred to, before anything is built.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._sizes: dict[yaml.Node, tuple[int, int]] = {}  # values in a node, and how deep they lie

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next node, if it is plain and within the bounds.

        Raises:
            ParamsError: it is not.
        """
        is_alias = self.check_event(yaml.AliasEvent)
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ParamsError(f"line {self.peek_event().start_mark.line + 1}: more than {_DEEPEST} levels of nesting")
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        if node is None or (is_alias and node in self._sizes):
            return node
        line = f"line {node.start_mark.line + 1}"
        if is_alias:
            raise ParamsError(f"{line}: refers to itself")
        self._check_plain(node, line)
        inner = [self._sizes[child] for child in _children(node)]
        size, depth = 1 + sum(size for size, _ in inner), 1 + max((depth for _, depth in inner), default=0)
        if size > _MOST_VALUES or depth > _DEEPEST:
            raise ParamsError(f"{line}: more than {_MOST_VALUES} values, or {_DEEPEST} levels of nesting, with aliases")
        self._sizes[node] = size, depth
        return node

    def _check_plain(self, node: yaml.Node, line: str) -> None:
        """Refuse tags that make anything but numbers, texts, lists and sections, and keys that are not text."""
        tag = node.tag.removeprefix(_TAGS)
        if isinstance(node, yaml.ScalarNode):
            fitting = {"str", self.resolve(yaml.ScalarNode, node.value, (True, False)).removeprefix(_TAGS)}
            fitting |= {"float"} if "int" in fitting else set()
        else:
            fitting = {"seq" if isinstance(node, yaml.SequenceNode) else "map"}
        if tag not in fitting:
            raise ParamsError(f"{line}: the tag {_shown(node.tag)} is not valid YAML here; write the value without it")
        if isinstance(node, yaml.MappingNode) and not all(isinstance(key, yaml.ScalarNode) for key, _ in node.value):
            raise ParamsError(f"{line}: a key must be a word, not a list or a section")


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


_Yaml12Loader.yaml_implicit_resolvers = {}
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


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    """YAML 1.2 integers: `010` is ten, octal is written `0o10`."""
    text = loader.construct_scalar(node)
    if len(text) > _LONGEST_NUMBER:
        raise ParamsError(f"line {node.start_mark.line + 1}: a number of {len(text)} digits")
    bases = {"0o": 8, "0x": 16}
    return int(text[2:], bases[text[:2]]) if text[:2] in bases else int(text)


def _construct_mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    """A mapping in which no key stands twice (PyYAML would keep the last one silently)."""
    loader.flatten_mapping(node)
    mapping: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in mapping:
            raise ParamsError(f"line {key_node.start_mark.line + 1}: the key {_shown(key)} stands twice; keep one")
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


_Yaml12Loader.add_constructor(f"{_TAGS}int", _construct_int)
_Yaml12Loader.add_constructor(f"{_TAGS}map", _construct_mapping)


def load_params(path: str | Path = "params.yaml") -> dict[str, Any]:
    """Read a params file into plain values.

    Raises:
        ParamsError: no such file, not YAML, or a section that no part of panvision reads.
    """
    params = _load_top_level(path)
    if unknown := _unknown_sections(params):
        raise ParamsError("\n".join(f"{path}: {fault}" for fault in unknown))
    return params


def _load_top_level(path: str | Path) -> dict[str, Any]:
    """A params file as plain values, whatever its sections are called."""
    missing = "no such file; run from the project's root, or `cp presets/laptop.yaml params.yaml`"
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
    """The UTF-8 text of a file of settings.

    Args:
        path: the file.
        kind: what it should be, for messages.
        missing: what to say where there is none.

    Raises:
        ParamsError: it cannot be read, is not UTF-8, or is larger than any settings are.
    """
    try:
        with Path(path).open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)  # no more: a device file has no end
        text = content.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise ParamsError(f"{path}: {missing}") from error
    except OSError as error:
        raise ParamsError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ParamsError(f"{path}: not {kind}: line {line} is not UTF-8 text; save it as UTF-8") from error
    except ValueError as error:
        raise ParamsError(f"{_shown(str(path))}: not a file's name: {error}") from error
    if len(content) > _MOST_BYTES:
        raise ParamsError(f"{path}: more than {_MOST_BYTES // 2**20} MiB; not a file of settings")
    return text


def _parse_yaml(text: str) -> Any:
    """The plain value that YAML text stands for.

    Raises:
        ParamsError: it is not YAML, or not plain; the message says in which line.
    """
    try:
        loader = _Yaml12Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        told = ((error.context, error.context_mark), (error.problem, error.problem_mark))
        parts = [f"{words} (line {mark.line + 1})" if mark else words for words, mark in told if words]
        raise ParamsError(f"not valid YAML: {': '.join(parts)}") from error
    except yaml.YAMLError as error:
        raise ParamsError(f"not valid YAML: {' '.join(str(error).split())}") from error


def read_sections(
    schemas: Mapping[str, type[Settings]],
    path: str | Path = "params.yaml",
    *,
    top: Sequence[Literal["seed", "tasks"]] = (),
) -> dict[str, Any]:
    """The named sections of a params file as their typed settings; a missing section is its defaults.

    Args:
        schemas: section name → settings class, for example ``{"model": ModelSettings}``.
        path: the params file.
        top: keys outside every section to read too: `seed` (a whole number from 0 to 2³² - 1; default 42), `tasks`
            (any of TASKS, given in their order; default all).

    Raises:
        ParamsError: one message with every fault of all that was asked for.
    """
    params = _load_top_level(path)
    sections: dict[str, Any] = {}
    faults = _unknown_sections(params)
    try:
        top_level = _TopLevel.parse({key: params[key] for key in top if key in params})
        sections.update({key: getattr(top_level, key) for key in top})
    except ParamsError as error:
        faults.extend(str(error).splitlines())
    for name, schema in schemas.items():
        values = params.get(name)
        if values is not None and not isinstance(values, dict):
            faults.append(f"{name}: expected keys below it, found {_shown(values)}")
            continue
        try:
            sections[name] = schema.parse(values or {}, prefix=name)
        except ParamsError as error:
            faults.extend(str(error).splitlines())
    if faults:
        raise ParamsError("\n".join(f"{path}: {fault}" for fault in faults))
    return sections


def override(params: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Plain values with some keys changed, as `dvc exp run -S` does it.

    Args:
        params: what `load_params` gives.
        assignments: `section.key=value` each, the value in YAML.

    Raises:
        ParamsError: one message that lists every assignment that cannot be read.
    """
    changed: dict[str, Any] = copy.deepcopy(dict(params))
    faults = []
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        try:
            value = _parse_yaml(text)
        except ParamsError:
            equals = ""
        *sections, key = path.split(".")
        place = changed
        for section in sections:
            place = place.setdefault(section, {}) if isinstance(place, dict) else {}
        if not equals or not isinstance(place, dict) or not all([*sections, key]):
            faults.append(f"{assignment}: expected section.key=value, for example loss.cls=4.0")
        else:
            place[key] = value
    if faults:
        raise ParamsError("\n".join(faults))
    return changed


def _describe(error: ValidationError, prefix: str, schema: type[Settings]) -> list[str]:
    """One line a fault: key path, what is allowed, what was found."""
    lines = []
    for fault in error.errors():
        path = ".".join([prefix, *(_word(step) for step in fault["loc"])]).strip(".") or "settings"
        if fault["type"] == "extra_forbidden":
            siblings = _fields_at(schema, fault["loc"][:-1])
            lines.append(_unknown_key(path, [path.rsplit(".", 1)[0] + "." + name for name in siblings]))
        else:
            message = fault["msg"].removeprefix("Value error, ")
            # A rule between keys names them itself; its input is the whole section.
            whole = fault["type"] == "missing" or (fault["type"] == "value_error" and isinstance(fault["input"], dict))
            found = "" if whole else f", found {_shown(fault['input'])}"
            lines.append(f"{path}: {message}{found}")
    return lines


def _fields_at(schema: type[Settings], location: tuple[int | str, ...]) -> list[str]:
    """Names of the settings that may stand at a place inside `schema`."""
    for step in location:
        annotation = schema.model_fields[str(step)].annotation if str(step) in schema.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, Settings)):
            return []
        schema = annotation
    return list(schema.model_fields)


def _word(step: object) -> str:
    """A key as a message has it: on one line, however long it is."""
    text = str(step)
    return text if text.isprintable() and len(text) <= _LONGEST_SHOWN else _shown(text)


def _shown(value: object) -> str:
    """A value as a message has it: its beginning."""
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"


def _unknown_key(path: str, known: list[str] | tuple[str, ...]) -> str:
    path = _word(path)
    close = difflib.get_close_matches(path, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
    return f"{path}: unknown key; {hint}"
