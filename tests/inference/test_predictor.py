import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.decoding.decoder import RawOutputs
from panvision.inference.backend import PredictorError
from panvision.inference.predictor import Predictor
from tests.tiny import (
    BOX_NAMES,
    INFO,
    PLACES,
    SIZE,
    STATE_NAMES,
    SUBSETS,
    ColourBackend,
    PartBackend,
    changed_metadata,
    part_info,
    picture,
    write_onnx,
)


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(ColourBackend())


def test_result_is_in_the_pictures_own_pixels(predictor) -> None:
    # 192x96 is stretched to 64x64: 3 pixels across and 1.5 down per pixel of the model.
    image = picture(192, 96, box=(24, 12, 72, 60))
    result = predictor.predict(image)
    mask = result["segmentation"]["mask"]
    assert mask.shape == (96, 192)
    assert mask.dtype == np.uint8
    assert np.all(mask[:, 98:] == 255)
    assert not mask[:, :94].any()
    detection = result["detection"]
    np.testing.assert_allclose(detection["boxes"], [[24, 12, 72, 60]], atol=0.01)
    assert detection["labels"] == [1]
    assert detection["class_names"] == ["stirrer"]
    assert 0.9 < detection["scores"][0] < 1.0


def test_state_names_the_likeliest(predictor) -> None:
    state = predictor.predict(np.full((8, 8, 3), (0, 120, 20), dtype=np.uint8))["classification"]
    assert (state["class_idx"], state["class_name"]) == (1, "fresh")
    assert list(state["probabilities"]) == list(STATE_NAMES)
    assert sum(state["probabilities"].values()) == pytest.approx(1.0)
    assert max(state["probabilities"], key=lambda name: state["probabilities"][name]) == "fresh"


def test_result_without_the_mask_is_json(predictor) -> None:
    result = predictor.predict(picture(box=(4, 4, 30, 30)))
    for part in ("detection", "classification"):
        assert json.loads(json.dumps(result[part])) == result[part]


def test_a_picture_without_boxes_gives_empty_lists(predictor) -> None:
    detection = predictor.predict(picture())["detection"]
    assert detection == {"boxes": [], "labels": [], "scores": [], "class_names": []}


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 99))
def test_predict_any_size(width: int, height: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image[: height // 2 + 1, : width // 2 + 1] = (255, 0, 0)
    result = Predictor(ColourBackend()).predict(image)
    assert result["segmentation"]["mask"].shape == (height, width)
    for x1, y1, x2, y2 in result["detection"]["boxes"]:
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height


def test_predict_batch_equals_single_images(predictor) -> None:
    images = [picture(50, 70, box=(2, 2, 20, 30)), picture(120, 33), picture(64, 64, colour=(99, 0, 0))]
    together = predictor.predict_batch(images)
    assert predictor.backend.batches == [3]
    for one, result in zip(images, together, strict=True):
        alone = predictor.predict(one)
        assert np.array_equal(alone["segmentation"].pop("mask"), result["segmentation"].pop("mask"))
        assert alone == result
    assert predictor.predict_batch([]) == []


def test_thresholds_are_the_callers_else_the_files(predictor) -> None:
    image = picture(box=(4, 4, 30, 30))
    assert len(predictor.predict(image)["detection"]["boxes"]) == 1
    assert predictor.predict(image, score_threshold=0.999)["detection"]["boxes"] == []
    stricter = predictor.with_thresholds(0.999, 0.2, 7)
    assert (stricter.score_threshold, stricter.nms_threshold, stricter.max_detections) == (0.999, 0.2, 7)
    assert stricter.predict(image)["detection"]["boxes"] == []
    assert len(stricter.predict(image, score_threshold=0.0)["detection"]["boxes"]) == 7
    assert predictor.score_threshold == 0.3


def test_thresholds_by_class(predictor) -> None:
    image = picture(box=(4, 4, 30, 30))  # ColourBackend finds a stirrer
    strict = predictor.with_thresholds({"stirrer": 0.999})
    assert strict.score_threshold == {"lid": 0.3, "stirrer": 0.999}
    assert strict.predict(image)["detection"]["boxes"] == []
    assert strict.predict(image, score_threshold={"stirrer": 0.5, "lid": 0.9})["detection"]["labels"] == [1]
    assert strict.predict(image, score_threshold=0.5)["detection"]["labels"] == [1]
    assert strict.with_thresholds("auto") is strict and strict.with_thresholds(0.3).info == predictor.info
    assert predictor.with_thresholds({"lid": 0.4, "stirrer": 0.4}).score_threshold == 0.4


def test_with_costs_changes_the_answer_alone(predictor) -> None:
    image = picture(colour=(11, 10, 0))  # a little more browned than fresh
    before = predictor.predict(image)["classification"]
    careful = predictor.with_costs({"fresh": {"browned": 5.0}})
    after = careful.predict(image)["classification"]
    assert (before["class_name"], after["class_name"]) == ("browned", "fresh")
    assert after["class_idx"] == 1 and before["probabilities"] == after["probabilities"]
    assert careful.info.costs == ((0.0, 1.0, 1.0), (5.0, 0.0, 1.0), (1.0, 1.0, 0.0))
    assert careful.with_costs({}, keep=False).info == predictor.info
    assert careful.with_costs({}) is careful and careful.with_costs({"fresh": {}}) is careful


@pytest.mark.parametrize("costs", [{"fresh": {"brown": 1.0}}, {"old": {"fresh": 1.0}}, {"fresh": {"fresh": 1.0}}])
def test_with_costs_refuses_other_labels(predictor, costs) -> None:
    with pytest.raises(PredictorError, match=r"confusions: \w+ as \w+; name two different labels of browned, fresh"):
        predictor.with_costs(costs)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((1.5,), "score_threshold"),
        ((None, -0.1), "nms_threshold"),
        ((float("nan"),), "score_threshold"),
        (({"lid": 1.5},), "score_threshold of lid must be 0 to 1, found 1.5"),
        (("0.5",), "score_threshold must be 0 to 1, found '0.5'"),
        (([0.5],), "score_threshold must be 0 to 1"),
        ((True,), "score_threshold must be 0 to 1, found True"),
        ((np.array([0.5, 0.6]),), "score_threshold must be 0 to 1"),
        (({"lid": "0.5"},), "score_threshold of lid must be 0 to 1, found '0.5'"),
        (({"lid": None},), "score_threshold of lid must be 0 to 1, found None"),
        (({"lid": [0.5]},), "score_threshold of lid must be 0 to 1"),
        ((None, "x"), "nms_threshold must be 0 to 1, found 'x'"),
        (({"pot": 0.5},), "score_threshold: 'pot' is not a box class of the model; expected lid, stirrer"),
    ],
)
def test_impossible_thresholds_are_refused(predictor, given, message) -> None:
    with pytest.raises(PredictorError, match=message):
        predictor.predict(picture(), *given)


@pytest.mark.parametrize("count", [0, 2.5, "3", True])
def test_impossible_numbers_of_boxes_are_refused(predictor, count) -> None:
    with pytest.raises(PredictorError, match="max_detections must be at least 1, found"):
        predictor.with_thresholds(max_detections=count)


def test_thresholds_of_numpy_are_numbers(predictor) -> None:
    found = predictor.with_thresholds(np.float32(0.5), np.float64(0.25), np.int64(7))
    assert found.info.thresholds == (0.5, 0.25, 7)


def test_names_are_the_models(predictor) -> None:
    assert predictor.image_size == SIZE
    assert predictor.det_class_names == list(BOX_NAMES)
    assert predictor.cls_class_names == list(STATE_NAMES)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((0, SIZE, SIZE, 3), np.uint8),
        np.zeros((1, SIZE, SIZE, 3), np.float32),
        np.zeros((SIZE, SIZE, 3), np.uint8),
        np.zeros((1, 32, 32, 3), np.uint8),
    ],
)
def test_raw_refuses_what_the_network_cannot_take(predictor, images) -> None:
    with pytest.raises(PredictorError, match=r"expected \(N, 64, 64, 3\) uint8"):
        predictor.raw(images)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outputs_that_are_no_numbers_are_refused(value) -> None:
    class Damaged(ColourBackend):
        def run(self, images: np.ndarray) -> RawOutputs:
            outputs = super().run(images)
            outputs["ltrb"][0, 3, 1] = value
            return outputs

    with pytest.raises(PredictorError, match="not finite numbers"):
        Predictor(Damaged()).predict(picture())


def test_raw_refuses_wrong_output_shapes() -> None:
    class Short(ColourBackend):
        def run(self, images: np.ndarray) -> RawOutputs:
            return {**super().run(images), "centerness": np.zeros((1, PLACES - 1), np.float32)}

    with pytest.raises(PredictorError, match="export it again"):
        Predictor(Short()).predict(picture())


@pytest.mark.parametrize("name", ["model.h5", "model", "model.onnx.zip"])
def test_an_unknown_suffix_is_refused(tmp_path, name) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(PredictorError, match=r"expected \.pth, \.pt or \.onnx"):
        Predictor.load(tmp_path / name)


@pytest.mark.parametrize("name", ["model.pth", "model.onnx"])
def test_a_missing_file_is_named(tmp_path, name) -> None:
    with pytest.raises(PredictorError, match=f"{name}: no such model file"):
        Predictor.load(tmp_path / name)


def test_pipes_and_devices_are_refused(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "folder.pth").mkdir()
    (tmp_path / "loop.onnx").symlink_to("loop.onnx")
    (tmp_path / "gone.onnx").symlink_to("nowhere.onnx")
    for name, message in {
        "pipe.onnx": "not a model file",
        "folder.pth": "not a model file",
        "loop.onnx": "Too many levels of symbolic links",
        "gone.onnx": "no such model file",
        "x" * 300 + ".onnx": "File name too long",
        "a\0b.onnx": "not a file name",
    }.items():
        with pytest.raises(PredictorError, match=message):
            Predictor.load(tmp_path / name)


def test_load_refuses_another_kind(tmp_path) -> None:
    content = write_onnx(tmp_path / "m.onnx").read_bytes()
    for name, some in (("a.onnx", b"\x80\x02}q\x00."), ("b.onnx", b"PK\3\4" + bytes(99)), ("c.pth", content)):
        (tmp_path / name).write_bytes(some)
        with pytest.raises(PredictorError, match=name):
            Predictor.load(tmp_path / name)


def test_load_any_file_name(tmp_path) -> None:
    content = write_onnx(tmp_path / "m.onnx").read_bytes()
    strange = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.ONNX")
    with open(strange, "wb") as file:  # noqa: PTH123 -- pathlib would do as well, but for the reader
        file.write(content)
    (tmp_path / "link.onnx").symlink_to("m.onnx")
    for path in (strange, tmp_path / "link.onnx"):
        assert Predictor.load(path).predict(picture())


def test_info_survives_its_metadata() -> None:
    assert type(INFO).from_metadata(INFO.to_metadata(), "m.onnx") == INFO


class TestTasks:
    @pytest.mark.parametrize("tasks", SUBSETS)
    def test_predict_with_fewer_tasks(self, predictor, tasks) -> None:
        image = picture(box=(4, 4, 30, 30))
        part = Predictor(PartBackend(*tasks))
        assert part.tasks == tasks
        result, whole = part.predict(image), predictor.predict(image)
        assert set(result) == set(tasks)
        for task in tasks:
            np.testing.assert_equal(result[task], whole[task])

    @pytest.mark.parametrize("tasks", SUBSETS)
    def test_info_survives_its_metadata(self, tasks) -> None:
        info = part_info(*tasks)
        assert type(info).from_metadata(info.to_metadata(), "m.onnx") == info

    def test_metadata_that_name_no_tasks_mean_all_three(self) -> None:
        values = json.loads(INFO.to_metadata())
        del values["tasks"]
        assert type(INFO).from_metadata(json.dumps(values), "m.onnx") == INFO

    @pytest.mark.parametrize("tasks", [[], ["boxes"], ["detection", "detection"], 3, None])
    def test_metadata_of_unknown_tasks_are_damaged(self, tasks) -> None:
        with pytest.raises(PredictorError, match=r"m\.onnx: its panvision metadata is damaged"):
            type(INFO).from_metadata(changed_metadata(tasks=tasks), "m.onnx")

    def test_onnx_backend_refuses_missing_outputs(self) -> None:
        with pytest.raises(PredictorError, match="export it again"):
            Predictor(ColourBackend(part_info("detection"))).predict(picture())
