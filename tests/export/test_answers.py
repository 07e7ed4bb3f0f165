import logging

import numpy as np
import pytest

from panvision.inference.predictor import Predictor
from tests.tiny import INFO, SIZE, ColourBackend

pytest.importorskip("torch")

from dataclasses import replace

from panvision.decoding.decoder import AnswerLimits
from panvision.export.answers import (
    Answerable,
    answerable_images,
    calibrate,
    compared,
    count_rejected,
    fit_distance,
)
from panvision.export.onnx_file import write_onnx
from panvision.model.checkpoint import load_checkpoint, save_checkpoint

NONE = AnswerLimits(distance=1e30)


@pytest.fixture
def shipped(trained, packed, tmp_path):
    """The checkpoint and the ONNX file of a model with limits, opened, and the images that they must answer."""
    packed.add_states()
    good = answerable_images(packed.prepared, packed.splits)
    model, metadata = load_checkpoint(trained.path)
    model.distance = fit_distance(model, good.images, good.labels)
    path = tmp_path / "panvision.pth"

    def save(limits):
        save_checkpoint(path, model, meta={**metadata, "answers": limits._asdict()})
        return Predictor.load(path, "cpu")

    predictor = save(calibrate(save(compared(model, {})), good, 0.01))
    write_onnx(tmp_path / "panvision.onnx", model, predictor.info, opset=18)
    return predictor, Predictor.load(tmp_path / "panvision.onnx"), good.validation


def test_both_files_answer_good_images_and_no_others(shipped) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    strange = [np.zeros((SIZE, SIZE, 3), np.uint8), np.full((SIZE, SIZE, 3), 255, np.uint8), noise]
    *both, good = shipped
    assert both[0].info == both[1].info
    for predictor in both:
        assert count_rejected(predictor, good) == 0
        found = [result["classification"] for result in predictor.predict_batch(strange)]
        assert not any(one["answered"] for one in found) and all(one["distance"] > 1.0 for one in found)
    one, other = (predictor.raw(good) for predictor in both)
    np.testing.assert_allclose(one["cls_distance"], other["cls_distance"], rtol=1e-4)
    np.testing.assert_allclose(one["cls_features"], other["cls_features"], atol=1e-3)
    assert one["cls_features"].shape == (len(good), both[0].info.features)


def answerable(images):
    """The images as those of validation."""
    return Answerable(images, np.zeros(len(images), np.int64), images, [f"{row}.png" for row in range(len(images))])


class Drawn(ColourBackend):
    """A model whose outputs are drawn at random for each image, the same for the same image."""

    def run(self, images):
        outputs = super().run(images)
        random = [np.random.default_rng(int(image[0, 0, 0])) for image in images]
        mask = [r.normal(r.normal(), 1, (SIZE, SIZE)) for r in random]
        return outputs | {
            "mask_logits": np.array(mask, np.float32),
            "cls_distance": np.array([r.lognormal(0, 0.3) for r in random], np.float32),
            "class_logits": np.stack([np.full_like(outputs["class_logits"][0], r.normal()) for r in random]),
        }


@pytest.mark.parametrize("rejected", [0.01, 0.05, 0.2])
def test_all_limits_together_reject_at_most_the_fraction(rejected) -> None:
    images = np.broadcast_to(np.arange(200, dtype=np.uint8)[:, None, None, None], (200, SIZE, SIZE, 3))
    whole = AnswerLimits(1e30, pan_area=0.0, pan_score=0.0, pan_label=1)
    predictor = Predictor(Drawn(replace(INFO, limits=whole)))
    limits = calibrate(predictor, answerable(images), rejected)
    assert 0.0 < limits.pan_area < 0.5 and 0.0 < limits.pan_score < 0.5 and limits.distance < 5.0
    found = count_rejected(Predictor(Drawn(replace(INFO, limits=limits))), images)
    assert found <= rejected * 200 and (found > 0 or rejected == 0.01)


def test_images_without_a_mask_do_not_forbid_an_answer(caplog) -> None:
    images = np.zeros((20, SIZE, SIZE, 3), np.uint8)
    predictor = Predictor(ColourBackend(replace(INFO, limits=NONE._replace(pan_area=0.0))))
    assert calibrate(predictor, answerable(images), 0.01).pan_area == 0.0
    assert "the limit of pan_area is 0, so an image without a pan gets a class label" in caplog.text


class Measured(ColourBackend):
    """A model whose distance and mask are as large as the image is bright, and 100 and empty for a white image."""

    def run(self, images):
        light = images[:, 0, 0, 0].astype(np.float32) / 255.0
        rows = np.arange(SIZE, dtype=np.float32)[None, :, None] / SIZE - light[:, None, None]
        mask = np.where(light[:, None, None] == 1.0, -1.0, -rows - 1e-4)
        distance = np.where(light == 1.0, 100.0, 1.0 + light)
        return super().run(images) | {
            "mask_logits": np.broadcast_to(mask, (len(images), SIZE, SIZE)).astype(np.float32),
            "cls_distance": distance.astype(np.float32),
        }


def test_a_bad_validation_image_is_named_and_raises_no_limit(caplog) -> None:
    levels = np.random.default_rng(0).integers(80, 160, 49).astype(np.uint8)
    images = np.broadcast_to(levels[:, None, None, None], (49, SIZE, SIZE, 3)).copy()
    predictor = Predictor(Measured(replace(INFO, limits=NONE._replace(pan_area=0.0))))
    good = calibrate(predictor, answerable(images[1:]), 0.01)
    assert not caplog.text
    images[0] = 255
    bad = calibrate(predictor, answerable(images), 0.01)
    assert bad.distance == pytest.approx(good.distance, rel=0.01)
    assert bad.pan_area == pytest.approx(good.pan_area, rel=0.01) and bad.pan_area > 0.1
    assert "1 of 49 set no limit of distance, pan_area, because it is far outside that of the others: 0." in caplog.text


def test_the_pan_is_the_mask_class_or_the_class_pan(trained) -> None:
    model, _ = load_checkpoint(trained.path)
    assert compared(model, {"loss": {"mask_class": "lid"}})[1:] == (0.0, 0.0, 0)
    assert compared(model, {})[1:] == (0.0, None, 0)
    model.det_classes = ["lid", "pan"]
    assert compared(model, {"loss": {"mask_class": None}})[1:] == (0.0, 0.0, 1)


def test_too_few_images_are_reported(packed, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        assert answerable_images(packed.prepared, packed.splits) is None
    assert "every image will get a class label: classification has 2 of train and 2 of val images" in caplog.text
