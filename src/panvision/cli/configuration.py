"""Settings of the commands that run without the pipeline: from a file, changed by options."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from panvision.config import Config
    from panvision.core.tasks import Dataset
    from panvision.dataset.packed import Split


def load_configuration(path: str | Path) -> "Config":
    """A whole configuration from a params.yaml, or from JSON where the file's name ends so.

    Raises:
        ParamsError: the file cannot be used; every fault is listed.
    """
    from panvision.config import Config

    is_json = Path(path).suffix.lower() == ".json"
    return Config.load(path) if is_json else Config.from_params(path)


def read_configuration(args: argparse.Namespace) -> "Config":
    """The defaults or the file, changed by the options; `data.root` is `args.data_root`.

    Raises:
        ParamsError: the file or an option cannot be used; every fault is listed.
    """
    from panvision.config import Config
    from panvision.core.params import override

    config = load_configuration(args.config) if args.config else Config()
    values = override(config.model_dump(mode="json"), args.set)
    data = values.get("data") or {}
    return Config.parse({**values, "data": {**data, "root": args.data_root}})


def pins_of(args: argparse.Namespace, config: "Config") -> "dict[tuple[Dataset, str], Split]":
    """The pins that the file or the options name; without either there are none.

    A pipeline's own pins belong to its own data, so that its file is not taken unasked. A configuration that
    `panvision train` saved names every setting, also the pins of a pipeline that may not be there.

    Raises:
        IngestError: the pins cannot be used, or a file that is not the default one is missing.
    """
    from panvision.validate.settings import SplitSettings
    from panvision.validate.splits.pins import read_pins

    named = any(assignment.startswith("split.pins=") for assignment in args.set)
    usual = config.split.pins == SplitSettings().pins
    if not named and (not args.config or (usual and not Path(config.split.pins).exists())):
        return {}
    return read_pins(config.split.pins)
