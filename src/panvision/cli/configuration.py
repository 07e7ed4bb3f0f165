"""Settings of the commands that run without params.yaml: from a file, changed by options."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from panvision.config import Config
    from panvision.ingest.packed import Split, Task


def add_options(parser: argparse.ArgumentParser, defaults: str) -> None:
    """Declare `--config` and `--set`; `defaults` says what holds without a file."""
    parser.add_argument("--config", metavar="FILE", help=f"params.yaml or a JSON configuration (default: {defaults})")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change one setting, for example split.seed=7; may be repeated",
    )


def read_configuration(args: argparse.Namespace) -> "Config":
    """The defaults or the file, changed by the options; `data.root` is `args.data_root`.

    Raises:
        ParamsError: the file or an option cannot be used; every fault is listed.
    """
    from panvision.config import Config
    from panvision.params import load_params, override

    values = Config().model_dump(mode="json")
    if args.config:
        is_json = Path(args.config).suffix.lower() == ".json"
        values = Config.load(args.config).model_dump(mode="json") if is_json else load_params(args.config)
    values = override(values, args.set)
    data = values.get("data") or {}
    return Config.parse({**values, "data": {**data, "root": args.data_root}})


def pins_of(args: argparse.Namespace, config: "Config") -> "dict[tuple[Task, str], Split]":
    """The pins that the file or the options name; without either there are none.

    A pipeline's own pins belong to its own data, so that its file is not taken unasked. A configuration that
    `panvision train` saved names every setting, also the pins of a pipeline that may not be there.

    Raises:
        IngestError: the pins cannot be used, or a file that is not the default one is missing.
    """
    from panvision.ingest.pins import read_pins
    from panvision.ingest.settings import SplitSettings

    named = any(assignment.startswith("split.pins=") for assignment in args.set)
    usual = config.split.pins == SplitSettings().pins
    if not named and (not args.config or (usual and not Path(config.split.pins).exists())):
        return {}
    return read_pins(config.split.pins)
