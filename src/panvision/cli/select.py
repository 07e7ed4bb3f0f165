"""`panvision select`: the images whose labels would teach the model most, ranked, with reasons and pre-labels."""

import contextlib
import csv
import io
import json
import textwrap
from collections.abc import Container, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from panvision.cli.exits import Exit
from panvision.cli.framework import Args, command
from panvision.cli.options import FILE, FOLDER, Number, argument, batch_size, flag, json_flag, needs, option, quiet
from panvision.cli.prelabel import MODEL_HELP, as_json, left, load_panel, report_left, voters, writing
from panvision.cli.problem_text import WIDTH, printable
from panvision.cli.status import StatusLine
from panvision.core.tasks import TASKS

if TYPE_CHECKING:
    from panvision.core.tasks import Dataset
    from panvision.inference.inputs import Failure
    from panvision.labelling.answers import Panel
    from panvision.labelling.output import Output
    from panvision.labelling.prelabel import Photo, Summary
    from panvision.labelling.select import Frames, Row
    from panvision.labelling.writers import Writer

TABLE, PAGE = "selection.csv", "selection.html"
_QUALITY = 95
# Folders of a dataset whose images are labels.
_MASKS = frozenset({"masks", "SegmentationClass"})
# Rows of the ranking that are printed.
_SHOWN = 5


@command(
    about="Selects the images that are most worth labelling: the model is unsure of them, its folds or the mirrored "
    "image give another answer, and they are unlike each other and unlike the labelled images. Near-duplicates count "
    "once. Writes a ranking with reasons, a contact sheet, and proposed labels of the selection.",
    examples={
        "50 of a folder": "panvision select models/panvision.onnx photos --number 50",
        "of a clip, every fifth frame, unlike the labelled images": "panvision select models/panvision.onnx clip.mp4 "
        "--every 5 --labelled photos",
        "to draw boxes in": "panvision select models/panvision.onnx photos --task detection "
        "--labelled photos/detection",
        "where folds disagree, for YOLO": "panvision select fold0.onnx photos --vote fold1.onnx --vote fold2.onnx "
        "--to yolo",
    },
    exits={Exit.WARNINGS: "done, but some images could not be read, or files that a person wrote were left"},
    sections={
        "arguments": [
            argument("model", MODEL_HELP, type=FILE, metavar="MODEL"),
            argument("images", "Folder, ZIP or quoted pattern of images; or a video.", type=FOLDER, metavar="IMAGES"),
            click.Option(["-n", "--number"], type=Number(1), default=50, help="Images to select."),
            option(
                "--task",
                f"Select images to label for one task: {', '.join(TASKS)}. Only its own doubts count.",
                type=click.Choice([*TASKS]),
                metavar="TASK",
                show_default="all of the model",
            ),
            flag("--recursive", "Read the images in sub-folders, too."),
            option("--every", "Look at every Nth frame of a video.", type=Number(1), show_default="1"),
            option("--labelled", "Folder of images that have labels, with its sub-folders.", type=FOLDER),
            flag("--flip", "Compare with the answer to the mirrored image; twice as slow."),
            batch_size(8),
        ],
        "model": voters(),
        "output": [
            *writing(required=False),
            option(
                "--into",
                "Receives a folder for each dataset.",
                default="selection",
                type=FOLDER,
            ),
            json_flag("selected, seen, left_out, kept, into and the counts of the proposed labels"),
            quiet("bar"),
        ],
    },
)
def run(args: Args) -> int:
    """Select; returns 3 when images were left out, or a person's files were."""
    # Imported here, so that `--help` answers at once.
    from panvision.labelling.output import Output
    from panvision.labelling.select import rank, scan
    from panvision.labelling.writers import choose_writers

    video = _is_video(Path(args.images))
    needs(args, "a video", "every", there=video)
    needs(args, "a folder", "recursive", there=not video)
    panel = load_panel(args, flip=args.flip, tasks=[args.task] if args.task else None)
    writers = choose_writers(args.to or ["folders" if panel.tasks == ("classification",) else "coco"], panel.tasks)
    output = Output(args.into)
    failures: list[Failure] = []
    frames = open_frames(args, panel, failures, output)
    # Labelled images that cannot be read are left out without a message.
    known = Args(images=args.labelled, recursive=True, every=None, into=args.into)
    labelled_frames = open_frames(known, panel, []) if args.labelled else None
    with StatusLine(quiet=args.quiet) as status:
        size = args.batch_size
        labelled = scan(labelled_frames(None), panel, batch_size=size) if labelled_frames else None
        found = scan(frames(None), panel, batch_size=size, on_progress=lambda done: status.show(f"{done} images seen"))
        rows = rank(found, args.number, labelled)
        summary = _write(args, panel, frames, rows, output, writers, seen=len(found.names))
        for task in writers if args.zip else ():
            output.zip(task)
    _print(args, rows, summary, failures, output, seen=len(found.names))
    return Exit.WARNINGS if failures or output.kept else Exit.DONE


def open_frames(args: Args, panel: "Panel", failures: "list[Failure]", output: "Output | None" = None) -> "Frames":
    """Return the function that reads the images, again or for the first time.

    Args:
        args: `images`, `recursive`, `into`, and `every` for a video.
        panel: limits the size of an image.
        failures: receives the files that are left out.
        output: images in it keep their names, and folders of proposed labels are left out, whose images are copies.
    """
    from panvision.inference.inputs import find_images
    from panvision.labelling.output import LEDGER
    from panvision.labelling.prelabel import read_photos, safe_names

    path = Path(args.images)
    if _is_video(path):
        return partial(_video_frames, path, args.every or 1)
    inputs = find_images(args.images, recursive=args.recursive, without=args.into, marker=LEDGER if output else None)
    inputs.images = [each for each in inputs.images if not _MASKS & set(Path(each.name).parts)]
    failures += inputs.skipped
    names = safe_names([each.name for each in inputs.images], output)

    def frames(wanted: Container[str] | None) -> "Iterator[Photo]":
        sources = (each for each in inputs.images if wanted is None or names[each.name] in wanted)
        return read_photos(sources, names, panel.max_pixels, failures.append)

    return frames


def _is_video(path: Path) -> bool:
    from panvision.inference.inputs import VIDEO_SUFFIXES

    return path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()


def _video_frames(path: Path, every: int, wanted: Container[str] | None) -> "Iterator[Photo]":
    """Yield every Nth frame; only wanted ones are encoded as JPEG."""
    from PIL import Image

    from panvision.labelling.prelabel import Photo
    from panvision.monitor.sources import video_module

    with contextlib.closing(video_module().open_file(path)) as capture:
        for number, (pixels, seconds) in enumerate(iter(capture.read, None)):
            name = f"{path.stem}_{number:06d}.jpg"
            if number % every or (wanted is not None and name not in wanted):
                continue
            content = io.BytesIO()
            if wanted is not None:
                Image.fromarray(pixels).save(content, format="JPEG", quality=_QUALITY)
            yield Photo(name, content.getvalue(), pixels, f"{path} at {seconds:.2f} s")


def _write(
    args: Args,
    panel: "Panel",
    frames: "Frames",
    rows: "list[Row]",
    output: "Output",
    writers: "Mapping[Dataset, Writer]",
    *,
    seen: int,
) -> "Summary":
    """Write the proposed labels, the table and the contact sheet of the selection."""
    from panvision.labelling.contact import contact_sheet, thumbnail
    from panvision.labelling.prelabel import PrelabelOptions, check_output, prelabel
    from panvision.labelling.select import COLUMNS
    from panvision.labelling.uncertainty import doubts
    from panvision.photos.drawing import draw_result

    by_name = {row.name: row for row in rows}
    check_output(output, writers, panel.info, by_name, frames([name for name in by_name if output.images(name)]))
    thumbnails: dict[str, bytes] = {}

    def look(photo: "Photo", answers: Any, vote: Any) -> None:
        row = by_name[photo.file]
        row.doubts, row.source = doubts(answers, panel.thresholds, panel.tasks), photo.source
        thumbnails[photo.file] = thumbnail(draw_result(photo.pixels, vote.result(panel.info.det_class_names)))

    summary = prelabel(
        panel,
        frames(by_name),
        writers,
        output,
        options=PrelabelOptions(args.tolerance, args.least_area, args.batch_size),
        on_vote=look,
    )
    title = f"{len(rows)} of {seen} images to label"
    text = f"Proposed by {args.model}, the most useful first. The labels in {args.into} are to be corrected."
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([COLUMNS, *(row.cells() for row in rows)])
    output.write(TABLE, table.getvalue().encode())
    output.write(PAGE, contact_sheet(title, text, rows, thumbnails).encode())
    return summary


def _print(
    args: Args, rows: "list[Row]", summary: "Summary", failures: "list[Failure]", output: "Output", *, seen: int
) -> None:
    """Print the first rows of the ranking, or all of it as JSON."""
    from panvision.dataset.paths import fold_name
    from panvision.labelling.select import COLUMNS

    if args.json:
        keys = ("rank", "image", "value", "reason")
        ranking = (dict(zip(COLUMNS, row.cells(), strict=True)) for row in rows)
        selected = [{key: row[key] for key in keys} for row in ranking]
        counts = {**as_json(summary), **left(failures, output)}
        print(json.dumps({"selected": selected, "seen": seen, **counts}, sort_keys=True))
    else:
        print(f"{len(rows)} of {seen} images selected, written to {output.folder}:")
        print(f"{TABLE}, {PAGE} and proposed labels")
        for row in rows[:_SHOWN]:
            line = f"{row.rank:3} {printable(row.name)}: {printable(row.reason)}"
            print(textwrap.fill(line, WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False))
        if len(rows) > _SHOWN:
            print(f"    … and {len(rows) - _SHOWN} more")
        if len(rows) < min(args.number, seen):
            print(f"the other {seen - len(rows)} have labels or are near-duplicates of these")
        if before := len(output.stems - {fold_name(Path(row.name).stem) for row in rows}):
            print(f"{before} more images of earlier runs are there; name an empty folder with --into to leave them out")
    report_left("select", failures, output)
