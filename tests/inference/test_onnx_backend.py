import json
import pickle
import subprocess
import sys
from dataclasses import replace
from typing import ClassVar

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from panvision.inference.backend import ModelInfo, PredictorError
from panvision.inference.predictor import Predictor
from tests.tiny import INFO, LIMITED, STATE_NAMES, ColourBackend, changed_metadata, picture, write_onnx

# Everything that is neither the standard library, ours, nor of the three packages (or of what these need to run).
ALLOWED = {"panvision", "numpy", "PIL", "onnxruntime", "flatbuffers", "google", "packaging"}
BARE = f"""
import sys

class Wall:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in {ALLOWED!r} and top not in sys.stdlib_module_names and not top.startswith("_"):
            raise ModuleNotFoundError(f"a bare device has no {{top}}", name=top)

sys.meta_path.insert(0, Wall())
from panvision.inference import infer_image, load_model, run_inference

model, info = load_model(sys.argv[1])
result = infer_image(model, sys.argv[2], info)
assert result["classification"]["class_name"] == "frozen", result
assert [len(run_inference(model, sys.argv[3], info, None, sys.argv[4], True))] == [1]
print(sorted({{name.partition(".")[0] for name in sys.modules}}))
"""


def test_onnx_path_imports(tmp_path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.fromarray(picture()).save(pictures / "a.png")
    model = write_onnx(tmp_path / "m.onnx")
    run = subprocess.run(
        [sys.executable, "-c", BARE, model, pictures / "a.png", pictures, tmp_path / "out"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    for package in ("torch", "pydantic", "pandas", "cv2", "yaml"):
        assert f"'{package}'" not in run.stdout
    assert (tmp_path / "out" / "a_pred.png").is_file()


def test_a_loaded_model_can_be_pickled(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = Predictor.load(write_onnx(tmp_path / "m.onnx").relative_to(tmp_path)).with_thresholds(0.0)
    packed = pickle.dumps(model)
    monkeypatch.chdir("/")
    copy = pickle.loads(packed)  # noqa: S301 -- packed by this test
    assert copy.info == model.info
    assert copy.predict(picture())["detection"] == model.predict(picture())["detection"]


def test_onnx_runtime_gives_what_the_graph_says(tmp_path) -> None:
    predictor = Predictor.load(write_onnx(tmp_path / "m.onnx"))
    assert predictor.info == INFO
    images = np.stack([picture(64, 64), picture(64, 64, colour=(120, 0, 0))])
    outputs, expected = predictor.raw(images), ColourBackend().run(images)
    for name in ("mask_logits", "state_logits"):
        np.testing.assert_allclose(outputs[name], expected[name], rtol=1e-5)
    assert all(output.dtype == np.float32 and len(output) == 2 for output in outputs.values())
    result = predictor.predict(picture(128, 64))
    assert result["detection"]["class_names"] == ["lid"]
    assert result["detection"]["boxes"] == [[0.0, 0.0, 16.0, 8.0]]


def test_a_gpu_that_onnxruntime_cannot_use_is_refused(tmp_path, monkeypatch) -> None:
    write_onnx(tmp_path / "m.onnx")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(PredictorError, match=r"cuda: .*pip install onnxruntime-gpu"):
        Predictor.load(tmp_path / "m.onnx", "cuda")


class Session:
    """A session on the CPU that says which providers it has."""

    providers: ClassVar[list[str]]
    asked: ClassVar[list[object]]

    def __init__(self, source, options, *, providers, enable_fallback):
        self.asked.append((providers, enable_fallback))
        self._own = SESSION(source, options, providers=["CPUExecutionProvider"])

    def __getattr__(self, name):
        return getattr(self._own, name)

    def get_providers(self):
        return self.providers


SESSION = onnxruntime.InferenceSession
BOTH = ["CUDAExecutionProvider", "CPUExecutionProvider"]


@pytest.fixture
def gpu(monkeypatch):
    """An onnxruntime that has CUDA, as far as it says."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: BOTH)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    Session.providers, Session.asked = BOTH, []
    return Session


@pytest.mark.parametrize(("device", "number"), [("cuda", 0), ("cuda:0", 0), ("cuda:1", 1), ("cuda:12", 12)])
def test_onnx_backend_uses_the_named_gpu_without_tf32(tmp_path, gpu, device, number) -> None:
    Predictor.load(write_onnx(tmp_path / "m.onnx"), device)
    cuda = ("CUDAExecutionProvider", {"device_id": number, "use_tf32": 0})
    assert gpu.asked == [([cuda, "CPUExecutionProvider"], False)]


def test_a_session_that_lost_its_gpu_is_refused(tmp_path, gpu) -> None:
    """ONNX Runtime continues with the CPU if it cannot load the CUDA libraries."""
    gpu.providers = BOTH[1:]
    with pytest.raises(PredictorError, match=r"cuda:1: .*CUDA libraries"):
        Predictor.load(write_onnx(tmp_path / "m.onnx"), "cuda:1")


def test_onnx_runtime_has_no_bfloat16(tmp_path) -> None:
    with pytest.raises(PredictorError, match=r"m\.onnx: .*no bfloat16 .*use the runtime openvino"):
        Predictor.load(write_onnx(tmp_path / "m.onnx"), precision="bfloat16")


@pytest.mark.parametrize("device", ["toaster", "cuda:x"])
def test_a_device_of_another_name_is_refused(tmp_path, device) -> None:
    with pytest.raises(PredictorError, match=f"{device}: no device"):
        Predictor.load(write_onnx(tmp_path / "m.onnx"), device)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty, .*export.int8"), (b"not an onnx file" * 100, "cannot load it: not an ONNX file")],
)
def test_a_file_that_is_not_onnx_is_refused(tmp_path, content, message) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(PredictorError, match=rf"m\.onnx: {message}"):
        Predictor.load(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "without panvision's metadata"),
        ("not json", "damaged"),
        ("[]", "damaged"),
        ("{}", "damaged"),
        (changed_metadata(strides=None), "damaged"),
        (changed_metadata(state_order=["fresh", "raw", "frozen"]), "damaged"),
        (changed_metadata(version=2), "version 2"),
    ],
)
def test_a_foreign_onnx_file_is_refused(tmp_path, metadata, message) -> None:
    write_onnx(tmp_path / "m.onnx", metadata=metadata)
    with pytest.raises(PredictorError, match=rf"m\.onnx: .*{message}"):
        Predictor.load(tmp_path / "m.onnx")


def test_metadata_of_another_graph_are_found_out(tmp_path) -> None:
    write_onnx(tmp_path / "m.onnx", metadata=changed_metadata(cls_class_names=["one"]))
    with pytest.raises(PredictorError, match=r"state_logits is float32 .* export it again"):
        Predictor.load(tmp_path / "m.onnx")
    write_onnx(tmp_path / "m.onnx", metadata=changed_metadata(image_size=96))
    with pytest.raises(PredictorError, match=r"images is uint8 .*64, 64, 3\], .*96, 96, 3\]; export it"):
        Predictor.load(tmp_path / "m.onnx")


def test_onnx_backend_reads_models_of_fewer_tasks(tmp_path) -> None:
    import onnx

    metadata = changed_metadata(tasks=["detection", "classification"])
    model = onnx.load(write_onnx(tmp_path / "m.onnx", metadata=metadata))
    del model.graph.output[0]
    onnx.save(model, tmp_path / "m.onnx")
    result = Predictor.load(tmp_path / "m.onnx").predict(picture())
    assert set(result) == {"detection", "classification"}
    assert result["detection"]["class_names"] == ["lid"] and result["classification"]["class_name"] == "frozen"


def test_outputs_by_other_names_are_refused(tmp_path) -> None:
    import onnx

    model = onnx.load(write_onnx(tmp_path / "m.onnx"))
    del model.graph.output[0]
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(PredictorError, match="mask_logits"):
        Predictor.load(tmp_path / "m.onnx")


def test_metadata_have_thresholds_by_class_and_costs() -> None:
    costs = ((0.0, 1.0, 4.0), (1.0, 0.0, 1.0), (1.0, 1.0, 0.0))
    info = replace(INFO, thresholds=INFO.thresholds._replace(score=(0.6, 0.2)), costs=costs)
    text = info.to_metadata()
    assert ModelInfo.from_metadata(text, "m.onnx") == info
    # For programs that know one number only.
    assert json.loads(text)["score_threshold"] == 0.2


def test_metadata_of_older_files_have_one_threshold() -> None:
    values = json.loads(INFO.to_metadata())
    assert not {"score_thresholds", "confusion_costs"} & set(values)
    assert ModelInfo.from_metadata(json.dumps(values), "m.onnx") == INFO


def test_limits_decide_which_images_are_answered(tmp_path) -> None:
    predictor = Predictor.load(write_onnx(tmp_path / "m.onnx", metadata=LIMITED.to_metadata()))
    assert predictor.info == LIMITED and predictor.info.output_names[-2:] == ("cls_distance", "cls_features")
    known, black = predictor.predict_batch([picture(), np.zeros((30, 40, 3), np.uint8)])
    assert known["classification"]["answered"] and known["classification"]["reason"] is None
    assert known["classification"]["distance"] == pytest.approx(100 / 221 / 2)
    assert black["classification"]["reason"] == "unlike the training images"
    assert black["classification"]["class_name"] in STATE_NAMES


def test_files_of_earlier_versions_have_no_features(tmp_path) -> None:
    earlier = replace(LIMITED, features=0)
    predictor = Predictor.load(write_onnx(tmp_path / "m.onnx", metadata=earlier.to_metadata()))
    assert predictor.info == earlier and predictor.info.output_names[-1] == "cls_distance"
    assert predictor.predict(picture())["classification"]["answered"]
    with pytest.raises(PredictorError, match="features cannot be right"):
        ModelInfo.from_metadata(replace(INFO, features=3).to_metadata(), "m.onnx")


def test_a_file_without_limits_answers_every_image(tmp_path) -> None:
    predictor = Predictor.load(write_onnx(tmp_path / "m.onnx"))
    black = predictor.predict(np.zeros((30, 40, 3), np.uint8))["classification"]
    assert (black["answered"], black["reason"], black["distance"]) == (True, None, None)
