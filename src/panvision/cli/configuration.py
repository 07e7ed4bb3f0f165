"""Settings of the commands that run without the pipeline: from a file, changed by options."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import panvision
from panvision.cli.framework import Args
from panvision.cli.options import data_root_of

if TYPE_CHECKING:
    from panvision.config import Config
    from panvision.core.tasks import Dataset
    from panvision.dataset.packed import Split


def presets() -> dict[str, Path]:
    """Return the files of the presets that come with panvision, by name."""
    found = (Path(panvision.__file__).parent / "presets").glob("*.yaml")
    return {path.stem: path for path in sorted(found)}


def load_configuration(path: str | Path) -> "Config":
    """Read a whole configuration from a params.yaml, from JSON where the file's name ends so, or from a preset.

    Args:
        path: a file, or the name of a preset where there is no such file.

    Raises:
        ParamsError: the file cannot be used; every error in it is listed.
    """
    from panvision.config import Config
    from panvision.core.params import ParamsError

    if not Path(path).exists() and not Path(path).suffix:
        known = presets()
        if str(path) not in known:
            raise ParamsError(f"{path}: no such file or preset; presets: {', '.join(known)}")
        path = known[str(path)]
    is_json = Path(path).suffix.lower() == ".json"
    return Config.load(path) if is_json else Config.from_params(path)


def read_configuration(args: Args) -> "Config":
    """Return the defaults or the file, changed by the options, with the given data root.

    Raises:
        ParamsError: the file or an option cannot be used; every error in it is listed.
        click.UsageError: the data root is missing, or given twice.
    """
    from panvision.config import Config
    from panvision.core.params import override

    root = data_root_of(args)
    config = load_configuration(args.config) if args.config else Config()
    values = override(config.model_dump(mode="json"), args.set)
    data = values.get("data") or {}
    return Config.parse({**values, "data": {**data, "root": root}})


def given(args: Args, *sections: str) -> Mapping[str, Any]:
    """Return what `--set` says about a section, in any form: `a.b.c=1`, `a.b={c: 1}` or `a={b: {c: 1}}`.

    Raises:
        ParamsError: an option cannot be used.
    """
    from panvision.core.params import override

    found: Any = override({}, args.set)
    for section in sections:
        found = found.get(section) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def pins_of(args: Args, config: "Config") -> "dict[tuple[Dataset, str], Split]":
    """Return the pins that the file or the options name; without either there are none.

    A pipeline's pins belong to its own data, so they are not taken unasked. A preset names the pins of a pipeline that
    may not exist here.

    Raises:
        IngestError: the pins cannot be used, or a file that is not the default one is missing.
    """
    from panvision.validate.settings import SplitSettings
    from panvision.validate.splits.pins import read_pins

    named = "pins" in given(args, "split")
    usual = config.split.pins == SplitSettings().pins
    if config.split.pins is None:
        return {}
    if not named and (not args.config or (usual and not Path(config.split.pins).exists())):
        return {}
    return read_pins(config.split.pins)
