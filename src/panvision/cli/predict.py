"""`panvision predict`: a folder of pictures in, predictions.json, masks and drawn pictures out."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from panvision.inference.backend import ModelInfo
    from panvision.inference.predictor import Predictor
    from panvision.inference.results import Result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `panvision predict`."""
    parser.add_argument("--checkpoint", required=True, metavar="FILE", help="model file: .pth, .pt or .onnx")
    parser.add_argument("--input_dir", required=True, metavar="DIR", help="folder of pictures")
    parser.add_argument(
        "--output_dir",
        default="outputs",
        metavar="DIR",
        help="receives predictions.json, a mask per picture and the drawn pictures (default: %(default)s)",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="JSON configuration with the thresholds (default: the newest beside the model file, if any)",
    )
    parser.add_argument("--visualize", action="store_true", help="draw mask, boxes and state on each picture")
    parser.add_argument(
        "--score_threshold",
        type=_fraction,
        metavar="X",
        help="report boxes scoring at least this, 0 to 1 (default: the configuration's, else the model's)",
    )
    parser.add_argument(
        "--nms_threshold",
        type=_fraction,
        metavar="X",
        help="of two boxes of a class with a larger IoU, report the better one, 0 to 1 (default: likewise)",
    )
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1 … (default: the GPU if there is one)")


def run(args: argparse.Namespace) -> int:
    """Predict; returns 0, 1 after an error, or 3 when some pictures could not be read."""
    # Here rather than above, so that `--help` answers at once.
    from panvision.inference.backend import PredictorError
    from panvision.inference.directory import predict_directory
    from panvision.params import ParamsError

    counted: list[str] = []

    def report(result: "Result") -> None:
        counted.append(result["image_name"])
        print(f"{result['image_name']}: {_in_words(result)}")

    try:
        predictor = _load(args)
        failures = predict_directory(
            predictor, args.input_dir, args.output_dir, visualize=args.visualize, on_result=report
        )
    except (PredictorError, ParamsError, OSError) as error:
        print(f"panvision predict: {error}", file=sys.stderr)
        return 1
    print(f"{len(counted)} {_plural('picture', len(counted))} predicted, written to {args.output_dir}")
    if predictor.info.params_sha256 or predictor.info.data_sha256:
        print(f"{args.checkpoint}: {_origin(predictor.info)}")
    for failure in failures:
        print(f"panvision predict: could not be read: {failure.name}: {failure.reason}", file=sys.stderr)
    return 3 if failures else 0


def _load(args: argparse.Namespace) -> "Predictor":
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


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not a number: {text!r}") from error
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"must lie in 0 to 1, found {text}")
    return value


def _plural(noun: str, count: int) -> str:
    return noun if count == 1 else noun + ("es" if noun.endswith("x") else "s")
