"""Options that several commands have: declared once, so that they are called, explained and completed alike."""

import argparse
import errno
import os
from collections.abc import Callable
from pathlib import Path

Group = argparse._ArgumentGroup

# What a shell offers for a value; shtab's words.
FILE, FOLDER = "file", "directory"


def completed(action: argparse.Action, kind: str) -> None:
    """Have shells offer files or folders for a value."""
    action.complete = kind  # type: ignore[attr-defined]  # shtab looks for this attribute, which argparse has not


def add_data_root(parser: argparse.ArgumentParser) -> None:
    """Declare the three sets' folder: an argument, or the option `--data_root`."""
    group = parser.add_argument_group("arguments")
    either = group.add_mutually_exclusive_group(required=True)
    text = "folder with segmentation/, detection/ and classification/"
    # Without a default of its own, which would overwrite the option's value.
    where = either.add_argument("data_root", nargs="?", default=argparse.SUPPRESS, metavar="DATA_ROOT", help=text)
    option = either.add_argument("--data_root", metavar="DATA_ROOT", help="the same as an option")
    for action in (where, option):
        completed(action, FOLDER)


def add_settings(parser: argparse.ArgumentParser, defaults: str) -> Group:
    """Declare `--config` and `--set`; `defaults` says what holds without a file."""
    group = parser.add_argument_group("settings")
    add_config(group, defaults)
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change one setting, for example split.seed=7; may be repeated",
    )
    return group


def add_config(group: Group, defaults: str) -> None:
    """Declare `--config`; `defaults` says what holds without it."""
    text = f"params.yaml or a JSON configuration (default: {defaults})"
    completed(group.add_argument("--config", metavar="FILE", help=text), FILE)


def add_model(parser: argparse.ArgumentParser) -> None:
    """Declare which model predicts, and how."""
    group = parser.add_argument_group("model")
    text = "model file: .onnx, .pth or .pt"
    completed(group.add_argument("--checkpoint", required=True, metavar="FILE", help=text), FILE)
    add_config(group, "the newest JSON configuration beside the model file, if any")
    group.add_argument(
        "--score_threshold",
        type=fraction,
        metavar="X",
        help="report boxes scoring at least this, 0 to 1 (default: the configuration's, else the model's)",
    )
    group.add_argument(
        "--nms_threshold",
        type=fraction,
        metavar="X",
        help="of two boxes of a class with a larger IoU, report the better one, 0 to 1 (default: likewise)",
    )
    add_device(group)


def add_device(group: Group) -> None:
    """Declare where the network computes."""
    group.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1 … (default: the GPU if there is one)")


def add_project(parser: argparse.ArgumentParser, *, positional: bool = False) -> None:
    """Declare the project's folder; as it was called before, `--path` or an argument, is accepted too."""
    group = parser.add_argument_group("project")
    text = "the project's folder (default: the current one)"
    completed(group.add_argument("--project", default=".", metavar="DIR", help=text), FOLDER)
    if positional:
        group.add_argument("project", nargs="?", default=argparse.SUPPRESS, metavar="DIR", help=argparse.SUPPRESS)
    else:
        group.add_argument("--path", dest="project", default=argparse.SUPPRESS, metavar="DIR", help=argparse.SUPPRESS)


def add_batch_size(group: Group, default: int) -> None:
    """Declare how many pictures the network gets at once."""
    text = f"pictures in one pass through the network (default: {default})"
    group.add_argument("--batch_size", type=whole_number(1), default=default, metavar="N", help=text)


def project_of(args: argparse.Namespace) -> Path:
    """The project's folder.

    Raises:
        NotADirectoryError, FileNotFoundError: it is none.
    """
    project = Path(args.project)
    if not project.is_dir():
        kind = errno.ENOTDIR if project.exists() else errno.ENOENT
        raise OSError(kind, os.strerror(kind), args.project)
    return project


def add_output(parser: argparse.ArgumentParser, json: str, *, quiet: str | None = None) -> Group:
    """Declare `--json`, whose keys `json` names, and `--quiet` where `quiet` says what is left out."""
    group = parser.add_argument_group("output")
    add_json(group, json)
    if quiet is not None:
        group.add_argument("-q", "--quiet", action="store_true", help=f"print no {quiet}")
    return group


def add_json(group: Group, what: str) -> None:
    """Declare `--json`: standard output then holds JSON with these keys, and nothing else."""
    group.add_argument("--json", action="store_true", help=f"print JSON, and nothing else: {what}")


def fraction(text: str) -> float:
    """An option's number from 0 to 1."""
    try:
        value = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not a number: {text!r}") from error
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"must lie in 0 to 1, found {text}")
    return value


def whole_number(low: int, high: int | None = None) -> Callable[[str], int]:
    """A reader of an option's whole number from `low`, to `high` if there is one."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"not a whole number: {text!r}") from error
        if value < low:
            raise argparse.ArgumentTypeError(f"must be at least {low}, found {text}")
        if high is not None and value > high:
            raise argparse.ArgumentTypeError(f"must be at most {high}, found {text}")
        return value

    return read
