import copy
import io
from email.message import Message
from pathlib import Path
from typing import get_args
from urllib.error import URLError

import pytest
import torch
from torchvision.models import get_model_weights, resnet18

from panvision.model.backbones.backbone import Backbone
from panvision.model.checkpoint import save_checkpoint
from panvision.model.settings import BackboneName, ModelSettings
from panvision.model.weights import IMAGENET, IMAGENET_SITE, WeightsError, initialise_backbone
from tests.model.hostile import KINDS, write_hostile
from tests.model.small import small_model

PARTIAL = Path(__file__).parents[3] / "shared" / "weights" / "resnet18_imagenet_partial.pth"
RESNET18_FILE = get_model_weights("resnet18")["DEFAULT"].url.rsplit("/", 1)[-1]


def backbone(name="resnet18"):
    torch.manual_seed(0)
    return Backbone(name)


def peer_weights():
    """A state dict of torchvision's resnet18, random."""
    torch.manual_seed(1)
    return resnet18().state_dict()


def initialise(own, weights, name="resnet18"):
    return initialise_backbone(own, ModelSettings(backbone=name, weights=str(weights)))


def saved(tmp_path, document):
    torch.save(document, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def assert_filled(own, state, but=()):
    """The backbone has the state's values, except for modules that begin with `but`, which are as they were made."""
    fresh = backbone().state_dict()
    for name, value in own.state_dict().items():
        assert torch.equal(value, fresh[name] if name.startswith(tuple(but)) else state[name]), name


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """torchvision's cache folder, empty, and no network."""

    def refuse(*_arguments, **_options):
        raise URLError("no network here")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch_home"))
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    folder = tmp_path / "torch_home" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_none_leaves_the_random_values():
    own = backbone()
    report = initialise(own, "none")
    assert_filled(own, backbone().state_dict())
    assert str(report) == "backbone weights: none, random values" and report.matched == ()


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone.", "encoder."])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model_state_dict"])
def test_a_file_in_any_usual_form(tmp_path, prefix, wrapper):
    stem = {
        name: torch.full_like(value, 2)
        for name, value in backbone("resnet10").state_dict().items()
        if "layer" not in name
    }
    state = {prefix + name: value for name, value in stem.items()}
    own = backbone("resnet10")
    report = initialise(own, saved(tmp_path, {wrapper: state, "epoch": 3} if wrapper else state), "resnet10")
    assert set(report.matched) == set(stem) and report.unexpected == report.mismatched == ()
    assert all((own.state_dict()[name] == 2).all() for name in stem)


def test_a_whole_file(tmp_path):
    own = backbone()
    report = initialise(own, saved(tmp_path, peer_weights()))
    assert_filled(own, peer_weights())
    assert report.missing == report.unexpected == report.mismatched == ()
    assert set(report.matched) == set(own.state_dict())
    assert str(report) == f"backbone weights: {len(own.state_dict())} tensors from {tmp_path / 'weights.pth'}"


def test_a_checkpoint_of_our_own(tmp_path):
    model = small_model()
    save_checkpoint(tmp_path / "best_model.pth", model)
    own = backbone("resnet10")
    report = initialise(own, tmp_path / "best_model.pth", "resnet10")
    assert all(torch.equal(value, model.backbone.state_dict()[name]) for name, value in own.state_dict().items())
    assert report.missing == () and {name.split(".")[0] for name in report.unexpected} >= {"fpn", "detection"}


def test_what_is_missing_unexpected_or_of_another_shape_is_reported(tmp_path):
    state = {name: value for name, value in peer_weights().items() if not name.startswith("layer4")}
    state["layer1.0.conv1.weight"] = torch.zeros(64, 64, 1, 1)
    state["head.weight"] = torch.zeros(1)
    own = backbone()
    report = initialise(own, saved(tmp_path, state))
    assert_filled(own, state, but=("layer4", "layer1.0.conv1"))
    assert report.mismatched == ("layer1.0.conv1.weight",) and report.unexpected == ("head.weight",)
    layer4 = {name for name in own.state_dict() if name.startswith("layer4") and "num_batches" not in name}
    assert set(report.missing) == layer4
    assert str(report).splitlines()[1:] == [
        f"  missing: {len(layer4)} tensors (layer4)",
        "  unexpected: 1 tensors (head)",
        "  mismatched: 1 tensors (layer1)",
    ]


def test_old_files_without_step_counters_are_whole(tmp_path):
    state = {name: value for name, value in peer_weights().items() if "num_batches_tracked" not in name}
    assert initialise(backbone(), saved(tmp_path, state)).missing == ()


@pytest.mark.parametrize(
    "document", [{}, {"a": torch.zeros(1)}, {"conv1.weight": torch.zeros(1)}, {"fc.weight": torch.zeros(9)}]
)
def test_a_file_of_which_nothing_fits(tmp_path, document):
    with pytest.raises(WeightsError, match=r"weights\.pth: nothing in it fits .* conv1\.weight \(64, 3, 7, 7\)"):
        initialise(backbone(), saved(tmp_path, document))


@pytest.mark.parametrize("document", [[1, 2], torch.zeros(2), 3])
def test_a_file_that_is_no_state_dict(tmp_path, document):
    with pytest.raises(WeightsError, match=r"weights\.pth: holds a \w+, not a state dict"):
        initialise(backbone(), saved(tmp_path, document))


def test_weights_that_are_not_finite_are_named(tmp_path):
    state = peer_weights()
    state["layer1.0.conv1.weight"][0] = torch.nan
    said = r"weights\.pth: not finite: layer1\.0\.conv1\.weight; .* diverged"
    with pytest.raises(WeightsError, match=said):
        initialise(backbone(), saved(tmp_path, state))


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(WeightsError, match=r"none\.pth: no such file; set it to imagenet, none or"):
        initialise(backbone(), tmp_path / "none.pth")
    path = saved(tmp_path, peer_weights())
    for content in (b"", b"<html>not found</html>", path.read_bytes()[:-1000]):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=r"weights\.pth: not a readable state dict"):
            initialise(backbone(), path)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_in_a_file_is_executed(tmp_path, kind):
    path = write_hostile(tmp_path / "a.pth", tmp_path / "executed", kind)
    with pytest.raises(WeightsError, match="not a readable state dict"):
        initialise(backbone(), path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", sorted(set(get_args(BackboneName)) - {"resnet10"}))
def test_imagenets_files_are_torchvisions_best(name):
    theirs = get_model_weights(name)["DEFAULT"]
    title, file_name = IMAGENET[name]
    assert (title, f"{IMAGENET_SITE}/{file_name}") == (str(theirs), theirs.url)


def test_imagenet_comes_from_torchvisions_cache(cache):
    # torchvision checks the hash in the name while it downloads, not for a file that is there.
    torch.save(peer_weights(), cache / RESNET18_FILE)
    own = backbone()
    report = initialise(own, "imagenet")
    assert_filled(own, peer_weights())
    assert report.missing == report.unexpected == () and "ResNet18_Weights.IMAGENET1K_V1" in str(report)


def test_imagenet_without_network_names_the_file_the_folder_and_the_ways_out(cache):
    own = backbone()
    before = copy.deepcopy(own.state_dict())
    with pytest.raises(WeightsError) as caught:
        initialise(own, "imagenet")
    message = str(caught.value)
    for part in (RESNET18_FILE, str(cache), "no network here", "by hand", "https://", "none", "state dict's path"):
        assert part in message
    assert len(message.splitlines()) == 1
    assert all(torch.equal(value, before[name]) for name, value in own.state_dict().items())
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"<html>proxy</html>", b"PK\x03\x04 cut off"])
def test_a_damaged_cache_is_named(cache, content):
    (cache / RESNET18_FILE).write_bytes(content)
    with pytest.raises(WeightsError, match=rf"{RESNET18_FILE} is damaged; delete it, then put") as caught:
        initialise(backbone(), "imagenet")
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_in_the_cache_is_executed(cache, kind):
    write_hostile(cache / RESNET18_FILE, cache / "executed", kind)
    with pytest.raises(WeightsError, match="is damaged; delete it"):
        initialise(backbone(), "imagenet")
    assert not (cache / "executed").exists()


def test_a_damaged_download_is_not_kept(cache, monkeypatch):
    class Response(io.BytesIO):
        def info(self):
            return Message()

    monkeypatch.setattr("torch.hub.urlopen", lambda _request: Response(b"<html>proxy</html>"))
    with pytest.raises(
        WeightsError, match=rf"{RESNET18_FILE} arrived damaged \(invalid hash value .* try again, or put"
    ):
        initialise(backbone(), "imagenet")
    assert list(cache.iterdir()) == []


def test_no_imagenet_weights_for_resnet10(cache):
    with pytest.raises(
        WeightsError, match="no ImageNet weights exist for resnet10; set it to none or to a file's path"
    ):
        initialise(backbone("resnet10"), "imagenet", "resnet10")


@pytest.mark.skipif(not PARTIAL.is_file(), reason="no pretrained weights beside the checkout")
def test_real_weights_without_their_last_stage():
    own = backbone()
    report = initialise(own, PARTIAL)
    assert "missing" in str(report) and "(layer4)" in str(report)
    assert {name.split(".")[0] for name in report.missing} == {"layer4"}
    assert report.unexpected == report.mismatched == ()
    assert_filled(own, torch.load(PARTIAL, weights_only=True) | own.state_dict(), but=("layer4",))
    assert not torch.equal(own.conv1.weight, backbone().conv1.weight)
