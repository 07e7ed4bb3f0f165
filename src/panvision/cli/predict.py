"""`panvision predict`: a folder of pictures in, predictions.json, masks and drawn pictures out."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from panvision.cli.problem_text import printable

if TYPE_CHECKING:
    from panvision.inference.backend import ModelInfo
    from panvision.inference.predictor import Predictor
    from panvision.inference.results import Result

BAR = 40  # signs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `panvision predict`."""
    parser.add_argument("--input_dir", required=True, metavar="DIR", help="folder of pictures")
    parser.add_argument(
        "--output_dir",
        default="outputs",
        metavar="DIR",
        help="receives predictions.jsonl while it runs, predictions.json in the end, a mask per picture and the drawn "
        "pictures (default: %(default)s)",
    )
    parser.add_argument("--visualize", action="store_true", help="draw mask, boxes and state on each picture")
    parser.add_argument("--coco", action="store_true", help="write boxes and states as predictions.coco.json too")
    parser.add_argument("--json", action="store_true", help="print each result as a line of JSON, for programs")
    parser.add_argument(
        "--resume", action="store_true", help="leave out the pictures that an interrupted run has finished"
    )
    parser.add_argument(
        "--batch_size",
        type=counting_number,
        default=8,
        metavar="N",
        help="pictures in one pass through the network (default: %(default)s)",
    )
    parser.add_argument(
        "--workers", type=counting_number, metavar="N", help="threads that decode pictures (default: one for each core)"
    )
    add_model_arguments(parser)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that say which model predicts, and how."""
    parser.add_argument("--checkpoint", required=True, metavar="FILE", help="model file: .pth, .pt or .onnx")
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="JSON configuration with the thresholds (default: the newest beside the model file, if any)",
    )
    parser.add_argument(
        "--score_threshold",
        type=fraction,
        metavar="X",
        help="report boxes scoring at least this, 0 to 1 (default: the configuration's, else the model's)",
    )
    parser.add_argument(
        "--nms_threshold",
        type=fraction,
        metavar="X",
        help="of two boxes of a class with a larger IoU, report the better one, 0 to 1 (default: likewise)",
    )
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1 … (default: the GPU if there is one)")


def run(args: argparse.Namespace) -> int:
    """Predict; returns 0, 1 after an error, or 3 when some pictures could not be read."""
    # Here rather than above, so that `--help` answers at once.
    from panvision.inference.backend import PredictorError
    from panvision.inference.directory import DirectoryOptions, predict_directory
    from panvision.params import ParamsError

    screen = _Screen(json_lines=args.json)
    try:
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
    except (PredictorError, ParamsError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        screen.wipe()
        print(f"panvision predict: {error}", file=sys.stderr)
        return 1
    screen.wipe()
    before = f", {screen.before} before" if screen.before else ""
    done = f"{screen.count} {_plural('picture', screen.count)} predicted{before}, written to {args.output_dir}"
    # With --json, stdout is for results alone.
    print(done, file=sys.stderr if args.json else sys.stdout)
    if predictor.info.params_sha256 or predictor.info.data_sha256:
        print(f"{args.checkpoint}: {_origin(predictor.info)}", file=sys.stderr if args.json else sys.stdout)
    for failure in failures:
        print(
            f"panvision predict: could not be read: {printable(failure.name)}: {printable(failure.reason)}",
            file=sys.stderr,
        )
    return 3 if failures else 0


class _Screen:
    """Results on stdout, and a bar on stderr where that is a terminal."""

    def __init__(self, *, json_lines: bool) -> None:
        self._json = json_lines
        self._bar = sys.stderr.isatty()
        self.count = 0
        self.before: int | None = None  # pictures of the run that is resumed

    def result(self, result: "Result") -> None:
        self.count += 1
        self.wipe()
        # The mask is in its file.
        told = {key: value for key, value in result.items() if key not in ("segmentation", "image_path")}
        words = f"{printable(result['image_name'])}: {_in_words(result)}"
        print(json.dumps(told, sort_keys=True) if self._json else words)

    def progress(self, done: int, total: int) -> None:
        self.before = done if self.before is None else self.before
        if self._bar:
            filled = "#" * (BAR * done // total)
            print(f"\r\x1b[K[{filled:.<{BAR}}] {done} of {total}", end="", file=sys.stderr, flush=True)

    def wipe(self) -> None:
        """Clear the bar."""
        if self._bar:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def load_predictor(args: argparse.Namespace) -> "Predictor":
    """The model with the thresholds of the options, the configuration or the file, in this order."""
    from panvision.config import Config
    from panvision.inference import load_model

    path = args.config or Config.find_in_directory(Path(args.checkpoint).parent)
    config = Config.load(path) if path else None
    predictor, _ = load_model(args.checkpoint, config, args.device)
    return predictor.with_thresholds(args.score_threshold, args.nms_threshold)


def _in_words(result: "Result") -> str:
    """The state and how many boxes, as far as the model has these tasks; else that there is a mask."""
    words = []
    if "classification" in result:
        state = result["classification"]
        words.append(f"{state['class_name']} {state['probabilities'][state['class_name']]:.0%}")
    if "detection" in result:
        boxes = len(result["detection"]["boxes"])
        words.append(f"{boxes} {_plural('box', boxes)}")
    return ", ".join(words) or "mask"


def _origin(info: "ModelInfo") -> str:
    """The hashes of what made the model, as the model card has them in full."""
    hashes = {"params": info.params_sha256, "data": info.data_sha256}
    return ", ".join(f"{name} sha256 {value[:16]}" for name, value in hashes.items() if value)


def fraction(text: str) -> float:
    """An option's number from 0 to 1."""
    try:
        value = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not a number: {text!r}") from error
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"must lie in 0 to 1, found {text}")
    return value


def counting_number(text: str) -> int:
    """An option's whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, found {text}")
    return int(text)


def _plural(noun: str, count: int) -> str:
    return noun if count == 1 else noun + ("es" if noun.endswith("x") else "s")
