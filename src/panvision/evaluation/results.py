"""What evaluation keeps of every picture, so that intervals and comparisons need neither model nor photos.

One JSON object per task; in its file each picture has a line of its own. Keys of all: `format`, `task`, `split`,
`trained` (false: the model has not this task), `classes` (names by index) and `images`, sorted as in the packed set.
Every picture has `file` (below `<data.root>/<task>`), `sha256` of that file, `group` (pictures that splits.csv keeps
together), `width`, `height`, and what its task adds: `MaskImage`, `BoxImage`, `StateImage`.
"""

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypedDict

from panvision.core.files import write_text

FORMAT = 1


class ResultsError(ValueError):
    """Per-image results that cannot be used; the message names the file and the remedy."""


class Image(TypedDict):
    """What every picture has."""

    file: str
    sha256: str
    group: str
    width: int
    height: int


class Boundary(TypedDict):
    """Distances between a picture's true and predicted boundary in pixels: their mean and 95th percentile."""

    mean: float
    p95: float


class MaskImage(Image):
    """`pixels`: true positives, false positives, false negatives, true negatives; `boundary` None where undefined."""

    pixels: list[int]
    boundary: Boundary | None


class TrueBoxes(TypedDict):
    """[x1, y1, x2, y2] in the picture's own pixels, and class indexes."""

    boxes: list[list[float]]
    labels: list[int]


class FoundBoxes(TypedDict):
    """Boxes down to `evaluation.min_score`, best first.

    Attributes:
        boxes: rounded to hundredths of a pixel; what follows was computed before.
        labels: class indexes.
        scores: 0 to 1.
        match: index of the true box that it is matched to at IoU 0.5; -1 is none.
        iou: largest IoU with a true box of its class, four digits.
        hits: by area range of COCO (`all`, `small`, `medium`, `large`); bit t of an integer: a true positive at
            IoU 0.50 + 0.05 t.
        ignored: likewise; bit t: does not count. With neither bit it is a false positive.
    """

    boxes: list[list[float]]
    labels: list[int]
    scores: list[float]
    match: list[int]
    iou: list[float]
    hits: dict[str, list[int]]
    ignored: dict[str, list[int]]


class BoxImage(Image):
    """True and found boxes."""

    truth: TrueBoxes
    found: FoundBoxes


class StateImage(Image):
    """`truth`: the state's index; `probabilities`: of every state, as shipped."""

    truth: int
    probabilities: list[float]


@dataclass(frozen=True)
class Choices:
    """What is chosen on the validation split, never on the test split.

    Attributes:
        box_thresholds: per class of detection the score from which on a box is reported; None where there was
            nothing to choose by.
        state_thresholds: per state the probability from which on it is called that state, likewise.
        temperature: what the logarithms of probabilities are divided by; None likewise.
    """

    box_thresholds: tuple[float | None, ...] = ()
    state_thresholds: tuple[float | None, ...] = ()
    temperature: float | None = None


@dataclass(frozen=True)
class Results:
    """One task's results on one split.

    Attributes:
        task: `segmentation`, `detection` or `classification`.
        split: which pictures.
        trained: whether the model has the task.
        classes: names by index.
        images: the pictures.
        thresholds: by class, what was chosen on the validation split; of segmentation none.
        temperature: likewise; classification only.
        order: the states from first to last, if they have an order; classification only.
    """

    task: str
    split: str
    trained: bool
    classes: list[str]
    images: list[Any]
    thresholds: list[float | None] = field(default_factory=list)
    temperature: float | None = None
    order: list[str] | None = None

    def text(self) -> str:
        """The file's text, the same for the same results."""
        head = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "images"}
        lines = ",\n".join(_dumps(image) for image in self.images)
        return f'{_dumps({"format": FORMAT, **head})[:-1]},"images":[\n{lines}\n]}}\n'

    def write(self, path: str | Path) -> None:
        """Write the file, whole or not at all."""
        write_text(path, self.text())


def read_results(path: str | Path) -> Results:
    """Read what `Results.write` wrote.

    Raises:
        ResultsError: no such file, or not one of these.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ResultsError(f"{path}: no such file; run `dvc repro evaluate`, or `dvc pull` if others did") from error
    except UnicodeDecodeError as error:
        raise ResultsError(f"{path}: no results ({error}); evaluate again: `dvc repro evaluate`") from error
    return parse_results(text, str(path))


def parse_results(text: str, name: str) -> Results:
    """Results from a file's text; `name` is the file's in messages.

    Raises:
        ResultsError: the text is something else, or of another version.
    """
    try:
        values = json.loads(text)
        version = values.pop("format")
    except (json.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        raise ResultsError(f"{name}: no per-image results ({error!r}); evaluate again: `dvc repro evaluate`") from error
    if version != FORMAT:
        raise ResultsError(f"{name}: has format {version}, this version reads {FORMAT}; evaluate again with this one")
    try:
        return Results(**values)
    except TypeError as error:
        raise ResultsError(f"{name}: damaged ({error}); evaluate again: `dvc repro evaluate`") from error


def _dumps(value: Any) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
