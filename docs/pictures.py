"""Draw the images of README.md and docs/results.md from the last run of the pipeline: `python docs/pictures.py`."""

from pathlib import Path

import numpy as np
from PIL import Image

from panvision.core.params import read_sections
from panvision.core.tasks import DATASETS
from panvision.dataset.packed import open_packed, read_splits
from panvision.inference import Predictor
from panvision.photos.drawing import draw_result
from panvision.photos.pixels import RgbArray, read_image
from panvision.photos.settings import DataSettings

IMAGES = Path(__file__).parent / "images"
COLUMNS, ROWS, WIDTH, HEIGHT = 4, 3, 320, 240


def main() -> None:
    """Write docs/images/predictions.jpg (test images with predictions) and docs/images/scenes.jpg (as rendered)."""
    root = Path(read_sections({"data": DataSettings})["data"].root)
    predictor = Predictor.load("models/panvision.onnx")
    images: list[RgbArray] = []
    for dataset in DATASETS:
        packed = open_packed(f"build/prepared/{dataset}", dataset)
        test = read_splits("build/splits.csv", dataset, packed.files)["test"]
        rows = test[np.linspace(0, len(test) - 1, COLUMNS).round().astype(int)]
        images += [read_image(root / dataset / packed.files[row]) for row in rows]
    IMAGES.mkdir(exist_ok=True)
    _sheet(images).save(IMAGES / "scenes.jpg", quality=80)
    drawn = [draw_result(image, predictor.predict(image)) for image in images]
    _sheet(drawn).save(IMAGES / "predictions.jpg", quality=80)


def _sheet(images: list[RgbArray]) -> Image.Image:
    """Return a contact sheet, row by row."""
    sheet = Image.new("RGB", (COLUMNS * WIDTH, ROWS * HEIGHT))
    for number, image in enumerate(images):
        corner = (number % COLUMNS * WIDTH, number // COLUMNS * HEIGHT)
        sheet.paste(Image.fromarray(image).resize((WIDTH, HEIGHT)), corner)
    return sheet


if __name__ == "__main__":
    main()
