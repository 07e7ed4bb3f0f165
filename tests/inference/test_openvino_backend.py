import pickle
import subprocess
import sys

import numpy as np
import pytest

from panvision.inference.backend import PredictorError
from panvision.inference.predictor import Predictor
from tests.tiny import INFO, LIMITED, changed_metadata, picture, write_onnx

openvino = pytest.importorskip("openvino", reason="openvino is in the extra openvino")

from panvision.inference import openvino_backend  # noqa: E402 -- needs it
from panvision.inference.openvino_backend import OpenVinoBackend, has_bfloat16  # noqa: E402


@pytest.mark.parametrize("info", [INFO, LIMITED])
def test_openvino_answers_as_onnx_runtime(tmp_path, info):
    path = write_onnx(tmp_path / "m.onnx", metadata=info.to_metadata())
    one, other = Predictor.load(path), Predictor.load(path, runtime="openvino")
    assert other.info == one.info == info
    images = np.stack([picture(64, 64), picture(64, 64, colour=(120, 0, 0))])
    for batch in (images, images[:1]):
        found = other.raw(batch)
        for name, expected in one.raw(batch).items():
            assert found[name].dtype == np.float32
            np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-4)


def test_outputs_stay_when_the_next_images_are_run(tmp_path):
    model = Predictor.load(write_onnx(tmp_path / "m.onnx"), runtime="openvino")
    first = model.raw(np.zeros((1, 64, 64, 3), np.uint8))
    kept = first["state_logits"].copy()
    model.raw(np.full((1, 64, 64, 3), 255, np.uint8))
    assert (first["state_logits"] == kept).all()


def test_a_loaded_model_can_be_pickled(tmp_path):
    model = Predictor.load(write_onnx(tmp_path / "m.onnx"), runtime="openvino", threads=1)
    copy = pickle.loads(pickle.dumps(model))  # noqa: S301 -- packed by this test
    assert copy.predict(picture())["detection"] == model.predict(picture())["detection"]


@pytest.mark.process
def test_a_signal_after_models_are_gone_is_harmless(tmp_path):
    """Two of OpenVINO's cores that end in the order in which they were made leave a freed signal stack."""
    path = write_onnx(tmp_path / "m.onnx")
    code = (
        "import signal, sys; from panvision.inference.predictor import Predictor\n"
        "first, second = (Predictor.load(sys.argv[1], runtime='openvino') for _ in range(2))\n"
        "del first; del second\n"
        "signal.signal(signal.SIGINT, lambda *_: print('received')); signal.raise_signal(signal.SIGINT)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "received\n"), done.stderr


def test_another_device_is_refused(tmp_path):
    with pytest.raises(PredictorError, match="cuda: OpenVINO runs here on the CPU only"):
        Predictor.load(write_onnx(tmp_path / "m.onnx"), "cuda", runtime="openvino")


def test_metadata_of_another_graph_are_found_out(tmp_path):
    write_onnx(tmp_path / "m.onnx", metadata=changed_metadata(cls_class_names=["one"]))
    with pytest.raises(PredictorError, match=r"state_logits is float32 .*3\], .* export it again"):
        OpenVinoBackend(tmp_path / "m.onnx")


def test_a_graph_that_openvino_cannot_load_is_named(tmp_path):
    import onnx

    model = onnx.load(write_onnx(tmp_path / "m.onnx"))
    model.graph.node[0].op_type = "NoSuchOperator"
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(PredictorError, match=r"m\.onnx: OpenVINO cannot load it: .*") as caught:
        OpenVinoBackend(tmp_path / "m.onnx")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("native", [True, False])
def test_bfloat16_needs_a_processor_that_has_it(tmp_path, monkeypatch, native):
    path = write_onnx(tmp_path / "m.onnx")
    monkeypatch.setattr(openvino_backend, "has_bfloat16", lambda: native)
    if native and has_bfloat16():
        OpenVinoBackend(path, precision="bfloat16").run(np.zeros((1, 64, 64, 3), np.uint8))
    elif not native:
        with pytest.raises(PredictorError, match=r"m\.onnx: this processor has no bfloat16; use float32"):
            OpenVinoBackend(path, precision="bfloat16")


def test_precision_is_what_was_asked_for(tmp_path, monkeypatch):
    """OpenVINO's own default is bfloat16 where the processor has it."""
    asked = []
    compile_model = openvino.Core.compile_model

    def noting(core, path, device, hints):
        asked.append(hints["INFERENCE_PRECISION_HINT"])
        return compile_model(core, path, device, {**hints, "INFERENCE_PRECISION_HINT": "f32"})

    monkeypatch.setattr(openvino.Core, "compile_model", noting)
    monkeypatch.setattr(openvino_backend, "has_bfloat16", lambda: True)
    for precision in (None, "float32", "bfloat16"):
        Predictor.load(write_onnx(tmp_path / "m.onnx"), runtime="openvino", precision=precision)
    assert asked == ["f32", "f32", "bf16"]
