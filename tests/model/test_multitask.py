import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.core.tasks import TASKS
from panvision.model.backbones import make_backbone
from panvision.model.fpn import FeaturePyramid
from panvision.model.heads.classification import ClassificationHead
from panvision.model.heads.detection import DetectionHead
from panvision.model.heads.segmentation import SegmentationHead
from panvision.model.multitask import MultiTaskModel
from panvision.model.settings import ModelSettings
from tests.model.small import SMALL, SUBSETS, calls, pictures, small_model, with_gradient

HEADS = set(TASKS)


def parts(seen):
    return {name.split(".")[0] for name in seen}


def flat(outputs):
    """Every tensor of some outputs by name."""
    tensors = {task: outputs[task] for task in ("segmentation", "classification") if task in outputs}
    for kind, levels in outputs["detection"]._asdict().items() if "detection" in outputs else ():
        tensors |= {f"{kind}{number}": level for number, level in enumerate(levels)}
    return tensors


def assert_alike(got, wanted):
    assert flat(got).keys() == flat(wanted).keys()
    for name, value in flat(got).items():
        torch.testing.assert_close(value, flat(wanted)[name], atol=1e-4, rtol=1e-4)


def test_shapes():
    outputs = small_model()(pictures())
    assert outputs["segmentation"].shape == (2, 1, 64, 64)
    assert [tuple(level.shape) for level in outputs["detection"].class_logits] == [
        (2, 2, 8, 8),
        (2, 2, 4, 4),
        (2, 2, 2, 2),
    ]
    assert outputs["classification"].shape == (2, 3)


@pytest.mark.parametrize(
    ("strides", "sides"), [((4, 8, 16, 32), [16, 8, 4, 2]), ((4,), [16]), ((32,), [2]), ((8, 16), [8, 4])]
)
def test_strides_choose_the_levels(strides, sides):
    outputs = small_model(strides=strides)(pictures(1), ["detection"])
    assert [level.shape[-1] for level in outputs["detection"].ltrb] == sides


@pytest.mark.parametrize("levels", [(5,), (4, 5), (2, 4)])
def test_cls_levels_choose_the_maps_of_the_state_head(levels):
    model = small_model(cls_levels=levels).eval()
    features = []
    model.backbone.register_forward_hook(lambda _module, _inputs, output: features.extend(output))
    counts = dict.fromkeys(TASKS, 2)
    with torch.inference_mode():
        logits = model(pictures(6), TASKS, counts)["classification"]
    wanted = model.classification(*(features[level - 2][4:] for level in levels))
    torch.testing.assert_close(logits, wanted)
    assert not any(name.startswith("fpn") for name in calls(model, lambda: model(pictures(), ["classification"])))


@pytest.mark.parametrize("tasks", SUBSETS)
def test_only_what_is_asked_for_is_computed(tasks):
    model = small_model().eval()
    found = {}
    seen = calls(model, lambda: found.update(model(pictures(), tasks)))
    assert set(found) == set(tasks)
    pyramid = {"fpn"} if set(tasks) & {"segmentation", "detection"} else set()
    assert parts(seen) == {"backbone", *pyramid, *tasks}
    outputs = {name for name in seen if name.startswith("fpn.output.")}
    wanted = {0} if "segmentation" in tasks else set()
    wanted |= {1, 2, 3} if "detection" in tasks else set()
    assert outputs == {f"fpn.output.{place}" for place in wanted}
    # Once, however many tasks need it.
    assert all(seen[name] == 2 for name in seen if name.startswith(("backbone.conv1", "fpn.")))
    everything = model(pictures())
    assert_alike(found, {task: everything[task] for task in tasks})


def test_mask_levels_are_not_computed_for_boxes_alone():
    seen = calls(model := small_model(), lambda: model(pictures(), ["detection"]))
    assert "fpn.lateral.0" not in seen


@given(st.tuples(*[st.integers(1, 3)] * 3), st.sampled_from(SUBSETS))
@settings(max_examples=12, deadline=None)
def test_one_joint_batch_equals_separate_passes(sizes, tasks):
    model = small_model().eval()
    batches = {
        task: pictures(size, seed=size + 10 * n) for n, (task, size) in enumerate(zip(TASKS, sizes, strict=True))
    }
    counts = {task: len(batches[task]) for task in tasks}
    with torch.inference_mode():
        joint = model(torch.cat([batches[task] for task in TASKS if task in tasks]), tasks, counts)
        separate = {task: model(batches[task], [task])[task] for task in tasks}
    assert_alike(joint, separate)


def test_in_a_joint_batch_each_part_sees_only_its_own_images():
    model = small_model()
    counts = {"segmentation": 2, "detection": 3, "classification": 4}
    seen = calls(model, lambda: model(pictures(9), TASKS, counts))
    assert seen["backbone.conv1"] == 9
    assert seen["segmentation"] == seen["fpn.output.0"] == seen["fpn.lateral.0"] == 2
    assert (
        seen["fpn.output.1"] == seen["fpn.output.2"] == seen["fpn.output.3"] == seen["detection.class_tower"] / 3 == 3
    )
    # The two batches' lateral paths; classification's four images take none.
    assert seen["fpn.lateral.1"] == seen["fpn.lateral.3"] == 5
    assert seen["classification"] == 4


def test_crossed_heads_see_the_other_datasets_images():
    model = small_model().eval()
    counts = {"segmentation": 2, "detection": 3, "classification": 1}
    batches = {dataset: pictures(size, seed=size) for dataset, size in counts.items()}
    crossed = [("segmentation", "detection"), ("detection", "segmentation")]
    with torch.inference_mode():
        outputs = model(torch.cat(list(batches.values())), TASKS, counts, crossed)
        for task, dataset in crossed:
            own = outputs.pop(f"{task} on {dataset}")
            assert_alike({task: own}, model(batches[dataset], [task]))
        assert_alike(outputs, model(torch.cat(list(batches.values())), TASKS, counts))


@pytest.mark.parametrize("counts", [(1, 1, 1), (2, 2, 2), (5, 0, 0)])
def test_counts_that_do_not_add_up_are_refused(counts):
    with pytest.raises(ValueError, match=r"counts add up to \d images, the batch holds 4"):
        small_model()(pictures(4), TASKS, dict(zip(TASKS, counts, strict=True)))


@pytest.mark.parametrize("task", TASKS)
def test_loss_reaches_its_own_head_and_the_shared_parts_only(task):
    model = small_model()
    outputs = model(pictures(6), TASKS, dict.fromkeys(TASKS, 2))
    tensors = flat({task: outputs[task]})
    sum(tensor.square().mean() for tensor in tensors.values()).backward()
    shared = {"backbone"} if task == "classification" else {"backbone", "fpn"}
    assert with_gradient(model) == {task, *shared}


def test_a_frozen_backbone_leaves_gradients_to_the_rest():
    model = small_model()
    model.backbone.freeze(weights=True, batch_norm=False)
    model.train()
    outputs = model(pictures())
    sum(tensor.square().mean() for tensor in flat(outputs).values()).backward()
    assert with_gradient(model) == {"fpn", *TASKS}


# ImageNet's statistics; EfficientNet-Lite's constants.
NORMALISATION = {
    "resnet10": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "efficientnet_lite0": ([127 / 255] * 3, [128 / 255] * 3),
}


@pytest.mark.parametrize("name", NORMALISATION)
def test_model_normalises_as_its_backbone_wants(name):
    model = small_model(backbone=name).eval()
    seen = []
    model.backbone.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    images = pictures()
    with torch.inference_mode():
        for given_images in (images, images.float(), images.contiguous(memory_format=torch.channels_last)):
            model(given_images, ["classification"])
    mean, std = (torch.tensor(values)[:, None, None] for values in NORMALISATION[name])
    for normalised in seen:
        torch.testing.assert_close(normalised, (images / 255 - mean) / std)


def test_the_state_dict_holds_learned_values_only():
    names = {name.split(".")[0] for name in small_model().state_dict()}
    assert names == {"backbone", "fpn", *HEADS}


def test_the_systems_own_size():
    model = MultiTaskModel(ModelSettings(weights="none"), image_size=64, det_classes=["a"], cls_classes=["b"]).eval()
    with torch.inference_mode():
        outputs = model(pictures(1))
    assert outputs["segmentation"].shape == (1, 1, 64, 64)
    assert len(outputs["detection"].centerness) == 3
    assert 26e6 < sum(parameter.numel() for parameter in model.parameters()) < 40e6


def test_one_class_and_no_hidden_convolutions():
    settings_ = SMALL.model_copy(update={"head_convs": 0})
    model = MultiTaskModel(settings_, image_size=64, det_classes=["a"], cls_classes=["b"])
    outputs = model(pictures(1))
    assert outputs["detection"].class_logits[0].shape == (1, 1, 8, 8) and outputs["classification"].shape == (1, 1)


class TestSubset:
    @pytest.mark.parametrize("tasks", SUBSETS)
    def test_single_task_has_its_parts_with_shared_first_weights(self, tasks):
        part, whole = small_model(tasks=tasks).state_dict(), small_model().state_dict()
        pyramid = {"fpn"} if set(tasks) & {"segmentation", "detection"} else set()
        assert {name.split(".")[0] for name in part} == {"backbone", *pyramid, *tasks}
        assert all(torch.equal(value, whole[name]) for name, value in part.items())

    @pytest.mark.parametrize("tasks", SUBSETS)
    def test_what_it_gives_is_what_the_whole_model_gives(self, tasks):
        model = small_model(tasks=tasks).eval()
        outputs = model(pictures())
        assert set(outputs) == set(tasks)
        assert_alike(outputs, small_model().eval()(pictures(), tasks))
        counts = dict.fromkeys(tasks, 2)
        joint = model(torch.cat([pictures()] * len(tasks)), tasks, counts)
        assert_alike(joint, outputs)

    def test_making_it_uses_as_much_chance_as_the_whole_model(self):
        """Dropout in training then is the shared model's."""
        after = []
        for tasks in SUBSETS:
            small_model(tasks=tasks)
            after.append(torch.rand(1).item())
        assert len(set(after)) == 1

    def test_the_order_of_the_tasks_does_not_matter(self):
        one, two = (
            small_model(tasks=["classification", "segmentation"]),
            small_model(tasks=("segmentation", "classification")),
        )
        assert one.tasks == two.tasks == ("segmentation", "classification")
        assert list(one.state_dict()) == list(two.state_dict())

    def test_names_of_absent_tasks_are_none(self):
        assert small_model(tasks=["segmentation"]).det_classes == []
        assert small_model(tasks=["detection"]).cls_classes == []
        assert small_model(tasks=["detection"]).det_classes == ["lid", "pot"]

    def test_a_task_that_the_model_lacks_is_refused(self):
        with pytest.raises(ValueError, match="the model's tasks are detection, asked for were segmentation"):
            small_model(tasks=["detection"])(pictures(1), ["segmentation"])

    @pytest.mark.parametrize("tasks", [(), ("boxes",), ("detection", "boxes")])
    def test_no_task_or_an_unknown_one_is_refused(self, tasks):
        with pytest.raises(ValueError, match="tasks must be some of segmentation, detection, classification"):
            small_model(tasks=tasks)


def test_parameters_keep_the_order_that_seeds_depend_on():
    """Another order of making the parts would give other first weights for the same seed."""
    parts = []
    for name, _ in small_model().named_parameters():
        if name.split(".")[0] not in parts:
            parts.append(name.split(".")[0])
    assert parts == ["backbone", "fpn", "segmentation", "detection", "classification"]
    model = small_model()
    # Each part's first weights, made from what the parts before it left of the same random numbers.
    torch.manual_seed(0)
    again = (
        make_backbone("resnet10"),
        FeaturePyramid(model.backbone.channels, 32),
        SegmentationHead(32, 8),
        DetectionHead(32, 16, 2, strides=(8, 16, 32), num_convs=1),
        ClassificationHead(model.backbone.channels[-1], 3, hidden=8, dropout=SMALL.dropout),
    )
    for part, name in zip(again, parts, strict=True):
        assert all(map(torch.equal, part.parameters(), getattr(model, name).parameters())), name
