"""`panvision predict`: images in, predictions.json, masks and drawn images out."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from panvision.cli.configuration import load_configuration
from panvision.cli.exits import Exit
from panvision.cli.framework import Args, command
from panvision.cli.options import FOLDER, Number, batch_size, engine_of, flag, json_flag, model, option, quiet
from panvision.cli.problem_text import printable
from panvision.cli.status import StatusLine

if TYPE_CHECKING:
    from panvision.inference.backend import ModelInfo
    from panvision.inference.directory import Outcome
    from panvision.inference.predictor import Predictor
    from panvision.inference.results import Result

BAR = 40  # characters


@command(
    about="Predicts an image, or every image of a folder, a pattern or a ZIP: a mask, boxes and the state of the "
    "onions, in the image's own pixels. A broken image or a file that is left out does not stop the run: it is named, "
    "and the exit code is 3.",
    examples={
        "masks, and predictions.json, below outputs/": "panvision predict --checkpoint models/panvision.onnx "
        "--input_dir photos",
        "with mask, boxes and state drawn on each image": "panvision predict --checkpoint models/best_model.pth "
        "--input_dir photos --output_dir drawn --visualize",
        "with what the state and the best boxes rest on": "panvision predict --checkpoint models/panvision.pth "
        "--input_dir photos --explain",
        "the images of a folder and all folders in it": "panvision predict --checkpoint models/panvision.onnx "
        "--input_dir photos --recursive",
        "continue an interrupted run": "panvision predict --checkpoint models/panvision.onnx --input_dir photos "
        "--resume",
        "in bfloat16 on OpenVINO": "panvision predict --checkpoint models/panvision.onnx --input_dir photos --runtime "
        "openvino --precision bfloat16",
        "for programs": "panvision predict --checkpoint models/panvision.onnx --input_dir photos --json",
    },
    exits={Exit.WARNINGS: "done, but some files were left out, or files of an earlier run are beside the new ones"},
    sections={
        "images": [
            option(
                "--input_dir",
                "Folder of images; or an image, a ZIP of images, or a pattern in quotes, such as 'photos/*/*.jpg'.",
                required=True,
                type=FOLDER,
            ),
            flag("--recursive", "Read the images in sub-folders, too."),
            batch_size(8),
            option("--workers", "Threads that decode images.", type=Number(1), show_default="one for each core"),
        ],
        "model": model(),
        "output": [
            json_flag("a line for each image, then one with predicted, before, failed, leftover, output_dir and model"),
            quiet("bar and no line per image"),
            option(
                "--output_dir",
                "Receives predictions.jsonl during the run, predictions.json at its end, a mask per image and the "
                "drawn images.",
                default="outputs",
                type=FOLDER,
            ),
            flag("--visualize", "Draw mask, boxes and state on each image."),
            flag(
                "--explain",
                "Draw which pixels raised the state's probability and the scores of the best 5 boxes, as "
                "<name>_explain.png; needs a checkpoint.",
            ),
            flag("--coco", "Write boxes and states as predictions.coco.json too."),
            flag("--resume", "Skip the images that an interrupted run has finished."),
        ],
    },
)
def run(args: Args) -> int:
    """Predict; returns 3 when files were left out, or files of an earlier run are beside the new ones."""
    # Imported here, so that `--help` answers at once.
    from panvision.inference.directory import DirectoryOptions, earlier_files, predict_directory

    with StatusLine(quiet=args.quiet) as status:
        screen = _Screen(status, json_lines=args.json, quiet=args.quiet)
        predictor = load_predictor(args)
        outcome = predict_directory(
            predictor,
            args.input_dir,
            args.output_dir,
            visualize=args.visualize,
            options=DirectoryOptions(
                args.batch_size, args.workers or 0, args.resume, args.coco, args.recursive, args.explain
            ),
            on_result=screen.result,
            on_progress=screen.progress,
        )
    if args.json:
        print(json.dumps(_summary(args, screen, predictor.info, outcome), sort_keys=True))
    before = f", {screen.before} before" if screen.before else ""
    done = f"{screen.count} {_plural('image', screen.count)} predicted{before}, written to {args.output_dir}"
    # With --json, stdout is for results alone.
    print(done, file=sys.stderr if args.json else sys.stdout)
    if predictor.info.params_sha256 or predictor.info.data_sha256:
        print(f"{args.checkpoint}: {_origin(predictor.info)}", file=sys.stderr if args.json else sys.stdout)
    for failure in outcome.failures:
        print(
            f"panvision predict: left out: {printable(failure.name)}: {printable(failure.reason)}",
            file=sys.stderr,
        )
    if outcome.leftover:
        print(f"panvision predict: {printable(earlier_files(args.output_dir, outcome.leftover))}", file=sys.stderr)
    return Exit.WARNINGS if outcome.failures or outcome.leftover else Exit.DONE


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
    predictor, _ = load_model(args.checkpoint, config, **engine_of(args))
    return predictor.with_thresholds(args.score_threshold, args.nms_threshold)


def _summary(args: Args, screen: _Screen, info: "ModelInfo", outcome: "Outcome") -> dict[str, object]:
    """Return the counts of the run, as the last line for programs."""
    return {
        "predicted": screen.count,
        "before": screen.before or 0,
        "failed": [{"image_name": failure.name, "reason": failure.reason} for failure in outcome.failures],
        "leftover": outcome.leftover,
        "output_dir": args.output_dir,
        "model": {"file": args.checkpoint, "params_sha256": info.params_sha256, "data_sha256": info.data_sha256},
    }


def _in_words(result: "Result") -> str:
    """Return the state and the number of boxes, as far as the model has these tasks, else `mask`."""
    words = []
    if "classification" in result:
        state = result["classification"]
        label = f"{state['class_name']} {state['probabilities'][state['class_name']]:.0%}"
        words.append(label if state["answered"] else f"no answer: {state['reason']}")
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
