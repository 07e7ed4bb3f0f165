import pickle
import subprocess
import sys
from dataclasses import replace

import albumentations as A  # noqa: N812 -- the library's own convention
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.training.data.augment import MIN_BOX_SIDE, Augmentation
from panvision.training.data.samples import Sample
from panvision.training.data.transforms import make_transforms
from panvision.training.data.transforms.transform import GEOMETRY
from tests.training.data.packed_sets import ALL, SIDE, STILL, full_sample
from tests.training.data.transforms.one import make_rng

# albumentations only warns where an argument is unknown or ignored.
pytestmark = pytest.mark.filterwarnings("error")

MOVED = STILL.model_copy(update={"horizontal_flip": 0.5, "vertical_flip": 0.5, "scale": 0.4, "translate": 0.3})
BLACK = np.zeros((SIDE, SIDE, 3), np.uint8)
FIELDS = ("image", "mask", "boxes", "labels", "class_label")


def augmented(settings, sample, seed=1):
    return Augmentation(settings)(sample, seed, None)


def equal(one, two):
    return all(np.array_equal(getattr(one, name), getattr(two, name)) for name in FIELDS)


def test_everything_off_changes_nothing():
    sample = full_sample(0)
    assert equal(augmented(STILL, sample), sample)


@pytest.mark.parametrize("seed", range(20))
def test_augmentation_equals_albumentations_compose(seed):
    """Boxes too, which the library moves on its own there."""
    sample = full_sample(seed)
    parts = [wrapped.transform for wrapped in make_transforms(ALL)]
    compose = A.Compose(parts, bbox_params=A.BboxParams("pascal_voc", label_fields=["labels"], clip=True))
    compose.set_random_state(make_rng(seed).numpy, make_rng(seed).python)
    expected = compose(image=sample.image, mask=sample.mask, bboxes=sample.boxes, labels=sample.labels)
    found = augmented(ALL, sample, seed)
    assert (found.image == expected["image"]).all() and (found.mask == expected["mask"]).all()
    sides = expected["bboxes"][:, 2:] - expected["bboxes"][:, :2]
    assert found.boxes == pytest.approx(expected["bboxes"][(sides >= MIN_BOX_SIDE).all(axis=1)], abs=1e-4)


def test_a_sample_depends_on_its_seed_only():
    sample, augmentation = full_sample(0), Augmentation(ALL)
    first = augmentation(sample, 11, None)
    for other in (12, 13):
        assert not equal(augmentation(sample, other, None), first)
    np.random.seed(0)
    assert equal(augmentation(sample, 11, None), first)
    assert equal(augmented(ALL, sample, 11), first)
    assert equal(pickle.loads(pickle.dumps(augmentation))(sample, 11, None), first)  # noqa: S301 -- our own


@pytest.mark.parametrize("seed", range(5))
def test_a_seed_makes_the_same_image_with_any_labels(seed):
    sample = full_sample(0)
    alone = augmented(ALL, Sample(sample.image), seed)
    assert alone.mask is alone.boxes is alone.labels is alone.class_label is None
    assert (augmented(ALL, sample, seed).image == alone.image).all()


def test_different_seeds_give_different_images():
    augmentation, sample = Augmentation(ALL), full_sample(0)
    assert len({augmentation(sample, seed, None).image.tobytes() for seed in range(50)}) == 50


def test_the_given_arrays_are_not_changed():
    sample = full_sample(0)
    for array in (sample.image, sample.mask, sample.boxes, sample.labels):
        array.flags.writeable = False
    augmented(ALL, sample)


def test_images_without_boxes():
    found = augmented(ALL, replace(full_sample(0), boxes=np.zeros((0, 4), np.float32), labels=np.zeros(0, np.int64)))
    assert found.boxes.shape == (0, 4) and found.boxes.dtype == np.float32
    assert found.labels.shape == (0,) and found.labels.dtype == np.int64


def test_boxes_moved_out_are_removed_with_their_labels():
    corners = np.array([[0, 0, 2, 2], [14, 14, 18, 18], [30, 30, 32, 32]], np.float32)
    sample = Sample(BLACK, boxes=corners, labels=np.array([5, 6, 7]))
    kept = {tuple(augmented(MOVED, sample, seed).labels.tolist()) for seed in range(60)}
    assert all(6 in labels for labels in kept)
    assert {(5, 6), (6, 7), (6,)} <= kept


def test_boxes_outside_by_rounding_are_clipped():
    box = np.array([[-1e-5, 4, SIDE + 1e-4, 9]], np.float32)
    assert augmented(STILL, replace(full_sample(0), boxes=box)).boxes.tolist() == [[0, 4, SIDE, 9]]


def test_a_box_that_left_the_image_does_not_return(monkeypatch):
    """A shift out of the image and back leaves black pixels, and no box on them."""

    class Shift:
        moves = GEOMETRY

        def __init__(self, pixels):
            self.pixels = pixels

        def __call__(self, sample, rng, draw):
            return replace(sample, boxes=sample.boxes + np.array([self.pixels, 0, self.pixels, 0]))

    table = {"out": lambda settings: Shift(SIDE - 10), "back": lambda settings: Shift(10 - SIDE)}
    monkeypatch.setattr("panvision.training.data.transforms.TRANSFORMS", table)
    boxes = np.array([[4, 4, 20, 20], [20, 4, 30, 20]], np.float32)
    found = augmented(STILL, Sample(BLACK, boxes=boxes, labels=np.array([5, 6])))
    assert found.boxes.tolist() == [[4, 4, 10, 20]] and found.labels.tolist() == [5]


coordinate = st.floats(0, SIDE, width=32)


@given(
    raw=st.lists(st.tuples(coordinate, coordinate, coordinate, coordinate), max_size=6),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=150, deadline=None)
def test_boxes_stay_inside_and_keep_an_area(raw, seed):
    pairs = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in raw]
    boxes = np.array([b for b in pairs if b[2] - b[0] > 0.01 and b[3] - b[1] > 0.01], np.float32).reshape(-1, 4)
    labels = np.arange(len(boxes)) + 10
    found = augmented(MOVED, Sample(BLACK, boxes=boxes, labels=labels), seed)
    assert found.boxes.dtype == np.float32 and found.labels.dtype == np.int64 and len(found.boxes) == len(found.labels)
    assert set(found.labels) <= set(labels) and len(set(found.labels)) == len(found.labels)
    assert (found.boxes >= 0).all() and (found.boxes <= SIDE).all()
    assert ((found.boxes[:, 2:] - found.boxes[:, :2]) >= MIN_BOX_SIDE - 1e-4).all()


def test_import_does_not_ask_the_network():
    script = (
        "import socket\n"
        "def refuse(*_): raise SystemExit('asked the network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "import panvision.training.data.transforms.color\n"
    )
    result = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_opencv_starts_no_threads():
    """OpenCV's threads would spin beside the training steps."""
    assert cv2.getNumThreads() == 1
