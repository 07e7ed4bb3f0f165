"""A pool of frames as a robot collects them: bursts of similar frames, in which two states and the pipes are rare.

Every frame has a mask, boxes and a state. Validation and test frames are single ones, of all states equally often, so
that rare classes count.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from ladder import NO_PINS

from panvision.core.files import write_json
from panvision.scenes.frames import CATEGORIES, Frame, Presence, arrange, draw_frame
from panvision.scenes.onions import STATES
from panvision.scenes.photo import encode_jpeg
from panvision.scenes.settings import SceneSettings
from panvision.scenes.units import Unit, make_unit

# Fractions of the bursts with each of `STATES`, and with pipes.
RARE, EVEN = ((0.31, 0.04, 0.31, 0.3, 0.04), 0.04), ((0.2,) * 5, 0.3)
STREAM_SEED, LONGEST_BURST, UNITS = 11, 8, 8


def write_stream(root: Path, train: int, val: int = 80, test: int = 200) -> Path:
    """Render frames for each split as three datasets that share them, with a table of pins; once. Return the folder."""
    if (root / "pins.csv").exists():
        return root
    settings = SceneSettings(seed=STREAM_SEED, width=224, height=168)
    units = [make_unit(settings, number) for number in range(UNITS)]
    for folder in ("segmentation/images", "segmentation/masks", "detection/images"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    categories = [{"id": number, "name": name} for number, name in enumerate(CATEGORIES, start=1)]
    coco: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": [], "categories": categories}
    pins = NO_PINS
    for number, (split, count) in enumerate((("train", train), ("val", val), ("test", test))):
        shares, longest = (RARE, LONGEST_BURST) if split == "train" else (EVEN, 1)
        for name, state, frame, jpeg in render(units, settings, [STREAM_SEED, number], count, shares, longest):
            path = f"images/{split}{name}.jpg"
            files = {"segmentation": path, "detection": path, "classification": f"images/{state}/{Path(path).name}"}
            for dataset, file in files.items():
                (root / dataset / file).parent.mkdir(parents=True, exist_ok=True)
                (root / dataset / file).write_bytes(jpeg)
                pins += f"{dataset},{file},{split}\n"
            pan = np.any([thing.mask for thing in frame.things if thing.category == "pan"], axis=0)
            cv2.imwrite(str(root / f"segmentation/masks/{Path(path).stem}.png"), pan.astype(np.uint8) * 255)
            _annotate(coco, Path(path).name, frame)
    write_json(root / "detection/_annotations.coco.json", coco)
    (root / "pins.csv").write_text(pins)
    return root


def render(
    units: Sequence[Unit],
    settings: SceneSettings,
    seed: list[int],
    count: int,
    shares: tuple[Sequence[float], float],
    longest: int,
) -> Iterator[tuple[str, str, Frame, bytes]]:
    """Yield name, state, frame and JPEG of `count` frames in bursts of up to `longest` that differ in little."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest + 1, count)
    lengths = lengths[: int(np.argmax(np.cumsum(lengths) >= count)) + 1]
    states = rng.permutation(np.repeat(STATES, np.ceil(np.array(shares[0]) * len(lengths)).astype(int)))
    piped = rng.permutation(len(lengths)) < round(shares[1] * len(lengths))
    done = 0
    for burst, length in enumerate(lengths):
        own, unit, state = [*seed, burst], units[int(rng.integers(len(units)))], str(states[burst])
        presence = Presence(True, bool(rng.random() > 0.14), (bool(piped[burst]),) * len(unit.pipes))
        for number in range(min(int(length), count - done)):
            still, moving = [np.random.default_rng([*own, each]) for each in range(4)], [*own, 4, number]
            arranged = arrange(still[0], unit, state=state, presence=presence, turn=0.04 * number)
            grain = np.random.default_rng(moving)
            strength = settings.difficulty
            frame = draw_frame(still[1], unit, arranged, difficulty=strength, light=still[2], grain=grain)
            yield f"{burst:04}_{number}", state, frame, encode_jpeg(still[3], frame.photo, difficulty=strength)
        done += int(length)


def _annotate(coco: dict[str, list[dict[str, Any]]], file: str, frame: Frame) -> None:
    height, width = frame.photo.shape[:2]
    coco["images"].append({"id": len(coco["images"]) + 1, "file_name": file, "width": width, "height": height})
    for thing in frame.things:
        number, category, box = len(coco["annotations"]) + 1, CATEGORIES.index(thing.category) + 1, list(thing.box)
        labels = {"id": number, "image_id": len(coco["images"]), "category_id": category, "bbox": box}
        coco["annotations"].append({**labels, "area": box[2] * box[3], "iscrowd": 0})
