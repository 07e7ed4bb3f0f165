import os

import numpy as np
import pytest
from PIL import Image

from panvision.core.tasks import TASKS
from panvision.dataset.packed import open_packed
from panvision.photos.drawing import MASK_COLOR, MASK_OPACITY, class_color
from panvision.report.archive import Archive
from tests.report.run import BOX
from tests.report.test_gallery import near, pixels
from tests.tiny import picture

BRIGHT = np.array([220, 220, 220])
TINTED = BRIGHT + (np.array(MASK_COLOR) - BRIGHT) * MASK_OPACITY


@pytest.fixture
def archive(run):
    def opened() -> Archive:
        return Archive.open([open_packed(run.prepared / task, task) for task in TASKS], run.splits, run.data)

    return opened


@pytest.mark.parametrize(
    ("size", "shown"), [((400, 100), (240, 60)), ((100, 400), (60, 240)), ((64, 48), (240, 180)), ((600, 1), (240, 1))]
)
def test_a_packed_square_gets_its_proportion_back(run, archive, size, shown) -> None:
    run.add("classification", [(picture(*size), "fresh")])
    tile = archive().tile("classification/images/00.png", 240, labelled=True)
    assert (tile.width, tile.height) == shown and pixels(tile.uri).shape == (shown[1], shown[0], 3)


def test_tile_draws_masks_if_labelled(archive) -> None:
    found = archive()
    shown = pixels(found.tile("segmentation/masks/00.png", 128, labelled=True).uri)
    assert near(shown[40, 100], TINTED) and near(shown[40, 20], (0, 0, 90))
    assert near(pixels(found.tile("segmentation/images/00.png", 128).uri)[40, 100], BRIGHT)


def test_tile_draws_all_or_named_boxes(run, archive) -> None:
    other = (70, 40, 120, 90)
    run.add("detection", [(picture(128, 96), [(*BOX, 1), (*other, 0)])])
    name = "detection/images/00.png"
    shown = pixels(archive().tile(name, 256, labelled=True).uri)
    assert near(shown[50, 32], class_color(1)) and near(shown[120, 140], class_color(0))
    # As the reasons round them.
    shown = pixels(archive().tile(name, 256, labelled=True, boxes=[(70.1, 40, 119.9, 90)]).uri)
    assert not near(shown[50, 32], class_color(1)) and near(shown[120, 140], class_color(0))


@pytest.mark.parametrize("size", [(1, 1), (500, 1), (1, 500)])
def test_labels_can_be_drawn_on_the_thinnest_picture(run, archive, size) -> None:
    run.add("detection", [(picture(*size), [(0, 0, *size, 1)])])
    assert archive().tile("detection/images/00.png", 240, labelled=True, boxes=[(0, 0, 1, 1)]).uri


def test_set_split_and_class_stand_below(run, archive) -> None:
    assert archive().tile("classification/images/01.png", 64).note == "classification · test · fresh"
    assert archive().tile("segmentation/masks/02.png", 64).note == "segmentation · test"
    run.splits.unlink()
    unsplit = Archive.open([open_packed(run.prepared / "detection", "detection")], None, run.data)
    assert unsplit.tile("detection/images/00.png", 64).note == "detection"


def test_what_was_not_packed_is_read_from_its_file(run, archive) -> None:
    Image.fromarray(picture(40, 20)).save(run.raw / "detection/images/new.png")
    tile = archive().tile("detection/images/new.png", 80, labelled=True)
    assert (tile.width, tile.height, tile.note) == (80, 40, "detection")
    assert near(pixels(tile.uri)[20, 60], BRIGHT)


@pytest.mark.parametrize(
    "name",
    [
        "detection/images/none.png",
        "detection/images/broken.png",
        "detection/images/large.png",
        "detection/images/link.png",
        "detection/images/pipe.png",
        "detection/images",
        "detection/../secret.png",
        "secret.png",
        "detection/images/\0.png",
    ],
)
def test_tile_of_unreadable_files(run, archive, tmp_path, name) -> None:
    folder = run.raw / "detection/images"
    Image.fromarray(picture()).save(run.raw / "secret.png")
    (folder / "broken.png").write_bytes((run.raw / "secret.png").read_bytes()[:60])
    Image.fromarray(picture(300, 300)).save(folder / "large.png")
    (folder / "link.png").symlink_to(run.raw / "secret.png")
    os.mkfifo(folder / "pipe.png")
    run.data = run.data.model_copy(update={"max_pixels": 80_000})
    assert archive().tile(name, 64).uri == ""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("segmentation/masks/00.png", True),
        ("segmentation/masks/other.TIFF", True),
        ("detection/images/00.png", True),
        ("detection/_annotations.coco.json", False),
        ("classification/images/fresh", False),
        ("classification", False),
        ("data/pins.png", False),
    ],
)
def test_images_are_recognised_among_other_files(archive, name, expected) -> None:
    assert archive().is_image(name) is expected
