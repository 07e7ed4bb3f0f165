import base64
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from panvision.page import view
from panvision.page.model import PageError
from panvision.page.view import data_url, read_frame, read_upload, show
from tests.tiny import picture


def address(image, kind="JPEG"):
    content = io.BytesIO()
    Image.fromarray(image).save(content, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(content.getvalue()).decode()}"


def test_an_upload_is_read_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(96, 48)).save(tmp_path / "a.jpg", exif=exif)
    assert read_upload(tmp_path / "a.jpg", "a.jpg").shape == (96, 48, 3)


@pytest.mark.parametrize(
    "content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>"]
)
def test_a_broken_upload_is_named_as_its_visitor_does_and_not_by_its_place(tmp_path, content):
    (tmp_path / "stored").write_bytes(content)
    with pytest.raises(PageError, match=r"^dinner\.png: ") as error:
        read_upload(tmp_path / "stored", "dinner.png")
    assert str(tmp_path) not in str(error.value)


def test_an_upload_that_has_gone(tmp_path):
    with pytest.raises(PageError, match=r"^a\.png: is no longer here; drop it again$"):
        read_upload(tmp_path / "a.png", "a.png")


def test_an_upload_with_too_many_pixels_is_not_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(view, "MAX_PIXELS", 1_000_000)
    Image.new("1", (1200, 1000)).save(tmp_path / "a.png")
    with pytest.raises(PageError, match=r"^a\.png: has more than 1 megapixels; make it smaller$"):
        read_upload(tmp_path / "a.png", "a.png")


def test_a_cameras_frame_is_read():
    assert np.array_equal(read_frame(address(picture(), "PNG")), picture())


@pytest.mark.parametrize(
    "url",
    ["", "http://a/b.jpg", "data:text/html;base64,AA==", "data:image/jpeg;base64,?", "data:image/jpeg;base64,AAAA"],
)
def test_what_is_no_frame(url):
    with pytest.raises(PageError, match="the camera"):
        read_frame(url)


def test_a_frame_with_too_many_pixels():
    with pytest.raises(PageError, match="more than 4 megapixels"):
        read_frame(address(np.zeros((2001, 2000, 3), np.uint8), "PNG"))


def found(image, box):
    mask = np.zeros(image.shape[:2], np.uint8)
    mask[:, image.shape[1] // 2 :] = 255
    boxes = {"boxes": [list(box)], "labels": [0], "scores": [0.5], "class_names": ["lid"]}
    return {"segmentation": {"mask": mask}, "detection": boxes}


def test_a_large_picture_is_made_smaller_and_what_was_found_with_it():
    image = picture(800, 400)
    result = found(image, (80.0, 80.0, 160.0, 240.0))
    drawn = show(image, result, side=200)
    assert drawn.shape == (100, 200, 3)
    assert tuple(drawn[50, 50]) == (0, 0, 90), "left of the mask"
    assert drawn[50, 150, 0] < 180 < drawn[50, 150, 2], "the mask's blue"
    # The lower left corner of the box, far from labels: the palette's first colour.
    assert tuple(drawn[59, 25]) == (230, 159, 0)
    assert result["detection"]["boxes"] == [[80.0, 80.0, 160.0, 240.0]], "the result itself stays"


def test_a_small_picture_is_enlarged_but_not_beyond_measure():
    image = picture(200, 100)
    drawn = show(image, found(image, (20.0, 20.0, 40.0, 60.0)), side=400)
    assert drawn.shape == (200, 400, 3) and tuple(drawn[119, 50]) == (230, 159, 0)
    assert show(picture(8, 4), {}).shape == (16, 32, 3)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(8, 120))
def test_any_size_is_shown_within_its_limit(width, height, side):
    image = np.zeros((height, width, 3), np.uint8)
    drawn = show(image, {"segmentation": {"mask": np.zeros((height, width), np.uint8)}}, side=side)
    assert max(drawn.shape[:2]) == min(4 * max(width, height), side) and min(drawn.shape[:2]) >= 1


def test_a_picture_becomes_an_address_and_back():
    image = np.full((20, 30, 3), (200, 100, 50), np.uint8)
    assert np.abs(read_frame(data_url(image)).astype(int) - image).max() <= 3
