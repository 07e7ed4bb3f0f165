import io
import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from panvision.prepare.formats.layout import BoxLabels, OutlineLabels, Sample
from panvision.prepare.load import INDEX_COLUMNS, LABEL_COLUMNS, load_sample
from tests.prepare.raw_sets import SIDE, picture, rotated, save, save_mask, set_settings

OUTLINE = OutlineLabels((40.0, 30.0), polygons=((10.0, 5.0, 30.0, 5.0, 30.0, 25.0, 10.0, 25.0),))


def load(root, file="a.png", **labels):
    options = {key: labels.pop(key) for key in ("max_pixels", "min_side", "zero_area_boxes") if key in labels}
    return load_sample(Sample(file, "", Path(file).name, **labels), root, set_settings(root, **options))


def codes(loaded):
    return [found.code for found in loaded.problems]


def row(loaded, task):
    columns = (*INDEX_COLUMNS, *LABEL_COLUMNS[task])
    return dict(zip(columns, loaded.index, strict=False))


def test_a_classified_image(tmp_path):
    save(tmp_path / "a.png", 3)
    loaded = load(tmp_path, label="raw")
    assert loaded.problems == [] and loaded.image.shape == (SIDE, SIDE, 3)
    assert (loaded.coverage, loaded.full_mask, loaded.boxes, loaded.drawn) == (None, None, None, False)
    found = row(loaded, "classification")
    assert (found["file"], found["width"], found["height"], found["label"]) == ("a.png", 40, 30, "raw")
    assert len(loaded.index) == len(INDEX_COLUMNS) + 1


def test_an_image_with_a_mask_file(tmp_path):
    save(tmp_path / "a.png", 3)
    save_mask(tmp_path / "m.png")
    loaded = load(tmp_path, mask="m.png")
    assert loaded.problems == [] and loaded.coverage.shape == (SIDE, SIDE)
    assert loaded.coverage.mean() / 255 == pytest.approx(1 / 3, abs=1e-3)
    assert not loaded.drawn and loaded.full_mask is None
    found = row(loaded, "segmentation")
    assert (found["mask"], found["pan_fraction"]) == ("m.png", round(400 / 1200, 6))


def test_an_image_with_outlines(tmp_path):
    save(tmp_path / "a.png", 3)
    save_mask(tmp_path / "m.png")
    loaded = load(tmp_path, outlines=OUTLINE)
    expected = load(tmp_path, mask="m.png")
    assert loaded.problems == [] and loaded.drawn
    assert loaded.full_mask.shape == (30, 40) and loaded.full_mask.sum() == 400
    assert (loaded.coverage == expected.coverage).all()
    assert (row(loaded, "segmentation")["mask"], row(loaded, "segmentation")["pan_fraction"]) == ("", 0.333333)


WHOLE = (0.0, 0.0, 40.0, 0.0, 40.0, 30.0, 0.0, 30.0)
# Even-odd: a hole in the middle of everything.
HOLE = (*WHOLE, 0.0, 0.0, 10.0, 8.0, 10.0, 22.0, 30.0, 22.0, 30.0, 8.0, 10.0, 8.0)


@pytest.mark.parametrize(
    ("polygons", "code"), [((), "mask_empty"), ((WHOLE,), "mask_full"), ((HOLE,), "mask_inverted")]
)
def test_outlines_are_checked_like_a_mask(tmp_path, polygons, code):
    save(tmp_path / "a.png", 3)
    loaded = load(tmp_path, outlines=OutlineLabels((40.0, 30.0), polygons))
    assert [(found.code, found.file) for found in loaded.problems] == [(code, "a.png")] and loaded.image is not None


def test_mask_in_black_on_transparency_is_explained(tmp_path):
    save(tmp_path / "a.png", 3)
    drawn = Image.open(save_mask(tmp_path / "m.png")).convert("L")
    save(tmp_path / "m.png", Image.merge("LA", [Image.new("L", drawn.size), drawn]))
    (found,) = load(tmp_path, mask="m.png").problems
    assert (found.code, found.file) == ("mask_empty", "m.png")
    assert found.reason.startswith("marks no pan: all that it draws is black or less than half opaque; ")


def test_outlines_that_contradict_the_picture_cost_the_image(tmp_path):
    save(tmp_path / "a.png", 3)
    loaded = load(tmp_path, outlines=OutlineLabels((40.0, 40.0), OUTLINE.polygons))
    assert codes(loaded) == ["image_size"] and loaded.image is None


def test_an_image_with_boxes(tmp_path):
    save(tmp_path / "a.png", 3)
    loaded = load(tmp_path, boxes=BoxLabels(None, ((0.25, 0.5, 0.5, 0.25),), (2,), ("1",), relative=True))
    assert loaded.boxes.xyxy.tolist() == [[10, 15, 30, 22.5]] and loaded.boxes.labels.tolist() == [2]
    assert row(loaded, "detection")["boxes"] == 1


def test_each_file_is_decoded_once(tmp_path, monkeypatch):
    save(tmp_path / "a.jpg", **rotated(picture(3), 6))
    save_mask(tmp_path / "m.png")
    opened = []
    real = Image.open
    monkeypatch.setattr(Image, "open", lambda *args, **kwargs: opened.append(args) or real(*args, **kwargs))
    assert codes(load(tmp_path, "a.jpg", mask="m.png")) == ["exif_rotated", "mask_rotated"]
    assert len(opened) == 2


def test_what_is_loaded_can_be_sent_between_processes(tmp_path):
    save(tmp_path / "a.png", 3)
    loaded = load(tmp_path, outlines=OUTLINE)
    again = pickle.loads(pickle.dumps(loaded))  # noqa: S301  (our own)
    assert (again.image == loaded.image).all() and (again.full_mask == loaded.full_mask).all()
    assert again.index == loaded.index and again.problems == loaded.problems


def test_label_error_drops_the_image_but_keeps_its_problems(tmp_path):
    save(tmp_path / "a.png", picture(3).convert("RGBA"))
    save_mask(tmp_path / "m.png", width=41)
    loaded = load(tmp_path, mask="m.png")
    assert loaded.image is None and codes(loaded) == ["mode_converted", "mask_size"]


RIGHT = {"jpg": "JPEG", "JPEG": "JPEG", "png": "PNG", "bmp": "BMP", "webp": "WEBP", "tif": "TIFF", "TIFF": "TIFF"}
WRONG = [("jpg", "PNG"), ("png", "JPEG"), ("png", "GIF"), ("jpg", "WEBP"), ("tif", "PPM")]


@pytest.mark.parametrize(("suffix", "format_"), [*RIGHT.items(), *WRONG])
def test_suffix_and_format(tmp_path, suffix, format_):
    name, wrong = f"a.{suffix}", (suffix, format_) in WRONG
    save(tmp_path / name, picture(3), format=format_)
    loaded = load(tmp_path, name)
    assert codes(loaded) == ["extension_wrong"] * wrong and loaded.image is not None
    assert not wrong or format_ in loaded.problems[0].reason


PLAIN = [("RGB", "a.png"), ("L", "a.png"), ("P", "a.png"), ("1", "a.png"), ("L", "a.jpg")]
CONVERTED = [("RGBA", "a.png"), ("LA", "a.png"), ("CMYK", "a.jpg"), ("I", "a.tif"), ("F", "a.tif"), ("LAB", "a.tif")]


@pytest.mark.parametrize(("mode", "name"), [*PLAIN, *CONVERTED])
def test_modes(tmp_path, mode, name):
    image = ImageOps.autocontrast(picture(3))
    if mode == "LAB":
        image = Image.merge("LAB", image.split())
    elif mode == "I":
        image = Image.fromarray(np.array(image.convert("L"), np.int32) * 257)
    else:
        image = image.convert(mode)
    save(tmp_path / name, image)
    assert codes(load(tmp_path, name)) == ["mode_converted"] * ((mode, name) in CONVERTED)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"image": picture(3).convert("P"), "transparency": 0}, "is P+transparency; transparency was laid on white"),
        ({"image": picture(3), "transparency": (1, 2, 3)}, "is RGB+transparency; transparency was laid on white"),
        ({"image": picture(3).convert("RGBA")}, "is RGBA; transparency was laid on white"),
        ({"image": picture(3).convert("LA")}, "is LA; transparency was laid on white"),
        (
            {"image": Image.fromarray(np.array(picture(3).convert("L"), np.uint16) * 257)},
            "is I;16; the high byte was kept",
        ),
    ],
)
def test_conversions_are_reported(tmp_path, options, reason):
    save(tmp_path / "a.png", **options)
    assert [found.reason for found in load(tmp_path).problems] == [reason]


def test_lab_is_not_transparent(tmp_path):
    """Its name begins like that of grey with alpha."""
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    save(tmp_path / "a.tif", ImageCms.applyTransform(picture(3), to_lab))
    assert [found.reason for found in load(tmp_path, "a.tif").problems] == ["is LAB; its colours were converted to RGB"]


@pytest.mark.parametrize(("size", "found"), [(None, ["rotation_unclear"]), ((40.0, 30.0), ["boxes_rotated"])])
def test_fractions_on_a_rotated_image(tmp_path, size, found):
    """The image's size in the annotations says which orientation they were drawn on."""
    save(tmp_path / "a.png", **rotated(picture(3), 6))
    boxes = BoxLabels(size, ((0.1, 0.1, 0.5, 0.5),), (0,), ("1",), relative=True)
    assert codes(load(tmp_path, boxes=boxes)) == ["exif_rotated", *found]
    assert codes(load(tmp_path, boxes=BoxLabels(None, relative=True))) == ["exif_rotated"]


def noise(deviation):
    """A grey picture whose levels vary by that much, about."""
    values = 90 + deviation * np.random.default_rng(0).standard_normal((60, 80))
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


@pytest.mark.parametrize(("deviation", "blank"), [(0.0, True), (1.5, True), (2.5, False), (20.0, False)])
def test_blank_pictures(tmp_path, deviation, blank):
    save(tmp_path / "a.png", noise(deviation))
    assert codes(load(tmp_path)) == ["image_blank"] * blank


@pytest.mark.parametrize("tail", [b"", bytes(16), bytes(200_000)])
def test_a_photo_whose_rest_was_never_written(tmp_path, tail):
    """A card that was pulled out too early leaves zeros, which decode to a grey rest."""
    stream = io.BytesIO()
    picture(3, 640, 480).save(stream, "JPEG")
    content = stream.getvalue()
    (tmp_path / "a.jpg").write_bytes(content[: len(content) * 2 // 3] + tail)
    loaded = load(tmp_path, "a.jpg")
    assert codes(loaded) == ["image_truncated"] and loaded.image is None


def test_data_that_a_phone_appends_to_a_photo_is_accepted(tmp_path):
    stream = io.BytesIO()
    picture(3, 640, 480).save(stream, "JPEG")
    for tail in (bytes(64), b"\xff\xda\0\0film" + bytes(64), b"SEFT"):
        (tmp_path / "a.jpg").write_bytes(stream.getvalue() + tail)
        assert codes(load(tmp_path, "a.jpg")) == []


def test_a_mask_with_too_many_pixels_is_of_another_size(tmp_path):
    save(tmp_path / "a.png", 3)
    save(tmp_path / "m.png", Image.new("1", (400, 300)))
    loaded = load(tmp_path, mask="m.png", max_pixels=5000)
    assert codes(loaded) == ["mask_size"] and "400x300" in loaded.problems[0].reason
    assert str(tmp_path) not in loaded.problems[0].reason


@pytest.mark.parametrize("kind", ["image", "mask"])
def test_files_that_went_or_are_none(tmp_path, kind):
    save(tmp_path / "a.png", 3)
    save_mask(tmp_path / "m.png")
    file = {"image": "a.png", "mask": "m.png"}[kind]

    def found():
        (one,) = load(tmp_path, mask="m.png").problems
        assert one.file == file
        return one.code

    (tmp_path / file).unlink()
    assert found() == f"{kind}_missing"
    (tmp_path / file).mkdir()
    assert found() == f"{kind}_undecodable"
    (tmp_path / file).rmdir()
    (tmp_path / file).symlink_to(file)
    assert found() == "link_broken"
    (tmp_path / file).unlink()
    (tmp_path / file).symlink_to("/etc/hostname")
    assert found() == "link_escapes"
    assert load(tmp_path, "x" * 300 + ".png").problems[0].code == "image_undecodable"


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    assert codes(load(tmp_path)) == ["image_undecodable"]


def test_damaged_metadata_neither_warn_nor_cost_the_picture(tmp_path):
    save(tmp_path / "a.jpg", picture(3), exif=b"Exif\0\0II*\0\x08\0\0\0\x09\0garbage")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = load(tmp_path, "a.jpg")
    assert loaded.problems == [] and loaded.image is not None
