"""Labels that are most likely wrong, by the predictions of k-fold runs on the images that each did not learn from."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from panvision.core.files import write_rows
from panvision.core.tasks import TASKS, Dataset, Task
from panvision.dataset import reviewed
from panvision.dataset.packed import PackedSet
from panvision.evaluation.results import Predictions, Results
from panvision.experiments.folds import CrossValidation, distinction, joined
from panvision.experiments.paired import true_label
from panvision.experiments.revisions import FOLDER, WORKSPACE, predictions_of, results_of
from panvision.experiments.suspects import RANKINGS, Suspect, rank
from panvision.experiments.tables import LINE, cut
from panvision.photos.settings import DataSettings
from panvision.photos.truth import read_truth
from panvision.report.data_page import read_problem_table
from panvision.report.gallery import GallerySource, Shot
from panvision.report.rendering import render

# A fold: a project's folder, and a revision of it.
Fold = tuple[Path, str]
COLUMNS = (*reviewed.COLUMNS, "box", "score", "suspicious", "reason", "neighbours")
# Problems that are found without a model, in images that may have a wrong label.
NEIGHBOURS = ("neighbours_disagree", "box_unusual_size", "box_unusual_place", "boxes_duplicated")
TEMPLATE = "review.html.jinja"
WIDTH = 320  # pixels of a drawn image


class ReviewError(ValueError):
    """Raised if folds or the table of dismissed findings cannot be used; the message has the remedy."""


@dataclass(frozen=True)
class Listed:
    """Ranked labels of one task.

    Attributes:
        results: of all folds.
        labels: number of labels, dismissed ones included.
        suspects: the labels and the missing ones, the most likely wrong first, without the dismissed ones.
        dismissed: number of rows left out.
        neighbours: what `panvision validate` found in an image without a model, by file.
    """

    results: Results
    labels: int
    suspects: list[Suspect]
    dismissed: int
    neighbours: Mapping[str, str]

    @property
    def dataset(self) -> Dataset:
        """Return the dataset of the task."""
        return TASKS[self.results.task].dataset

    @property
    def suspicious(self) -> int:
        """Return the number of suspicious rows."""
        return sum(each.suspicious for each in self.suspects)


def fold_of(project: Path, name: str) -> Fold:
    """Return the fold that a name means: a folder with reports/results, a git revision or an experiment.

    Raises:
        ReviewError: it is a folder without results.
    """
    if (Path(name) / FOLDER).is_dir():
        return Path(name), WORKSPACE
    if Path(name).is_dir():
        raise ReviewError(f"{name}: has no {FOLDER}; name the folder that `dvc repro evaluate` ran in")
    return project, name


def only_one(found: Sequence[CrossValidation]) -> CrossValidation:
    """Return the only cross-validation.

    Raises:
        ReviewError: there are several.
    """
    if len(found) > 1:
        each = [", ".join(f"{key}={value}" for key, value in distinction(one, list(found)).items()) for one in found]
        raise ReviewError(
            f"{len(found)} cross-validations ({'; '.join(each)}); name the experiments of one of them, each with --fold"
        )
    return found[0]


def review(
    folds: Sequence[Fold], *, dismissed: Collection[reviewed.Key] = (), neighbours: Mapping[str, str] | None = None
) -> dict[Task, Listed]:
    """Rank the labels of all images that the folds tested, by task.

    Args:
        folds: where the per-image results of each fold are.
        dismissed: findings that are left out.
        neighbours: what was found without a model, by `dataset/file`.

    Raises:
        ReviewError: there is no image, or per-image results are damaged.
        RevisionError, ResultsError: the results of a fold are missing or cannot be read.
        FoldsError: the folds do not belong together.
    """
    read = [results_of(*fold) for fold in folds]
    found: dict[Task, Listed] = {}
    for task in TASKS:
        if task not in RANKINGS or not read or not any(each[task].images for each in read):
            continue
        results = joined([each[task] for each in read])
        try:
            suspects = rank(results)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            names = ", ".join(name if name != WORKSPACE else str(folder) for folder, name in folds)
            raise ReviewError(
                f"{task}: damaged per-image results in one of {names} ({error!r}); run `dvc repro evaluate` there again"
            ) from error
        dataset = TASKS[task].dataset
        kept = [each for each in suspects if (dataset, each.file, each.what) not in dismissed]
        labels = sum(each.labelled for each in suspects)
        own = {file: (neighbours or {}).get(f"{dataset}/{file}", "") for file in {each.file for each in suspects}}
        found[task] = Listed(results, labels, kept, len(suspects) - len(kept), own)
    if not found:
        raise ReviewError("no fold has a test image; run the folds with `split.folds` above 0, see `panvision folds`")
    return found


def read_neighbours(path: Path) -> dict[str, str]:
    """Read what `validate` found without a model in images whose labels may be wrong, by `dataset/file`.

    Args:
        path: problems.csv; without the file nothing was found.

    Raises:
        ReportError: it is damaged.
    """
    found: dict[str, str] = {}
    for each in read_problem_table(path) if path.exists() else ():
        if each.code in NEIGHBOURS:
            found[each.file] = "; ".join(filter(None, (found.get(each.file, ""), each.reason)))
    return found


def write_list(path: str | Path, found: Mapping[Task, Listed]) -> None:
    """Write the lists as one CSV table with COLUMNS, task by task."""
    rows = [
        (
            listed.dataset,
            each.file,
            each.what,
            "" if each.box is None else " ".join(f"{edge:.10g}" for edge in each.box),
            each.score,
            "yes" if each.suspicious else "",
            each.reason,
            listed.neighbours[each.file],
        )
        for listed in found.values()
        for each in listed.suspects
    ]
    write_rows(path, COLUMNS, rows)


def text(found: Mapping[Task, Listed], limit: int) -> str:
    """Return the first suspicious rows of each task, in lines of 80 characters."""
    parts, starred = [], False
    for task, listed in found.items():
        dismissed = f", {listed.dismissed} dismissed" if listed.dismissed else ""
        lines = [f"{task}: {listed.labels} labels, {listed.suspicious} suspicious{dismissed}"]
        shown = [each for each in listed.suspects if each.suspicious][:limit]
        for each in shown:
            mark = "*" if listed.neighbours[each.file] else " "
            starred = starred or mark == "*"
            lines += [cut(f"{each.score:.3f}{mark} {each.file}: {each.what}", LINE), cut(f"       {each.reason}", LINE)]
        if listed.suspicious > len(shown):
            lines.append(f"       and {listed.suspicious - len(shown)} more")
        parts.append("\n".join(lines))
    if starred:
        parts.append("* `panvision validate` also warns of this image, without a model")
    return "\n\n".join(parts)


@dataclass(frozen=True)
class Picture:
    """Rows of one image on the page; `shot` is None if the image is no longer there."""

    file: str
    shot: Shot | None
    suspects: list[Suspect]
    neighbours: str


def build_page(
    found: Mapping[Task, Listed],
    folds: Sequence[Fold],
    packed: Mapping[Dataset, PackedSet],
    data: DataSettings,
    *,
    limit: int,
) -> str:
    """Build a page with label and prediction of the images with suspicious rows, without other files.

    Args:
        found: from `review`.
        folds: the same folds.
        packed: the datasets as they are now.
        data: location of the raw images and largest size of an image.
        limit: images of each task.

    Raises:
        RevisionError, ResultsError: predictions of a fold are missing or cannot be read.
        ReportError: a fold has per-image results without a prediction.
        PackedError, ImageError: a raw image or mask cannot be read.
    """
    read = [predictions_of(*fold) for fold in folds]
    predictions = Predictions(read[0].model, [image for each in read for image in each.images])
    sections = {}
    for task, listed in found.items():
        own: dict[str, list[Suspect]] = {}
        for each in listed.suspects:
            if each.suspicious:
                own.setdefault(each.file, []).append(each)
        files = list(own)[:limit]
        shots = _draw(listed, files, predictions, packed[listed.dataset], data)
        pictures = [Picture(file, shots.get(file), own[file], listed.neighbours[file]) for file in files]
        sections[task] = (listed, pictures, len(own) - len(files))
    return render(TEMPLATE, {"sections": sections})


def _draw(
    listed: Listed, files: Sequence[str], predictions: Predictions, packed: PackedSet, data: DataSettings
) -> dict[str, Shot]:
    """Draw the images that the dataset still has, by file."""
    there = [file for file in files if file in set(packed.files)]
    images = [image for image in listed.results.images if image["file"] in there]
    source = GallerySource(listed.results.task, replace(listed.results, images=images), predictions, packed, data)
    return dict(zip(there, source.chosen(there, WIDTH), strict=True))


def untested(found: Mapping[Task, Listed], packed: Mapping[Dataset, PackedSet]) -> dict[Task, int]:
    """Count the images of each task's dataset that no fold tested; tasks without one are left out."""
    counts = {
        task: len(set(packed[listed.dataset].files) - {image["file"] for image in listed.results.images})
        for task, listed in found.items()
    }
    return {task: count for task, count in counts.items() if count}


def outdated(found: Mapping[Task, Listed], packed: Mapping[Dataset, PackedSet], data: DataSettings) -> dict[Task, int]:
    """Count the tested images of each task that have another label now, or are gone; tasks without one are left out.

    Of masks only the number of pixels is compared.

    Raises:
        PackedError, ImageError: a raw mask cannot be read.
    """
    counts = {}
    for task, listed in found.items():
        own, folder = packed[listed.dataset], Path(data.root) / listed.dataset
        rows, images = {file: row for row, file in enumerate(own.files)}, listed.results.images
        before = {each["file"]: _named(own.task, true_label(each), listed.results.classes) for each in images}
        counts[task] = sum(
            file not in rows or _named(own.task, _label(own, rows[file], folder), own.classes) != label
            for file, label in before.items()
        )
    return {task: count for task, count in counts.items() if count}


def _label(packed: PackedSet, row: int, folder: Path) -> Any:
    """Return the label that an image has now, in the form of `true_label`."""
    truth = read_truth(packed, row, folder)
    if "mask" in truth:
        return int(np.count_nonzero(truth["mask"]))
    if "boxes" in truth:
        return {name: truth[name].tolist() for name in ("boxes", "labels")}
    return truth["class_idx"]


def _named(dataset: Dataset, label: Any, classes: Sequence[str]) -> Any:
    """Return a label with the names of its classes, because the same index may be another class now."""
    if dataset == "detection":
        return label["boxes"], [classes[each] for each in label["labels"]]
    return classes[label] if dataset == "classification" else label
