"""`panvision prelabel`: labels proposed by a model, or by several that vote, for a person to correct."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from panvision.cli.exits import Exit
from panvision.cli.failures import UsageError
from panvision.cli.framework import Args, command
from panvision.cli.options import (
    FILE,
    FOLDER,
    FRACTION,
    Decimal,
    argument,
    batch_size,
    engine,
    flag,
    json_flag,
    option,
    quiet,
)
from panvision.cli.options import config as config_option
from panvision.cli.predict import load_predictor
from panvision.cli.problem_text import FEW, printable
from panvision.cli.status import StatusLine

if TYPE_CHECKING:
    from panvision.inference.inputs import Failure
    from panvision.labelling.answers import Panel
    from panvision.labelling.output import Output
    from panvision.labelling.prelabel import Summary

# The keys of `panvision.labelling.writers.WRITERS`, which is not imported for the help; a test compares them.
FORMATS = ("coco", "yolo", "cvat", "labelme", "voc", "masks", "folders")
MODEL_HELP = "Model file: .onnx, .pth or .pt."


def voters() -> list[click.Parameter]:
    """Make the options of commands that propose labels with one model or several."""
    return [
        option(
            "--vote", "Another model of the same classes, such as a fold; may be repeated.", multiple=True, type=FILE
        ),
        config_option("the newest JSON configuration beside the model file, if any"),
        option(
            "--score_threshold",
            "Report boxes with at least this score.",
            type=FRACTION,
            show_default="the configuration's, else the model's",
        ),
        option(
            "--thresholds",
            "JSON file with a threshold for each class of boxes, such as metrics/detection.json.",
            type=FILE,
        ),
        *engine(),
    ]


def writing(*, required: bool) -> list[click.Parameter]:
    """Make the options of the written labels."""
    return [
        option(
            "--to",
            f"Format of the labels: {', '.join(FORMATS[:-1])} or {FORMATS[-1]}. May be repeated; a later one replaces "
            "an earlier one where both hold the same.",
            type=click.Choice(FORMATS),
            metavar="FORMAT",
            multiple=True,
            required=required,
            **({} if required else {"show_default": "coco; folders for classification alone"}),
        ),
        option(
            "--tolerance",
            "Pixels by which a polygon may miss the edge of a mask.",
            type=Decimal(0.0),
            default=1.0,
        ),
        option(
            "--least_area",
            "Leave out parts and holes of a mask that cover less than this fraction of the image.",
            type=FRACTION,
            default=0.001,
        ),
        flag("--zip", "Write a ZIP of each dataset too, for Roboflow, CVAT or Label Studio."),
    ]


@command(
    about="Proposes labels: boxes, polygons or masks of the pan, and the state. A person corrects them in a labelling "
    "tool, or as files; the folder is then a dataset that panvision reads. Several models vote: a box needs more than "
    "half of them, masks and states are averaged. A file that a person has changed, moved or removed is left as it is, "
    "and named.",
    examples={
        "for CVAT": "panvision prelabel models/panvision.onnx photos --to cvat --zip",
        "boxes as YOLO, masks as PNG, each class's own threshold": "panvision prelabel models/panvision.onnx photos "
        "--to yolo --to masks --thresholds metrics/detection.json",
        "three folds vote": "panvision prelabel fold0.onnx photos --vote fold1.onnx --vote fold2.onnx --to coco",
    },
    exits={Exit.WARNINGS: "done, but some images could not be read, or files that a person wrote were left"},
    sections={
        "arguments": [
            argument("model", MODEL_HELP, type=FILE, metavar="MODEL"),
            argument(
                "images", "Folder, image, ZIP of images or quoted pattern of images.", type=FOLDER, metavar="IMAGES"
            ),
            flag("--recursive", "Read the images in sub-folders, too."),
            batch_size(8),
        ],
        "model": voters(),
        "output": [
            *writing(required=True),
            option("--into", "Receives a folder for each dataset.", default="prelabels", type=FOLDER),
            json_flag("images, boxes, classes, polygons, pixel_error, least_iou, specks, left_out, kept and into"),
            quiet("bar"),
        ],
    },
)
def run(args: Args) -> int:
    """Write the labels; returns 3 when images were left out, or a person's files were."""
    # Imported here, so that `--help` answers at once.
    from panvision.inference.inputs import find_images
    from panvision.labelling.output import LEDGER, Output
    from panvision.labelling.prelabel import PrelabelOptions, check_output, prelabel, read_photos, safe_names
    from panvision.labelling.writers import choose_writers

    panel = load_panel(args)
    writers = choose_writers(args.to, panel.tasks)
    inputs = find_images(args.images, recursive=args.recursive, without=args.into, marker=LEDGER)
    failures = list(inputs.skipped)
    output = Output(args.into)
    names = safe_names([each.name for each in inputs.images], output)
    photos = read_photos(inputs.images, names, panel.max_pixels, failures.append)
    with StatusLine(quiet=args.quiet) as status:
        again = [each for each in inputs.images if output.images(names[each.name])]
        known = read_photos(again, names, panel.max_pixels, lambda _: None)
        check_output(output, writers, panel.info, names.values(), known)
        summary = prelabel(
            panel,
            photos,
            writers,
            output,
            options=PrelabelOptions(args.tolerance, args.least_area, args.batch_size),
            on_progress=lambda done: status.show(f"{done} of {len(inputs.images)}"),
        )
        for task in writers if args.zip else ():
            output.zip(task)
    if args.json:
        print(json.dumps({**as_json(summary), **left(failures, output)}, sort_keys=True))
    else:
        print("\n".join(summary_lines(summary, args.into)))
    report_left("prelabel", failures, output)
    return Exit.WARNINGS if failures or output.kept else Exit.DONE


def load_panel(args: Args, *, flip: bool = False, tasks: Sequence[str] | None = None) -> "Panel":
    """Load the model and those that vote, with the options' thresholds; `tasks`: whose labels are wanted."""
    from panvision.inference.backend import PredictorError
    from panvision.labelling.answers import Panel

    thresholds = read_thresholds(args.thresholds) if args.thresholds else None
    models = [Args(**vars(args), checkpoint=model, nms_threshold=None) for model in (args.model, *args.vote)]
    predictors = [load_predictor(model) for model in models]
    try:
        predictors = [each.with_thresholds(thresholds) for each in predictors]
    except PredictorError as error:
        raise UsageError(f"{args.thresholds}: {str(error).removeprefix('score_threshold: ')}") from error
    return Panel(predictors, flip=flip, tasks=tasks)


def read_thresholds(path: str | Path) -> Mapping[str, float]:
    """Return the thresholds by class in a JSON file: an object of numbers, or one with such an object as `threshold`.

    Raises:
        UsageError: it holds something else.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path}: not JSON: {error}; name metrics/detection.json, or {{class: threshold}}") from error
    found = value.get("threshold", value) if isinstance(value, dict) else None
    # A class that was never found right has no best threshold.
    given = {name: each for name, each in found.items() if each is not None} if isinstance(found, dict) else {}
    if not given or not all(type(each) in (int, float) and 0 <= each <= 1 for each in given.values()):
        raise UsageError(f"{path}: has no thresholds from 0 to 1 by class; name metrics/detection.json")
    return {name: float(each) for name, each in given.items()}


def as_json(summary: "Summary") -> dict[str, Any]:
    """Return the counts of a run for programs."""
    return {
        "images": summary.images,
        "boxes": dict(summary.boxes),
        "classes": dict(summary.classes),
        "polygons": summary.polygons,
        "pixel_error": round(summary.distance, 3),
        "least_iou": round(min(summary.ious, default=1.0), 4),
        "specks": summary.specks,
    }


def left(failures: "Iterable[Failure]", output: "Output") -> dict[str, Any]:
    """Return what was left out or left alone, for programs."""
    left_out = [{"image_name": failure.name, "reason": failure.reason} for failure in failures]
    return {"left_out": left_out, "kept": output.kept, "into": str(output.folder)}


def summary_lines(summary: "Summary", into: str) -> list[str]:
    """Return what was written, in words."""
    lines = [f"{summary.images} image{'s' * (summary.images != 1)}, labels in {into}"]
    if summary.boxes:
        lines.append(f"boxes: {', '.join(f'{count} {name}' for name, count in sorted(summary.boxes.items()))}")
    if summary.ious:
        mean, least = sum(summary.ious) / len(summary.ious), min(summary.ious)
        lines.append(
            f"masks: {summary.polygons} polygons, at most {summary.distance:.1f} pixels off; "
            f"IoU {mean:.4f}, at least {least:.4f}"
        )
    if summary.specks:
        lines.append(f"{summary.specks} small parts and holes of masks left out; the IoU counts them as missed")
    if summary.classes:
        lines.append(f"classes: {', '.join(f'{count} {name}' for name, count in sorted(summary.classes.items()))}")
    if summary.without_class:
        lines.append(f"{summary.without_class} without a class, because the model does not answer them")
    return lines


def report_left(name: str, failures: "Iterable[Failure]", output: "Output") -> None:
    """Name the images that could not be read, and the files that a person wrote."""
    for failure in failures:
        print(f"panvision {name}: left out: {printable(failure.name)}: {printable(failure.reason)}", file=sys.stderr)
    for path in output.kept[:FEW]:
        print(
            f"panvision {name}: not replaced, because a person changed it: {printable(str(output.folder / path))}",
            file=sys.stderr,
        )
    if len(output.kept) > FEW:
        print(f"panvision {name}: … and {len(output.kept) - FEW} more (--json lists them)", file=sys.stderr)
