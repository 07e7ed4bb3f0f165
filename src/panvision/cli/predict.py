"""`panvision predict`: a folder of images in, predictions.json, masks and drawn images out."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from panvision.cli.configuration import load_configuration
from panvision.cli.exits import Exit
from panvision.cli.framework import Args, command
from panvision.cli.options import FOLDER, Number, batch_size, flag, json_flag, model, option, quiet
from panvision.cli.problem_text import printable
from panvision.cli.status import StatusLine

if TYPE_CHECKING:
    from panvision.inference.backend import ModelInfo
    from panvision.inference.directory import Failure
    from panvision.inference.predictor import Predictor
    from panvision.inference.results import Result

BAR = 40  # characters


@command(
    about="Predicts every image of a folder: a mask, boxes and the state of the onions, in the image's own pixels. "
    "A broken image is named and costs exit code 3, not the run.",
    examples={
        "masks, and predictions.json, below outputs/": "panvision predict --checkpoint models/panvision.onnx "
        "--input_dir photos",
        "with mask, boxes and state drawn on each image": "panvision predict --checkpoint models/best_model.pth "
        "--input_dir photos --output_dir drawn --visualize",
        "continue an interrupted run": "panvision predict --checkpoint models/panvision.onnx --input_dir photos "
        "--resume",
        "for programs": "panvision predict --checkpoint models/panvision.onnx --input_dir photos --json",
    },
    exits={Exit.WARNINGS: "done, but some images could not be read"},
    sections={
        "images": [
            option("--input_dir", "Folder of images.", required=True, type=FOLDER),
            batch_size(8),
            option("--workers", "Threads that decode images.", type=Number(1), show_default="one for each core"),
        ],
        "model": model(),
        "output": [
            json_flag("a line for each image, then one with predicted, before, failed, output_dir and model"),
            quiet("bar and no line per image"),
            option(
                "--output_dir",
                "Receives predictions.jsonl during the run, predictions.json at its end, a mask per image and the "
                "drawn images.",
                default="outputs",
                type=FOLDER,
            ),
            flag("--visualize", "Draw mask, boxes and state on each image."),
            flag("--coco", "Write boxes and states as predictions.coco.json too."),
            flag("--resume", "Skip the images that an interrupted run has finished."),
        ],
    },
)
def run(args: Args) -> int:
    """Predict; returns 3 when some images could not be read."""
    # Imported here, so that `--help` answers at once.
    from panvision.inference.directory import DirectoryOptions, predict_directory

    with StatusLine(quiet=args.quiet) as status:
        screen = _Screen(status, json_lines=args.json, quiet=args.quiet)
        predictor = load_predictor(args)
        failures = predict_directory(
            predictor,
            args.input_dir,
            args.output_dir,
            visualize=args.visualize,
            options=DirectoryOptions(args.batch_size, args.workers or 0, args.resume, args.coco),
            on_result=screen.result,
            on_progress=screen.progress,
        )
    if args.json:
        print(json.dumps(_summary(args, screen, predictor.info, failures), sort_keys=True))
    before = f", {screen.before} before" if screen.before else ""
    done = f"{screen.count} {_plural('image', screen.count)} predicted{before}, written to {args.output_dir}"
    # With --json, stdout is for results alone.
    print(done, file=sys.stderr if args.json else sys.stdout)
    if predictor.info.params_sha256 or predictor.info.data_sha256:
        print(f"{args.checkpoint}: {_origin(predictor.info)}", file=sys.stderr if args.json else sys.stdout)
    for failure in failures:
        print(
            f"panvision predict: could not be read: {printable(failure.name)}: {printable(failure.reason)}",
            file=sys.stderr,
        )
    return Exit.WARNINGS if failures else Exit.DONE


class _Screen:
    """Results on stdout, and a bar on stderr where that is a terminal."""

    def __init__(self, status: StatusLine, *, json_lines: bool, quiet: bool) -> None:
        self._status, self._json = status, json_lines
        self._silent = quiet and not json_lines
        self.count = 0
        self.before: int | None = None  # images of the run that is resumed

    def result(self, result: "Result") -> None:
        self.count += 1
        if self._silent:
            return
        self._status.wipe()
        # The mask has its own file.
        line = {key: value for key, value in result.items() if key not in ("segmentation", "image_path")}
        words = f"{printable(result['image_name'])}: {_in_words(result)}"
        print(json.dumps(line, sort_keys=True) if self._json else words)

    def progress(self, done: int, total: int) -> None:
        self.before = done if self.before is None else self.before
        filled = "#" * (BAR * done // total)
        self._status.show(f"[{filled:.<{BAR}}] {done} of {total}")


def load_predictor(args: Args) -> "Predictor":
    """Load the model with the thresholds of the options, the configuration or the file, in this order."""
    from panvision.config import Config
    from panvision.inference import load_model

    path = args.config or Config.find_in_directory(Path(args.checkpoint).parent)
    config = load_configuration(path) if path else None
    predictor, _ = load_model(args.checkpoint, config, args.device)
    return predictor.with_thresholds(args.score_threshold, args.nms_threshold)


def _summary(args: Args, screen: _Screen, info: "ModelInfo", failures: "list[Failure]") -> dict[str, object]:
    """Return the counts of the run, as the last line for programs."""
    return {
        "predicted": screen.count,
        "before": screen.before or 0,
        "failed": [{"image_name": failure.name, "reason": failure.reason} for failure in failures],
        "output_dir": args.output_dir,
        "model": {"file": args.checkpoint, "params_sha256": info.params_sha256, "data_sha256": info.data_sha256},
    }


def _in_words(result: "Result") -> str:
    """Return the state and the number of boxes, as far as the model has these tasks, else `mask`."""
    words = []
    if "classification" in result:
        state = result["classification"]
        words.append(f"{state['class_name']} {state['probabilities'][state['class_name']]:.0%}")
    if "detection" in result:
        boxes = len(result["detection"]["boxes"])
        words.append(f"{boxes} {_plural('box', boxes)}")
    return ", ".join(words) or "mask"


def _origin(info: "ModelInfo") -> str:
    """Return the hashes of the params and data that made the model; the model card has them in full."""
    hashes = {"params": info.params_sha256, "data": info.data_sha256}
    return ", ".join(f"{name} sha256 {value[:16]}" for name, value in hashes.items() if value)


def _plural(noun: str, count: int) -> str:
    return noun if count == 1 else noun + ("es" if noun.endswith("x") else "s")
