"""A folder of pictures through the predictor, one at a time, so that its size does not matter."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from panvision.files import replacing, write_json
from panvision.inference.backend import PredictorError
from panvision.inference.drawing import draw_result
from panvision.inference.predictor import Predictor
from panvision.inference.results import Result
from panvision.pixels import IMAGE_SUFFIXES, ImageError, RgbArray, read_image


@dataclass(frozen=True)
class Failure:
    """A picture that could not be read.

    Attributes:
        name: its file name.
        reason: why.
    """

    name: str
    reason: str


def predict_directory(
    predictor: Predictor,
    image_dir: str | Path,
    output_dir: str | Path | None = None,
    *,
    visualize: bool = False,
    on_result: Callable[[Result], None] | None = None,
) -> list[Failure]:
    """Predict every picture of a folder and write what was found.

    `output_dir` receives predictions.json (boxes, states, names of the masks, failed files), `<stem>_mask.png`
    per picture (if the model makes masks) and, with `visualize`, `<stem>_pred.png`. Of pictures that share a stem
    (a.jpg, a.png) the whole name stands in its place (a.jpg_mask.png).

    Args:
        predictor: the model with its thresholds.
        image_dir: the folder; its subfolders are not read.
        output_dir: where to write to; None writes nothing.
        visualize: write the drawn pictures too.
        on_result: called with each result, in the order of the names.

    Returns:
        The pictures that could not be read.

    Raises:
        PredictorError: no such folder, no picture in it, or an output folder that does not fit.
    """
    paths = list_images(image_dir)
    _check_output(Path(image_dir), output_dir, visualize=visualize)
    names = output_names(paths)
    entries: list[dict[str, Any]] = []
    failures: list[Failure] = []
    for path, name in zip(paths, names, strict=True):
        try:
            image = read_image(path)
        except ImageError as error:
            failures.append(Failure(path.name, str(error).removeprefix(f"{path}: ")))
            continue
        result = predictor.predict(image)
        result["image_name"], result["image_path"] = path.name, str(path)
        if output_dir is not None:
            if "segmentation" in result:
                _write_png(Path(output_dir) / f"{name}_mask.png", result["segmentation"]["mask"])
            entries.append(_entry(result, image, f"{name}_mask.png"))
            if visualize:
                _write_png(Path(output_dir) / f"{name}_pred.png", draw_result(image, result))
        if on_result is not None:
            on_result(result)
    if output_dir is not None:
        failed = [{"image_name": failure.name, "reason": failure.reason} for failure in failures]
        write_json(Path(output_dir) / "predictions.json", {"images": entries, "failed": failed})
    return failures


def list_images(image_dir: str | Path) -> list[Path]:
    """The pictures directly in a folder, by name; hidden files are no pictures.

    Raises:
        PredictorError: no such folder, or no picture in it.
    """
    folder = Path(image_dir)
    if not folder.is_dir():
        raise PredictorError(f"{folder}: no such folder of pictures")
    paths = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
    if not paths:
        raise PredictorError(f"{folder}: holds no pictures ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return paths


def output_names(paths: Sequence[Path]) -> list[str]:
    """A name for what belongs to each picture: its stem, or its whole name where the stem is not its alone.

    Names that differ in case only count as the same, for some file systems keep only one of them.
    """
    stems = Counter(path.stem.casefold() for path in paths)
    names: list[str] = []
    taken: set[str] = set()
    for path in paths:
        name = path.stem if stems[path.stem.casefold()] == 1 else path.name
        while name.casefold() in taken:
            name += "_"
        taken.add(name.casefold())
        names.append(name)
    return names


def _check_output(image_dir: Path, output_dir: str | Path | None, *, visualize: bool) -> None:
    if output_dir is None:
        if visualize:
            raise PredictorError("visualize needs output_dir, the folder to write the drawn pictures to")
        return
    if Path(output_dir).resolve() == image_dir.resolve():
        raise PredictorError(f"{output_dir}: the output folder must not be the folder of the pictures")
    if Path(output_dir).exists() and not Path(output_dir).is_dir():
        raise PredictorError(f"{output_dir}: is a file; give a folder to write to")


def _entry(result: Result, image: RgbArray, mask_name: str) -> dict[str, Any]:
    """A result as predictions.json has it: the mask by its file's name."""
    height, width = image.shape[:2]
    entry: dict[str, Any] = {"image_name": result["image_name"], "width": width, "height": height}
    if "segmentation" in result:
        entry["segmentation"] = {"mask": mask_name}
    if "detection" in result:
        entry["detection"] = result["detection"]
    if "classification" in result:
        entry["classification"] = result["classification"]
    return entry


def _write_png(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    with replacing(path) as scratch:
        Image.fromarray(pixels).save(scratch, format="PNG")
