"""Options that several commands share, so that they are called, explained and completed alike."""

import importlib.util
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import click
from click.shell_completion import CompletionItem

from panvision.cli.framework import Args

if TYPE_CHECKING:
    from panvision.dataset.reviewed import Key
    from panvision.inference.backend import Precision, Runtime


class _Path(click.Path):
    """A path whose existence the command checks itself, so that its error has a remedy."""

    def __init__(self, metavar: str, completion: str) -> None:
        super().__init__(readable=False)
        self.name, self._completion = metavar, completion

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type=self._completion)]


class Number(click.IntRange):
    """A whole number in a range."""

    name = "integer"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return how help writes it."""
        return "N"


class Decimal(click.FloatRange):
    """A finite number in a range."""

    name = "number"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return how help writes it."""
        return "X"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number; NaN is in no range, but passes comparisons."""
        number = super().convert(value, param, ctx)
        return number if math.isfinite(number) else self.fail("Not a finite number.", param, ctx)


FILE, FOLDER = _Path("file", "file"), _Path("dir", "dir")
FRACTION = Decimal(0.0, 1.0)


def option(name: str, help: str, **settings: Any) -> click.Option:
    """Make an option."""
    return click.Option([name], help=help, **settings)


def flag(names: str, help: str) -> click.Option:
    """Make a switch; names are separated by a space."""
    return click.Option(names.split(), is_flag=True, help=help)


def argument(name: str, help: str, **settings: Any) -> click.Argument:
    """Make an argument."""
    return click.Argument([name], help=help, **settings)


def against(what: str, *, required: bool = False) -> click.Option:
    """Make `--against`; `what` may be named there."""
    return option("--against", f"Compare with: {what}.", required=required, type=FILE, metavar="EARLIER")


def data_root() -> list[click.Parameter]:
    """Make the folder of the three datasets: an argument, or the option `--data_root`."""
    text = "Folder with segmentation/, detection/ and classification/; validate also takes a ZIP."
    return [
        argument("data_root", text, required=False, type=FOLDER, metavar="DATA_ROOT"),
        click.Option(
            ["--data_root", "data_root_option"], type=FOLDER, metavar="DATA_ROOT", help="The same, as an option."
        ),
    ]


def data_root_of(args: Args) -> str:
    """Return the folder of the three datasets.

    Raises:
        click.UsageError: it is missing, or given twice.
    """
    given = [each for each in (args.data_root, args.data_root_option) if each is not None]
    if len(given) != 1:
        raise click.UsageError("Give DATA_ROOT once, as an argument or as --data_root.")
    return str(given[0])


def settings(default: str) -> list[click.Parameter]:
    """Make `--config` and `--set`; `default` says what holds without a file."""
    text = "Change one setting, for example split.seed=7; may be repeated."
    return [config(default), option("--set", text, multiple=True, metavar="KEY=VALUE")]


def config(default: str) -> click.Option:
    """Make `--config`; `default` says what holds without it."""
    return option(
        "--config", "params.yaml, a JSON configuration or the name of a preset.", type=FILE, show_default=default
    )


def model() -> list[click.Parameter]:
    """Make the options of commands that predict."""
    threshold = "Report boxes with at least this score."
    overlap = "Largest IoU of two reported boxes of a class."
    default = "the configuration's, else the model's"
    return [
        option("--checkpoint", "Model file: .onnx, .pth or .pt.", required=True, type=FILE),
        config("the newest JSON configuration beside the model file, if any"),
        option("--score_threshold", threshold, type=FRACTION, show_default=default),
        option("--nms_threshold", overlap, type=FRACTION, show_default=default),
        *engine(),
    ]


class Engine(TypedDict):
    """Arguments of `load_model` that say what computes."""

    device: str | None
    runtime: "Runtime | None"
    precision: "Precision | None"


ON_CPU = Engine(device="cpu", runtime=None, precision=None)


def engine() -> list[click.Parameter]:
    """Make the options that say what runs the network, where, and in which precision."""
    return [device(), *runtimes()]


def device() -> click.Option:
    """Make the option for where the network computes."""
    return option("--device", "cpu, cuda, cuda:1 …", metavar="NAME", show_default="the GPU if PyTorch has one")


def runtimes(runtime: str = "onnxruntime", precision: str = "the file's own") -> list[click.Parameter]:
    """Make the options that say what runs an ONNX file, and in which precision, from their defaults."""
    return [
        option(
            "--runtime",
            "What runs an ONNX file; openvino needs the extra openvino.",
            type=click.Choice(["onnxruntime", "openvino"]),
            show_default=runtime,
        ),
        option(
            "--precision",
            "Numbers of the computation; bfloat16 needs openvino and a processor that has it.",
            type=click.Choice(["float32", "bfloat16", "int8"]),
            show_default=precision,
        ),
    ]


def engine_of(args: Args) -> Engine:
    """Return what the options of `engine` say."""
    return Engine(device=args.device, runtime=args.runtime, precision=args.precision)


def images() -> click.Option:
    """Make the option for the images that are scored."""
    return option(
        "--images",
        "`test`: the test split; thresholds are chosen on the validation split. `all`: every image is tested.",
        type=click.Choice(["test", "all"]),
        default="test",
    )


def batch_size(default: int) -> click.Option:
    """Make the number of images in one pass through the network."""
    return option("--batch_size", "Images in one pass through the network.", type=Number(1), default=default)


def project(*, positional: bool = False) -> list[click.Parameter]:
    """Make the project's folder; `--path` and an argument are what earlier versions called it."""
    current = click.Option(["--project"], default=".", type=FOLDER, help="The project's folder.")
    earlier = click.Option(["--path", "project"], hidden=True, type=FOLDER)
    same = argument("folder", "The same, as an argument.", required=False, type=FOLDER, metavar="[DIR]")
    return [current, earlier, *([same] if positional else [])]


def project_of(args: Args) -> Path:
    """Return the project's folder.

    Raises:
        NotADirectoryError, FileNotFoundError: it is not a folder.
    """
    folder = getattr(args, "folder", None) or args.project
    os.scandir(folder).close()
    return Path(folder)


def json_flag(what: str) -> click.Option:
    """Make `--json`: standard output then has JSON with the keys that `what` names, and nothing else."""
    return flag("--json", f"Print JSON, and nothing else: {what}.")


def reviewed() -> click.Option:
    """Make `--reviewed`, the table of `panvision.dataset.reviewed`."""
    return option(
        "--reviewed",
        "Table of dataset, file and what: findings that a person has dismissed.",
        type=FILE,
        show_default="data/reviewed.csv, if it exists",
    )


def reviewed_of(args: Args, project: Path) -> "set[Key]":
    """Read the dismissed findings; without `--reviewed` the project's table may be missing.

    Raises:
        ReviewedError: the table cannot be used.
    """
    from panvision.dataset.reviewed import REVIEWED, read_reviewed

    table = Path(args.reviewed) if args.reviewed else project / REVIEWED
    return read_reviewed(table) if args.reviewed or table.exists() else set()


def html() -> click.Option:
    """Make `--html`, a page that needs jinja2."""
    return option("--html", "Write a page with images of what was found.", type=FILE)


def check_html(args: Args) -> None:
    """Check that the page of `--html` can be written, before the work for it.

    Raises:
        click.UsageError: jinja2 is not installed.
    """
    if args.html and importlib.util.find_spec("jinja2") is None:
        raise click.UsageError("--html needs jinja2; `pip install jinja2`.")


def needs(args: Args, what: str, *names: str, there: bool) -> None:
    """Check that options without a default are given only with `what`, without which they have no effect.

    Raises:
        click.UsageError: one is given, and `there` is False.
    """
    for name in names:
        if not there and getattr(args, name) not in (None, False, ()):
            raise click.UsageError(f"--{name} works only with {what}.")


def quiet(what: str) -> click.Option:
    """Make `--quiet`; `what` is left out."""
    return flag("-q --quiet", f"Print no {what}.")
