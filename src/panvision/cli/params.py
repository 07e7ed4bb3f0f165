"""`panvision params`: check that every setting of params.yaml is known, of the right type and possible."""

import json
from pathlib import Path
from typing import Any

from panvision.cli.configuration import load_configuration
from panvision.cli.exits import Exit
from panvision.cli.framework import Args, command
from panvision.cli.options import FILE, argument, json_flag


@command(
    about="Checks that every setting of params.yaml is known, of the right type and possible. Each error is reported "
    "in one line, with the key and what is allowed.",
    examples={
        "check params.yaml in the current folder": "panvision params",
        "check another file, or a preset": "panvision params resnet50",
        "for programs": "panvision params --json",
    },
    exits={Exit.DONE: "all settings are valid", Exit.ERROR: "some are invalid, or the file is missing"},
    sections={
        "arguments": [
            argument(
                "path", "The file to check (default: params.yaml).", default="params.yaml", type=FILE, metavar="[FILE]"
            )
        ],
        "output": [json_flag("file, valid and faults")],
    },
)
def run(args: Args) -> int:
    """Check the file and report every error."""
    from panvision.core.params import ParamsError, load_params

    faults: list[str] = []
    try:
        config = load_configuration(args.path)
        if Path(args.path).suffix in (".yaml", ".yml"):
            _check_root(args.path, load_params(args.path), config.data.root)
    except ParamsError as error:
        if not args.json:
            raise
        faults = str(error).splitlines()
    if args.json:
        print(json.dumps({"file": args.path, "valid": not faults, "faults": faults}, indent=2, ensure_ascii=False))
    else:
        print(f"{args.path}: all settings are valid")
    return Exit.ERROR if faults else Exit.DONE


def _check_root(path: str, params: dict[str, Any], root: str) -> None:
    """Refuse `~` in the pipeline's data.root, which dvc.yaml also names: DVC would look for a folder called `~`.

    Raises:
        ParamsError: data.root begins with `~`.
    """
    from panvision.core.params import ParamsError

    written = (params.get("data") or {}).get("root", root)
    if written != root:
        raise ParamsError(f"{path}: data.root: DVC does not expand ~; write {root}, found {written!r}")
