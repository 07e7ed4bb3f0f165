"""Safe parsing of annotation files: nothing in them raises, hangs, or reaches other files."""

import json
import re
from pathlib import Path
from typing import Any, TypeGuard
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from panvision.dataset.paths import leaves_root, relative
from panvision.dataset.problems import Problem, problem
from panvision.prepare.formats.layout import OUTSIDE

# Elements within elements; annotations need six.
_DEEPEST = 100
# Limits of class names, the same as in `panvision.inference.backend`: no control characters, line ends, or characters
# that change the direction of writing.
_LONGEST_NAME = 200
_NOT_ONE_LINE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def read_file(path: Path, root: Path) -> bytes | Problem:
    """Return a file's bytes, or the problem of reading them; `root` is the dataset's folder."""
    file = relative(path, root)
    if leaves_root(path, root):
        return problem("link_escapes", file, OUTSIDE)
    try:
        return path.read_bytes()
    except PermissionError:
        return problem("not_permitted", file, "may not be read")
    except OSError as error:
        return problem("annotations_broken", file, f"cannot be read: {error.strerror or type(error).__name__}")


def read_text(path: Path, root: Path) -> str | Problem:
    """Return a UTF-8 file's text, or the problem of reading it; `root` is the dataset's folder."""
    content = read_file(path, root)
    if not isinstance(content, bytes):
        return content
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        reason = f"is not UTF-8 text: {error.reason} at byte {error.start}"
        return problem("annotations_broken", relative(path, root), reason)


def read_json(path: Path, root: Path) -> tuple[Any, Problem | None]:
    """Return a JSON file's value, or None and the problem; a LabelMe file's large embedded image is left out."""
    content = read_file(path, root)
    if not isinstance(content, bytes):
        return None, content
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        return None, problem("annotations_broken", relative(path, root), f"is not readable JSON: {error}")
    if isinstance(value, dict):
        value.pop("imageData", None)
    return value, None


def read_xml(path: Path, root: Path) -> tuple[Element | None, Problem | None]:
    """Return an XML file's root element, or None and the problem."""
    content = read_file(path, root)
    if not isinstance(content, bytes):
        return None, content
    try:
        return parse_xml(content), None
    except (ValueError, LookupError, expat.ExpatError) as error:
        return None, problem("annotations_broken", relative(path, root), f"is not readable XML: {error}")


def is_text(value: object) -> TypeGuard[str]:
    """True if a file's value is text that can be written into tables, and not empty."""
    if not isinstance(value, str) or not value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_name(value: object) -> TypeGuard[str]:
    """True if a file's value can name a class: text on one line, without control characters."""
    return is_text(value) and len(value) <= _LONGEST_NAME and not _NOT_ONE_LINE.search(value)


def to_float(value: object) -> float:
    """Convert a file's number or text to a float; NaN for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return float("nan")
    try:
        return float(value)
    except ValueError:
        return float("nan")
    except OverflowError:
        # JSON's integers may be larger than any float.
        return float("inf")


def stated_size(width: object, height: object) -> tuple[float, float] | None:
    """Return width and height from a file's two values, if both are positive numbers."""
    sides = to_float(width), to_float(height)
    return sides if all(0 < side < float("inf") for side in sides) else None


def parse_xml(content: bytes) -> Element:
    """Parse XML, and refuse entities: they can refer to other files, and multiply without end.

    Raises:
        ValueError: it declares entities, or is nested too deeply.
        expat.ExpatError: it is not XML.
        LookupError: an unknown encoding.
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _DEEPEST:
            raise ValueError(f"more than {_DEEPEST} elements are nested")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def entity(*_: object) -> None:
        raise ValueError("it declares entities, which annotations do not need")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.EntityDeclHandler = entity
    parser.Parse(content, True)
    return builder.close()
