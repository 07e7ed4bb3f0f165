import base64
import io

import numpy as np
import pytest
from PIL import Image

from panvision.dataset.packed import PackedError
from panvision.inference.predictor import Predictor
from panvision.photos.drawing import MASK_COLOR, MASK_OPACITY, class_color
from panvision.photos.pixels import ImageError
from panvision.report.faults import LOOSE_BOX, MISSED, RAGGED_MASK, Fault, Faulty
from panvision.report.gallery import LACKING, SURPLUS, HeldOut
from panvision.report.thumbnails import spread
from tests.report.run import BOX
from tests.tiny import ColourBackend, picture

# The halves of `picture`, and what they look like under a mask.
DARK, BRIGHT = (0, 0, 90), (220, 220, 220)
TINTED_DARK, TINTED_BRIGHT = (
    tuple(value + (tint - value) * MASK_OPACITY for value, tint in zip(colour, MASK_COLOR, strict=True))
    for colour in (DARK, BRIGHT)
)


def gallery(run, task, **settings):
    chosen = run.settings.model_copy(update=settings)
    return held_out(run, task).spread(chosen.images, chosen.width)


def held_out(run, task) -> HeldOut:
    return HeldOut.open(Predictor(ColourBackend()), task, prepared=run.prepared, splits=run.splits, data=run.data)


def pixels(uri: str) -> np.ndarray:
    kind, data = uri.split(",")
    assert kind == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(int)


def near(pixel, colour) -> bool:
    return bool(np.abs(pixel - np.array(colour)).max() < 30)


@pytest.mark.parametrize(
    ("rows", "count", "found"),
    [(10, 1, [5]), (10, 2, [2, 7]), (10, 3, [1, 5, 8]), (3, 3, [0, 1, 2]), (2, 9, [0, 1]), (0, 4, []), (5, 0, [])],
)
def test_pictures_are_spread_evenly(rows, count, found) -> None:
    assert [row - 100 for row in spread(np.arange(100, 100 + rows), count)] == found


def test_pictures_come_from_the_test_split_alone(run) -> None:
    run.split_rows = [("segmentation", f"images/0{row}.png", "g", split) for row, split in enumerate(["test", "val"])]
    run.split_rows.append(("segmentation", "images/02.png", "g", "test"))
    run.write_splits()
    found = gallery(run, "segmentation", images=8)
    assert [shot.file for shot in found.shots] == ["images/00.png", "images/02.png"]
    assert found.available == 2


def test_masks_are_drawn_on_their_side(run) -> None:
    mask = np.zeros((96, 128), np.uint8)
    mask[:48] = 255  # true: upper half; found: right half
    run.add("segmentation", [(picture(128, 96), mask)])
    shot = gallery(run, "segmentation").shots[0]
    assert shot.verdict.short == "IoU 0.33"
    truth, found = pixels(shot.truth), pixels(shot.prediction)
    assert near(truth[40, 30], TINTED_DARK) and near(truth[80, 30], DARK) and near(truth[80, 100], BRIGHT)
    assert near(found[40, 30], DARK) and near(found[80, 100], TINTED_BRIGHT)


def test_boxes_are_drawn_at_the_shown_size(run) -> None:
    run.add("detection", [(picture(128, 96, box=BOX), [(64, 48, 128, 96, 0)])])
    shot = gallery(run, "detection", width=256).shots[0]
    assert (shot.width, shot.height) == (256, 192) and pixels(shot.truth).shape == (192, 256, 3)
    assert near(pixels(shot.truth)[140, 128], class_color(0))  # left edge of the true lid
    assert near(pixels(shot.prediction)[45, 32], class_color(1))  # left edge of the stirrer that was found
    assert shot.verdict.short == "0 of 1 found, 1 too many"


def test_the_prediction_shows_all_three_answers(run) -> None:
    run.add("classification", [(picture(128, 96, box=BOX), "fresh")])
    shot = gallery(run, "classification").shots[0]
    shown = pixels(shot.prediction)
    assert near(shown[80, 100], TINTED_BRIGHT) and near(shown[30, 16], class_color(1)) and shown[2, 2].max() < 90
    assert near(pixels(shot.truth)[80, 100], BRIGHT)


def faulty(row: int, *kinds) -> Faulty:
    return Faulty(f"images/{row:02d}.png", 1.0, [Fault(kind, f"fault {number}") for number, kind in enumerate(kinds)])


def test_the_worst_come_in_their_order_and_no_more_than_asked_for(run) -> None:
    worst = [faulty(2, RAGGED_MASK), faulty(0, MISSED), faulty(1, MISSED)]
    shots = held_out(run, "segmentation").worst(worst, 2, 128)
    assert [(shot.file, shot.kinds, shot.more) for shot in shots] == [
        ("images/02.png", [RAGGED_MASK], 0),
        ("images/00.png", [MISSED], 0),
    ]
    (shot,) = held_out(run, "detection").worst([faulty(0, MISSED, LOOSE_BOX, MISSED, MISSED, MISSED)], 2, 128)
    assert [fault.text for fault in shot.faults] == ["fault 0", "fault 1", "fault 2", "fault 3"] and shot.more == 1
    assert shot.kinds == [MISSED, LOOSE_BOX] and shot.errors == ""


def test_the_errors_of_a_mask_are_coloured(run) -> None:
    mask = np.zeros((96, 128), np.uint8)
    mask[:48] = 255  # true: upper half; found: right half
    run.add("segmentation", [(picture(128, 96), mask)])
    (shot,) = held_out(run, "segmentation").worst([faulty(0, MISSED)], 1, 128)
    shown = pixels(shot.errors)
    assert near(shown[20, 20], LACKING) and near(shown[80, 110], SURPLUS)
    assert near(shown[20, 110], (220, 220, 220)) and near(shown[80, 20], (10, 10, 10))


def test_of_the_worst_only_the_answer_to_their_task_is_drawn(run) -> None:
    run.add("classification", [(picture(128, 96, box=BOX), "fresh")])
    shot = held_out(run, "classification").worst([faulty(0, MISSED)], 1, 128)[0]
    shown = pixels(shot.prediction)
    assert near(shown[80, 100], BRIGHT) and not near(shown[30, 16], class_color(1)) and shown[2, 2].max() < 90


@pytest.mark.parametrize(("size", "shown"), [((400, 100), (128, 32)), ((10, 400), (6, 256)), ((64, 48), (128, 96))])
def test_any_size_is_shown_at_the_width_asked_for_unless_far_too_tall(run, size, shown) -> None:
    run.add("classification", [(picture(*size), "fresh")])
    shot = gallery(run, "classification").shots[0]
    assert (shot.width, shot.height) == shown


def test_the_busiest_picture_can_be_shown(run) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    run.add("classification", [(noise, "fresh")])
    assert pixels(gallery(run, "classification", width=400).shots[0].truth).shape == (400, 400, 3)


def test_raw_pictures_that_changed_are_found_out(run) -> None:
    Image.fromarray(picture(50, 50)).save(run.raw / "detection/images/00.png")
    with pytest.raises(
        PackedError, match=r"00\.png: 50x50 pixels, but 128x96 when it was prepared; run `python stages"
    ):
        gallery(run, "detection")


def test_a_mask_that_no_longer_fits_is_named(run) -> None:
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(run.raw / "segmentation/masks/00.png")
    with pytest.raises(PackedError, match=r"masks/00\.png: the mask is 9x9, the image 128x96; run `python stages"):
        gallery(run, "segmentation")


def test_a_missing_picture_is_named(run) -> None:
    (run.raw / "detection/images/01.png").unlink()
    with pytest.raises(ImageError, match=r"01\.png: no such file"):
        gallery(run, "detection")


def test_the_size_limit_of_the_data_holds(run) -> None:
    run.data = run.data.model_copy(update={"max_pixels": 5000})
    with pytest.raises(ImageError, match="max_pixels"):
        gallery(run, "detection")
