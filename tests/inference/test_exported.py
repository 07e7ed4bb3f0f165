from pathlib import Path

import numpy as np
import pytest

from panvision.inference.backend import PredictorError, output_shapes
from panvision.inference.exported import End, check_ends, read_exported
from panvision.inference.predictor import Predictor
from tests.tiny import INFO, write_onnx


def quantised(path):
    """The tiny model with one pair of operators that round to eight bits."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(write_onnx(path))
    values = {"step": np.array(0.1, np.float32), "zero": np.array(0, np.uint8)}
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in values.items())
    logits = next(node for node in model.graph.node if "state_logits" in node.output)
    logits.output[0] = "exact"
    model.graph.node.extend(
        [
            helper.make_node("QuantizeLinear", ["exact", "step", "zero"], ["rounded"]),
            helper.make_node("DequantizeLinear", ["rounded", "step", "zero"], ["state_logits"]),
        ]
    )
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("wanted", [None, "float32", "bfloat16"])
def test_a_float_file_runs_in_a_float_precision(tmp_path, wanted):
    assert read_exported(write_onnx(tmp_path / "m.onnx"), wanted) == (INFO, wanted or "float32")


def test_a_float_file_does_not_run_in_int8(tmp_path):
    with pytest.raises(PredictorError, match=r"m\.onnx: is a float file .*panvision\.int8\.onnx"):
        read_exported(write_onnx(tmp_path / "m.onnx"), "int8")


@pytest.mark.parametrize("wanted", [None, "int8"])
def test_an_int8_file_runs_in_int8(tmp_path, wanted):
    assert read_exported(quantised(tmp_path / "m.onnx"), wanted) == (INFO, "int8")


@pytest.mark.parametrize("wanted", ["float32", "bfloat16"])
def test_an_int8_file_does_not_run_in_another_precision(tmp_path, wanted):
    with pytest.raises(PredictorError, match=rf"m\.onnx: is an INT8 file and cannot run in {wanted}; name"):
        read_exported(quantised(tmp_path / "m.onnx"), wanted)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_every_runtime_runs_an_int8_file(tmp_path, runtime):
    pytest.importorskip(runtime)
    model = Predictor.load(quantised(tmp_path / "m.onnx"), runtime=runtime, precision="int8")
    found = model.raw(np.full((1, 64, 64, 3), 100, np.uint8))["state_logits"]
    assert found == pytest.approx(10.0, abs=0.11)


def test_sides_without_a_number_fit_any():
    ends = [End(name, "float32", ("N", *shape)) for name, shape in output_shapes(INFO).items()]
    check_ends(tmp := Path("m.onnx"), INFO, [End("images", "uint8", ("N", "S", "S", 3))], ends)
    with pytest.raises(PredictorError, match=r"images is uint8 \['N', 'S', 3\]"):
        check_ends(tmp, INFO, [End("images", "uint8", ("N", "S", 3))], ends)
