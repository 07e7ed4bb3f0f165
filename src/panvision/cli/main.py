"""The `panvision` command."""

import os
import sys
import warnings
from collections.abc import Sequence

import click

from panvision import __version__
from panvision.cli.exits import Exit
from panvision.cli.framework import Commands, debug_option

ABOUT = """One model for a cooking pan: where it is, what is in and over it, what state the onions are in.

`panvision COMMAND --help` has a command's options, examples and exit codes. Dashes and underscores in options mean the
same. The pipeline itself runs with `dvc repro`."""
GROUPS = {
    "data and training": {
        "validate": "check three labelled datasets, and show how they would be split",
        "params": "check params.yaml as a whole",
        "presets": "list the presets, or write one as params.yaml",
        "train": "train the model on a folder of labelled images, without DVC",
    },
    "results of the pipeline": {
        "summary": "show the metrics of the last run",
        "experiments": "a leaderboard of experiments and commits",
        "compare": "differences between two revisions, and whether they are noise",
        "previous": "keep an earlier commit's metrics for the report",
        "baselines": "compare the shared model with single-task experiments",
        "folds": "metrics of k-fold experiments, together and their spread",
        "review": "labels most likely wrong, from predictions of k-fold runs",
    },
    "use of a model": {
        "evaluate": "score a model file on labelled images, with gates for CI",
        "promote": "decide if a new model may replace the current one",
        "export": "write a checkpoint as ONNX and INT8, with a model card",
        "predict": "predict every image of a folder",
        "watch": "watch a pan through a camera, a video or a growing folder",
        "page": "a web page on this machine to try a model on",
        "select": "rank the images that are most worth labelling",
        "prelabel": "propose labels for a person to correct, in many formats",
        "benchmark": "speed, size and memory of model files",
    },
    "this command line": {
        "completion": "print a script that makes a shell complete commands and options",
        "help": "show the help of a command",
    },
}

cli = Commands(GROUPS, name="panvision", help=ABOUT, params=[debug_option()], subcommand_metavar="COMMAND [options]")
cli = click.version_option(__version__, "-V", "--version", message="panvision %(version)s")(cli)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; by default the process's.

    Returns:
        An exit code of `panvision.cli.exits`.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of damaged metadata and large images; a command reports what it refuses.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            return int(cli.main(argv, prog_name="panvision", standalone_mode=False) or Exit.DONE)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return Exit.USAGE
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "panvision"
        # Click lists choices in lines.
        message = " ".join(error.format_message().split())
        end = "" if message.endswith((".", "?")) else "."
        print(f"{command}: {message}{end} See `{command} --help`.", file=sys.stderr)
        return Exit.USAGE
    finally:
        _settle_output()


def _settle_output() -> None:
    """Drop output that cannot be written, or Python would report it once more when it closes the stream."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
