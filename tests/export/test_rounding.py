import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

onnx = pytest.importorskip("onnx")

from panvision.export.rounding import round_kernels, rounded_weights  # noqa: E402 -- needs it

LARGEST = 64


def correlated(random, groups, size, positions) -> torch.Tensor:
    mixed = random.normal(size=(groups, size, 3)) @ random.normal(size=(groups, 3, positions))
    return torch.from_numpy(mixed + 0.3 * random.normal(size=(groups, size, positions)))


def steps_of(weights) -> torch.Tensor:
    return weights.abs().amax(dim=2) / LARGEST


def output_error(weights, step, rounded, inputs) -> torch.Tensor:
    return ((weights - rounded * step[..., None]) @ inputs).square().sum()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.integers(1, 3), st.integers(1, 5), st.integers(2, 40))
def test_rounded_weights_are_multiples_in_range(seed, groups, outputs, size):
    random = np.random.default_rng(seed)
    weights = torch.from_numpy(random.normal(size=(groups, outputs, size)))
    inputs = correlated(random, groups, size, 50)
    rounded = rounded_weights(weights, steps_of(weights), inputs @ inputs.mT, LARGEST)
    assert torch.equal(rounded, rounded.round()) and rounded.abs().max() <= LARGEST
    # Each weight makes up for others by a few steps.
    assert (rounded - weights / steps_of(weights)[..., None]).abs().max() < 16


@pytest.mark.parametrize("size", [9, 40, 300])
def test_outputs_change_less_than_by_rounding_to_the_nearest(size):
    random = np.random.default_rng(size)
    weights = torch.from_numpy(random.normal(size=(2, 8, size)))
    step, inputs = 8 * steps_of(weights), correlated(random, 2, size, 2000)
    rounded = rounded_weights(weights, step, inputs @ inputs.mT, LARGEST)
    nearest = (weights / step[..., None]).round()
    assert output_error(weights, step, rounded, inputs) < 0.6 * output_error(weights, step, nearest, inputs)


def test_independent_inputs_round_to_the_nearest():
    weights = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 4, 30)))
    step = steps_of(weights)
    rounded = rounded_weights(weights, step, torch.eye(30, dtype=torch.float64)[None], LARGEST)
    assert torch.equal(rounded, (weights / step[..., None]).round())


def test_inputs_that_are_always_zero_round_to_the_nearest():
    weights = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 4, 6)))
    rounded = rounded_weights(weights, steps_of(weights), torch.zeros(1, 6, 6, dtype=torch.float64), LARGEST)
    assert torch.equal(rounded, (weights / steps_of(weights)[..., None]).round())


def convolution(weights, *, strides=(1, 1), pads=(0, 0, 0, 0), group=1, side=12):
    """A float graph of one convolution of the image, and the same in INT8 with kernels rounded to the nearest."""
    node, tensor = onnx.helper.make_node, onnx.numpy_helper.from_array
    attributes = {"kernel_shape": weights.shape[2:], "strides": strides, "pads": pads, "group": group}
    step = np.abs(weights).max(axis=(1, 2, 3)) / LARGEST * 16
    near = np.round(weights / step[:, None, None, None]).astype(np.int8)
    image = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, ("N", side, side, 3))
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)

    def model(nodes, constants):
        first = [node("Cast", ["images"], ["f"], to=1), node("Transpose", ["f"], ["x"], perm=[0, 3, 1, 2])]
        layers = [*first, *nodes, node("Conv", ["x", "w"], ["y"], "conv", **attributes)]
        graph = onnx.helper.make_graph(layers, "g", [image], [output], constants)
        return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)

    scale = node("DequantizeLinear", ["w_int8", "step"], ["w"], axis=0)
    return model([], [tensor(weights, "w")]), model([scale], [tensor(near, "w_int8"), tensor(step, "step")])


def pictures(random, count, side):
    """Grey blocks of 3 × 3 pixels with some colour."""
    base = random.integers(0, 256, (count, side // 3 + 1, side // 3 + 1, 1)).repeat(3, axis=1).repeat(3, axis=2)
    return np.clip(base[:, :side, :side] + random.integers(-9, 9, (count, side, side, 3)), 0, 255).astype(np.uint8)


def model_error(model, floats, images) -> float:
    import onnxruntime

    found, expected = (
        onnxruntime.InferenceSession(each.SerializeToString()).run(None, {"images": images})[0]
        for each in (model, floats)
    )
    return float(np.square(found - expected).mean())


@pytest.mark.parametrize(
    ("shape", "strides", "pads", "group"),
    [
        ((5, 3, 1, 1), (1, 1), (0, 0, 0, 0), 1),
        ((6, 3, 3, 3), (2, 2), (0, 1, 1, 0), 1),
        ((6, 1, 5, 5), (1, 1), (2, 2, 2, 2), 3),
    ],
)
def test_round_kernels_halves_the_error_of_a_convolution(shape, strides, pads, group):
    random = np.random.default_rng(1)
    floats, rounded = convolution(random.normal(size=shape).astype(np.float32), strides=strides, pads=pads, group=group)
    images = pictures(random, 16, 12)
    before, threads = model_error(rounded, floats, images), torch.get_num_threads()
    round_kernels(rounded, floats, images, batch=2, largest=LARGEST)
    assert model_error(rounded, floats, images) < 0.5 * before and torch.get_num_threads() == threads


def test_round_kernels_takes_positions_from_the_whole_image():
    random = np.random.default_rng(1)
    floats, rounded = convolution(random.normal(size=(5, 3, 1, 1)).astype(np.float32), side=64)
    images = pictures(random, 128, 64)
    images[:, :, 0] = 0
    before = model_error(rounded, floats, images)
    round_kernels(rounded, floats, images, batch=16, largest=LARGEST)
    assert model_error(rounded, floats, images) < 0.5 * before
