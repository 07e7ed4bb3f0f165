import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from panvision.dataset.packed import PackedError, open_packed
from panvision.evaluation.results import read_predictions, read_results
from panvision.photos.drawing import MASK_COLOR, MASK_OPACITY, class_color
from panvision.photos.pixels import ImageError
from panvision.report.gallery import LACKING, SURPLUS, GallerySource
from panvision.report.mistakes import LOOSE_BOX, MISSED
from panvision.report.thumbnails import spread
from tests.report.run import BOX, box_image
from tests.report.run import image as record
from tests.tiny import picture

# The halves of `picture`, with and without a mask.
DARK, BRIGHT = (0, 0, 90), (220, 220, 220)


def source(run, task) -> GallerySource:
    results = read_results(run.reports / f"results/{task}.json")
    predictions = read_predictions(run.reports / "results/predictions.json")
    return GallerySource(task, results, predictions, open_packed(run.prepared / task, task), run.data)


def show(run, task, samples, width=128, *, worst: bool = False):
    """Evaluate some samples and draw the first."""
    run.add(task, samples)
    found = run.evaluate()
    found.results[task].write(run.reports / f"results/{task}.json")
    found.predictions.write(run.reports / "results/predictions.json")
    return (source(run, task).worst if worst else source(run, task).spread)(1, width).shots[0]


def half_true() -> np.ndarray:
    mask = np.zeros((96, 128), np.uint8)
    mask[:48] = 255  # true: upper half; predicted: right half
    return mask


def pixels(uri: str) -> np.ndarray:
    kind, data = uri.split(",")
    assert kind == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(int)


def opacity(uri: str) -> np.ndarray:
    """The alpha channel of the area of a mask, of which every visible pixel has the colour of masks."""
    kind, data = uri.split(",")
    assert kind == "data:image/png;base64"
    area = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"))
    assert (area[area[..., 3] > 0][:, :3] == MASK_COLOR).all()
    return area[..., 3] / 255


def near(pixel, colour) -> bool:
    return bool(np.abs(pixel - np.array(colour)).max() < 30)


@pytest.mark.parametrize(
    ("rows", "count", "found"),
    [(10, 1, [5]), (10, 2, [2, 7]), (10, 3, [1, 5, 8]), (3, 3, [0, 1, 2]), (2, 9, [0, 1]), (0, 4, []), (5, 0, [])],
)
def test_spread_is_even(rows, count, found) -> None:
    assert [row - 100 for row in spread(np.arange(100, 100 + rows), count)] == found


def test_gallery_draws_masks(run) -> None:
    shot = show(run, "segmentation", [(picture(128, 96), half_true())])
    assert shot.verdict.short == "IoU 0.33" and not shot.errors
    truth, found = pixels(shot.truth), pixels(shot.prediction)
    # Outlines, so that the colours inside stay as they are.
    assert near(truth[47, 30], MASK_COLOR) and near(truth[40, 30], DARK) and near(truth[40, 100], BRIGHT)
    assert near(found[80, 64], MASK_COLOR) and near(found[80, 30], DARK) and near(found[80, 100], BRIGHT)


def test_gallery_areas_of_masks(run) -> None:
    shot = show(run, "segmentation", [(picture(128, 96), half_true())])
    true, found = opacity(shot.true_area), opacity(shot.predicted_area)
    assert true.shape == (96, 128) and np.unique(true) == pytest.approx([0.0, MASK_OPACITY], abs=0.01)
    assert (true[:48] > 0).all() and not true[48:].any()
    assert (found[:, 64:] > 0).all() and not found[:, :64].any()
    states = show(run, "classification", [(picture(128, 96), "fresh")])
    assert not states.true_area and states.predicted_area


def test_gallery_draws_boxes_at_the_shown_size(run) -> None:
    shot = show(run, "detection", [(picture(128, 96, box=BOX), [(64, 48, 128, 96, 0)])], width=256)
    assert (shot.width, shot.height) == (256, 192) and pixels(shot.truth).shape == (192, 256, 3)
    assert near(pixels(shot.truth)[140, 128], class_color(0))  # left edge of the true lid
    assert near(pixels(shot.prediction)[45, 32], class_color(1))  # left edge of the predicted stirrer
    assert shot.verdict.short == "0 of 1 found, 1 too many"


def test_gallery_draws_the_whole_prediction(run) -> None:
    shot = show(run, "classification", [(picture(128, 96, box=BOX), "fresh")])
    shown = pixels(shot.prediction)
    assert near(shown[80, 64], MASK_COLOR) and near(shown[30, 16], class_color(1)) and shown[2, 2].max() < 90
    assert near(pixels(shot.truth)[80, 100], BRIGHT)


def test_worst_images_show_errors_of_masks(run) -> None:
    shot = show(run, "segmentation", [(picture(128, 96), half_true())], worst=True)
    shown = pixels(shot.errors)
    assert near(shown[20, 20], LACKING) and near(shown[80, 110], SURPLUS)
    assert near(shown[20, 110], (220, 220, 220)) and near(shown[80, 20], (10, 10, 10))


def test_worst_images_show_their_own_part(run) -> None:
    shot = show(run, "classification", [(picture(128, 96, box=BOX), "fresh")], worst=True)
    shown = pixels(shot.prediction)
    assert near(shown[80, 100], BRIGHT) and not near(shown[30, 16], class_color(1)) and shown[2, 2].max() < 90


def test_worst_images_are_in_order_with_their_mistakes(run) -> None:
    masks = [record(row, pixels=[tp, 0, 100 - tp, 0], boundary=None) for row, tp in enumerate((10, 100, 5))]
    run.write_results("segmentation", masks)
    found = source(run, "segmentation").worst(1, 128)
    assert [each.file for each in found.mistaken] == ["images/02.png", "images/00.png"]
    assert [(shot.file, shot.kinds, shot.more) for shot in found.shots] == [("images/02.png", [MISSED], 0)]
    assert [(kind, count, len(shots)) for kind, count, shots in found.groups] == [(MISSED, 2, 1)]
    far = [(10 * number + 60, 60, 10 * number + 70, 70, 0) for number in range(4)]
    run.write_results("detection", [box_image(0, [(*BOX, 1), *far], [(22, 12, 54, 36, 1, 0.9, 0, 0.7)])])
    (shot,) = source(run, "detection").worst(2, 128).shots
    assert [mistake.kind for mistake in shot.mistakes] == [MISSED] * 4 and shot.more == 1
    assert shot.kinds == [MISSED, LOOSE_BOX] and shot.errors == ""


@pytest.mark.parametrize(("size", "shown"), [((400, 100), (128, 32)), ((10, 400), (6, 256)), ((64, 48), (128, 96))])
def test_gallery_size_of_images(run, size, shown) -> None:
    shot = show(run, "classification", [(picture(*size), "fresh")])
    assert (shot.width, shot.height) == shown


def test_gallery_draws_noise(run) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    shot = show(run, "classification", [(noise, "fresh")], width=400)
    assert pixels(shot.truth).shape == (400, 400, 3)


def test_gallery_names_changed_and_missing_raw_files(run) -> None:
    Image.fromarray(picture(50, 50)).save(run.raw / "detection/images/00.png")
    with pytest.raises(PackedError, match=r"00\.png: 50x50 pixels, but 128x96 when it was prepared; run `python"):
        source(run, "detection").spread(2, 128)
    (run.raw / "detection/images/00.png").unlink()
    with pytest.raises(ImageError, match=r"00\.png: no such file"):
        source(run, "detection").spread(2, 128)
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(run.raw / "segmentation/masks/00.png")
    with pytest.raises(PackedError, match=r"masks/00\.png: the mask is 9x9, the image 128x96; run `python stages"):
        source(run, "segmentation").spread(1 + 2, 128)


def test_gallery_respects_max_pixels(run) -> None:
    run.data = run.data.model_copy(update={"max_pixels": 5000})
    with pytest.raises(ImageError, match="max_pixels"):
        source(run, "detection").spread(2, 128)


def draw_worst(run, task, record):
    found = run.evaluate()
    images = [record(image) for image in found.results[task].images]
    replace(found.results[task], images=images).write(run.reports / f"results/{task}.json")
    found.predictions.write(run.reports / "results/predictions.json")
    return source(run, task).worst(1, 128).shots[0]


def test_gallery_explains_the_predicted_state(run) -> None:
    run.add("classification", [(picture(128, 96), "fresh")])
    shot = draw_worst(run, "classification", lambda image: {**image, "explanation": {"heat": ["000f", "0000"]}})
    drawn = pixels(shot.explanation)
    assert drawn.shape == (96, 128, 3) and shot.explained.startswith("frozen 9")
    assert np.ptp(drawn[10, 120]) > 40 and np.ptp(drawn[90, 5]) < 8
    assert not draw_worst(run, "classification", lambda image: image).explanation, "results of an earlier version"


def test_gallery_explains_one_box(run) -> None:
    run.add("detection", [(picture(128, 96, box=BOX), [])])
    shot = draw_worst(run, "detection", lambda image: {**image, "explanation": {"box": 0, "heat": ["f0", "00"]}})
    drawn = pixels(shot.explanation)
    assert shot.explained == "stirrer 0.99"
    assert near(drawn[(BOX[1] + BOX[3]) // 2, BOX[0]], class_color(1)) and np.ptp(drawn[80, 120]) < 8
    assert not source(run, "detection").spread(1, 128).shots[0].explanation
    assert not source(run, "detection").chosen([shot.file], 128)[0].explanation, "a review of labels shows none"
