"""`panvision page`: a web page on this machine, to try a model on pictures, clips and a camera."""

from panvision.cli.exits import Exit
from panvision.cli.framework import Args, command
from panvision.cli.options import FOLDER, Number, model, option
from panvision.cli.predict import load_predictor


@command(
    about="Serves a web page on which a picture or a clip can be dropped, or a camera be pointed at a pan: it shows "
    "mask, boxes and state with sliders for the thresholds, and which model is speaking. It is bound to 127.0.0.1, and "
    "nothing leaves the machine. Ctrl-C and SIGTERM end it cleanly.",
    examples={
        "the pipeline's model": "panvision page --checkpoint models/panvision.onnx",
        "a model elsewhere, with the pipeline's scores of it": "panvision page --checkpoint robot/model.onnx "
        "--metrics metrics",
        "long clips, on a given port": "panvision page --checkpoint models/panvision.onnx --port 8000 "
        "--max_upload_mb 500",
    },
    exits={Exit.DONE: "a signal has stopped it"},
    sections={
        "model": model(),
        "page": [
            option("--port", "Port of 127.0.0.1.", type=Number(1, 65535), show_default="7860, or the next free one"),
            option("--max_upload_mb", "Megabytes of a picture or clip.", type=Number(1), default=100),
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
    from panvision.page.server import PageOptions, serve

    predictor = load_predictor(args)
    serve(
        SharedModel(predictor),
        read_facts(args.checkpoint, predictor.info, args.metrics),
        PageOptions(args.port, args.max_upload_mb),
        lambda address: print(f"{address}  (Ctrl-C stops it)", flush=True),
    )
    return Exit.DONE
