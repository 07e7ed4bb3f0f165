"""`panvision export`: a checkpoint as ONNX and INT8, compared with the checkpoint and scored, with a model card."""

import contextlib
import json
from pathlib import Path

from panvision.cli.framework import Args, command
from panvision.cli.lock import only_writer
from panvision.cli.options import FILE, FOLDER, ON_CPU, argument, json_flag, option, settings
from panvision.cli.packing import held_out, open_model, score
from panvision.cli.status import narrated_on_stderr


@command(
    about="Exports a checkpoint as the pipeline's stage does: an ONNX file that answers as the checkpoint does, an "
    "INT8 file with what it loses, the configuration and a model card. The datasets calibrate INT8 with training "
    "images and score all files on test images; they are split as for the training if its configuration is beside the "
    "checkpoint.",
    examples={
        "the checkpoint of a training": "panvision export checkpoints/best_model.pth --calibrate data/demo",
        "without INT8, for programs": "panvision export checkpoints/best_model.pth --calibrate data/demo "
        "--set export.int8=false --json",
    },
    sections={
        "arguments": [
            argument("model", "The checkpoint: .pth or .pt.", type=FILE, metavar="CHECKPOINT"),
            option(
                "--calibrate",
                "Folder with segmentation/, detection/ and classification/.",
                type=FOLDER,
                required=True,
                metavar="DATA_ROOT",
            ),
        ],
        "settings": settings("the newest JSON configuration beside the checkpoint, if any"),
        "output": [
            option("--out", "Receives model files, card, metrics/ and build/.", default="exported", type=FOLDER),
            json_flag("checkpoint, onnx, int8, config, card and metrics, the files; progress goes to standard error"),
        ],
    },
)
def run(args: Args) -> int:
    """Export and print the files."""
    from panvision.export.ship import Shipped, ship

    folder = Path(args.out)
    known = Args(**vars(args), data_root=args.calibrate, data_root_option=None)
    with only_writer(folder, "--out"), narrated_on_stderr() if args.json else contextlib.nullcontext():
        model = open_model(known, ON_CPU, configured=True)
        packed, _ = score(known, model, folder)
        config = model.config.with_pins(model.pins)
        ship(
            args.model,
            model.predictor,
            config.export,
            held_out(config, packed),
            models=folder,
            metrics=packed.metrics,
            split=config.split,
        )
    shipped = {name: str(path) for name, path in Shipped.below(folder, packed.metrics)._asdict().items()}
    if args.json:
        print(json.dumps(shipped))
    else:
        scores = json.loads(Path(shipped["metrics"]).read_text(encoding="utf-8"))
        print("\n".join(f"{name:12}{path}" for name, path in shipped.items()))
        if scores["int8"] is not None and not scores["int8"]["accepted"]:
            print(f"int8 loses more than export.max_drop allows: {scores['int8']['drop']}")
    return 0
