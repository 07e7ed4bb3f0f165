"""`panvision review`: labels that are most likely wrong, by the predictions of k-fold runs."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from panvision.cli.configuration import read_configuration
from panvision.cli.exits import Exit
from panvision.cli.folds import read_shown
from panvision.cli.framework import Args, command
from panvision.cli.options import (
    FILE,
    Number,
    check_html,
    data_root,
    html,
    needs,
    option,
    project,
    project_of,
    reviewed,
    reviewed_of,
    settings,
)
from panvision.cli.problem_text import printable
from panvision.cli.status import StatusLine

if TYPE_CHECKING:
    from panvision.core.tasks import Dataset, Task
    from panvision.dataset.packed import PackedSet
    from panvision.experiments.review import Fold, Listed

PAGE_IMAGES = 40
USAGE = "dvc exp show --json | panvision review photos --html review.html"


@command(
    about="Ranks the labels of all images by how likely they are wrong, from what each fold of a cross-validation "
    "predicted on the images that it did not learn from. Reads per-image results and runs no model. Findings in "
    "data/reviewed.csv are left out.",
    examples={
        "the folds that `dvc exp show` prints, with a page of images": USAGE,
        "folds by name, or folders with reports/results, as a table": "panvision review --fold run0 --fold run1 "
        "--csv review.csv",
    },
    exits={Exit.WARNINGS: "done, but folds are missing, or do not fit the images and labels of DATA_ROOT"},
    sections={
        "arguments": data_root(),
        "folds": [
            option(
                "--fold",
                "An experiment, a git revision or a folder with reports/results; once for each fold.",
                multiple=True,
                metavar="NAME",
                show_default="what `dvc exp show --json` prints, from standard input",
            ),
            *project(),
        ],
        "settings": settings("the settings' own defaults"),
        "output": [
            option("--csv", "Write all ranked labels there.", type=FILE),
            html(),
            option("--limit", "Suspicious labels printed of each task.", type=Number(0), default=10),
            option("--html_images", "Images of each task on the page.", type=Number(0), show_default=str(PAGE_IMAGES)),
            reviewed(),
        ],
    },
)
def run(args: Args) -> int:
    """Rank, write and print."""
    from panvision.experiments import review

    folder = project_of(args)
    with_data = args.data_root is not None or args.data_root_option is not None
    if args.html and not with_data:
        raise click.UsageError("--html draws images; name their folder as DATA_ROOT.")
    needs(args, "--html", "html_images", there=args.html is not None)
    needs(args, "DATA_ROOT", "config", "set", there=with_data)
    check_html(args)
    folds, missing = _folds(args, folder)
    found = review.review(
        folds,
        dismissed=reviewed_of(args, folder),
        neighbours=review.read_neighbours(folder / "build/problems.csv"),
    )
    if args.csv:
        review.write_list(args.csv, found)
    remarks = _with_images(args, folds, found) if with_data else []
    print("\n".join(printable(line) for line in review.text(found, args.limit).splitlines()))
    notes = [f"not finished: fold {', '.join(map(str, missing))}; see `dvc queue status`"] if missing else []
    for note in (notes := [*notes, *remarks]):
        print(note)
    return Exit.WARNINGS if notes else Exit.DONE


def _folds(args: Args, folder: Path) -> "tuple[list[Fold], list[int]]":
    """Return the folds, and the numbers of missing ones."""
    from panvision.experiments.folds import cross_validations
    from panvision.experiments.review import fold_of, only_one

    if args.fold:
        return [fold_of(folder, name) for name in args.fold], []
    one = only_one(cross_validations(read_shown("-", f"run `{USAGE}`, or name each fold with --fold")))
    return [(folder, rev) for rev in one.revs.values()], one.missing


def _with_images(args: Args, folds: "list[Fold]", found: "dict[Task, Listed]") -> list[str]:
    """Pack the datasets, write the page if asked for, and return in what the folds' data differ from these."""
    from panvision.core.files import write_text
    from panvision.core.tasks import datasets_of
    from panvision.dataset.packed import open_packed
    from panvision.experiments.review import build_page, outdated, untested
    from panvision.prepare.pack import prepare

    config = read_configuration(args)
    packed: dict[Dataset, PackedSet] = {}
    with tempfile.TemporaryDirectory(prefix="panvision-") as name, StatusLine(quiet=False) as status:
        for dataset in datasets_of(found):
            status.show(f"reading {dataset} …")
            prepare(dataset, config.data, Path(name) / dataset)
            packed[dataset] = open_packed(Path(name) / dataset, dataset)
        if args.html:
            status.show("drawing the page …")
            limit = PAGE_IMAGES if args.html_images is None else args.html_images
            write_text(args.html, build_page(found, folds, packed, config.data, limit=limit))
        old, new = outdated(found, packed, config.data), untested(found, packed)
    remark = "labelled otherwise now, or gone; the list is of the old labels, so run the folds again"
    return [
        *(f"{task}: {count} images are {remark}" for task, count in old.items()),
        *(f"{task}: {count} images were tested by no fold; run every fold" for task, count in new.items()),
    ]
