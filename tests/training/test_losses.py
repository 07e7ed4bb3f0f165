import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.model.heads import DetectionOutput
from panvision.training.data.batches import NO_OBJECT
from panvision.training.data.stream import TrainingStream
from panvision.training.losses import (
    Term,
    batch_terms,
    classification_terms,
    detection_terms,
    giou_loss,
    segmentation_terms,
    sigmoid_focal_loss,
    task_losses,
    whole_counts,
)
from panvision.training.settings import LossSettings
from panvision.training.targets import assign_targets, make_points
from tests.training.data.packed_sets import STILL
from tests.training.small import small_model, small_sets

SIZE, STRIDES, CLASSES = 64, (8, 16, 32), 3
POINTS = make_points(SIZE, STRIDES)
BOXES = torch.tensor([[[6.0, 6, 22, 22], [20, 20, 60, 60]], [[0, 0, 64, 64], [0, 0, 0, 0]]])
LABELS = torch.tensor([[0, 2], [1, NO_OBJECT]])


def head_output(seed=0, images=2):
    generator = torch.Generator().manual_seed(seed)

    def maps(channels):
        return [torch.randn(images, channels, SIZE // s, SIZE // s, generator=generator) for s in STRIDES]

    output = DetectionOutput(maps(CLASSES), [level.exp() for level in maps(4)], maps(1))
    for level in (*output.class_logits, *output.ltrb, *output.centerness):
        level.requires_grad_()
    return output


def perfect_output():
    """Outputs that are right about everything, as far as a sigmoid goes."""
    targets = assign_targets(POINTS, BOXES, LABELS, center_radius=1.5)
    wanted = F.one_hot(targets.labels.clamp(min=0), CLASSES) * (targets.labels != NO_OBJECT)[..., None]
    flat = ((wanted * 2 - 1) * 20.0, targets.ltrb.clamp(min=0), torch.logit(targets.centerness, 1e-6)[..., None])

    def maps(values):
        sides = [SIZE // stride for stride in STRIDES]
        parts = values.split([side * side for side in sides], dim=1)
        return [part.transpose(1, 2).unflatten(2, (side, side)) for part, side in zip(parts, sides, strict=True)]

    return DetectionOutput(*(maps(values) for values in flat))


def detection(output, boxes=BOXES, labels=LABELS, **changes):
    return detection_terms(output, boxes, labels, POINTS, LossSettings(**changes))


def with_gradient(loss, *inputs):
    """A loss for each element, and the gradient of their weighted sum by the first input."""
    first = inputs[0].clone().requires_grad_()
    values = loss(first, *inputs[1:])
    (values * torch.linspace(0.5, 1.5, values.numel()).view_as(values)).sum().backward()
    return values.detach(), first.grad


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.5, 0.0), (0.9, 1.5)])
def test_focal_loss_is_torchvisions(alpha, gamma):
    ops = pytest.importorskip("torchvision.ops")
    logits = torch.cat([4 * torch.randn(200, 3), torch.tensor([[0.0, 30.0, -30.0], [-90.0, 90.0, 1e-8]])])
    wanted = torch.rand(202, 3) < 0.5
    ours = with_gradient(lambda x: sigmoid_focal_loss(x, wanted, alpha=alpha, gamma=gamma), logits)
    theirs = with_gradient(lambda x: ops.sigmoid_focal_loss(x, wanted.float(), alpha=alpha, gamma=gamma), logits)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_giou_loss_is_torchvisions_of_the_boxes_around_any_point():
    ops = pytest.importorskip("torchvision.ops")
    predicted, wanted = 8 * torch.rand(200, 4), 8 * torch.rand(200, 4)
    wanted[0] = predicted[0]
    wanted[1] = 0
    predicted[2] *= 1e-4

    def theirs(ltrb):
        boxes = [torch.cat([-each[:, :2], each[:, 2:]], dim=1) for each in (ltrb, wanted)]
        return ops.generalized_box_iou_loss(*boxes)

    ours = with_gradient(giou_loss, predicted, wanted)
    torch.testing.assert_close(ours, with_gradient(theirs, predicted), rtol=1e-5, atol=1e-6)


def test_mask_loss_is_binary_cross_entropy_over_all_pixels():
    logits, masks = torch.randn(2, 1, 8, 8), torch.randint(0, 2, (2, 1, 8, 8), dtype=torch.uint8)
    expected = F.binary_cross_entropy_with_logits(logits, masks.float())
    assert segmentation_terms(logits, masks)["seg"].mean() == pytest.approx(expected)


def test_state_loss_is_the_focal_loss_of_the_paper():
    logits, states = torch.tensor([[2.0, 0.5, -1.0], [0.0, 0.0, 3.0]]), torch.tensor([0, 1])
    p = logits.softmax(1)[[0, 1], states]
    expected = (0.25 * (1 - p) ** 2 * -p.log()).mean()
    assert classification_terms(logits, states, LossSettings())["cls"].mean() == pytest.approx(expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_state_loss_is_cross_entropy_by_param(smoothing):
    logits, states = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    settings_ = LossSettings(state="cross_entropy", label_smoothing=smoothing)
    expected = F.cross_entropy(logits, states, label_smoothing=smoothing)
    assert classification_terms(logits, states, settings_)["cls"].mean() == pytest.approx(expected)


@pytest.mark.parametrize("box", ["smooth_l1", "giou"])
def test_a_perfect_detector_has_no_class_and_no_box_loss(box):
    terms = detection(perfect_output(), box=box)
    assert terms["det_class"].mean() == pytest.approx(0, abs=1e-5)
    assert terms["det_box"].mean() == pytest.approx(0, abs=1e-5)
    # Centerness is no yes or no: its binary cross-entropy ends at the targets' entropy.
    assert 0 < terms["det_centerness"].mean() < math.log(2)


@pytest.mark.parametrize("box", ["smooth_l1", "giou"])
def test_the_box_loss_has_a_gradient_at_positive_points_only(box):
    output = head_output()
    detection(output, box=box)["det_box"].mean().backward()
    targets = assign_targets(POINTS, BOXES, LABELS, center_radius=1.5)
    positive = (targets.labels != NO_OBJECT) & (targets.centerness > 0)
    gradient = torch.cat([level.grad.flatten(2).transpose(1, 2) for level in output.ltrb], dim=1).abs().sum(-1)
    assert ((gradient > 0) == positive).all()


def test_box_losses_are_weighted_by_centerness_and_counted_by_it():
    targets = assign_targets(POINTS, BOXES, LABELS, center_radius=1.5)
    weights = targets.centerness[targets.labels != NO_OBJECT]
    assert detection(head_output())["det_box"].count == pytest.approx(float(weights.sum()))


def test_class_loss_is_per_positive_point():
    targets = assign_targets(POINTS, BOXES, LABELS, center_radius=1.5)
    assert detection(head_output())["det_class"].count == float((targets.labels != NO_OBJECT).sum())


def test_without_any_box_losses_are_finite_and_every_output_has_a_gradient():
    output = head_output()
    nothing = (torch.zeros(2, 1, 4), torch.full((2, 1), NO_OBJECT))
    losses = task_losses(detection(output, *nothing), LossSettings())
    losses["total"].backward()
    assert losses["total"].isfinite()
    assert losses["det_box"].item() == 0 and losses["det_centerness"].item() == 0
    for level in (*output.class_logits, *output.ltrb, *output.centerness):
        assert level.grad is not None and level.grad.isfinite().all()


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from(["smooth_l1", "giou"]))
def test_terms_of_two_batches_add_up_to_those_of_both(seed, box):
    output = head_output(seed)
    whole = detection(output, box=box)
    halves = []
    for row in (0, 1):
        half = DetectionOutput(*([level[row : row + 1] for level in levels] for levels in output))
        halves.append(detection(half, BOXES[row : row + 1], LABELS[row : row + 1], box=box))
    for name, term in whole.items():
        assert (halves[0][name] + halves[1][name]).mean().item() == pytest.approx(term.mean().item(), rel=1e-4)


def test_total_is_the_weighted_sum_and_detection_the_sum_of_its_parts():
    one = torch.tensor(1.0)
    terms = {name: Term(one * value, one) for name, value in
             {"seg": 2, "det_class": 3, "det_box": 5, "det_centerness": 7, "cls": 11}.items()}  # fmt: skip
    losses = task_losses(terms, LossSettings(seg=1.5, det=0.5, cls=2.0))
    assert float(losses["det"]) == 15
    assert float(losses["total"]) == 1.5 * 2 + 0.5 * 15 + 2.0 * 11
    assert float(task_losses({"seg": terms["seg"]}, LossSettings())["total"]) == 2


def test_what_parts_add_to_the_whole_adds_up_to_it():
    """The parts count different numbers of points, so the mean of their means is not the mean of the whole."""
    sets = small_sets()
    model = small_model(sets).eval()
    stream = TrainingStream(sets.packed, sets.split("train"), STILL, batch_size=2, seed=1)
    batches = [stream[step] for step in range(3)]
    # A part without a positive point.
    batches[1].labels["detection"]["labels"].fill_(NO_OBJECT)
    settings = LossSettings()
    with torch.no_grad():
        parts = []
        for batch in batches:
            images = torch.cat(list(batch.images.values()))
            outputs = model(images, tuple(batch.images), dict.fromkeys(batch.images, 2))
            parts.append(batch_terms(outputs, batch, POINTS, settings))
    whole = {name: parts[0][name] + parts[1][name] + parts[2][name] for name in parts[0]}
    counts = whole_counts(batches, POINTS, settings)
    assert {name: float(count) for name, count in counts.items()} == pytest.approx(
        {name: float(term.count) for name, term in whole.items()}
    )
    shares = [task_losses(part, settings, counts) for part in parts]
    for name, value in task_losses(whole, settings).items():
        assert sum(float(share[name]) for share in shares) == pytest.approx(float(value))
    means = [float(task_losses(part, settings)["det_class"]) for part in parts]
    assert sum(means) / 3 != pytest.approx(float(task_losses(whole, settings)["det_class"]), rel=0.01)
