"""Explanations of small networks; those of the deletion test are trained for seconds."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from explain import drops
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.core.tasks import DATASETS
from panvision.inference import infer_image, load_model
from panvision.inference.backend import PredictorError
from panvision.inference.explanation import MOST_BOXES, BoxTarget, ClassTarget, targets_of
from panvision.inference.predictor import Predictor
from panvision.inference.torch_backend import TorchBackend
from panvision.model.checkpoint import save_checkpoint
from panvision.model.multitask import MultiTaskModel
from panvision.training.fit import fit
from panvision.training.settings import LossSettings
from panvision.training.state import start
from tests.model.small import SMALL
from tests.tiny import BOX_NAMES, SIZE, STATE_NAMES, ColourBackend, picture, write_onnx
from tests.training.data.packed_sets import STILL
from tests.training.small import MODEL, plan, small_model, small_sets

COUNT, PATCH = 16, 14


def untrained(path, tasks=("segmentation", "detection", "classification"), **changes):
    torch.manual_seed(0)
    network = SMALL.model_copy(update=changes)
    model = MultiTaskModel(network, image_size=SIZE, det_classes=BOX_NAMES, cls_classes=STATE_NAMES, tasks=tasks)
    save_checkpoint(path, model)
    return Predictor.load(path, "cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return untrained(tmp_path_factory.mktemp("model") / "best_model.pth")


@pytest.fixture(scope="module")
def sets():
    """Sixteen images a dataset: noise with a red or a green patch, whose colour is the state and the box's class.

    Those of classification have a blue patch, too, which means nothing.
    """
    sets = small_sets((COUNT, COUNT, COUNT), held_out=0)
    random = np.random.default_rng(0)
    for task in DATASETS:
        images = random.integers(90, 110, (COUNT, SIZE, SIZE, 3)).astype(np.uint8)
        corners = random.integers(PATCH + 4, SIZE - PATCH - 4, (COUNT, 2))
        for row, (x, y) in enumerate(corners):
            images[row, y : y + PATCH, x : x + PATCH] = ((200, 40, 40), (40, 200, 40))[row % 2]
        if task == "classification":
            images[:, :PATCH, :PATCH] = (40, 40, 200)
        labels = {"masks": ((images.max(axis=3) == 200) * np.uint8(255))} if task == "segmentation" else {}
        if task == "detection":
            boxes = [np.array([[x, y, x + PATCH, y + PATCH]], np.float32) for x, y in corners]
            labels = {"boxes": boxes, "labels": [np.array([row % 2]) for row in range(COUNT)]}
        sets.packed[task] = replace(sets.packed[task], images=images, **labels)
        sets.rows[task]["val"] = sets.rows[task]["train"]
    return sets


@pytest.fixture(scope="module")
def trained(sets, tmp_path_factory):
    model = small_model(sets, MODEL)
    loss = LossSettings(box="giou", state="cross_entropy")
    phase = plan(sets, epochs=1, lr=5e-3, augment=STILL, loss=loss, batch_size=4, epoch_steps=60, schedule="one_cycle")
    state = start(model, phase)
    torch.manual_seed(1)
    fit(state, phase, [])
    path = tmp_path_factory.mktemp("trained") / "best_model.pth"
    save_checkpoint(path, model)
    return Predictor.load(path, "cpu")


def mean_drops(predictor, images, kind, fraction):
    """Mean score, and what covering the marked area and others of its size costs, over all targets of a kind."""
    random = np.random.default_rng(0)
    found = []
    for image in images:
        result = predictor.predict(image)
        own = [target for target in targets_of(result, (1.0, 1.0)) if isinstance(target, kind)]
        found += [drops(predictor, image, target, fraction, random) for target in own[:2]]
    assert len(found) >= len(images)
    return np.mean(found, axis=0)


@pytest.mark.slow
def test_covering_what_explains_the_state_changes_it_more(trained, sets):
    _, marked, others = mean_drops(trained, sets.packed["classification"].images, ClassTarget, 0.1)
    assert marked > others + 0.05


@pytest.mark.slow
def test_covering_what_explains_a_box_changes_it_more(trained, sets):
    _, marked, others = mean_drops(trained, sets.packed["detection"].images, BoxTarget, 0.05)
    assert marked > others + 0.05


@settings(max_examples=12, deadline=None)
@given(width=st.integers(1, 90), height=st.integers(1, 90), seed=st.integers(0, 99))
def test_maps_have_the_image_s_size_and_are_fractions(model, width, height, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    plain = infer_image(model, image, score_threshold=0.0)
    result = infer_image(model, image, score_threshold=0.0, explain=True)
    maps = result.pop("explanation")
    assert result.keys() == plain.keys()
    assert result["detection"] == plain["detection"] and result["classification"] == plain["classification"]
    assert len(maps["detection"]) == min(MOST_BOXES, len(plain["detection"]["boxes"]))
    for each in (maps["classification"], *maps["detection"]):
        assert each.shape == (height, width) and each.dtype == np.float32
        assert each.min() >= 0.0 and each.max() <= 1.0


def test_the_same_image_gives_the_same_maps(model):
    square = picture(SIZE, SIZE)[None]
    targets = [ClassTarget(1)]
    first, second = (model.activations(square, targets)[0] for _ in range(2))
    assert np.array_equal(first, second) and first.max() == 1.0


def test_threads_do_not_influence_each_other(model):
    random = np.random.default_rng(1)
    squares = random.integers(0, 256, (4, 1, SIZE, SIZE, 3)).astype(np.uint8)
    alone = [model.activations(square, [ClassTarget(0)])[0] for square in squares]
    before = torch.backends.cudnn.conv.fp32_precision
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(model.activations, squares[row % 4], [ClassTarget(0)]) for row in range(40)]
    for row, job in enumerate(jobs):
        np.testing.assert_allclose(job.result()[0], alone[row % 4], atol=1e-3)
    assert torch.backends.cudnn.conv.fp32_precision == before


def test_images_of_a_batch_do_not_influence_each_other(model):
    random = np.random.default_rng(0)
    squares = random.integers(0, 256, (3, SIZE, SIZE, 3)).astype(np.uint8)
    targets = [ClassTarget(0), BoxTarget(1, 0.1, (0.0, 0.0, 32.0, 32.0)), ClassTarget(2)]
    together = model.activations(squares, targets)
    for square, target, heat in zip(squares, targets, together, strict=True):
        np.testing.assert_allclose(model.activations(square[None], [target])[0], heat, atol=1e-3)


@pytest.mark.slow
def test_a_box_is_explained_where_it_was_found(trained, sets):
    """Two boxes of one image get different maps, each with its maximum near its own box."""
    for image in sets.packed["detection"].images:
        result = trained.predict(image, explain=True)
        for box, heat in zip(result["detection"]["boxes"][:2], result["explanation"]["detection"], strict=False):
            y, x = np.unravel_index(heat.argmax(), heat.shape)
            assert box[0] - 16 <= x <= box[2] + 16 and box[1] - 16 <= y <= box[3] + 16


@pytest.mark.parametrize(
    "changes",
    [
        {"backbone": "efficientnet_lite0"},
        {"backbone": "mobilenet_v2"},
        {"backbone": "convnext_tiny"},
        {"cls_levels": (2,)},
        {"cls_levels": (4, 5), "strides": (4, 8), "head_norm": "batch"},
    ],
)
def test_every_network_can_be_explained(tmp_path, changes):
    maps = untrained(tmp_path / "m.pth", **changes).predict(picture(), score_threshold=0.0, explain=True)["explanation"]
    assert maps["classification"].max() > 0.0 and len(maps["detection"]) == MOST_BOXES


def test_a_frozen_backbone_can_be_explained(model):
    backend = model.backend
    assert isinstance(backend, TorchBackend)
    parts = backend._flat.model.backbone
    parts.freeze(weights=True, batch_norm=True)
    try:
        assert model.activations(picture(SIZE, SIZE)[None], [ClassTarget(0)])[0].max() == 1.0
    finally:
        parts.freeze(weights=False, batch_norm=False)
        parts.eval()


@pytest.mark.parametrize("task", ["detection", "classification"])
def test_a_model_of_one_task_explains_that_task(tmp_path, task):
    predictor = untrained(tmp_path / "m.pth", (task,))
    assert set(infer_image(predictor, picture(), score_threshold=0.0, explain=True)["explanation"]) == {task}


def test_a_model_of_masks_alone_has_nothing_to_explain(tmp_path):
    predictor = untrained(tmp_path / "m.pth", ("segmentation",))
    with pytest.raises(PredictorError, match=r"^explain: the model predicts masks only; use one with "):
        infer_image(predictor, picture(), explain=True)


def test_an_image_without_boxes_has_no_map_of_one(model):
    assert infer_image(model, picture(), score_threshold=1.0, explain=True)["explanation"]["detection"] == []


def test_an_onnx_file_cannot_explain(tmp_path):
    predictor, _ = load_model(write_onnx(tmp_path / "m.onnx"))
    for each in (predictor, Predictor(ColourBackend())):
        assert not each.explains
        with pytest.raises(
            PredictorError, match=r"^explain: an ONNX file has no gradients; use the checkpoint .*\.pth$"
        ):
            infer_image(each, picture(), explain=True)
