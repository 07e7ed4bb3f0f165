import pytest
import torch
import torch.nn.functional as F  # noqa: N812
import torchvision.ops
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.core.tasks import TASKS
from panvision.dataset.packed import CROWD
from panvision.model.heads.detection import DetectionOutput, join_levels
from panvision.training.data.batches import NO_OBJECT
from panvision.training.data.stream import TrainingStream
from panvision.training.losses import (
    LOSSES,
    averaged_terms,
    batch_terms,
    crossed_runs,
    loss_names,
    task_losses,
    whole_counts,
)
from panvision.training.losses.detection import SMOOTH_L1_BETA, sigmoid_focal_loss
from panvision.training.losses.targets import assign_targets, make_points
from panvision.training.losses.terms import CountAverage, LossContext, Term
from panvision.training.settings import LossSettings
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
    return terms("detection", output, {"boxes": boxes, "labels": labels}, **changes)


def terms(task, output, labels, **changes):
    return LOSSES[task].compute(output, labels, LossContext(POINTS, LossSettings(**changes)))


def with_gradient(loss, *inputs):
    """A loss for each element, and the gradient of their weighted sum by the first input."""
    first = inputs[0].clone().requires_grad_()
    values = loss(first, *inputs[1:])
    (values * torch.linspace(0.5, 1.5, values.numel()).view_as(values)).sum().backward()
    return values.detach(), first.grad


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.5, 0.0), (0.9, 1.5)])
def test_focal_loss_is_torchvisions(alpha, gamma):
    logits = torch.cat([4 * torch.randn(200, 3), torch.tensor([[0.0, 30.0, -30.0], [-90.0, 90.0, 1e-8]])])
    wanted = torch.rand(202, 3) < 0.5
    ours = with_gradient(lambda x: sigmoid_focal_loss(x, wanted, alpha=alpha, gamma=gamma), logits)
    theirs = with_gradient(
        lambda x: torchvision.ops.sigmoid_focal_loss(x, wanted.float(), alpha=alpha, gamma=gamma), logits
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_segmentation_loss_is_binary_cross_entropy():
    logits, masks = torch.randn(2, 1, 8, 8), torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8)
    expected = F.binary_cross_entropy_with_logits(logits, masks.float() / 255)
    assert terms("segmentation", logits, {"masks": masks})["seg_bce"].mean() == pytest.approx(expected)


def dice(logits, masks, **changes):
    return terms("segmentation", logits, {"masks": 255 * masks.float()}, **changes)["seg_dice"]


@given(st.integers(0, 10_000), st.floats(0.0, 1.0))
@settings(deadline=None, max_examples=25)
def test_dice_loss_is_least_at_its_soft_target(seed, softness):
    torch.manual_seed(seed)
    target = (0.02 + 0.96 * torch.rand(2, 1, 8, 8)).lerp(torch.randint(0, 2, (2, 1, 8, 8)).float(), 1 - softness)
    best = target.clamp(1e-6, 1 - 1e-6).logit().requires_grad_()
    loss = dice(best, target, dice=1.0).mean()
    loss.backward()
    assert loss < 1e-4 and best.grad.abs().max() < 1e-4
    assert dice(best + torch.randn(2, 1, 8, 8), target, dice=1.0).mean() > loss


def test_dice_loss_is_weighted_and_a_mean_over_images():
    masks = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    masks[0, 0, :4], masks[1, 0, :2] = 1, 1  # 32 and 16 pixels
    logits = torch.full((2, 1, 8, 8), -30.0)
    logits[:, 0, 2:4] = 30.0
    # 16 of 32 pixels are found, and 16 wrong ones beside 16: Dice 2 · 16 / (16 + 32) and 0, but for the floor.
    expected = 0.5 * (16 / 49 + 32 / 33)
    assert dice(logits, masks, dice=1.0).mean() == pytest.approx(expected)
    assert dice(logits, masks, dice=0.25).mean() == pytest.approx(0.25 * expected)
    assert dice(logits, masks).mean() == 0


def test_dice_loss_of_empty_masks_is_finite():
    masks = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    for level, expected in ((-200.0, 0.0), (200.0, 64 / 65)):
        logits = torch.full((1, 1, 8, 8), level, requires_grad=True)
        loss = dice(logits, masks, dice=1.0).mean()
        loss.backward()
        assert loss.item() == pytest.approx(expected) and logits.grad.isfinite().all()


def test_classification_loss_is_the_focal_loss():
    logits, states = torch.tensor([[2.0, 0.5, -1.0], [0.0, 0.0, 3.0]]), torch.tensor([0, 1])
    p = logits.softmax(1)[[0, 1], states]
    expected = ((1 - p) ** 2 * -p.log()).mean() / 3  # the mean over classes
    assert terms("classification", logits, {"classes": states})["cls"].mean() == pytest.approx(expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_classification_loss_is_cross_entropy_by_param(smoothing):
    logits, states = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    settings_ = {"state": "cross_entropy", "label_smoothing": smoothing}
    expected = F.cross_entropy(logits, states, label_smoothing=smoothing) / 4  # the mean over classes
    assert terms("classification", logits, {"classes": states}, **settings_)["cls"].mean() == pytest.approx(expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_focal_loss_is_least_at_its_target(gamma, smoothing):
    target = torch.tensor([[1.0, 0, 0]]) * (1 - smoothing) + smoothing / 3
    logits = target.clamp(min=1e-12).log().requires_grad_()

    def loss(logits):
        labels = {"classes": torch.tensor([0])}
        return terms("classification", logits, labels, focal_gamma=gamma, label_smoothing=smoothing)["cls"].mean()

    best = loss(logits)
    best.backward()
    assert logits.grad.abs().max() < 1e-3
    assert all(loss(logits + change) >= best for change in 0.5 * torch.randn(20, 1, 3))


def test_label_smoothing_acts_with_the_focal_loss():
    """A model that is surer than the smoothed label is drawn back."""
    slopes = []
    for smoothing in (0.0, 0.1):
        logits = torch.tensor([[8.0, 0.0, 0.0]], requires_grad=True)
        labels = {"classes": torch.tensor([0])}
        terms("classification", logits, labels, label_smoothing=smoothing)["cls"].mean().backward()
        slopes.append(float(logits.grad[0, 0]))
    assert -1e-6 < slopes[0] <= 0 and slopes[1] > 1e-5


# Places of the classes in their order: 2, 0, 1.
ORDINAL = {(0, 0.3): [0.7, 0, 0.3], (1, 0.3): [0, 0.7, 0.3], (2, 0.3): [0.15, 0.15, 0.7], (2, 0.0): [0, 0, 1]}


@pytest.mark.parametrize(("state", "share"), ORDINAL)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_ordinal_labels_reach_the_states_beside(state, share, smoothing):
    target = torch.tensor(ORDINAL[state, share]) * (1 - smoothing) + smoothing / 3
    logits = torch.randn(4, 3)
    settings_ = LossSettings(state="cross_entropy", ordinal=share, label_smoothing=smoothing)
    context = LossContext(POINTS, settings_, torch.tensor([2, 0, 1]))
    found = LOSSES["classification"].compute(logits, {"classes": torch.full((4,), state)}, context)["cls"]
    assert found.mean() == pytest.approx(F.cross_entropy(logits, target.expand(4, 3)) / 3)


def test_ordinal_labels_of_one_state_are_finite():
    context = LossContext(POINTS, LossSettings(ordinal=0.4), torch.tensor([0]))
    labels = {"classes": torch.tensor([0, 0])}
    assert LOSSES["classification"].compute(torch.randn(2, 1), labels, context)["cls"].mean() == 0
    # An order may name one of several labels alone: nothing is beside it, so its label keeps all of its mass.
    context = LossContext(POINTS, LossSettings(state="cross_entropy", ordinal=0.4), torch.tensor([0, 5, 9]))
    logits = torch.tensor([[3.0, 0.0, 1.0]])
    found = LOSSES["classification"].compute(logits, {"classes": torch.tensor([1])}, context)["cls"]
    assert found.mean() == pytest.approx(F.cross_entropy(logits, torch.tensor([1])) / 3)


@pytest.mark.parametrize("gamma", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("sure", [5.0, 40.0, 200.0])
def test_focal_losses_of_sure_answers_have_finite_gradients(gamma, sure):
    """The slope of (1 - p)^γ is infinite where p rounds to 1."""
    logits = torch.tensor([[sure, 0.0, -sure]], requires_grad=True)
    terms("classification", logits, {"classes": torch.tensor([0])}, focal_gamma=gamma)["cls"].mean().backward()
    assert logits.grad.isfinite().all()
    wanted = torch.tensor([[True, True, False]])
    _, gradient = with_gradient(lambda x: sigmoid_focal_loss(x, wanted, alpha=0.25, gamma=gamma), logits.detach())
    assert gradient.isfinite().all()


def test_box_loss_is_the_mean_of_four_distances():
    output, off = perfect_output(), 2.0
    output = output._replace(ltrb=[level + off for level in output.ltrb])
    # Smooth L1 of a distance d beyond β is d - β / 2; the weights of a weighted mean cancel.
    assert detection(output)["det_box"].mean() == pytest.approx(off - SMOOTH_L1_BETA / 2, rel=1e-5)


class TestCountAverage:
    def test_follows_the_counts_from_the_first_on(self):
        average = CountAverage(["det_class"])
        counts = [average.update({"det_class": torch.tensor(count), "seg": torch.tensor(4.0)}) for count in (50.0, 0.0)]
        assert [float(count["det_class"]) for count in counts] == pytest.approx([50.0, 0.9 * 50 + 0.1])
        assert [float(count["seg"]) for count in counts] == [4.0, 4.0]

    def test_divisors_are_those_of_the_last_step(self):
        average = CountAverage(["a"])
        average.update({"a": torch.tensor(8.0)})
        used = average.update({"a": torch.tensor(4.0), "b": torch.tensor(2.0)})
        for _ in range(2):
            assert average.divisors({"a": torch.tensor(100.0), "b": torch.tensor(2.0)}) == used

    def test_false_alarms_weigh_as_much_without_a_positive_location(self):
        """Dividing by the batch's own count, at least 1, made them weigh tens of times as much."""
        nothing = (torch.zeros(2, 1, 4), torch.full((2, 1), NO_OBJECT))
        context, average = LossContext(POINTS, LossSettings()), CountAverage(averaged_terms())
        losses = []
        for boxes, labels in ((BOXES, LABELS), nothing):
            term = detection(head_output(), boxes, labels)["det_class"]
            count = LOSSES["detection"].count({"boxes": boxes, "labels": labels}, context)
            losses.append(float(term.part_of(average.update(count)["det_class"])))
        assert losses[1] == pytest.approx(losses[0], rel=0.5)
        assert float(detection(head_output(), *nothing)["det_class"].mean()) > 5 * losses[0]

    def test_state_continues(self):
        first, second = CountAverage(["a"]), CountAverage(["a"])
        first.update({"a": torch.tensor(8.0)})
        second.load_state_dict(first.state_dict())
        assert first.update({"a": torch.tensor(2.0)}) == second.update({"a": torch.tensor(2.0)})


@pytest.mark.parametrize("box", ["smooth_l1", "giou"])
def test_perfect_detector_has_no_class_and_no_box_loss(box):
    found = detection(perfect_output(), box=box)
    assert found["det_class"].mean() == pytest.approx(0, abs=1e-5)
    assert found["det_box"].mean() == pytest.approx(0, abs=1e-5)
    assert found["det_centerness"].mean() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("box", ["smooth_l1", "giou"])
def test_box_loss_has_a_gradient_at_positive_locations_only(box):
    output = head_output()
    detection(output, box=box)["det_box"].mean().backward()
    targets = assign_targets(POINTS, BOXES, LABELS, center_radius=1.5)
    positive = (targets.labels != NO_OBJECT) & (targets.centerness > 0)
    gradient = torch.cat([level.grad.flatten(2).transpose(1, 2) for level in output.ltrb], dim=1).abs().sum(-1)
    assert ((gradient > 0) == positive).all()


def test_box_loss_is_weighted_by_centerness():
    targets = assign_targets(POINTS, BOXES, LABELS, center_radius=1.5)
    weights = targets.centerness[targets.labels != NO_OBJECT]
    assert detection(head_output())["det_box"].count == pytest.approx(float(weights.sum()))


def test_class_loss_is_per_positive_location():
    targets = assign_targets(POINTS, BOXES, LABELS, center_radius=1.5)
    assert detection(head_output())["det_class"].count == float((targets.labels != NO_OBJECT).sum())


def test_batch_without_boxes_is_finite_with_gradients():
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
def test_terms_of_two_batches_add_up(seed, box):
    output = head_output(seed)
    whole = detection(output, box=box)
    halves = []
    for row in (0, 1):
        half = DetectionOutput(*([level[row : row + 1] for level in levels] for levels in output))
        halves.append(detection(half, BOXES[row : row + 1], LABELS[row : row + 1], box=box))
    for name, term in whole.items():
        assert (halves[0][name] + halves[1][name]).mean().item() == pytest.approx(term.mean().item(), rel=1e-4)


def test_total_is_the_weighted_sum():
    one = torch.tensor(1.0)
    values = {"seg_bce": 1.5, "seg_dice": 0.5, "det_class": 3, "det_box": 5, "det_centerness": 7, "cls": 11}
    found = {name: Term(one * value, one) for name, value in values.items()}
    losses = task_losses(found, LossSettings(seg=1.5, det=0.5, cls=2.0))
    assert float(losses["det"]) == 15
    assert float(losses["total"]) == 1.5 * 2 + 0.5 * 15 + 2.0 * 11
    assert float(task_losses({"seg_bce": found["seg_bce"]}, LossSettings())["total"]) == 1.5


@pytest.mark.parametrize(("weight", "mask_class"), [(0.0, NO_OBJECT), (2.0, NO_OBJECT), (1.0, 1)])
def test_parts_add_up_to_the_whole(weight, mask_class):
    """The parts count different numbers of locations, so the mean of their means is not the mean of the whole."""
    sets = small_sets()
    model = small_model(sets).eval()
    stream = TrainingStream(sets.packed, sets.split("train"), STILL, batch_size=2, seed=1)
    batches = [stream[step] for step in range(3)]
    # A part without a positive point.
    batches[1].labels["detection"]["labels"].fill_(NO_OBJECT)
    batches[1].labels["segmentation"]["masks"].fill_(0)
    settings = LossSettings(dice=weight)
    context = LossContext(POINTS, settings, mask_class=mask_class)
    crossed = crossed_runs(tuple(TASKS), context)
    with torch.no_grad():
        parts = []
        for batch in batches:
            images = torch.cat(list(batch.images.values()))
            outputs = model(images, tuple(batch.images), dict.fromkeys(batch.images, 2), crossed)
            parts.append(batch_terms(outputs, batch, context))
    whole = {name: parts[0][name] + parts[1][name] + parts[2][name] for name in parts[0]}
    counts = whole_counts(batches, tuple(TASKS), context)
    assert {name: float(count) for name, count in counts.items()} == pytest.approx(
        {name: float(term.count) for name, term in whole.items()}
    )
    shares = [task_losses(part, settings, counts) for part in parts]
    for name, value in task_losses(whole, settings).items():
        assert sum(float(share[name]) for share in shares) == pytest.approx(float(value))
    means = [float(task_losses(part, settings)["det_class"]) for part in parts]
    assert sum(means) / 3 != pytest.approx(float(task_losses(whole, settings)["det_class"]), rel=0.01)


def test_loss_names_are_those_of_the_curves():
    parts = {"seg": ["bce", "dice", "boxes"], "det": ["class", "box", "centerness", "masks"], "cls": []}
    expected = [name for task, own in parts.items() for name in (task, *(f"{task}_{part}" for part in own))]
    assert loss_names() == (*expected, "total")


def test_background_in_a_crowd_of_a_class_is_not_trained():
    """Other classes, positive locations inside and locations outside are; nothing else changes."""
    crowd = torch.tensor([0.0, 0, 40, 40])
    boxes = torch.cat([BOXES, crowd.expand(2, 1, 4)], dim=1)
    labels = torch.cat([LABELS, torch.tensor([[CROWD - 1], [CROWD - 0]])], dim=1)
    without, within = head_output(), head_output()
    before, after = detection(without), detection(within, boxes, labels)
    for name, term in before.items():
        assert torch.equal(after[name].count, term.count)
        assert name == "det_class" or torch.equal(after[name].total, term.total)
    before["det_class"].total.backward()
    after["det_class"].total.backward()
    x, y = POINTS.xy.T
    inside = (x > 0) & (x < 40) & (y > 0) & (y < 40)
    background = assign_targets(POINTS, BOXES, LABELS, center_radius=1.5).labels == NO_OBJECT
    unknown = torch.zeros(2, len(POINTS.xy), CLASSES, dtype=torch.bool)
    unknown[0, :, 1], unknown[1, :, 0] = inside & background[0], inside & background[1]
    assert unknown[0].any() and (inside & ~background[0]).any()
    gradients = [join_levels([level.grad for level in each.class_logits]) for each in (without, within)]
    assert torch.equal(gradients[1], gradients[0].masked_fill(unknown, 0.0))
