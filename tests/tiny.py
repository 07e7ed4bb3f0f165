"""Models that tests can foretell: bright is pan, pure red is a box, the strongest colour is the state."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from panvision.core.tasks import TASKS
from panvision.decoding.decoder import AnswerLimits, RawOutputs, Thresholds
from panvision.decoding.points import level_points
from panvision.inference.backend import METADATA_KEY, ModelInfo
from panvision.inference.explanation import ClassTarget, Target

SIZE = 64
STRIDES = (8, 16, 32)
BOX_NAMES = ("lid", "stirrer")
STATE_NAMES = ("browned", "fresh", "frozen")
INFO = ModelInfo(SIZE, STRIDES, BOX_NAMES, STATE_NAMES, Thresholds(score=0.3, nms=0.5, max_detections=100))
# With limits the model answers no picture of one colour.
LIMITED = replace(INFO, limits=AnswerLimits(distance=2.0), features=3)
SUBSETS = [subset for size in (1, 2, 3) for subset in itertools.combinations(TASKS, size)]
PLACES = len(level_points(SIZE, STRIDES)[0])


class ColourBackend:
    """Mask where the mean of the channels exceeds 128; one `stirrer` around pure red; state by strongest channel.

    With limits, distances are those of `distances`, and features are the mean colours.
    """

    def __init__(self, info: ModelInfo = INFO, box_logit: float = 5.0) -> None:
        self.info = info
        self.box_logit = box_logit
        self.batches: list[int] = []

    def run(self, images: np.ndarray) -> RawOutputs:
        self.batches.append(len(images))
        pixels = images.astype(np.float32)
        count = len(images)
        class_logits = np.full((count, PLACES, len(BOX_NAMES)), -12.0, dtype=np.float32)
        ltrb = np.full((count, PLACES, 4), 0.5, dtype=np.float32)
        centerness = np.full((count, PLACES), 5.0, dtype=np.float32)
        points, strides = level_points(SIZE, STRIDES)
        for row, image in enumerate(pixels):
            y, x = np.nonzero((image[:, :, 0] > 200) & (image[:, :, 1:].max(axis=2) < 60))
            if len(x):
                box = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1], dtype=np.float32)
                place = int(np.argmin(np.abs(points - (box[:2] + box[2:]) / 2).sum(axis=1)))
                class_logits[row, place, 1] = self.box_logit
                ltrb[row, place] = np.concatenate([points[place] - box[:2], box[2:] - points[place]]) / strides[place]
        outputs = {
            "mask_logits": pixels.mean(axis=3) - 128.0,
            "class_logits": class_logits,
            "ltrb": ltrb,
            "centerness": centerness,
            "state_logits": pixels.mean(axis=(1, 2)) / 10.0,
            "cls_distance": distances(pixels),
            "cls_features": pixels.mean(axis=(1, 2)) / 100.0,
        }
        optional = TASKS["classification"].optional
        return {name: outputs[name] for name in outputs if name not in optional or name in self.info.output_names}


def distances(pixels: np.ndarray) -> np.ndarray:
    """Distances (N,): 100 for a picture of one colour, 100 / 255 for one with black and white."""
    return 100.0 / (1.0 + pixels.max(axis=(1, 2, 3)) - pixels.min(axis=(1, 2, 3)))


class PartBackend(ColourBackend):
    """ColourBackend without the heads of some tasks."""

    def __init__(self, *tasks: str) -> None:
        super().__init__(part_info(*tasks))

    def run(self, images: np.ndarray) -> RawOutputs:
        whole = super().run(images)
        return {name: whole[name] for name in self.info.output_names}


class HeatBackend(ColourBackend):
    """ColourBackend that explains: a class label by one column of cells, a box by the cell at its centre."""

    def explain(self, images: np.ndarray, targets: list[Target]) -> list[np.ndarray]:
        maps = [np.zeros((8, 8), np.float32) for _ in images]
        for heat, target in zip(maps, targets, strict=True):
            if isinstance(target, ClassTarget):
                heat[:, target.label] = 1.0
            else:
                x, y = (np.array(target.box[:2]) + target.box[2:]) / 2 * 8 / SIZE
                heat[int(y), int(x)] = 1.0
        return maps


def part_info(*tasks: str) -> ModelInfo:
    """Metadata of a model of some tasks: no names for tasks that it lacks."""
    return replace(
        INFO,
        det_class_names=BOX_NAMES if "detection" in tasks else (),
        cls_class_names=STATE_NAMES if "classification" in tasks else (),
        tasks=tasks,
    )


def write_onnx(path: Path, *, metadata: str | None = INFO.to_metadata()) -> Path:
    """An ONNX file with the outputs of ColourBackend, but its only box is a `lid` at the upper left.

    Distance and features are only used with the metadata of LIMITED.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    class_logits = np.full((1, PLACES, len(BOX_NAMES)), -12.0, dtype=np.float32)
    class_logits[0, 0, 0] = 3.0
    constants = {
        "grey": np.array(128.0, np.float32),
        "ten": np.array(10.0, np.float32),
        "one": np.array(1.0, np.float32),
        "hundred": np.array(100.0, np.float32),
        "none": np.array(0.0, np.float32),
        "channels": np.array([3], np.int64),
        "places": np.array([1, 2], np.int64),
        "all": np.array([1, 2, 3], np.int64),
        "flat": np.array([-1, 1, 1], np.int64),
        "flat2": np.array([-1, 1], np.int64),
        "class_constant": class_logits,
        "ltrb_constant": np.full((1, PLACES, 4), 0.5, np.float32),
        "centerness_constant": np.full((1, PLACES), 4.0, np.float32),
    }
    node = helper.make_node
    nodes = [
        node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        node("ReduceMean", ["pixels", "channels"], ["mean"], keepdims=0),
        node("Sub", ["mean", "grey"], ["mask_logits"]),
        node("ReduceMean", ["pixels", "places"], ["colour"], keepdims=0),
        node("Div", ["colour", "ten"], ["state_logits"]),
        node("ReduceMean", ["pixels", "all"], ["level"], keepdims=0),
        node("ReduceMax", ["pixels", "all"], ["most"], keepdims=0),
        node("ReduceMin", ["pixels", "all"], ["least"], keepdims=0),
        node("Sub", ["most", "least"], ["range"]),
        node("Add", ["range", "one"], ["more"]),
        node("Div", ["hundred", "more"], ["cls_distance"]),
        node("Div", ["colour", "hundred"], ["cls_features"]),
        node("Mul", ["level", "none"], ["zeros"]),
        node("Reshape", ["zeros", "flat"], ["zeros3"]),
        node("Reshape", ["zeros", "flat2"], ["zeros2"]),
        node("Add", ["class_constant", "zeros3"], ["class_logits"]),
        node("Add", ["ltrb_constant", "zeros3"], ["ltrb"]),
        node("Add", ["centerness_constant", "zeros2"], ["centerness"]),
    ]
    shapes = {
        "mask_logits": ("N", SIZE, SIZE),
        "class_logits": ("N", PLACES, len(BOX_NAMES)),
        "ltrb": ("N", PLACES, 4),
        "centerness": ("N", PLACES),
        "state_logits": ("N", len(STATE_NAMES)),
        "cls_distance": ("N",),
        "cls_features": ("N", 3),
    }
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ("N", SIZE, SIZE, 3))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if metadata is not None:
        helper.set_model_props(model, {METADATA_KEY: metadata})
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def changed_metadata(**changes: object) -> str:
    """The tiny model's metadata with some values replaced."""
    return json.dumps({**json.loads(INFO.to_metadata()), **changes})


def picture(
    width: int = 96, height: int = 48, *, colour: tuple[int, int, int] = (0, 0, 90), box: tuple[int, ...] = ()
) -> np.ndarray:
    """A picture of one colour with a bright right half and, if asked for, a pure red box."""
    image = np.full((height, width, 3), colour, dtype=np.uint8)
    image[:, width // 2 :] = 220
    if box:
        image[box[1] : box[3], box[0] : box[2]] = (255, 0, 0)
    return image
