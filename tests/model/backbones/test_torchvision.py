import pytest
import torch
import torchvision
from torch import nn

from panvision.model.backbones import BACKBONES, make_backbone
from panvision.model.backbones.torchvision import TorchvisionNetwork

NAMES = [name for name, spec in BACKBONES.items() if spec.torchvision and not name.startswith("resnet")]


@pytest.mark.parametrize("name", NAMES)
def test_network_has_torchvisions_names_and_features(name):
    torch.manual_seed(1)
    peer = torchvision.models.get_model(name).eval()
    own = make_backbone(name).eval()
    answer = own.published.load_state_dict(peer.state_dict(), strict=False)
    assert answer.missing_keys == []
    assert answer.unexpected_keys and all(key.startswith(own.ignored) for key in answer.unexpected_keys)
    # The classifier, and what it does before: a pooling and for ConvNeXt a LayerNorm.
    last = "fc" if hasattr(peer, "fc") else "classifier"
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        pooled = own(x)[-1].mean((2, 3), keepdim=True)
        classifier = getattr(peer, last)
        first = classifier[0] if isinstance(classifier, nn.Sequential) else classifier
        answer = classifier(pooled if first.__class__.__name__ == "LayerNorm2d" else pooled.flatten(1))
        torch.testing.assert_close(answer, peer(x))


@pytest.mark.parametrize("name", NAMES)
def test_normalisation_is_that_of_the_weights(name):
    model, transforms = make_backbone(name), torchvision.models.get_model_weights(name)["DEFAULT"].transforms()
    assert model.pixel_mean == pytest.approx([255 * value for value in transforms.mean])
    assert model.pixel_std == pytest.approx([255 * value for value in transforms.std])


def test_network_of_any_name_needs_only_four_nodes():
    model = TorchvisionNetwork("mnasnet0_5", ["layers.8", "layers.9", "layers.11", "layers.13"]).eval()
    assert model.channels == (16, 24, 48, 160)


@pytest.mark.parametrize(
    ("name", "nodes", "message"),
    [
        ("mobilenet_v9", ["a", "b", "c", "d"], "Unknown model mobilenet_v9"),
        ("mobilenet_v2", ["features.3", "features.6", "features.13", "features.99"], "node: 'features.99' is not"),
        ("mobilenet_v2", ["features.1", "features.3", "features.6", "features.13"], "strides 4, 8, 16 and 32"),
    ],
)
def test_wrong_row_is_refused(name, nodes, message):
    with pytest.raises(ValueError, match=message):
        TorchvisionNetwork(name, nodes)
