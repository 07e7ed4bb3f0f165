"""Draw the images of README.md from the last run of the pipeline: `python docs/pictures.py`."""

import sys
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from panvision.core.params import read_sections
from panvision.dataset.packed import open_packed, read_splits
from panvision.inference import Predictor
from panvision.monitor import Monitor
from panvision.photos.drawing import draw_result
from panvision.photos.pixels import RgbArray, read_image
from panvision.photos.settings import DataSettings
from panvision.scenes.onions import STATES
from panvision.scenes.settings import SceneSettings

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs/images"
COLUMNS, WIDTH, HEIGHT = 3, 320, 240
# The GIF: seconds of the clip, every sixth of its ten frames a second, milliseconds that each is shown.
UNIT, SECONDS, EVERY, SHOWN_MS, COLORS = 1, 24.0, 6, 300, 64


def main() -> None:
    """Write docs/images/predictions.jpg (test images) and docs/images/watch.gif (a rendered clip)."""
    predictor = Predictor.load("models/panvision.onnx")
    drawn = [draw_result(image, predictor.predict(image)) for image in _answered(predictor)]
    sheet = Image.new("RGB", (COLUMNS * WIDTH, -(-len(drawn) // COLUMNS) * HEIGHT))
    for number, image in enumerate(drawn):
        corner = (number % COLUMNS * WIDTH, number // COLUMNS * HEIGHT)
        sheet.paste(Image.fromarray(image).resize((WIDTH, HEIGHT)), corner)
    IMAGES.mkdir(exist_ok=True)
    sheet.save(IMAGES / "predictions.jpg", quality=85)
    frames = [Image.fromarray(image).quantize(COLORS, dither=Image.Dither.NONE) for image in _watched(predictor)]
    frames[0].save(IMAGES / "watch.gif", save_all=True, append_images=frames[1:], duration=SHOWN_MS, loop=0)


def _answered(predictor: Predictor) -> Iterator[RgbArray]:
    """Yield a correctly classified test image for each state, and one with correct boxes: the surest boxes each."""
    root = Path(read_sections({"data": DataSettings})["data"].root)
    states = open_packed("build/prepared/classification", "classification")
    boxes = open_packed("build/prepared/detection", "detection")
    best: dict[str, tuple[float, RgbArray]] = {}
    for packed in (states, boxes):
        for row in read_splits("build/splits.csv", packed.task, packed.files)["test"]:
            image = read_image(root / packed.task / packed.files[row])
            result = predictor.predict(image)
            found = result["detection"]
            if packed is states:
                key = packed.classes[packed.states[row]]
                right = result["classification"]["class_name"] == key
                right &= all(found["class_names"].count(name) == 1 for name in ("pan", "stirrer"))
            else:
                key, truth = "boxes", [packed.classes[label] for label in packed.labels[row]]
                right = len(truth) > 3 and sorted(found["class_names"]) == sorted(truth)
            sure = min(found["scores"], default=0.0)
            if right and sure > best.get(key, (0.0,))[0]:
                best[key] = sure, image
    yield from (best[key][1] for key in sorted(best, key=[*STATES, "boxes"].index))


def _watched(predictor: Predictor) -> Iterator[RgbArray]:
    """Yield frames of a rendered clip with the smoothed results drawn on them, as `panvision watch --video` does."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from clip import ClipScript, render_clip

    monitor = Monitor(predictor)
    script = ClipScript(seconds=SECONDS, stirrer_away=(10.0, 14.0))
    for number, shown in enumerate(render_clip(SceneSettings(), UNIT, script)):
        reading = monitor.see(shown.frame.photo, shown.time)
        if number % EVERY == 0:
            yield draw_result(shown.frame.photo, reading.result)


if __name__ == "__main__":
    main()
