import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from panvision.ingest.truth import MaskSizeError, binarise, load_mask, read_mask
from panvision.pixels import ImageError
from tests.ingest.raw_sets import save

PAN = np.zeros((30, 40), bool)
PAN[5:25, 10:30] = True


def palette(colours, indexes, **info):
    image = Image.fromarray(indexes.astype(np.uint8), "L").copy()
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette([value for colour in colours for value in colour])
    image.info.update(info)
    return image


def rgba():
    pixels = np.full((30, 40, 4), 255, np.uint8)
    pixels[:, :, 3] = PAN * 255
    return Image.fromarray(pixels)


def grey_alpha():
    return Image.merge("LA", [Image.fromarray(PAN * np.uint8(255)), Image.new("L", (40, 30), 255)])


def colour(value):
    return Image.fromarray((PAN[:, :, None] * np.array(value)).astype(np.uint8))


MASKS = {
    "0/1": Image.fromarray(PAN * np.uint8(1)),
    "0/255": Image.fromarray(PAN * np.uint8(255)),
    "0/128": Image.fromarray(PAN * np.uint8(128)),
    "one bit": Image.fromarray(PAN),
    "16 bit": Image.fromarray(PAN * np.uint16(65535)),
    "16 bit class number": Image.fromarray(PAN * np.uint16(1)),
    "white": colour((255, 255, 255)),
    "red": colour((255, 0, 0)),
    "dark blue": colour((0, 0, 64)),
    "RGB 0/1": colour((1, 1, 1)),
    "RGBA": rgba(),
    "LA": grey_alpha(),
    "palette": palette([(0, 0, 0), (128, 0, 0)], PAN),
    "palette as a grey ramp": palette([(n, n, n) for n in range(256)], PAN),
    "palette, white first": palette([(255, 255, 255), (0, 0, 0)], ~PAN),
    "palette without black": palette([(10, 200, 10), (200, 10, 10)], PAN),
    "palette, two classes": palette([(0, 0, 0), (128, 0, 0), (64, 0, 0)], PAN * (1 + (np.arange(40) > 20))),
    "class numbers": Image.fromarray((PAN * (1 + (np.arange(40) > 20))).astype(np.uint8)),
    "VOC colours": Image.fromarray((PAN * np.where(np.arange(40) > 20, 192, 64)).astype(np.uint8)),
}


@pytest.mark.parametrize("kind", MASKS)
def test_every_kind_of_mask_shows_the_same_pan(tmp_path, kind):
    save(tmp_path / "masks" / "a.png", MASKS[kind])
    mask = load_mask(tmp_path, "masks/a.png")
    assert mask.dtype == np.uint8 and mask.flags.c_contiguous
    assert (mask == PAN).all()


def test_palette_with_a_transparent_background(tmp_path):
    image = palette([(255, 255, 255), (200, 10, 10)], PAN)
    save(tmp_path / "a.png", image, transparency=0)
    assert (load_mask(tmp_path, "a.png") == PAN).all()


def test_jpeg_mask_is_cut_at_half(tmp_path):
    save(tmp_path / "a.jpg", Image.fromarray(PAN * np.uint8(255)), quality=60)
    mask = read_mask(tmp_path / "a.jpg", stored_size=(40, 30), orientation=1)
    assert (mask.pan == PAN).mean() > 0.99 and mask.between > 0


def test_anti_aliased_edges_are_cut_at_half_and_stated():
    graded = np.repeat(np.array([[0, 20, 100, 127, 128, 200, 255, 255]], np.uint8), 2, axis=0)
    pan, between = binarise(graded)
    assert pan[0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1] and between == 5 / 8


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_all_zero_is_no_pan(dtype):
    assert binarise(np.zeros((3, 4), dtype)) == (pytest.approx(np.zeros((3, 4))), 0.0)


@given(seed=st.integers(0, 2**16), value=st.integers(1, 255), channels=st.sampled_from([0, 3, 4]))
@settings(max_examples=40)
def test_two_values_are_never_ambiguous(seed, value, channels):
    pan = np.random.default_rng(seed).random((9, 11)) > 0.5
    values = (pan * value).astype(np.uint8)
    if channels:
        values = np.repeat(values[:, :, None], channels, axis=2)
        values[:, :, 3:] = 255
    found, between = binarise(values)
    assert (found == pan).all() and between == 0


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("unrotated", [False, True])
def test_masks_of_exif_rotated_images(tmp_path, orientation, unrotated):
    """A mask of the file's own size is turned with the image, one of the picture's size is taken as it lies."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(PAN * np.uint8(255))
    stored.putpixel((0, 0), 255)  # no symmetry
    save(tmp_path / "a.png", stored.convert("RGB"), exif=exif)
    stored.getexif()[0x0112] = orientation
    upright = ImageOps.exif_transpose(stored)
    # Where both sizes are equal nothing tells the two apart: the mask is taken as upright.
    save(tmp_path / "m.png", Image.fromarray(np.array(stored if unrotated and orientation > 4 else upright)))
    mask = load_mask(tmp_path, "m.png", "a.png")
    assert (mask * 255 == np.array(upright)).all()


def test_a_masks_own_exif_is_ignored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "m.png", Image.fromarray(PAN * np.uint8(255)), exif=exif)
    assert (load_mask(tmp_path, "m.png") == PAN).all()


def test_sizes_that_do_not_fit(tmp_path):
    save(tmp_path / "a.png", Image.new("RGB", (40, 31)))
    save(tmp_path / "m.png", Image.fromarray(PAN))
    with pytest.raises(MaskSizeError, match="the mask is 40x30, the image 40x31"):
        load_mask(tmp_path, "m.png", "a.png")


def test_transposed_size_without_exif_is_refused(tmp_path):
    save(tmp_path / "m.png", Image.fromarray(PAN))
    with pytest.raises(MaskSizeError):
        read_mask(tmp_path / "m.png", stored_size=(30, 40), orientation=1)


def test_undecodable_mask_is_named(tmp_path):
    stream = io.BytesIO()
    Image.fromarray(PAN).save(stream, "PNG")
    (tmp_path / "m.png").write_bytes(stream.getvalue()[:50])
    with pytest.raises(ImageError, match=r"m\.png: cannot be decoded"):
        load_mask(tmp_path, "m.png")
