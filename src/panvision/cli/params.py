"""`panvision params`: is every setting of params.yaml known, typed and possible?"""

import argparse
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `panvision params`."""
    parser.add_argument("path", nargs="?", default="params.yaml", help="the file to check (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Check; returns 0, or 1 after printing every fault."""
    from panvision.config import Config
    from panvision.params import ParamsError

    try:
        Config.from_params(args.path)
    except (ParamsError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{args.path}: all settings are valid")
    return 0
