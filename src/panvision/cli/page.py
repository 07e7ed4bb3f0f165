"""`panvision page`: a web page on this machine, to try a model on images, clips and a camera."""

from panvision.cli.exits import Exit
from panvision.cli.framework import Args, command
from panvision.cli.options import FOLDER, Number, model, option
from panvision.cli.predict import load_predictor


@command(
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
    sections={
        "model": model(),
        "page": [
            option("--port", "Port of 127.0.0.1.", type=Number(1, 65535), show_default="7860, or the next free one"),
            option("--max_upload_mb", "Megabytes of an image or clip.", type=Number(1), default=100),
            option(
                "--metrics",
                "The pipeline's metrics, shown if they belong to this model.",
                type=FOLDER,
                show_default="metrics, beside the model's folder",
            ),
        ],
    },
)
def run(args: Args) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    # Imported here, so that `--help` answers at once.
    from panvision.page.facts import read_facts
    from panvision.page.model import SharedModel
    from panvision.page.server import serve

    shared = SharedModel(load_predictor(args))
    serve(
        shared,
        read_facts(args.checkpoint, shared, args.metrics),
        lambda address: print(f"{address}  (Ctrl-C stops it)", flush=True),
        port=args.port,
        max_upload=args.max_upload_mb * 2**20,
    )
    return Exit.DONE
