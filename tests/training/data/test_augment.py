import pickle
import subprocess
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.training.data.augment import MIN_BOX_SIDE, Augmentation
from panvision.training.data.settings import AugmentSettings
from tests.training.data.packed_sets import SIDE, STILL, paint, rectangle

# albumentations only warns where an argument is unknown or ignored.
pytestmark = pytest.mark.filterwarnings("error")

LABEL = np.array([3], np.int64)
NO_BOXES = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
MOVED = STILL.model_copy(update={"horizontal_flip": 0.5, "vertical_flip": 0.5, "scale": 0.4, "translate": 0.3})
ALL = AugmentSettings(vertical_flip=0.5, scale=0.3, translate=0.2)


def still(**changes):
    return Augmentation(STILL.model_copy(update=changes))


def red_box(image):
    """x1, y1, x2, y2 of what is rather red than blue."""
    rows, columns = np.nonzero(image[..., 0] > 100)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_nothing_asked_for_changes_nothing():
    image, mask, box = rectangle(0)
    augmentation = still()
    assert (augmentation.image(image, 1) == image).all()
    same = augmentation.image_and_mask(image, mask, 1)
    assert all((new == old).all() for new, old in zip(same, (image, mask), strict=True))
    same = augmentation.image_and_boxes(image, box, LABEL, 1)
    assert all((new == old).all() for new, old in zip(same, (image, box, LABEL), strict=True))


@pytest.mark.parametrize("flip", ["horizontal_flip", "vertical_flip"])
@pytest.mark.parametrize("seed", range(4))
def test_flips_move_image_mask_and_box_alike(flip, seed):
    image, mask, (box,) = rectangle(seed)
    augmentation = still(**{flip: 1.0})
    turned = (slice(None), slice(None, None, -1)) if flip == "horizontal_flip" else slice(None, None, -1)
    x1, y1, x2, y2 = box
    expected = [SIDE - x2, y1, SIDE - x1, y2] if flip == "horizontal_flip" else [x1, SIDE - y2, x2, SIDE - y1]

    assert (augmentation.image(image, 5) == image[turned]).all()
    flipped, flipped_mask = augmentation.image_and_mask(image, mask, 5)
    assert (flipped == image[turned]).all() and (flipped_mask == mask[turned]).all()
    flipped, boxes, labels = augmentation.image_and_boxes(image, box[None], LABEL, 5)
    assert (flipped == image[turned]).all() and boxes.tolist() == [expected] and labels.tolist() == [3]


def test_flip_probability_is_kept():
    image, _, _ = rectangle(0)
    flipped = sum((still(horizontal_flip=0.3).image(image, seed) != image).any() for seed in range(400))
    assert 80 < flipped < 160


@pytest.mark.parametrize("seed", range(25))
def test_zoom_and_shift_move_image_mask_and_box_alike(seed):
    image, mask, box = rectangle(seed)
    augmentation = Augmentation(MOVED)
    moved, moved_mask = augmentation.image_and_mask(image, mask, seed)
    same, boxes, _ = augmentation.image_and_boxes(image, box, LABEL, seed)
    assert (moved == same).all()
    assert ((moved[..., 0] > 100) == (moved_mask == 1)).mean() > 0.98
    if len(boxes):
        assert np.abs(boxes[0] - red_box(moved)).max() <= 1.0
    else:
        assert (moved_mask == 1).sum() <= SIDE  # a sliver along an edge


@pytest.mark.parametrize("seed", range(30))
def test_masks_stay_zero_and_one(seed):
    image, mask, _ = rectangle(seed)
    _, changed = Augmentation(ALL).image_and_mask(image, mask, seed)
    assert changed.dtype == np.uint8 and changed.shape == mask.shape
    assert set(np.unique(changed)) <= {0, 1}


def test_zoom_interpolates_images_and_not_masks():
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[8:24, 8:24] = 1
    zoomed, zoomed_mask = Augmentation(MOVED).image_and_mask(paint(mask), mask, 3)
    assert len(np.unique(zoomed[..., 0])) > 2
    assert np.unique(zoomed_mask).tolist() == [0, 1]


def test_colours_change_and_places_do_not():
    image, mask, box = rectangle(1)
    augmentation = still(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.05)
    changed, same_mask = augmentation.image_and_mask(image, mask, 2)
    assert (changed != image).any() and (same_mask == mask).all()
    assert augmentation.image_and_boxes(image, box, LABEL, 2)[1].tolist() == box.tolist()


def test_brightness_is_drawn_from_its_range():
    grey = np.full((8, 8, 3), 100, np.uint8)
    means = [still(brightness=0.2).image(grey, seed).mean() for seed in range(200)]
    assert 79 <= min(means) < 85 and 115 < max(means) <= 121


def test_a_sample_depends_on_its_seed_only():
    image, mask, box = rectangle(0)
    augmentation = Augmentation(ALL)
    first = augmentation.image(image, 11)
    for other in (12, 13):
        augmentation.image(image, other)
        augmentation.image_and_boxes(image, box, LABEL, other)
    np.random.seed(0)
    assert (augmentation.image(image, 11) == first).all()
    assert (Augmentation(ALL).image(image, 11) == first).all()
    assert (pickle.loads(pickle.dumps(augmentation)).image(image, 11) == first).all()  # noqa: S301 -- our own
    # Whatever comes with it, the image changes alike.
    assert (augmentation.image_and_mask(image, mask, 11)[0] == first).all()
    assert (augmentation.image_and_boxes(image, box, LABEL, 11)[0] == first).all()


def test_different_seeds_give_different_samples():
    image, _, _ = rectangle(0)
    assert len({Augmentation(ALL).image(image, seed).tobytes() for seed in range(50)}) == 50


def test_the_given_arrays_are_not_changed():
    image, mask, box = rectangle(0)
    for array in (image, mask, box):
        array.flags.writeable = False
    Augmentation(ALL).image_and_mask(image, mask, 1)
    Augmentation(ALL).image_and_boxes(image, box, LABEL, 1)


def test_images_without_boxes():
    image, _, _ = rectangle(0)
    _, boxes, labels = Augmentation(ALL).image_and_boxes(image, *NO_BOXES, 1)
    assert boxes.shape == (0, 4) and boxes.dtype == np.float32
    assert labels.shape == (0,) and labels.dtype == np.int64


def test_boxes_moved_out_of_the_image_are_gone_with_their_labels():
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    corners = np.array([[0, 0, 2, 2], [14, 14, 18, 18], [30, 30, 32, 32]], np.float32)
    kept = [
        tuple(Augmentation(MOVED).image_and_boxes(image, corners, np.array([5, 6, 7]), seed)[2]) for seed in range(60)
    ]
    assert all(6 in labels for labels in kept)
    assert {(5, 6), (6, 7), (6,)} <= {tuple(sorted(labels)) for labels in kept}


def test_boxes_outside_by_rounding_are_clipped():
    image, _, _ = rectangle(0)
    box = np.array([[-1e-5, 4, SIDE + 1e-4, 9]], np.float32)
    assert still().image_and_boxes(image, box, LABEL, 1)[1].tolist() == [[0, 4, SIDE, 9]]


coordinate = st.floats(0, SIDE, width=32)


@given(
    raw=st.lists(st.tuples(coordinate, coordinate, coordinate, coordinate), max_size=6),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=150, deadline=None)
def test_boxes_stay_inside_and_keep_an_area(raw, seed):
    pairs = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in raw]
    boxes = np.array([b for b in pairs if b[2] - b[0] > 0.01 and b[3] - b[1] > 0.01], np.float32).reshape(-1, 4)
    given_labels = np.arange(len(boxes)) + 10
    _, moved, labels = Augmentation(MOVED).image_and_boxes(
        np.zeros((SIDE, SIDE, 3), np.uint8), boxes, given_labels, seed
    )
    assert moved.dtype == np.float32 and labels.dtype == np.int64 and len(moved) == len(labels)
    assert set(labels) <= set(given_labels) and len(set(labels)) == len(labels)
    assert (moved >= 0).all() and (moved <= SIDE).all()
    assert ((moved[:, 2:] - moved[:, :2]) >= MIN_BOX_SIDE - 1e-4).all()


def test_import_does_not_ask_the_network():
    script = (
        "import socket\n"
        "def refuse(*_): raise SystemExit('asked the network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "import panvision.training.data.augment\n"
    )
    result = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_opencv_starts_no_threads():
    """They would spin beside the training steps."""
    assert cv2.getNumThreads() == 1


@pytest.mark.parametrize("seed", range(5))
def test_a_seed_makes_the_same_picture_whatever_comes_with_it(seed):
    image, mask, box = rectangle(0)
    augmentation = Augmentation(ALL)
    alone = augmentation.image(image, seed)
    assert (augmentation.image_and_mask(image, mask, seed)[0] == alone).all()
    assert (augmentation.image_and_boxes(image, box, LABEL, seed)[0] == alone).all()
