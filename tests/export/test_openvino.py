"""OpenVINO reads the exported files as they are and answers as ONNX Runtime does."""

import numpy as np
import pytest

from panvision.inference.predictor import Predictor
from tests.tiny import SIZE

openvino = pytest.importorskip("openvino", reason="openvino is in the extra openvino")


@pytest.mark.xdist_group("export")
@pytest.mark.parametrize("numbers", ["float32", "int8"])
def test_it_gives_what_onnx_runtime_gives(exported, tmp_path, numbers) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    path, limit = exported, 1e-3
    if numbers == "int8":
        from panvision.export.int8 import write_int8

        # It may sum and round in another order, and so one step of eight bits beside.
        path, limit = tmp_path / "int8.onnx", 0.1
        write_int8(path, exported, images)
    hints = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(str(path), "CPU", hints)
    for batch in (images[:1], images):
        found = compiled(batch)
        for name, expected in Predictor.load(path).raw(batch).items():
            np.testing.assert_allclose(found[name], expected, atol=limit * max(1.0, np.abs(expected).max()))
