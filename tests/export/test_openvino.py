"""OpenVINO passes the gates of export: parity in float32, and the same answers within eight bits otherwise."""

import numpy as np
import pytest

from panvision.export.int8 import write_int8
from panvision.export.parity import compare
from panvision.export.settings import ExportSettings
from panvision.inference.predictor import Predictor
from tests.tiny import SIZE

pytest.importorskip("openvino", reason="openvino is in the extra openvino")

from panvision.inference.openvino_backend import has_bfloat16

pytestmark = pytest.mark.xdist_group("export")
IMAGES = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)


def test_float32_passes_the_parity_gate(trained, exported):
    found = Predictor.load(exported, runtime="openvino", precision="float32").with_thresholds(0.25, 0.4, 50)
    parity = compare(trained.predictor, found, IMAGES, checkpoint=trained.path)
    parity.check(ExportSettings(), trained.path)
    assert parity.same_results == len(IMAGES)


@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
def test_rounded_outputs_are_near_those_in_float32(exported, tmp_path, precision):
    path, reference = exported, Predictor.load(exported)
    if precision == "int8":
        path = tmp_path / "int8.onnx"
        write_int8(path, exported, IMAGES)
        reference = Predictor.load(path)  # it may sum and round in another order, and so one step beside
    elif not has_bfloat16():
        pytest.skip("this processor has no bfloat16")
    found = Predictor.load(path, runtime="openvino", precision=precision).raw(IMAGES)
    for name, expected in reference.raw(IMAGES).items():
        np.testing.assert_allclose(found[name], expected, atol=0.1 * max(1.0, np.abs(expected).max()))
