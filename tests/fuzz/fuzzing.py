"""Hypothesis for as long as one likes: valid input, mutated in ways that break readers.

`FUZZ_SECONDS=600 python -m pytest tests/fuzz` lets each test here run for ten minutes.
"""

import copy
import os
import time
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))

Path = tuple[str | int, ...]


def fuzzed(strategy: st.SearchStrategy[Any], *, examples: int) -> Callable[[Callable[[Any], None]], Callable[[], None]]:
    """Make a test of a function of one example: some examples, and as many rounds of them as FUZZ_SECONDS allow."""

    def decorate(function: Callable[[Any], None]) -> Callable[[], None]:
        quiet = settings(
            max_examples=examples, deadline=None, derandomize=False, suppress_health_check=list(HealthCheck)
        )
        rounds = quiet(given(strategy)(function))

        def test() -> None:
            end = time.monotonic() + SECONDS
            rounds()
            while time.monotonic() < end:
                rounds()

        test.__doc__, test.__module__ = function.__doc__, function.__module__
        return test

    return decorate


def nested(levels: int, key: str = "") -> Any:
    """Lists in lists, or objects in objects."""
    value: Any = 1
    for _ in range(levels):
        value = {key: value} if key else [value]
    return value


NUMBERS = st.one_of(
    st.sampled_from([0, -1, 1, 2, 255, 2**31, 2**32, 2**53 + 1, 2**63, -(2**63), 10**30, 10**400, 1e308, 1e-320]),
    st.sampled_from([float("nan"), float("inf"), float("-inf"), -0.0, 0.5, 1e9, 1e12, 1e18]),
    st.integers(),
    st.floats(),
)
TEXTS = st.one_of(
    st.sampled_from(["", " ", "0", "-1", "1e5", "nan", "\0", "a\nb", "\x1b[2J", "\u202e", "\ufeff", "\ud800", "é"]),
    st.sampled_from(["..", "../a.png", "/etc/passwd", "C:\\a.png", "a" * 300, "x" * 5000, "null", "true", "a/b"]),
    st.text(max_size=8),
)
ODD = st.one_of(
    NUMBERS,
    TEXTS,
    st.booleans(),
    st.none(),
    st.sampled_from([[], {}, [[]], [{}], {"": 0}, [None], nested(40), nested(40, "a"), [1] * 2000]),
    st.lists(NUMBERS, max_size=9),
)


def paths(value: Any, here: Path = ()) -> list[Path]:
    """The place of every value in a JSON value."""
    found = [here]
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        found += paths(part, (*here, key))
    return found


@st.composite
def mutated(draw: st.DrawFn, document: Any) -> Any:
    """A JSON value with one to four things in it changed."""
    value = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.sampled_from(paths(value)))
        if not place:
            continue
        holder = value
        for key in place[:-1]:
            holder = holder[key]
        _change(draw, holder, place[-1])
    return value


def _change(draw: st.DrawFn, holder: Any, key: Any) -> None:
    match draw(st.sampled_from(["replace", "remove", "double", "wrap", "text", "move"])):
        case "replace":
            holder[key] = copy.deepcopy(draw(ODD))  # a later change must not reach the samples
        case "remove":
            del holder[key]
        case "double" if isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        case "double":
            holder[draw(TEXTS)] = copy.deepcopy(holder[key])
        case "wrap":
            holder[key] = [holder[key]]
        case "text":
            holder[key] = str(holder[key])
        case "move" if isinstance(holder, dict):
            holder[draw(TEXTS)] = holder.pop(key)


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes changed in one to six places: other bits, extreme numbers, parts removed, doubled or moved, the end cut."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 6))):
        if not data:
            break
        place, length = draw(st.integers(0, len(data) - 1)), draw(st.sampled_from([1, 2, 4, 8, 30]))
        match draw(st.sampled_from(["byte", "extreme", "noise", "remove", "double", "move", "cut"])):
            case "byte":
                data[place] = draw(st.integers(0, 255))
            case "extreme":
                filled = draw(st.sampled_from([b"\0", b"\xff", b"\x7f", b"\x80"]))
                data[place : place + length] = filled * length
            case "noise":
                data[place : place + length] = draw(st.binary(min_size=1, max_size=length))
            case "remove":
                del data[place : place + length]
            case "double":
                data[place:place] = data[place : place + length]
            case "move":
                part = bytes(data[place : place + length])
                del data[place : place + length]
                to = draw(st.integers(0, len(data)))
                data[to:to] = part
            case "cut" if draw(st.booleans()):
                del data[place:]
    return bytes(data)
