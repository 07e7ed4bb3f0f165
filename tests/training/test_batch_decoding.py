"""The decoder of validation agrees with the shipped one, which decodes image by image in NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from panvision.core.tasks import TASKS
from panvision.decoding.decoder import ModelShape, Thresholds
from panvision.decoding.detection import TOP_CANDIDATES
from panvision.decoding.table import DECODERS
from panvision.training.batch_decoding import decode_batch
from panvision.training.losses.targets import make_points

LOW = Thresholds(0.05, 0.5, 100)
STATES = ("raw", "golden", "burnt")


def model_shape(size=64, classes=2, thresholds=LOW):
    names = tuple(f"class {number}" for number in range(classes))
    return ModelShape(size, (4, 8, 16), names, STATES, thresholds)


def raw_boxes(rng, model, images, *, ties):
    """Raw outputs of detection; `ties`: few different scores and boxes, some of them without an area.

    Otherwise all scores of an image are apart by more than rounding.
    """
    names = TASKS["detection"].outputs
    logits, ltrb, centerness = (
        np.empty((images, *DECODERS["detection"].shapes(model)[name]), np.float32) for name in names
    )
    if ties:
        logits[:], centerness[:] = rng.integers(-4, 4, logits.shape) / 2, rng.integers(-2, 3, centerness.shape)
        ltrb[:] = rng.integers(0, 6, ltrb.shape) / 2
    else:
        for image in range(images):
            logits[image] = rng.permutation(np.linspace(-5, 4, logits[image].size)).reshape(logits[image].shape)
        centerness[:], ltrb[:] = rng.normal(), rng.exponential(1.5, ltrb.shape)
    return dict(zip(names, (logits, ltrb, centerness), strict=True))


def both(task, outputs, model):
    """The results of either decoder, image by image."""
    points = make_points(model.image_size, model.strides)
    ours = decode_batch(task, {name: torch.from_numpy(each) for name, each in outputs.items()}, model, points)
    rows = [dict(zip(outputs, images, strict=True)) for images in zip(*outputs.values(), strict=True)]
    return ours, [DECODERS[task].decode(row, model, (model.image_size,) * 2) for row in rows]


def check_boxes(ours, shipped):
    assert len(ours) == len(shipped)
    for one, other in zip(ours, shipped, strict=True):
        assert one["labels"].tolist() == other["labels"]
        assert one["boxes"].shape == (len(other["boxes"]), 4)
        np.testing.assert_allclose(one["boxes"], np.reshape(other["boxes"], (-1, 4)), rtol=0, atol=1e-5)
        np.testing.assert_allclose(one["scores"], other["scores"], rtol=0, atol=1e-5)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    images=st.integers(1, 4),
    classes=st.integers(1, 4),
    limits=st.builds(Thresholds, st.floats(0, 1), st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 1.0]), st.integers(1, 120)),
    ties=st.booleans(),
)
def test_decode_boxes_equals_the_shipped_decoder(seed, images, classes, limits, ties):
    model = model_shape(classes=classes, thresholds=limits)
    outputs = raw_boxes(np.random.default_rng(seed), model, images, ties=ties)
    sure, centred = (1 / (1 + np.exp(-outputs[name].astype(float))) for name in ("class_logits", "centerness"))
    # Rounding alone may decide about a score that is the threshold.
    assume(np.abs(np.sqrt(sure * centred[..., None]) - limits.score).min() > 1e-6)
    check_boxes(*both("detection", outputs, model))


def test_decode_boxes_by_class_equals_the_shipped_decoder():
    model = model_shape(classes=3, thresholds=Thresholds((0.7, 0.05, 1.0), 0.5, 100))
    ours, shipped = both("detection", raw_boxes(np.random.default_rng(2), model, 3, ties=False), model)
    check_boxes(ours, shipped)
    assert {label for own in shipped for label in own["labels"]} == {0, 1}


@pytest.mark.parametrize("ties", [True, False])
def test_decode_boxes_takes_the_best_candidates(ties):
    model = model_shape(size=128, classes=3, thresholds=Thresholds(0.0, 1.0, 10_000))
    outputs = raw_boxes(np.random.default_rng(0), model, 2, ties=ties)
    assert outputs["class_logits"][0].size > TOP_CANDIDATES
    ours, shipped = both("detection", outputs, model)
    check_boxes(ours, shipped)
    assert (len(ours[0]["labels"]) == TOP_CANDIDATES) is not ties  # some of the tied ones have no area


def test_decode_boxes_of_images_without_any():
    model = model_shape()
    outputs = raw_boxes(np.random.default_rng(1), model, 3, ties=False)
    outputs["class_logits"][[0, 2]] = -20
    ours, shipped = both("detection", outputs, model)
    check_boxes(ours, shipped)
    assert [len(own["labels"]) > 0 for own in ours] == [False, True, False]
    outputs["class_logits"][1] = -20
    check_boxes(*both("detection", outputs, model))


@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
@settings(deadline=None, max_examples=20)
def test_decode_masks_equals_the_shipped_decoder(seed, images):
    logits = np.random.default_rng(seed).integers(-2, 3, (images, 64, 64)).astype(np.float32)
    ours, shipped = both("segmentation", {"mask_logits": logits}, model_shape())
    for one, other in zip(ours, shipped, strict=True):
        assert one["mask"].dtype == np.uint8 and np.array_equal(one["mask"], other["mask"])


def test_decode_batch_leaves_other_tasks_to_their_decoder():
    logits = np.random.default_rng(0).normal(size=(3, len(STATES))).astype(np.float32)
    ours, shipped = both("classification", {"state_logits": logits}, model_shape())
    assert ours == shipped
