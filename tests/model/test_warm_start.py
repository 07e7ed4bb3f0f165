import pytest
import torch

from panvision.core.tasks import TASKS
from panvision.model.checkpoint import VERSION, load_checkpoint, save_checkpoint
from panvision.model.multitask import MultiTaskModel
from panvision.model.weights import WeightsError, check_weights, initialise_model
from tests.model.small import SMALL, small_model

OLD = {"det_classes": ["lid", "pot"], "cls_classes": ["a", "b", "c"]}


def model(path, det=("spoon", "pot", "lid"), cls=("c", "d", "a"), tasks=tuple(TASKS), **changes):
    """Other first weights than `small_model`, and other classes; half of them are known there."""
    torch.manual_seed(1)
    settings = SMALL.model_copy(update={"weights": str(path), **changes})
    return MultiTaskModel(settings, image_size=96, det_classes=det, cls_classes=cls, tasks=tasks)


def saved(tmp_path, earlier):
    """The earlier model, no weight of which is a first weight."""
    for value in earlier.state_dict().values():
        value.copy_(torch.rand(value.shape) if value.is_floating_point() else torch.full_like(value, 9))
    save_checkpoint(tmp_path / "best_model.pth", earlier, meta={"phase": "phase2"})
    return tmp_path / "best_model.pth"


def test_warm_start_copies_every_part_and_matches_rows_by_class(tmp_path):
    earlier = small_model()
    path = saved(tmp_path, earlier)
    own, first = model(path), model(path).state_dict()
    log = initialise_model(own)
    before, now = earlier.state_dict(), own.state_dict()
    rows = {"detection.class_logits": [None, 1, 0], "classification.layers.4": [2, None, 0]}
    for name, value in now.items():
        layer = name.rpartition(".")[0]
        if layer not in rows:
            assert torch.equal(value, before[name]), name
            continue
        for row, old in enumerate(rows[layer]):
            assert torch.equal(value[row], first[name][row] if old is None else before[name][old]), (name, row)
    assert log.splitlines() == [
        f"weights: {len(now)} tensors of backbone, fpn, segmentation, detection, classification from {path}",
        "  new, with random first weights: detection class spoon, classification class d",
    ]


@pytest.mark.parametrize(
    "backbone", ["resnet10", "efficientnet_lite0", pytest.param("mobilenet_v2", marks=pytest.mark.slow)]
)
def test_warm_start_with_the_same_classes_is_the_same_model(tmp_path, backbone):
    path = saved(tmp_path, small_model(backbone=backbone))
    own = model(path, OLD["det_classes"], OLD["cls_classes"], backbone=backbone, dropout=0.5)
    assert len(initialise_model(own).splitlines()) == 1
    assert all(
        torch.equal(value, own.state_dict()[name]) for name, value in load_checkpoint(path)[0].state_dict().items()
    )


@pytest.mark.parametrize(
    ("had", "new"),
    [(("classification",), "fpn, segmentation, detection"), (("segmentation", "detection"), "classification")],
)
def test_heads_missing_in_the_checkpoint_keep_first_weights(tmp_path, had, new):
    earlier = small_model(tasks=had)
    path = saved(tmp_path, earlier)
    own, first = (model(path, OLD["det_classes"], OLD["cls_classes"]) for _ in range(2))
    log = initialise_model(own)
    assert log.splitlines()[1] == f"  new, with random first weights: {new}"
    for name, value in own.state_dict().items():
        part = name.split(".")[0]
        if part in new.split(", "):
            assert torch.equal(value, first.state_dict()[name])
        else:
            assert torch.equal(value, earlier.state_dict()[name])


def test_checkpoint_with_more_heads_fills_the_models_heads(tmp_path):
    earlier = small_model()
    own = model(saved(tmp_path, earlier), tasks=("segmentation",))
    initialise_model(own)
    assert all(torch.equal(value, earlier.state_dict()[name]) for name, value in own.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"backbone": "resnet18"}, "model.backbone resnet10 (here resnet18)"),
        ({"det_channels": 32}, "model.det_channels 16 (here 32)"),
        ({"strides": (8, 16)}, "model.strides [8, 16, 32] (here [8, 16])"),
        ({"fpn_channels": 64, "cls_hidden": 16}, "model.fpn_channels 32 (here 64), model.cls_hidden 8 (here 16)"),
    ],
)
def test_another_network_is_one_line_that_names_the_keys(tmp_path, changes, named):
    path = saved(tmp_path, small_model())
    settings = SMALL.model_copy(update={"weights": str(path), **changes})
    for attempt in (lambda: check_weights(settings), lambda: initialise_model(model(path, **changes))):
        with pytest.raises(WeightsError) as caught:
            attempt()
        assert str(caught.value) == f"model.weights: {path}: made with {named}; set the same values, or other weights"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda document: document.update(version=VERSION + 1), rf"format {VERSION + 1}, but this panvision reads"),
        (lambda document: document["state_dict"].pop("detection.scales"), "it lacks detection.scales"),
        (
            lambda document: document["state_dict"]["detection.scales"].fill_(torch.nan),
            "detection.scales is not finite",
        ),
    ],
)
def test_a_damaged_checkpoint_is_not_taken_for_a_state_dict(tmp_path, damage, message):
    path = saved(tmp_path, small_model())
    document = torch.load(path, weights_only=True)
    damage(document)
    torch.save(document, path)
    with pytest.raises(WeightsError, match=message) as caught:
        check_weights(SMALL.model_copy(update={"weights": str(path)}))
    assert str(caught.value).startswith(f"model.weights: {path}: ") and "\n" not in str(caught.value)
