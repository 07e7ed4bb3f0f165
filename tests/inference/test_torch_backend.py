import multiprocessing
import os
import warnings
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from panvision.inference.api import load_model
from panvision.inference.backend import PredictorError
from panvision.inference.origin import params_hash
from panvision.inference.predictor import Predictor
from tests.tiny import BOX_NAMES, SIZE, STATE_NAMES, picture

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    from panvision.model.checkpoint import save_checkpoint
    from panvision.model.multitask import MultiTaskModel
    from tests.model.small import SMALL

    torch.manual_seed(0)
    model = MultiTaskModel(SMALL, image_size=SIZE, det_classes=BOX_NAMES, cls_classes=STATE_NAMES)
    path = tmp_path_factory.mktemp("model") / "best_model.pth"
    save_checkpoint(path, model)
    return path


def test_a_checkpoint_answers_as_its_network(checkpoint) -> None:
    from panvision.model.checkpoint import load_checkpoint
    from panvision.model.flat import FlatModel

    predictor = Predictor.load(checkpoint, "cpu")
    images = np.stack([picture(64, 64), picture(64, 64, colour=(120, 0, 0))])
    with torch.inference_mode():
        expected = FlatModel(load_checkpoint(checkpoint)[0])(torch.tensor(images))
    for output, tensor in zip(predictor.raw(images).values(), expected, strict=True):
        assert output.dtype == np.float32
        np.testing.assert_allclose(output, tensor.numpy(), atol=1e-5)


@pytest.mark.parametrize("asked", [{"runtime": "openvino"}, {"runtime": "onnxruntime"}, {"precision": "bfloat16"}])
def test_a_checkpoint_runs_on_pytorch_in_float32_only(checkpoint, asked) -> None:
    assert Predictor.load(checkpoint, "cpu", precision="float32").info == Predictor.load(checkpoint, "cpu").info
    with pytest.raises(PredictorError, match=r"a checkpoint runs on PyTorch in float32; .*exported model"):
        Predictor.load(checkpoint, "cpu", **asked)


@pytest.mark.parametrize("asked", [{"runtime": "tensorrt"}, {"precision": "float16"}])
def test_an_unknown_runtime_or_precision_is_refused(checkpoint, asked) -> None:
    with pytest.raises(PredictorError, match=r"must be one of (onnxruntime|float32), .*found '(tensorrt|float16)'"):
        Predictor.load(checkpoint, "cpu", **asked)


def test_a_checkpoint_predicts_without_a_warning(checkpoint) -> None:
    predictor = Predictor.load(checkpoint, "cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = predictor.predict(picture(80, 40), score_threshold=0.0)
    assert result["segmentation"]["mask"].shape == (40, 80)
    assert 0 < len(result["detection"]["boxes"]) <= 100
    assert set(result["classification"]["probabilities"]) == set(STATE_NAMES)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("again", [False, True])
def test_forked_child_gets_an_error_that_names_spawn(checkpoint, again) -> None:
    model = Predictor.load(checkpoint, "cpu")
    model.predict(picture())
    ours, theirs = multiprocessing.Pipe()

    def child() -> None:
        try:
            (Predictor.load(checkpoint, "cpu") if again else model).predict(picture())
        except PredictorError as error:
            theirs.send(str(error))

    process = multiprocessing.get_context("fork").Process(target=child)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads
        process.start()
    try:
        assert ours.poll(60), "the child hangs"
        assert 'get_context("spawn")' in ours.recv()
    finally:
        process.kill()
        process.join()


def test_spawned_child_predicts_with_the_model_that_it_gets(checkpoint) -> None:
    model = Predictor.load(checkpoint, "cpu")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        found = pool.submit(model.predict, picture()).result(timeout=120)
    assert found["classification"]["class_name"] == model.predict(picture())["classification"]["class_name"]


def test_what_a_checkpoint_knows(checkpoint) -> None:
    from panvision.model.checkpoint import load_checkpoint

    model, info = load_model(checkpoint)
    assert info == {
        "tasks": ["segmentation", "detection", "classification"],
        "num_det_classes": 2,
        "num_cls_classes": 3,
        "det_class_names": list(BOX_NAMES),
        "cls_idx_to_class": dict(enumerate(STATE_NAMES)),
        "params_sha256": params_hash(load_checkpoint(checkpoint)[1]),
        "data_sha256": None,
    }
    assert (model.score_threshold, model.nms_threshold, model.max_detections) == (0.3, 0.5, 100)


def save_with(path, **meta):
    from panvision.model.checkpoint import save_checkpoint
    from panvision.model.multitask import MultiTaskModel
    from tests.model.small import SMALL

    model = MultiTaskModel(SMALL, image_size=SIZE, det_classes=BOX_NAMES, cls_classes=STATE_NAMES)
    save_checkpoint(path, model, meta=meta)
    return path


def test_a_checkpoint_has_its_thresholds_and_costs(tmp_path) -> None:
    path = save_with(
        tmp_path / "m.pth",
        detection={"score_threshold": {"stirrer": 0.2, "lid": 0.6}},
        decision={"costs": {"confusions": {"fresh": {"frozen": 3.0}}}},
    )
    predictor = Predictor.load(path, "cpu")
    assert predictor.info.thresholds.score == (0.6, 0.2)
    assert predictor.info.costs == ((0.0, 1.0, 1.0), (1.0, 0.0, 3.0), (1.0, 1.0, 0.0))
    assert Predictor.load(save_with(path, detection={"score_threshold": "auto"}), "cpu").score_threshold == 0.3


@pytest.mark.parametrize(
    "meta",
    [
        {"detection": {"score_threshold": {"lid": 0.5}}},
        {"detection": {"score_threshold": {"lid": 0.5, "stirrer": 0.5, "pot": 0.5}}},
        {"decision": {"costs": {"confusions": {"fresh": {"burnt": 3.0}}}}},
    ],
)
def test_a_checkpoint_with_other_classes_is_refused(tmp_path, meta) -> None:
    with pytest.raises(PredictorError, match=r"m\.pth: its metadata are damaged"):
        Predictor.load(save_with(tmp_path / "m.pth", **meta), "cpu")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint" * 50])
def test_a_damaged_checkpoint_is_refused(tmp_path, content) -> None:
    (tmp_path / "m.pth").write_bytes(content)
    with pytest.raises(PredictorError, match=r"m\.pth"):
        Predictor.load(tmp_path / "m.pth")


def test_a_foreign_checkpoint_is_refused(tmp_path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "m.pth")
    with pytest.raises(PredictorError, match="not a panvision checkpoint"):
        Predictor.load(tmp_path / "m.pth")


@pytest.mark.parametrize("device", ["abacus", "cuda:99"])
def test_a_device_that_is_not_there_is_named(checkpoint, device) -> None:
    with pytest.raises(PredictorError, match=device):
        Predictor.load(checkpoint, device)
