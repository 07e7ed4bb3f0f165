import base64
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from panvision.inference.predictor import Predictor
from panvision.page.model import PageError
from panvision.page.view import data_url, decode_image, describe, draw
from tests.page.serving import png
from tests.tiny import LIMITED, ColourBackend, picture


def decoded(url):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def test_decode_image_turns_it_upright():
    exif, content = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.fromarray(picture(96, 48)).save(content, "JPEG", exif=exif)
    assert decode_image(content.getvalue(), "a.jpg", 10_000).shape == (96, 48, 3)


@pytest.mark.parametrize(
    "content", [b"", b"no image", b"\x89PNG\r\n\x1a\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>"]
)
def test_decode_image_names_a_broken_file(content):
    with pytest.raises(PageError, match=r"^dinner\.png: "):
        decode_image(content, "dinner.png", 10_000)


def test_decode_image_refuses_too_many_pixels():
    content = png(np.zeros((1000, 1201, 3), np.uint8))
    with pytest.raises(PageError, match=r"^a\.png: has more than 1\.2 megapixels; make it smaller$"):
        decode_image(content, "a.png", 1_200_000)


def result_of(image, box):
    mask = np.zeros(image.shape[:2], np.uint8)
    mask[:, image.shape[1] // 2 :] = 255
    boxes = {"boxes": [list(box)], "labels": [0], "scores": [0.5], "class_names": ["lid"]}
    return {"segmentation": {"mask": mask}, "detection": boxes}


def test_draw_reduces_a_large_image_with_its_result():
    image = picture(800, 400)
    result = result_of(image, (80.0, 80.0, 160.0, 240.0))
    drawn = draw(image, result, side=200)
    assert drawn.shape == (100, 200, 3)
    assert tuple(drawn[50, 50]) == (0, 0, 90), "left of the mask"
    assert drawn[50, 150, 0] < 180 < drawn[50, 150, 2], "the mask's blue"
    # The lower left corner of the box, far from labels: the palette's first colour.
    assert tuple(drawn[59, 25]) == (230, 159, 0)
    assert result["detection"]["boxes"] == [[80.0, 80.0, 160.0, 240.0]], "the result itself stays"


def test_draw_enlarges_a_small_image_at_most_fourfold():
    image = picture(200, 100)
    drawn = draw(image, result_of(image, (20.0, 20.0, 40.0, 60.0)), side=400)
    assert drawn.shape == (200, 400, 3) and tuple(drawn[119, 50]) == (230, 159, 0)
    assert draw(picture(8, 4), {}).shape == (16, 32, 3)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(8, 120))
def test_draw_keeps_any_size_within_its_limit(width, height, side):
    image = np.zeros((height, width, 3), np.uint8)
    drawn = draw(image, {"segmentation": {"mask": np.zeros((height, width), np.uint8)}}, side=side)
    assert max(drawn.shape[:2]) == min(4 * max(width, height), side) and min(drawn.shape[:2]) >= 1


def test_describe_gives_boxes_in_the_images_pixels():
    image = picture(200, 100)
    found = describe(image, result_of(image, (20.0, 20.0, 40.0, 60.0)), side=400)
    assert (found["width"], found["height"], decoded(found["drawn"]).shape) == (200, 100, (200, 400, 3))
    assert found["boxes"] == [{"name": "lid", "color": (230, 159, 0), "score": 0.5, "box": [20.0, 20.0, 40.0, 60.0]}]
    assert "state" not in found and not {"state", "boxes"} & set(describe(image, {}))


def test_data_url_of_a_mask_is_lossless():
    mask = (np.random.default_rng(0).random((30, 20)) > 0.5).astype(np.uint8) * 255
    assert np.array_equal(decoded(data_url(mask, "PNG")), mask)


def test_describe_says_why_there_is_no_answer():
    image = np.zeros((40, 60, 3), np.uint8)
    state = describe(image, Predictor(ColourBackend(LIMITED)).predict(image))["state"]
    assert (state["answered"], state["reason"], state["distance"]) == (False, "unlike the training images", 50.0)
    assert set(state["probabilities"]) == set(LIMITED.cls_class_names)
