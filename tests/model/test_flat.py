import pytest
import torch

from panvision.core.tasks import TASKS, output_names
from panvision.decoding.points import level_points
from panvision.model.flat import FlatModel, flat_outputs
from panvision.model.heads.detection import join_levels
from tests.model.small import SIDE, SUBSETS, pictures, small_model


def test_levels_are_joined_in_the_order_of_the_points():
    """Each cell's value is its own centre; joined, they must be the points that decoding uses."""
    levels = []
    for stride in (8, 16, 32):
        centres = stride * (torch.arange(SIDE // stride) + 0.5)
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        levels.append(torch.stack([x, y]).expand(2, 2, -1, -1))
    points, _ = level_points(SIDE, (8, 16, 32))
    joined = join_levels(levels)
    assert joined.shape == (2, len(points), 2)
    assert (joined[1].numpy() == points).all()


def test_outputs_are_the_models_own():
    model = small_model().eval()
    images = pictures()
    with torch.inference_mode():
        flat = FlatModel(model)
        outputs = dict(zip(flat.output_names, flat(images.permute(0, 2, 3, 1)), strict=True))
        expected = model(images)
    places = 64 + 16 + 4
    shapes = {name: tuple(value.shape) for name, value in outputs.items()}
    assert shapes == {
        "mask_logits": (2, SIDE, SIDE),
        "class_logits": (2, places, 2),
        "ltrb": (2, places, 4),
        "centerness": (2, places),
        "state_logits": (2, 3),
    }
    assert all(value.dtype == torch.float32 for value in outputs.values())
    torch.testing.assert_close(outputs["mask_logits"], expected["segmentation"][:, 0])
    torch.testing.assert_close(outputs["state_logits"], expected["classification"])
    detection = expected["detection"]
    for name in ("class_logits", "ltrb"):
        torch.testing.assert_close(outputs[name], join_levels(getattr(detection, name)))
    # The fourth cell of the second row of the middle level.
    assert torch.equal(outputs["centerness"][:, 64 + 4 + 3], detection.centerness[1][:, 0, 1, 3])


def test_outputs_are_float32_in_any_precision():
    model = small_model().eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        outputs = FlatModel(model)(pictures(1).permute(0, 2, 3, 1))
    assert all(value.dtype == torch.float32 for value in outputs)


@pytest.mark.parametrize("tasks", SUBSETS)
def test_a_model_of_fewer_tasks_gives_fewer_outputs_and_the_same(tasks):
    images = pictures().permute(0, 2, 3, 1)
    whole, part = FlatModel(small_model().eval()), FlatModel(small_model(tasks=tasks).eval())
    with torch.inference_mode():
        expected = dict(zip(whole.output_names, whole(images), strict=True))
        found = dict(zip(part.output_names, part(images), strict=True))
    assert list(found) == [name for task, spec in TASKS.items() if task in tasks for name in spec.outputs]
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name])


def test_optional_outputs_follow_their_task_before_the_next_one() -> None:
    tasks = ("classification", "segmentation")
    maps = {"classification": torch.zeros(1, 2), "segmentation": torch.zeros(1, 1, 8, 8)}
    found = flat_outputs({**maps, "distance": (torch.ones(1), torch.ones(1, 3))})
    assert tuple(found) == output_names(tasks, optional=True)
    assert found["cls_features"].shape == (1, 3)
