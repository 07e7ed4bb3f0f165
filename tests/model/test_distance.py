import pytest

torch = pytest.importorskip("torch")

from panvision.model.checkpoint import CheckpointError, load_checkpoint, save_checkpoint  # noqa: E402
from panvision.model.distance import HALVES, FeatureDistance  # noqa: E402
from panvision.model.flat import FlatModel  # noqa: E402
from panvision.model.multitask import MultiTaskModel  # noqa: E402
from tests.model.small import SMALL  # noqa: E402

CLASSES = ["raw", "done"]


@pytest.fixture
def model() -> MultiTaskModel:
    torch.manual_seed(0)
    return MultiTaskModel(SMALL, image_size=64, det_classes=["pan"], cls_classes=CLASSES).eval()


def distance(model, *, classes=2) -> FeatureDistance:
    size = HALVES * model.backbone.channels[2]
    return FeatureDistance(torch.zeros(size), torch.randn(size, 3), torch.randn(classes, 3))


def maps(upper, lower) -> list[torch.Tensor]:
    """Levels of which only C4 counts: (1, 2, 4, 4) with a value for each channel in the upper and the lower half."""
    halves = [torch.tensor(each).view(1, 2, 1, 1).expand(1, 2, 2, 4) for each in (upper, lower)]
    return [torch.zeros(1), torch.zeros(1), torch.cat(halves, dim=2)]


def test_the_distance_is_that_of_the_nearest_class_mean() -> None:
    whitening = torch.tensor([[2.0], [0.0], [0.0], [0.0]])
    module = FeatureDistance(torch.ones(4), whitening, torch.tensor([[4.0], [-1.0]]))
    # (3 - 1) * 2 = 4 is the first mean; (0 - 1) * 2 = -2 is 1 from the second.
    assert [each.tolist() for each in module(maps([2.0, 9.0], [4.0, 9.0]))] == [[0.0], [[4.0]]]
    assert [each.tolist() for each in module(maps([0.0, 0.0], [0.0, 0.0]))] == [[1.0], [[-2.0]]]


def test_an_image_upside_down_has_another_distance() -> None:
    whitening = torch.tensor([[0.0], [0.0], [1.0], [0.0]])
    module = FeatureDistance(torch.zeros(4), whitening, torch.tensor([[3.0]]))
    assert module(maps([5.0, 1.0], [2.0, 7.0]))[0].tolist() == [0.0]
    assert module(maps([2.0, 7.0], [5.0, 1.0]))[0].tolist() == [6.0]
    mirrored = [level.flip(-1) for level in maps([5.0, 1.0], [2.0, 7.0])]
    assert module(mirrored)[0].tolist() == [0.0]


def test_a_checkpoint_keeps_the_distance_apart_from_the_weights(model, tmp_path) -> None:
    plain = tmp_path / "plain.pth"
    save_checkpoint(plain, model)
    names = set(model.state_dict())
    model.distance = distance(model)
    assert set(model.state_dict()) == names
    save_checkpoint(tmp_path / "shipped.pth", model)
    shipped, _ = load_checkpoint(tmp_path / "shipped.pth")
    images = torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8)
    found = dict(zip(FlatModel(shipped).output_names, FlatModel(shipped)(images), strict=True))
    assert list(found)[-2:] == ["cls_distance", "cls_features"]
    assert found["cls_distance"].shape == (3,) and found["cls_features"].shape == (3, 3)
    torch.testing.assert_close(list(found.values())[-2:], list(FlatModel(model)(images)[-2:]))
    assert load_checkpoint(plain)[0].distance is None
    assert FlatModel(load_checkpoint(plain)[0]).output_names[-1] == "state_logits"


def test_only_classification_asks_for_the_distance(model) -> None:
    model.distance = distance(model)
    images = torch.zeros(1, 3, 64, 64)
    assert set(model(images, ["segmentation"])) == {"segmentation"}
    assert set(model(images, ["classification"])) == {"classification", "distance"}


@pytest.mark.parametrize(
    "change",
    [
        lambda parts: parts.pop("mean"),
        lambda parts: parts.update(mean=torch.zeros(3)),
        lambda parts: parts.update(centres=torch.zeros(5, 3)),
        lambda parts: parts.update(whitening=parts["whitening"] * float("nan")),
        lambda parts: parts.update(centres=torch.zeros(2, 4)),
        lambda parts: parts.update(mean=parts["mean"].double()),
        lambda parts: parts.update(mean="x"),
    ],
)
def test_foreign_constants_are_refused(model, tmp_path, change) -> None:
    model.distance = distance(model)
    path = tmp_path / "model.pth"
    save_checkpoint(path, model)
    document = torch.load(path, weights_only=True)
    change(document["distance"])
    torch.save(document, path)
    with pytest.raises(CheckpointError, match=r"model\.pth: its weights do not fit"):
        load_checkpoint(path)


def test_constants_of_an_earlier_version_have_a_remedy(model, tmp_path) -> None:
    channels = model.backbone.channels[2]
    model.distance = FeatureDistance(torch.zeros(channels), torch.randn(channels, 3), torch.randn(2, 3))
    save_checkpoint(tmp_path / "model.pth", model)
    with pytest.raises(CheckpointError, match="of an earlier version, without halves; export the trained model again"):
        load_checkpoint(tmp_path / "model.pth")
