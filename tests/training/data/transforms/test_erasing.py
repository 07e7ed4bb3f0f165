import numpy as np

from panvision.dataset.packed import CROWD
from panvision.training.data.augment import Augmentation
from panvision.training.data.samples import Sample
from tests.training.data.packed_sets import SIDE, STILL, full_sample
from tests.training.data.transforms.one import transformed

BLACK = np.zeros((SIDE, SIDE, 3), np.uint8)
SURE = STILL.model_copy(update={"erasing": 1.0})


def test_erasing_hides_a_rectangle_of_one_colour():
    hidden = [(transformed("erasing", Sample(BLACK), seed, erasing=1.0).image > 0).any(axis=2) for seed in range(200)]
    fractions = np.array([each.mean() for each in hidden])
    assert 0.01 < fractions.min() < 0.04 and 0.17 < fractions.max() <= 0.22
    for each in hidden:
        rows, columns = np.nonzero(each)
        assert each[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()


def test_erasing_keeps_the_mask_and_the_probability():
    sample = full_sample(0)
    erased = [transformed("erasing", sample, seed, erasing=0.3) for seed in range(400)]
    assert 80 < sum((each.image != sample.image).any() for each in erased) < 160
    assert all((each.mask == sample.mask).all() for each in erased)


def test_erasing_removes_boxes_that_are_hidden():
    """A box stays, exactly where it was, if at least a quarter of it is visible."""
    x, y = np.meshgrid(np.arange(0, SIDE, 4), np.arange(0, SIDE, 4))
    boxes = np.stack([x, y, x + 4, y + 4], axis=-1).reshape(-1, 4).astype(np.float32)
    labels = np.arange(len(boxes))
    removed = 0
    for seed in range(50):
        found = Augmentation(SURE)(Sample(BLACK, boxes=boxes, labels=labels), seed, None)
        hidden = (found.image > 0).any(axis=2)
        shares = np.array([hidden[y1:y2, x1:x2].mean() for x1, y1, x2, y2 in boxes.astype(int)])
        assert found.labels.tolist() == labels[shares <= 0.75].tolist()
        assert (found.boxes == boxes[shares <= 0.75]).all()
        removed += len(boxes) - len(found.boxes)
    assert removed > 50


def test_erasing_keeps_crowds():
    """The rest of a hidden crowd still hides objects without boxes."""
    boxes = np.array([[0, 0, SIDE, SIDE], [8, 8, 12, 12]], np.float32)
    labels = np.array([CROWD, CROWD - 1])
    for seed in range(50):
        found = Augmentation(SURE)(Sample(BLACK, boxes=boxes, labels=labels), seed, None)
        assert (found.boxes == boxes).all() and found.labels.tolist() == labels.tolist()
