import io
import os
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from panvision.photos.pixels import (
    IMAGE_SUFFIXES,
    SUFFIXES,
    ImageEmptyError,
    ImageError,
    ImageTooLargeError,
    ImageTruncatedError,
    ends_early,
    image_to_rgb,
    is_cut,
    read_image,
    read_picture,
    resize_rgb,
    unread_format,
)


def saved(tmp_path, image, name="a.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def encoded(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def noise(width=64, height=64):
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8))


def corners():
    """A 4 × 6 picture (width 6) with four different corners."""
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[0, 0], pixels[0, -1], pixels[-1, 0], pixels[-1, -1] = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)
    return pixels


def test_grayscale_becomes_three_equal_channels(tmp_path):
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    assert (read_image(saved(tmp_path, Image.fromarray(grey))) == grey[:, :, None]).all()


def test_one_bit(tmp_path):
    bits = np.array([[True, False], [False, True]])
    assert read_image(saved(tmp_path, Image.fromarray(bits)))[:, :, 0].tolist() == [[255, 0], [0, 255]]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white(tmp_path, mode):
    image = Image.new(mode, (2, 1), (0,) * len(mode))
    image.putpixel((1, 0), (0,) * (len(mode) - 1) + (255,))
    assert read_image(saved(tmp_path, image))[0].tolist() == [[255] * 3, [0] * 3]


def test_palette(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    assert read_image(saved(tmp_path, image))[0].tolist() == [[10, 20, 30], [200, 100, 50]]


def test_palette_with_a_transparent_entry(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    assert read_image(saved(tmp_path, image, transparency=0))[0].tolist() == [[255] * 3, [200, 100, 50]]


def test_cmyk_jpeg(tmp_path):
    path = saved(tmp_path, Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "a.jpg", quality=95)
    red, green, blue = read_image(path)[4, 4].tolist()
    assert red > 240 and green < 15 and blue < 15


def test_sixteen_bit_png_keeps_the_high_byte(tmp_path):
    values = np.array([[0, 257, 128 * 257, 65535]], np.uint16)
    path = saved(tmp_path, Image.fromarray(values))
    assert read_image(path)[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.0, 0.5, 1.0, np.nan], [0, 128, 255, 0]), ([-5.0, 100.4, 300.0, np.inf], [0, 100, 255, 255])],
)
def test_float_tiff(tmp_path, values, expected):
    path = saved(tmp_path, Image.fromarray(np.array([values], np.float32)), "a.tif")
    assert read_image(path)[0, :, 0].tolist() == expected


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_the_picture_upright(tmp_path, orientation):
    undo = {
        1: lambda p: p,
        2: np.fliplr,
        3: lambda p: np.rot90(p, 2),
        4: np.flipud,
        5: lambda p: p.swapaxes(0, 1),
        6: lambda p: np.rot90(p, 1),
        7: lambda p: np.rot90(p, 2).swapaxes(0, 1),
        8: lambda p: np.rot90(p, -1),
    }[orientation]
    stored = Image.fromarray(np.ascontiguousarray(undo(corners())))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = read_picture(saved(tmp_path, stored, exif=exif))
    assert (picture.rgb == corners()).all()
    assert picture.orientation == orientation
    assert picture.stored_size == stored.size


def test_nonsense_orientation_means_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 42
    picture = read_picture(saved(tmp_path, Image.fromarray(corners()), exif=exif))
    assert picture.orientation == 1 and (picture.rgb == corners()).all()


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.97])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_truncated_file_is_refused(kind, share):
    content = encoded(noise(), kind)
    assert not ends_early(content)
    with pytest.raises(ImageTruncatedError, match=r"a\.jpg: cannot be decoded"):
        read_picture("a.jpg", content=content[: int(len(content) * share)])


@pytest.mark.parametrize("content", [b"no picture", b"\xff\xd8\xff\xd9", b"RIFF\0\0\0\0WEBP", b"BM" + bytes(60)])
def test_what_is_whole_but_no_picture_is_not_called_truncated(content):
    with pytest.raises(ImageError) as caught:
        read_picture("a.jpg", content=content)
    assert type(caught.value) is ImageError


def test_ends_early_ignores_previews_and_appended_data():
    preview = encoded(noise(16, 16), "JPEG")
    content = encoded(noise(), "JPEG", exif=b"Exif\0\0" + preview)
    assert preview in content
    cut = content[:-200]
    assert ends_early(cut) and ends_early(cut + bytes(4000))
    # A phone's film behind the picture may hold any bytes.
    assert not ends_early(content + b"\xff\xda\0\0")
    assert not ends_early(encoded(noise(), "JPEG", progressive=True))
    assert not ends_early(encoded(noise(), "JPEG", restart_marker_rows=1))


def test_a_long_run_of_marker_bytes_is_followed_in_no_time():
    assert ends_early(b"\xff\xd8" + b"\xff" * 2_000_000 + b"\0" * 2_000_000)


@pytest.mark.parametrize(
    ("kind", "frames"), [("PNG", 3), ("WEBP", 2), ("TIFF", 3), ("GIF", 3), ("MPO", 1), ("JPEG", 1)]
)
def test_frames(kind, frames):
    options = (
        {} if kind == "JPEG" else {"save_all": True, "append_images": [noise().rotate(9), Image.new("RGB", (64, 64))]}
    )
    picture = read_picture("a", content=encoded(noise(), kind, **options))
    assert picture.format == kind.replace("MPO", "JPEG")
    # Pillow's WebP encoder may join frames.
    assert picture.frames == frames or (kind == "WEBP" and picture.frames > 1)
    if kind in ("PNG", "TIFF"):
        assert (picture.rgb == np.array(noise())).all()


def sixteen_bit_png(colour_type, channels):
    """One black pixel of 16 bits a channel, which Pillow cannot write."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 1, 1, 16, colour_type, 0, 0, 0)
    pixels = zlib.compress(bytes(1 + 2 * channels))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "mode"),
    [
        (encoded(noise(), "PNG"), "RGB"),
        (encoded(noise(), "BMP"), "RGB"),
        (encoded(noise().convert("P"), "PNG"), "P"),
        (encoded(noise().convert("P"), "PNG", transparency=0), "P+transparency"),
        (encoded(noise(), "PNG", transparency=(1, 2, 3)), "RGB+transparency"),
        (encoded(noise().convert("CMYK"), "JPEG"), "CMYK"),
        (encoded(noise().convert("F"), "TIFF"), "F"),
        (sixteen_bit_png(0, 1), "I;16"),
        (sixteen_bit_png(2, 3), "RGB;16"),
        (sixteen_bit_png(6, 4), "RGBA;16"),
    ],
)
def test_mode(content, mode):
    assert read_picture("a", content=content).mode == mode


def test_metadata_that_break_pillow_do_not_cost_the_picture(monkeypatch):
    def broken(self):
        raise struct.error("unpack requires a buffer of 2 bytes")

    monkeypatch.setattr(Image.Image, "getexif", broken)
    picture = read_picture("a", content=encoded(noise(), "BMP"))
    assert (picture.orientation, picture.exif) == (1, None) and (picture.rgb == np.array(noise())).all()


def test_a_postscript_program_is_not_run(monkeypatch):
    monkeypatch.setattr("subprocess.check_call", lambda *_, **__: pytest.fail("Ghostscript was called"))
    with pytest.raises(ImageError, match=r"a\.png: cannot be decoded: is a PostScript program"):
        read_picture("a.png", content=encoded(noise(), "EPS"))


def test_empty_missing_foreign_and_unreadable_files_are_named(tmp_path):
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "pointer.jpg").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    (tmp_path / "folder.jpg").mkdir()
    for name, reason in {
        "empty.jpg": "is empty",
        "absent.jpg": "no such file",
        "text.jpg": "cannot be decoded: not an image in a known format",
        "folder.jpg": "cannot be decoded: Is a directory",
        "pointer.jpg": "is Git LFS's placeholder for the image; fetch it with `git lfs pull`",
    }.items():
        with pytest.raises(ImageError, match=f"{name}: {reason}") as caught:
            read_image(tmp_path / name)
        assert isinstance(caught.value, ImageEmptyError) == (name == "empty.jpg")


def test_too_many_pixels_are_refused_before_decoding(tmp_path):
    path = saved(tmp_path, Image.new("1", (300, 300)))
    path.write_bytes(path.read_bytes()[:60])  # the header is enough
    with pytest.raises(ImageTooLargeError, match=r"300x300 is more than 89999 pixels; raise data\.max_pixels"):
        read_image(path, max_pixels=89_999)


def test_pillows_own_bomb_limit_is_an_image_error(tmp_path):
    path = saved(tmp_path, Image.new("1", (20_000, 10_000)))
    with pytest.raises(ImageTooLargeError):
        read_image(path, max_pixels=10**9)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_permissions(tmp_path):
    path = saved(tmp_path, Image.new("L", (2, 2)))
    path.chmod(0)
    with pytest.raises(ImageError, match="Permission denied"):
        read_image(path)


@given(width=st.integers(1, 90), height=st.integers(1, 90), size=st.sampled_from([1, 8, 32, 64]))
@settings(max_examples=40, deadline=None)
def test_resize_gives_the_square_and_keeps_the_range(width, height, size):
    image = np.random.default_rng(width * 100 + height).integers(20, 200, (height, width, 3), dtype=np.uint8)
    packed = resize_rgb(image, size)
    assert packed.shape == (size, size, 3) and packed.dtype == np.uint8
    assert packed.min() >= image.min() and packed.max() <= image.max()
    assert packed.flags.c_contiguous


def test_resize_of_a_picture_of_that_size_changes_nothing():
    image = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    assert (resize_rgb(image, 32) == image).all()


def test_result_can_be_written_to():
    image_to_rgb(Image.new("RGB", (2, 2)))[:] = 1


BASELINE = [{}, {"subsampling": 0}, {"restart_marker_rows": 1}, {"quality": 20}]
PROGRESSIVE = {"progressive": True}


def is_cut_file(content):
    return is_cut(content, read_picture("a.jpg", content=content))


@given(
    part=st.floats(0.3, 0.9),
    options=st.sampled_from(BASELINE),
    orientation=st.integers(1, 8),
    mode=st.sampled_from(["RGB", "L"]),
)
@settings(max_examples=60, deadline=None)
def test_is_cut_finds_every_jpeg_that_was_closed_early(part, options, orientation, mode):
    exif = Image.Exif()
    exif[0x0112] = orientation
    whole = encoded(noise(200, 120).convert(mode), "JPEG", exif=exif, **options)
    assert not is_cut_file(whole)
    assert is_cut_file(whole[: int(len(whole) * part)] + b"\xff\xd9")


@pytest.mark.parametrize("part", [0.1, 0.2, 0.4])
def test_is_cut_progressive(part):
    whole = encoded(noise(200, 120), "JPEG", **PROGRESSIVE)
    assert not is_cut_file(whole) and is_cut_file(whole[: int(len(whole) * part)] + b"\xff\xd9")


@given(grey=st.integers(126, 130), options=st.sampled_from([*BASELINE, PROGRESSIVE]))
@settings(max_examples=25, deadline=None)
def test_is_cut_grey_that_was_photographed(grey, options):
    """A grey card is stored as data; nothing is missing."""
    image = Image.new("RGB", (200, 120), (grey,) * 3)
    assert not is_cut_file(encoded(image, "JPEG", **options))
    image.paste(noise(200, 60), (0, 0))
    assert not is_cut_file(encoded(image, "JPEG", **options) + bytes(40))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\0\0\0\x18ftypheic" + bytes(200), "HEIC"),
        (b"\0\0\0\x18ftypmif1" + bytes(200), "HEIC"),
        (b"\0\0\0\x18ftypisom" + bytes(200), "a video"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"8BPS\0\1" + bytes(60), "Photoshop's format"),
        (b"PK\x03\x04" + bytes(60), "a ZIP archive"),
        (b"<!DOCTYPE html><html>", "a web page"),
    ],
)
def test_a_format_that_is_not_read_is_named(content, kind):
    with pytest.raises(ImageError, match=f"^a.jpg: is {kind}, which is not read; convert it to JPEG or PNG$"):
        read_picture("a.jpg", content=content)


def test_unread_format_by_suffix():
    assert unread_format("b/IMG_1.HEIC") == "HEIC" and unread_format("a.jpg") == unread_format("notes") == ""


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_every_suffix_that_is_read_names_a_format_that_is_read(tmp_path, suffix):
    kind = next(kind for kind, suffixes in SUFFIXES.items() if suffix in suffixes)
    path = tmp_path / f"a{suffix}"
    noise().convert("L").save(path, format=kind)
    assert read_picture(path).format == kind and unread_format(path.name) == ""
