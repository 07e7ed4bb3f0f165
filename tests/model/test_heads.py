import math

import pytest
import torch

from panvision.model.heads.base import make_norm
from panvision.model.heads.classification import ClassificationHead
from panvision.model.heads.detection import MAX_LOG_DISTANCE, PRIOR_PROBABILITY, DetectionHead
from panvision.model.heads.segmentation import SegmentationHead


def detection(strides=(8, 16), classes=3, convs=1, norm="group"):
    torch.manual_seed(0)
    return DetectionHead(16, 8, classes, strides=strides, num_convs=convs, norm=norm)


def level_features(sides=(8, 4), scale=1.0):
    generator = torch.Generator().manual_seed(0)
    return [scale * torch.randn(2, 16, side, side, generator=generator) for side in sides]


@pytest.mark.parametrize(("channels", "groups"), [(32, 32), (128, 32), (48, 16), (10, 2), (7, 1)])
def test_group_norm_fits_any_width(channels, groups):
    norm = make_norm("group", channels)
    assert norm.num_groups == groups
    assert norm(torch.randn(1, channels, 2, 2)).shape == (1, channels, 2, 2)


@pytest.mark.parametrize("channels", [8, 20, 64])
def test_mask_head_brings_back_the_full_size(channels):
    assert SegmentationHead(32, channels)(torch.randn(2, 32, 16, 16)).shape == (2, 1, 64, 64)


@pytest.mark.parametrize("channels", [8, 20])
@pytest.mark.parametrize("norm", ["group", "batch"])
def test_pixels_as_channels_give_the_same_mask(channels, norm):
    torch.manual_seed(0)
    head = SegmentationHead(32, channels, norm=norm)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    p2 = torch.randn(2, 32, 4, 6)
    head(3 * p2 + 1)  # BatchNorm's statistics
    head.eval()
    fast = head.pointwise()
    assert not any(isinstance(layer, torch.nn.ConvTranspose2d) for layer in fast)
    torch.testing.assert_close(fast(p2), head(p2))


def test_a_mask_heads_signal_keeps_its_size():
    torch.manual_seed(0)
    head = SegmentationHead(64, 64)
    deep = []
    head.classifier.register_forward_pre_hook(lambda _, inputs: deep.append(inputs[0]))
    head(torch.randn(2, 64, 8, 8))
    assert 0.25 < deep[0].pow(2).mean() < 1


@pytest.mark.parametrize("convs", [0, 1, 3])
@pytest.mark.parametrize("norm", ["group", "batch"])
def test_detection_shapes(convs, norm):
    output = detection(convs=convs, norm=norm)(*level_features())
    for tensors, width in ((output.class_logits, 3), (output.ltrb, 4), (output.centerness, 1)):
        assert [tuple(tensor.shape) for tensor in tensors] == [(2, width, 8, 8), (2, width, 4, 4)]


def test_classes_start_at_the_prior_probability():
    head = detection()
    torch.testing.assert_close(torch.sigmoid(head.class_logits.bias), torch.full((3,), PRIOR_PROBABILITY))
    for logits in head(*level_features()).class_logits:
        assert (torch.sigmoid(logits) - PRIOR_PROBABILITY).abs().max() < 0.005


def test_distances_are_positive_and_start_near_one_stride():
    for ltrb in detection()(*level_features()).ltrb:
        assert (ltrb > 0).all() and (ltrb - 1).abs().max() < 0.5


def test_distances_stay_finite_in_half_precision():
    head = detection(convs=0)
    with torch.no_grad():
        head.ltrb.bias.fill_(1e4)
    output = head(*level_features())
    assert all((ltrb == math.exp(MAX_LOG_DISTANCE)).all() for ltrb in output.ltrb)
    assert all(ltrb.half().isfinite().all() for ltrb in output.ltrb)


def test_each_level_has_its_own_scale():
    head = detection()
    with torch.no_grad():
        head.scales[1] = 0.0
    ltrb = head(*level_features()).ltrb
    assert (ltrb[1] == 1).all() and not (ltrb[0] == 1).any()


def test_levels_share_their_weights():
    head = detection()
    one = level_features()[0]
    first, second = head(one, one).class_logits
    assert torch.equal(first, second)


def test_batch_norm_measures_each_level_by_itself():
    head = detection(norm="batch")
    fine, coarse = level_features()
    head(fine, 1000 * coarse)
    first, second = (
        [layer.running_var for layer in tower.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
        for tower in (head.class_tower, head.box_tower)
    )
    assert all((each[1] > 10 * each[0]).all() for each in (first, second))
    single = head.eval()(fine[:1], coarse[:1])
    both = head(fine, coarse)
    torch.testing.assert_close([each[0] for each in single.ltrb], [each[0] for each in both.ltrb])


def test_a_missing_level_is_refused():
    with pytest.raises(ValueError, match=r"shorter|longer"):
        detection(strides=(8, 16, 32))(*level_features())


def test_state_head_sees_the_mean_of_the_map():
    torch.manual_seed(0)
    head = ClassificationHead(16, 5, hidden=8, dropout=0.5).eval()
    c5 = torch.randn(2, 16, 3, 3)
    assert head(c5).shape == (2, 5)
    torch.testing.assert_close(head(c5), head(c5.mean((2, 3), keepdim=True)))
    torch.testing.assert_close(head(c5), head(c5.flip(2, 3)))


def test_state_head_joins_the_means_of_its_levels():
    torch.manual_seed(0)
    head = ClassificationHead(24, 5, hidden=8, dropout=0.5, levels=("C4", "C5")).eval()
    c4, c5 = torch.randn(2, 8, 6, 6), torch.randn(2, 16, 3, 3)
    means = torch.cat([c4.mean((2, 3)), c5.mean((2, 3))], dim=1)
    torch.testing.assert_close(head(c4, c5), head.layers(means))


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    head = ClassificationHead(16, 5, hidden=64, dropout=0.5)
    c5 = torch.randn(1, 16, 2, 2)
    assert not torch.equal(head(c5), head(c5))
    head.eval()
    assert torch.equal(head(c5), head(c5))


def test_the_state_heads_hidden_units_stay_alive():
    torch.manual_seed(0)
    head = ClassificationHead(2048, 5, hidden=64, dropout=0.0)
    states = torch.arange(60) % 5
    # As ResNet-50's: positive, and of two pictures alike.
    pooled = (torch.rand(2048) + 0.04 * torch.randn(5, 2048)[states] + 0.2 * torch.randn(60, 2048)).clamp(min=0)
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.002)
    for step in range(40):
        rows = torch.arange(step, step + 12) % 60
        loss = torch.nn.functional.cross_entropy(head(pooled[rows, :, None, None]), states[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    hidden = []
    head.layers[-1].register_forward_pre_hook(lambda _, inputs: hidden.append(inputs[0]))
    head.eval()(pooled[:, :, None, None])
    assert (hidden[0] > 0).any(dim=0).float().mean() > 0.5
