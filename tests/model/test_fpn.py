import pytest
import torch
from torch import nn
from torchvision.ops import FeaturePyramidNetwork

from panvision.model.fpn import LEVELS, FeaturePyramid
from tests.model.small import calls

CHANNELS = (4, 8, 16, 32)


def pyramid():
    torch.manual_seed(0)
    return FeaturePyramid(CHANNELS, 6)


def features(count=2, side=64):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(count, width, side >> level, side >> level, generator=generator)
        for width, level in zip(CHANNELS, LEVELS, strict=True)
    ]


def test_shapes():
    levels = pyramid()(features())
    assert {level: tuple(value.shape) for level, value in levels.items()} == {
        2: (2, 6, 16, 16),
        3: (2, 6, 8, 8),
        4: (2, 6, 4, 4),
        5: (2, 6, 2, 2),
    }


def test_it_computes_what_torchvisions_does():
    own, peer = pyramid(), FeaturePyramidNetwork(list(CHANNELS), 6)
    peer.layer_blocks[0][0] = nn.Conv2d(6, 6, 3, padding=1, groups=6)  # ours is depthwise there
    for place in range(4):
        peer.inner_blocks[place][0].load_state_dict(own.lateral[place].state_dict())
        peer.layer_blocks[place][0].load_state_dict(own.output[place].state_dict())
    expected = peer({str(level): value for level, value in zip(LEVELS, features(), strict=True)})
    for level, value in own(features()).items():
        torch.testing.assert_close(value, expected[str(level)])


@pytest.mark.parametrize(
    ("levels", "lateral"), [({2}, 4), ({5}, 1), ({3, 4, 5}, 3), ({2, 4}, 4), ({4}, 2), ((2, 3, 4, 5), 4)]
)
def test_only_what_the_levels_need_is_computed(levels, lateral):
    own = pyramid()
    found = {}
    seen = calls(own, lambda: found.update(own(features(), levels)))
    assert set(found) == set(levels)
    assert {name for name in seen if name.startswith("output.")} == {f"output.{level - 2}" for level in levels}
    assert {name for name in seen if name.startswith("lateral.")} == {
        f"lateral.{place}" for place in range(4)[-lateral:]
    }
    assert set(seen.values()) == {2}
    everything = own(features())
    assert all(torch.equal(found[level], everything[level]) for level in levels)


def test_biases_start_at_zero():
    assert all((convolution.bias == 0).all() for convolution in [*pyramid().lateral, *pyramid().output])
