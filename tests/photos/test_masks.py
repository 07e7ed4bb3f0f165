import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageOps

from panvision.dataset.packed import HALF_PAN
from panvision.decoding.segmentation import mask_from_logits
from panvision.photos.masks import MaskSizeError, binarise, load_mask, looks_inverted, pack_mask, read_mask
from panvision.photos.orientation import turn_mask
from panvision.photos.pixels import ImageEmptyError, ImageTruncatedError
from tests.prepare.raw_sets import REAL, save

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


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_a_transparent_colour_is_background(tmp_path, mode):
    """PNG names one transparent colour where it has no alpha channel; a transparent white is not a pan."""
    white = (255, 255, 255) if mode == "RGB" else 255
    save(tmp_path / "a.png", Image.fromarray(~PAN).convert(mode), transparency=white)
    mask = read_mask(tmp_path / "a.png", stored_size=(40, 30), orientation=1)
    assert not mask.pan.any() and mask.unseen
    black = 0 if mode != "RGB" else (0, 0, 0)
    save(tmp_path / "b.png", Image.fromarray(PAN).convert(mode), transparency=black)
    assert (load_mask(tmp_path, "b.png") == PAN).all()


@pytest.mark.parametrize(
    ("pixels", "unseen"),
    [
        (np.stack([PAN * 0, PAN * 255], axis=2), True),  # black on transparency
        (np.stack([PAN * 255, PAN * 100], axis=2), True),  # white, but too faint
        (np.stack([PAN * 255, PAN * 0], axis=2), True),  # white below full transparency
        (np.stack([PAN * 255, PAN * 255], axis=2), False),
        (np.stack([PAN * 0, PAN * 0], axis=2), False),  # nothing at all
        (np.stack([PAN * 0, PAN * 0 + 255], axis=2), False),
        (PAN * 0, False),
    ],
)
def test_read_mask_unseen(tmp_path, pixels, unseen):
    save(tmp_path / "a.png", Image.fromarray(pixels.astype(np.uint8)))
    assert read_mask(tmp_path / "a.png", stored_size=(40, 30), orientation=1).unseen == unseen


def test_jpeg_mask_is_cut_at_half(tmp_path):
    save(tmp_path / "a.jpg", Image.fromarray(PAN * np.uint8(255)), quality=60)
    mask = read_mask(tmp_path / "a.jpg", stored_size=(40, 30), orientation=1)
    assert (mask.pan == PAN).mean() > 0.99 and mask.between > 0


def test_anti_aliased_edges_are_cut_at_half_and_stated():
    graded = np.repeat(np.array([[0, 20, 100, 127, 128, 200, 255, 255]], np.uint8), 2, axis=0)
    pan, between = binarise(graded)
    assert pan[0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1] and between == 5 / 8


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_all_zero_is_not_a_pan(dtype):
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
    """A mask of the file's own size is turned with the image, one of the upright image's size is not."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(PAN * np.uint8(255))
    stored.putpixel((0, 0), 255)  # no symmetry
    save(tmp_path / "a.png", stored.convert("RGB"), exif=exif)
    stored.getexif()[0x0112] = orientation
    upright = ImageOps.exif_transpose(stored)
    # If both sizes are equal, the mask counts as upright.
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


masks = arrays.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 1))


def opened(image):
    """A mask file's pan, by way of a PNG file."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    mask = read_mask(Path("m.png"), stored_size=image.size, orientation=1, content=stream.getvalue())
    assert mask.between == 0
    return mask.pan


@given(pan=masks)
@settings(max_examples=60, deadline=None)
def test_how_a_mask_is_written_does_not_matter(pan):
    white = Image.fromarray(pan * np.uint8(255))
    written = [
        Image.fromarray(pan),
        white,
        white.convert("RGB"),
        white.convert("RGBA"),
        white.convert("LA"),
        white.convert("1"),
        Image.fromarray(pan * np.uint16(65535)),
        palette([(0, 0, 0), (0, 128, 0)], pan),
    ]
    assert all((opened(image) == pan).all() for image in written)


@given(
    values=arrays.arrays(
        st.sampled_from([np.uint8, np.uint16, np.int32, np.float32]),
        st.tuples(st.integers(1, 6), st.integers(1, 6)) | st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(4)),
    )
)
@settings(max_examples=200, deadline=None)
def test_any_values_become_zero_and_one(values):
    values = np.nan_to_num(values)
    pan, between = binarise(values)
    assert pan.shape == values.shape[:2] and pan.dtype == np.uint8 and set(np.unique(pan)) <= {0, 1}
    assert 0 <= between <= 1
    # A binary mask is its own.
    assert (binarise(pan)[0] == pan).all() and (binarise(pan * np.uint8(255))[0] == pan).all()


def disc(width, height, centre, radius):
    rows, columns = np.mgrid[:height, :width]
    return ((columns - centre[0]) ** 2 + (rows - centre[1]) ** 2 <= radius**2).astype(np.uint8)


@given(
    x=st.integers(60, 100),
    y=st.integers(45, 75),
    radius=st.integers(20, 45),
    orientation=st.integers(1, 8),
)
@settings(max_examples=60)
def test_looks_inverted_anywhere_in_the_image(x, y, radius, orientation):
    pan = turn_mask(disc(160, 120, (x, y), radius), orientation)
    assert looks_inverted(1 - pan) and not looks_inverted(pan)


@given(x=st.integers(40, 120), y=st.integers(30, 90), radius=st.integers(60, 200))
@settings(max_examples=60)
def test_a_close_up_is_not_taken_for_inverted(x, y, radius):
    assert not looks_inverted(disc(160, 120, (x, y), radius))


@pytest.mark.parametrize(
    "pan",
    [
        np.zeros((30, 40), np.uint8),
        np.ones((30, 40), np.uint8),
        # A frame, a speck, and a strip along the edge.
        np.pad(np.zeros((98, 98), np.uint8), 1, constant_values=1),
        1 - disc(40, 30, (20, 15), 2),
        np.repeat(np.array([[1] * 36 + [0] * 4], np.uint8), 30, axis=0),
        # Something at the side, on a pan that fills the image.
        np.pad(np.zeros((25, 55), np.uint8), ((5, 90), (5, 100)), constant_values=1),
        np.ones((1, 1), np.uint8),
        np.array([[1, 0, 1]], np.uint8),
    ],
)
def test_looks_inverted_false(pan):
    assert not looks_inverted(pan)


@pytest.mark.skipif(not REAL.is_dir(), reason="no real data beside the checkout")
def test_looks_inverted_on_real_masks():
    """130 masks of kitchen and wok: no false alarm, and 127 of the inverted ones are found."""
    pans = [load_mask(path.parent, path.name) for path in sorted(REAL.glob("*/segmentation/masks/*"))]
    assert len(pans) == 130
    assert not any(looks_inverted(pan) for pan in pans)
    assert sum(looks_inverted(1 - pan) for pan in pans) == 127


def test_load_mask_empty_or_truncated(tmp_path):
    path = save(tmp_path / "m.png", Image.fromarray(PAN * np.uint8(255)))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ImageTruncatedError):
        load_mask(tmp_path, "m.png")
    path.write_bytes(b"")
    with pytest.raises(ImageEmptyError):
        load_mask(tmp_path, "m.png")


# Widths and packed sides: even, odd and fractional ratios, the same size, and smaller images than the square.
SIZES = [(256, 128), (512, 256), (1024, 256), (2048, 256), (640, 256), (768, 256), (300, 128), (999, 128), (321, 256),
         (128, 128), (64, 128), (100, 128), (90, 256)]  # fmt: skip


@pytest.mark.parametrize(("width", "side"), SIZES)
def test_pack_mask_shifts_no_edge(width, side):
    """The nearest neighbour shifts edges by half an own pixel at even ratios."""
    for edge in range(width // 3, width // 3 + 16):
        pan = np.zeros((3, width), np.uint8)
        pan[:, edge:] = 1
        for shares in (pack_mask(pan, side)[0] / 255, pack_mask(pan.T, side)[:, 0] / 255):
            assert width - shares.sum() * width / side == pytest.approx(edge, abs=0.02)


@pytest.mark.parametrize(("width", "side"), SIZES)
def test_pack_mask_edges_are_decoded_where_they_were(width, side):
    """Exactly, up to five pixels in a cell; then a perfect answer comes back within a tenth of a cell."""
    for edge in range(width // 3, width // 3 + 12):
        pan = np.zeros((8, width), np.uint8)
        pan[:, edge:] = 1
        found = mask_from_logits(pack_mask(pan, side).astype(np.float32) - 127.4, width, 8)
        assert np.count_nonzero(found[0] != 255 * pan[0]) <= round(0.09 * width / side)
        assert (found == found[0]).all()


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.integers(0, 1)),
       st.integers(1, 24))  # fmt: skip
def test_pack_mask_is_the_mean_of_each_cell(pan, side):
    height, width = pan.shape
    fine = np.kron(pan, np.ones((side, side)))  # each pixel as side × side parts
    means = fine.reshape(side, height, side, width).mean(axis=(1, 3))
    assert np.abs(pack_mask(pan, side) - 255 * means).max() <= 0.5 + 1e-9
    assert ((pack_mask(pan, side) >= HALF_PAN) == (means >= 0.5 - 1e-9)).all()
