"""ONNX files that no exporter of ours writes: each a function from the tiny model to bytes."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from panvision.inference.backend import METADATA_KEY
from tests.tiny import INFO, LIMITED, SIZE, STATE_NAMES, changed_metadata, write_onnx

node = helper.make_node


def whole(folder: Path) -> onnx.ModelProto:
    """The tiny model, which is loaded."""
    return onnx.load(write_onnx(folder / "whole.onnx"))


def external(model: onnx.ModelProto, location: str) -> None:
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", location


def external_attribute(model: onnx.ModelProto) -> None:
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    entry = weight.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    model.graph.node.append(node("Constant", [], ["w"], value=weight))


def claims(model: onnx.ModelProto, *sides: int, packed_first: bool = False) -> bytes | None:
    """A weight of a shape that its data do not have; optionally with an empty list of sides before the others."""
    weight = model.graph.initializer.add()
    weight.name, weight.data_type, weight.raw_data = "claimed", TensorProto.FLOAT, b"1234"
    weight.dims.extend(sides)
    if not packed_first:
        return None
    # Field 1 with a length of zero, which protocol buffers read as no sides at all.
    content = b"\x0a\x00" + weight.SerializeToString()
    del model.graph.initializer[-1]
    graph = model.graph.SerializeToString() + b"\x2a" + bytes([len(content)]) + content
    model.ClearField("graph")
    return model.SerializeToString() + b"\x3a" + _length(len(graph)) + graph


def loop(model: onnx.ModelProto) -> None:
    flag = helper.make_tensor_value_info("go", TensorProto.BOOL, ())
    step = helper.make_tensor_value_info("step", TensorProto.INT64, ())
    on = helper.make_tensor_value_info("on", TensorProto.BOOL, ())
    body = helper.make_graph([node("Identity", ["go"], ["on"])], "body", [step, flag], [on])
    model.graph.initializer.append(numpy_helper.from_array(np.array(2**62), "most"))
    model.graph.node.append(node("Loop", ["most", ""], [], body=body))


def condition(model: onnx.ModelProto) -> None:
    made = node("If", ["c"], ["d"])
    made.attribute.append(AttributeProto(name="then_branch", type=AttributeProto.GRAPHS, graphs=[onnx.GraphProto()]))
    model.graph.node.append(made)


def foreign_operator(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("evil.example", 1))
    model.graph.node.append(node("Evil", ["images"], ["z"], domain="evil.example"))


def runtimes_operator(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    model.graph.node.append(
        node("EPContext", ["images"], ["z"], domain="com.microsoft", ep_cache_context="/etc/passwd")
    )


def renamed(model: onnx.ModelProto, name: bytes) -> bytes:
    """The name of an attribute replaced by one of the same length; the runtime quotes it in its error."""
    assert len(name) == len(b"keepdims")
    return model.SerializeToString().replace(b"keepdims", name, 1)


def function(model: onnx.ModelProto) -> None:
    model.functions.append(
        helper.make_function("f", "F", ["a"], ["b"], [node("Identity", ["a"], ["b"])], [helper.make_opsetid("", 18)])
    )


def sparse(model: onnx.ModelProto) -> None:
    values = numpy_helper.from_array(np.ones(1, np.float32), "sparse")
    indexes = numpy_helper.from_array(np.zeros(1, np.int64), "i")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indexes, [10**6, 10**6]))


def many_nodes(model: onnx.ModelProto) -> None:
    model.graph.node.extend([node("Identity", ["images"], ["z"])] * 60_000)


def twice_the_metadata(model: onnx.ModelProto) -> None:
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, "{}"


def two_graphs(model: onnx.ModelProto) -> bytes:
    return model.SerializeToString() + onnx.ModelProto(graph=onnx.GraphProto(name="x")).SerializeToString()


def other_input(model: onnx.ModelProto, name: str, kind: int, shape: tuple[object, ...]) -> None:
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info(name, kind, shape))


def later(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 999


CHANGES: dict[str, Callable[[onnx.ModelProto], object]] = {
    "external data above": lambda model: external(model, "../../../etc/passwd"),
    "external data absolute": lambda model: external(model, "/etc/passwd"),
    "external data beside": lambda model: external(model, "whole.onnx"),
    "external data of an attribute": external_attribute,
    "claimed shape": lambda model: claims(model, 10**6, 10**6),
    "claimed shape that overflows": lambda model: claims(model, 2**62, 4),
    "claimed shape below zero": lambda model: claims(model, -5),
    "claimed shape of many sides": lambda model: claims(model, *[2] * 5000),
    "claimed shape behind an empty one": lambda model: claims(model, 10**6, 10**6, packed_first=True),
    "loop": loop,
    "condition": condition,
    "foreign operator": foreign_operator,
    "the runtime's own operator": runtimes_operator,
    "a name that is not text": lambda model: renamed(model, b"\x80eepdims"),
    "a name that moves the cursor": lambda model: renamed(model, b"\x1b[2Jdims"),
    "function": function,
    "training": lambda model: model.training_info.add().SetInParent(),
    "sparse weight": sparse,
    "many nodes": many_nodes,
    "no graph": lambda model: model.ClearField("graph"),
    "empty graph": lambda model: model.graph.Clear(),
    "two graphs": two_graphs,
    "metadata twice": twice_the_metadata,
    "operator set of the future": later,
    "format of the future": lambda model: setattr(model, "ir_version", 999),
    "input of another name": lambda model: model.graph.input[0].__setattr__("name", "x"),
    "input of another type": lambda model: other_input(model, "images", TensorProto.FLOAT, ("N", SIZE, SIZE, 3)),
    "input of another rank": lambda model: other_input(model, "images", TensorProto.UINT8, ("N", SIZE * SIZE * 3)),
    "a further input": lambda model: model.graph.input.append(
        helper.make_tensor_value_info("more", TensorProto.FLOAT, ("N",))
    ),
    "missing output": lambda model: model.graph.output.pop(0),
    "an operator without its input": lambda model: model.graph.node.append(node("Relu", ["nothing"], ["z"])),
    "a circle": lambda model: model.graph.node.extend([node("Relu", ["p"], ["q"]), node("Relu", ["q"], ["p"])]),
}

METADATA = {
    "broken": "{",
    "list": "[]",
    "empty": "{}",
    "deep": '{"version": ' + "[" * 10**5,
    "huge number": '{"version": 1, "image_size": ' + "9" * 5000 + "}",
    "not UTF-8": "\udcff",
    "size of bool": changed_metadata(image_size=True),
    "size as text": changed_metadata(image_size="64"),
    "size as float": changed_metadata(image_size=64.5),
    "size enormous": changed_metadata(image_size=32 * 10**9),
    "size below zero": changed_metadata(image_size=-64),
    "size 0": changed_metadata(image_size=0),
    "stride 0": changed_metadata(strides=[0]),
    "no strides": changed_metadata(strides=[]),
    "strides of bools": changed_metadata(strides=[True]),
    "many strides": changed_metadata(strides=[8] * 10**5),
    "names that are numbers": changed_metadata(det_class_names=[1, 2]),
    "names that are one text": changed_metadata(det_class_names="ab"),
    "a name twice": changed_metadata(det_class_names=["lid", "lid"]),
    "an empty name": changed_metadata(det_class_names=["lid", ""]),
    "a name that moves the cursor": changed_metadata(det_class_names=["lid", "\x1b[2J"]),
    "a name of two lines": changed_metadata(cls_class_names=["a\nb", *STATE_NAMES[1:]]),
    "a name turned round": changed_metadata(det_class_names=["lid", "a\u202eb"]),
    "half a letter": changed_metadata(det_class_names=["lid", "\ud800"]),
    "a long name": changed_metadata(det_class_names=["lid", "x" * 10**6]),
    "many names": changed_metadata(det_class_names=[str(number) for number in range(10**5)]),
    "names without a task": changed_metadata(tasks=["segmentation"]),
    **{
        f"limits: {name}": changed_metadata(answers=answers)
        for name, answers in {
            "a list": [1.0],
            "empty": {},
            "another": {**LIMITED.limits._asdict(), "more": 1.0},
            "a text": {**LIMITED.limits._asdict(), "distance": "far"},
            "none": {**LIMITED.limits._asdict(), "distance": None},
            "0": {**LIMITED.limits._asdict(), "distance": 0.0},
            "NaN": {**LIMITED.limits._asdict(), "distance": float("nan")},
            "infinite": {**LIMITED.limits._asdict(), "distance": float("inf")},
            "an area of 2": {**LIMITED.limits._asdict(), "pan_area": 2.0},
            "an unknown box": {**LIMITED.limits._asdict(), "pan_score": 0.5, "pan_label": 2},
            "half a box": {**LIMITED.limits._asdict(), "pan_score": 0.5, "pan_label": 0.5},
            "a box below 0": {**LIMITED.limits._asdict(), "pan_score": 0.5, "pan_label": -1},
        }.items()
    },
    "threshold NaN": changed_metadata(score_threshold=float("nan")),
    "threshold infinite": changed_metadata(nms_threshold=float("inf")),
    "threshold 5": changed_metadata(score_threshold=5.0),
    "threshold of many digits": changed_metadata(score_threshold=10**4000),
    "threshold as text": changed_metadata(score_threshold="0.3"),
    "thresholds of more classes": changed_metadata(score_thresholds=[0.5, 0.5, 0.5]),
    "thresholds as text": changed_metadata(score_thresholds=["0.5", "0.5"]),
    "thresholds NaN": changed_metadata(score_thresholds=[0.5, float("nan")]),
    "many thresholds": changed_metadata(score_thresholds=[0.5] * 10**5),
    "costs of fewer classes": changed_metadata(confusion_costs=[[0.0, 1.0], [1.0, 0.0]]),
    "ragged costs": changed_metadata(confusion_costs=[[0.0, 1.0, 1.0], [1.0], [1.0, 1.0, 0.0]]),
    "costs below zero": changed_metadata(confusion_costs=[[0.0, -1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]),
    "costs infinite": changed_metadata(confusion_costs=[[0.0, float("inf"), 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]),
    "costs of right answers": changed_metadata(confusion_costs=[[1.0] * 3] * 3),
    "costs of texts": changed_metadata(confusion_costs=["abc"] * 3),
    "no detections": changed_metadata(max_detections=0),
    "detections below zero": changed_metadata(max_detections=-1),
    "version of the future": changed_metadata(version=2),
    "version of many digits": changed_metadata(version=10**4000),
    "version true": changed_metadata(version=True),
    "version a list": changed_metadata(version=[1]),
    "hash a list": changed_metadata(params_sha256=[1]),
    "hash of two lines": changed_metadata(data_sha256="a\nb"),
    "order of others": changed_metadata(state_order=["x"]),
    "training images of no hash": changed_metadata(training_images="AAAA"),
    "training images a list": changed_metadata(training_images=[1]),
    "order of numbers": changed_metadata(state_order=[1, 2, 3]),
    "tasks twice": changed_metadata(tasks=["detection", "detection", "classification"]),
    "null": json.dumps(dict.fromkeys(json.loads(INFO.to_metadata()))),
}


def raw_files(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Bytes that are no ONNX file, or none any more."""
    yield "empty", b""
    yield "zeros", bytes(10_000)
    yield "text", b"not an onnx file\n" * 100
    yield "another protocol buffer", onnx.TensorProto(dims=[3], data_type=1, raw_data=bytes(12)).SerializeToString()
    yield "length beyond the end", b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"
    yield "a number without end", b"\xff" * 1000
    yield "runtime's own format", b"\x18\x00\x00\x00ORTM" + bytes(100)
    noise = np.random.default_rng(0)
    for number in range(20):
        yield f"noise {number}", noise.bytes(int(noise.integers(1, 3000)))
    for place in sorted({*range(1, 40), *noise.integers(1, len(content), 120).tolist()}):
        # Cut off behind the last graph and the metadata, a file would be whole.
        yield f"cut at {place}", content[:place]


def write_corpus(folder: Path) -> list[str]:
    """Write every hostile file as `<name>.onnx`; gives the names."""
    files: dict[str, bytes] = dict(raw_files(whole(folder).SerializeToString()))
    for name, change in CHANGES.items():
        model = whole(folder)
        content = change(model)
        files[name] = content if isinstance(content, bytes) else model.SerializeToString()
    for name, text in METADATA.items():
        model = whole(folder)
        content = text.encode("utf-8", "surrogateescape" if name == "not UTF-8" else "strict")
        model.metadata_props[0].ClearField("value")
        entry = model.metadata_props[0].SerializeToString() + b"\x12" + _length(len(content)) + content
        del model.metadata_props[:]
        files[f"metadata: {name}"] = model.SerializeToString() + b"\x72" + _length(len(entry)) + entry
    for name, content in files.items():
        (folder / f"{name}.onnx").write_bytes(content)
    return list(files)


def _length(number: int) -> bytes:
    """A protocol buffer's varint."""
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def write_bombs(folder: Path) -> list[str]:
    """Files that are loaded, but whose graph asks for more memory than there is; gives the names."""
    size = numpy_helper.from_array(np.array([4 * 10**9], np.int64), "size")
    doubled = [node("Flatten", ["mask_logits_"], ["c0"])]
    doubled += [node("Concat", [f"c{number}"] * 2, [f"c{number + 1}"], axis=1) for number in range(40)]
    large = [node("ConstantOfShape", ["size"], ["large"]), node("ReduceMax", ["large"], ["one"])]
    bombs = {
        "one large tensor": (large, size),
        "doubled again and again": ([*doubled, node("ReduceMax", ["c40"], ["one"])], None),
    }
    for name, (nodes, weight) in bombs.items():
        model = whole(folder)
        for made in model.graph.node:
            if made.output[0] == "mask_logits":
                made.output[0] = "mask_logits_"
        model.graph.node.extend([*nodes, node("Add", ["mask_logits_", "one"], ["mask_logits"])])
        model.graph.initializer.extend([weight] if weight is not None else [])
        onnx.save(model, folder / f"{name}.onnx")
    return list(bombs)
