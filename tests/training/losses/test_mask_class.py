"""Losses of the detection class that is the segmented object: boxes from masks, masks from boxes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.dataset.packed import CROWD
from panvision.model.heads.detection import DetectionOutput
from panvision.training.data.batches import NO_OBJECT
from panvision.training.losses import LOSSES
from panvision.training.losses.detection import mask_boxes
from panvision.training.losses.targets import make_points
from panvision.training.losses.terms import LossContext
from panvision.training.settings import LossSettings

SIDE, STRIDES, CLASSES, PAN = 64, (8, 16, 32), 3, 1
CONTEXT = LossContext(make_points(SIDE, STRIDES), LossSettings(), mask_class=PAN)
FROM_MASKS = LOSSES["detection"].crossed["segmentation"]
FROM_BOXES = LOSSES["segmentation"].crossed["detection"]


def head_output(classes=CLASSES):
    generator = torch.Generator().manual_seed(0)

    def maps(channels):
        sides = [SIDE // stride for stride in STRIDES]
        return [torch.randn(2, channels, side, side, generator=generator).requires_grad_() for side in sides]

    return DetectionOutput(maps(classes), [level.detach().exp() for level in maps(4)], maps(1))


def masks():
    """A pan of rows 8 to 39 and columns 16 to 55 with a hole, and no pan."""
    found = torch.zeros(2, 1, SIDE, SIDE)
    found[0, 0, 8:40, 16:56] = 1
    found[0, 0, 20:30, 30:40] = 0
    return found


@given(st.integers(0, 10_000), st.floats(0.0, 0.1))
@settings(deadline=None, max_examples=30)
def test_mask_boxes_are_the_smallest_around_each_mask(seed, density):
    generator = np.random.default_rng(seed)
    shown = (generator.random((3, 16, 16)) < density) * generator.integers(128, 256, (3, 16, 16))
    found = mask_boxes(torch.from_numpy(shown)[:, None], 2)
    for mask, box, label in zip(shown, found["boxes"], found["labels"], strict=True):
        y, x = np.nonzero(mask)
        expected = [x.min(), y.min(), x.max() + 1, y.max() + 1] if len(x) else [0, 0, 0, 0]
        assert box.tolist() == [expected] and label.tolist() == [2 if len(x) else NO_OBJECT]


def test_boxes_from_masks_are_the_detection_loss_of_one_class():
    """Other classes are ignored: with their logits left out it is FCOS's loss of the box."""
    output = head_output()
    found = FROM_MASKS.compute(output, {"masks": 255 * masks()}, CONTEXT)["det_masks"]
    alone = output._replace(class_logits=[level[:, PAN : PAN + 1] for level in output.class_logits])
    labels = {
        "boxes": torch.tensor([[[16.0, 8, 56, 40]], [[0, 0, 0, 0]]]),
        "labels": torch.tensor([[0], [NO_OBJECT]]),
    }
    expected = LOSSES["detection"].compute(alone, labels, CONTEXT)
    assert found.count == expected["det_class"].count > 0
    assert found.total.item() == pytest.approx(sum(term.total.item() for term in expected.values()), rel=1e-5)
    assert FROM_MASKS.count({"masks": 255 * masks()}, CONTEXT)["det_masks"] == found.count
    found.mean().backward()
    gradients = [level.grad.abs().sum((0, 2, 3)) for level in output.class_logits]
    assert all(gradient[PAN] > 0 and gradient[0] == gradient[2] == 0 for gradient in gradients)


def test_boxes_from_empty_masks_are_finite():
    output = head_output()
    FROM_MASKS.compute(output, {"masks": torch.zeros(2, 1, SIDE, SIDE)}, CONTEXT)["det_masks"].mean().backward()
    assert all(level.grad.isfinite().all() for level in (*output.class_logits, *output.centerness))


BOXES = {
    "boxes": torch.tensor([[[16.0, 8, 56, 40], [0, 0, 64, 64]], [[0, 0, 0, 0], [0, 0, 0, 0]]]),
    "labels": torch.tensor([[PAN, 2], [NO_OBJECT, NO_OBJECT]]),
}


def boxes_loss(mask):
    logits = (40 * mask - 20).requires_grad_()
    term = FROM_BOXES.compute(logits, BOXES, CONTEXT)["seg_boxes"]
    term.mean().backward()
    assert term.count == 2 == FROM_BOXES.count(BOXES, CONTEXT)["seg_boxes"] and logits.grad.isfinite().all()
    return float(term.mean())


def test_masks_that_touch_all_sides_of_their_box_have_no_loss():
    """A box does not say where inside it the object is; a box of another class says nothing."""
    whole, cross = masks(), torch.zeros(2, 1, SIDE, SIDE)
    cross[0, 0, 20:22, 16:56] = cross[0, 0, 8:40, 30:32] = 1
    for mask in (whole, cross):
        assert boxes_loss(mask) < 0.02


@pytest.mark.parametrize(
    "change",
    [
        lambda mask: mask[0, 0, :, 50:].fill_(0),  # does not reach the right edge
        lambda mask: mask[0, 0, 50, 30].fill_(1),  # a pixel below
        lambda mask: mask[1, 0, 50, 30].fill_(1),  # a pixel where no box is
    ],
)
def test_masks_that_disagree_with_their_box_have_a_loss(change):
    mask = masks()
    change(mask)
    assert boxes_loss(mask) > boxes_loss(masks()) + 0.01


def test_two_boxes_project_together():
    labels = {
        "boxes": torch.tensor([[[0.0, 0, 16, 16], [32, 32, 64, 64]]]),
        "labels": torch.full((1, 2), PAN),
    }
    both = torch.full((1, 1, SIDE, SIDE), -20.0)
    both[0, 0, :16, :16] = both[0, 0, 32:, 32:] = 20.0
    one, between = both.clone(), both.clone()
    one[0, 0, :16, :16] = -20.0
    between[0, 0, :16, 32:] = 20.0  # in the rows of one box and the columns of the other: background all the same
    losses = [float(FROM_BOXES.compute(x, labels, CONTEXT)["seg_boxes"].mean()) for x in (both, one, between)]
    assert losses[0] < 0.05 and min(losses[1:]) > 0.1


@pytest.mark.parametrize(("label", "worse"), [(CROWD - PAN, False), (CROWD - 2, True), (NO_OBJECT, True)])
def test_pan_inside_a_crowd_of_pans_is_no_false_alarm(label, worse):
    labels = {
        "boxes": torch.tensor([[[0.0, 0, 16, 16], [32, 32, 64, 64]]]),
        "labels": torch.tensor([[PAN, label]]),
    }
    one = torch.full((1, 1, SIDE, SIDE), -20.0)
    one[0, 0, :16, :16] = 20.0
    both = one.clone()
    both[0, 0, 40:50, 40:60] = 20.0
    losses = [float(FROM_BOXES.compute(logits, labels, CONTEXT)["seg_boxes"].mean()) for logits in (one, both)]
    assert losses[0] < 0.02 and (losses[1] > 0.1 if worse else losses[1] == pytest.approx(losses[0], abs=1e-6))
