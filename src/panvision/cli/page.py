"""`panvision page`: a web page on this machine, to try a model on images, clips and a camera."""

import argparse
from pathlib import Path

from panvision.cli.exits import Exit
from panvision.cli.flags import FOLDER, add_model, completed, whole_number
from panvision.cli.manual import Manual
from panvision.cli.predict import load_predictor

MANUAL = Manual(
    usage="--checkpoint FILE",
    about="Serves a web page on which you drop an image or a clip, or point a camera at a pan. It shows mask, boxes "
    "and state with sliders for the thresholds, and facts about the model. It is bound to 127.0.0.1, and nothing "
    "leaves the machine. Ctrl-C and SIGTERM stop it cleanly.",
    examples={
        "the pipeline's model": "panvision page --checkpoint models/panvision.onnx",
        "a model elsewhere, with the scores that the pipeline measured": "panvision page --checkpoint robot/model.onnx "
        "--metrics metrics",
        "long clips, on another port": "panvision page --checkpoint models/panvision.onnx --port 8000 "
        "--max_upload_mb 500",
    },
    exits={Exit.DONE: "a signal has stopped it"},
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `panvision page`."""
    add_model(parser)
    group = parser.add_argument_group("page")
    group.add_argument(
        "--port",
        type=whole_number(1, 65535),
        metavar="N",
        help="port of 127.0.0.1 (default: 7860, or the next free one)",
    )
    group.add_argument(
        "--max_upload_mb",
        type=whole_number(1),
        default=100,
        metavar="N",
        help="megabytes of an image or clip (default: %(default)s)",
    )
    text = "the pipeline's metrics, shown if they are this file's (default: metrics, beside the model's folder)"
    completed(group.add_argument("--metrics", type=Path, metavar="DIR", help=text), FOLDER)


def run(args: argparse.Namespace) -> int:
    """Serve; returns 0 when stopped by Ctrl-C or SIGTERM."""
    # Here rather than above, so that `--help` answers at once.
    from panvision.page.facts import read_facts
    from panvision.page.model import SharedModel
    from panvision.page.server import serve

    model = SharedModel(load_predictor(args))
    serve(
        model,
        read_facts(args.checkpoint, model, args.metrics),
        lambda address: print(f"{address}  (Ctrl-C stops it)", flush=True),
        port=args.port,
        max_upload=args.max_upload_mb * 2**20,
    )
    return Exit.DONE
