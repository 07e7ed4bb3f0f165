"""Conversion of any image file to RGB by one rule, and to the model's square by one resize.

`prepare`, the Predictor and the report all use it, so that an image is the same in training, in evaluation and on the
device. NumPy and Pillow only.
"""

import contextlib
import io
import re
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, UnidentifiedImageError, features

RgbArray = npt.NDArray[np.uint8]

# Suffixes of each format that is read; older builds of Pillow lack AVIF.
_AVIF = {"AVIF": (".avif",)} if "avif" in features.modules else {}
SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".mpo"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "JPEG2000": (".jp2", ".j2k"),
    "PPM": (".ppm", ".pgm", ".pbm"),
    **_AVIF,
}
IMAGE_SUFFIXES = frozenset(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
# Formats of images that are not read, by suffix.
UNREAD_SUFFIXES = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIC"),
    **dict.fromkeys((".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf", ".rw2"), "a camera's raw format"),
    **{".jxl": "JPEG XL", ".psd": "Photoshop's format", ".svg": "SVG", ".tga": "TGA", ".exr": "OpenEXR", ".eps": "EPS"},
    **({} if _AVIF else {".avif": "AVIF"}),
}
# Formats that are recognised by their first bytes, to name them. Pillow does not read them, or may not have AVIF.
_SIGNATURES = (
    (re.compile(rb"....ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1|heif)", re.DOTALL), "HEIC"),
    (re.compile(rb"....ftypavi[fs]", re.DOTALL), "AVIF"),
    (re.compile(rb"....ftypcrx ", re.DOTALL), "a camera's raw format"),
    (re.compile(rb"....ftyp", re.DOTALL), "a video"),
    (re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "), "JPEG XL"),
    (re.compile(rb"8BPS"), "Photoshop's format"),
    (re.compile(rb"%PDF-"), "PDF"),
    (re.compile(rb"PK\x03\x04"), "a ZIP archive"),
    (re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?<svg", re.IGNORECASE), "SVG"),
    (re.compile(rb"\s*<(?:!doctype html|html)", re.IGNORECASE), "a web page"),
)

# Larger images are refused unless the caller allows more.
MAX_PIXELS = 100_000_000
# Largest size of an uncompressed pixel in bytes, four channels of 16 bits, and of everything around the pixels.
_PIXEL_BYTES, _EXTRA_BYTES = 8, 2**24
# Formats that are opened. Pillow knows forty more; some unpack without a limit (FITS) or run programs (EPS, which is
# opened only to name it). JPEG includes the MPO files of phones.
_FORMATS = (*SUFFIXES, "DIB", "EPS")

# The tag of Exif 2.32 that says how a viewer turns the image, 1 (not at all) to 8.
EXIF_ORIENTATION = 0x0112
# The folder of Exif's own tags, for example the time when the image was taken.
_EXIF_FOLDER = 0x8769

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Errors that Pillow raises on a damaged file, beside OSError and its own.
_DECODING = (
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    EOFError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
)
# The first bytes of Git's placeholder for a large file that has not been fetched.
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
# Bytes without 0xFF that decode to something else than grey blocks, with any Huffman tables.
_FILLING = bytes(range(1, 250)) * 4
# The next marker of a JPEG file: 0xFF and a code, past fill bytes, stuffed zeros and restart markers.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)


class ImageError(ValueError):
    """An image that cannot be used; the message names the file and the reason."""


class ImageEmptyError(ImageError):
    """A file without any bytes."""


class ImageTruncatedError(ImageError):
    """An image whose file ends too early."""


class ImageTooLargeError(ImageError):
    """An image with more pixels than allowed; it was not decoded."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded image file.

    Attributes:
        image: RGB, upright.
        stored_size: width and height in the file, before EXIF rotation.
        orientation: EXIF orientation, 1 to 8.
        format: Pillow's name of the file's format, independent of the file's suffix; "" if unknown. The MPO files of
            phones, JPEG files with previews or a depth map behind the photo, count as JPEG of one frame.
        frames: number of images in the file; `image` is the first.
        mode: Pillow's mode of the file's pixels, with `;16` if each channel has 16 bits and Pillow keeps 8, and
            `+transparency` if one of the colours means transparent.
        exif: the metadata; None if they are damaged.
    """

    image: Image.Image
    stored_size: tuple[int, int]
    orientation: int
    format: str = ""
    frames: int = 1
    mode: str = "RGB"
    exif: Image.Exif | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright image in pixels."""
        return self.image.size

    @property
    def rgb(self) -> RgbArray:
        """A new copy of the pixels, (H, W, 3) uint8."""
        return np.array(self.image)


def read_image(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> RgbArray:
    """Decode an image file fully, turn it by its EXIF orientation and convert it to RGB.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ImageError: missing, empty, truncated, not an image, or larger than `max_pixels`.
    """
    return read_picture(path, max_pixels=max_pixels).rgb


def read_picture(path: str | Path, *, max_pixels: int = MAX_PIXELS, content: bytes | None = None) -> Picture:
    """Decode like `read_image`, and return the file's properties as well.

    Args:
        path: the file, and its name in messages.
        max_pixels: larger images are refused before they are decoded.
        content: the file's bytes, if they were read already.
    """
    if content is None:
        content = read_bytes(path, most_bytes(max_pixels))
    with open_image(content, name=str(path)) as image:
        stored_size, mode = image.size, _stored_mode(image)
        upright = _to_rgb(image, name=str(path), max_pixels=max_pixels)
        exif, orientation = _exif(image), exif_orientation(image)
        kind = "JPEG" if image.format == "MPO" else image.format or ""
        return Picture(upright, stored_size, orientation, kind, _frames(image), mode, exif)


def most_bytes(max_pixels: int) -> int:
    """Return the largest size in bytes of a file with this many pixels."""
    return _PIXEL_BYTES * max_pixels + _EXTRA_BYTES


def read_bytes(path: str | Path, most: int) -> bytes:
    """Return a file's bytes; refuse pipes and devices, because reading them may never end.

    Raises:
        ImageError: it cannot be read, or (ImageTooLargeError) has more than `most` bytes.
    """
    with decode_errors(str(path)):
        found = Path(path).stat()
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
            raise ImageError(f"{path}: is a pipe or a device, not a file")
        if found.st_size > most:
            raise ImageTooLargeError(f"{path}: {found.st_size} bytes are too many for an image; the limit is {most}")
        return Path(path).read_bytes()


@contextlib.contextmanager
def open_image(content: bytes, *, name: str) -> Iterator[Image.Image]:
    """Open a file's bytes as a Pillow image; errors of opening and decoding become ImageError.

    Raises:
        ImageEmptyError: no bytes.
        ImageTruncatedError: the file ends too early.
        ImageError: anything else.
    """
    if not content:
        raise ImageEmptyError(f"{name}: is empty")
    if content.startswith(_LFS_POINTER):
        raise ImageError(f"{name}: is Git LFS's placeholder for the image; fetch it with `git lfs pull`")
    try:
        with decode_errors(name), Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            # Pillow would run it with Ghostscript.
            if image.format == "EPS":
                raise ImageError(f"{name}: cannot be decoded: is a PostScript program")
            yield image
    except ImageTooLargeError:
        raise
    except ImageError as error:
        if isinstance(error.__cause__, UnidentifiedImageError) and (kind := _name_format(content)):
            raise ImageError(f"{name}: is {kind}, which is not read; convert it to JPEG or PNG") from error
        if "truncated" in str(error).removeprefix(name).lower() or ends_early(content):
            raise ImageTruncatedError(str(error)) from error
        raise


@contextlib.contextmanager
def decode_errors(name: str) -> Iterator[None]:
    """Turn every error of decoding a file into ImageError with the file's name."""
    try:
        yield
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"{name}: no such file") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: cannot be decoded: not an image in a known format") from error
    except Image.DecompressionBombError as error:
        raise ImageTooLargeError(
            f"{name}: {error} Raise PIL.Image.MAX_IMAGE_PIXELS as well if the size is intended"
        ) from error
    except OSError as error:
        raise ImageError(f"{name}: cannot be decoded: {error.strerror or error}") from error
    except _DECODING as error:
        raise ImageError(f"{name}: cannot be decoded: {error}") from error


def unread_format(name: str) -> str:
    """Return the format of an image that its suffix says is not read; "" for any other file."""
    return UNREAD_SUFFIXES.get(Path(name).suffix.lower(), "")


def _name_format(content: bytes) -> str:
    """Name a format that Pillow does not read, or return ""."""
    return next((kind for pattern, kind in _SIGNATURES if pattern.match(content[:256])), "")


def ends_early(content: bytes) -> bool:
    """True if a file stops before the end that its own format announces (JPEG, PNG, WebP, BMP, TIFF).

    For JPEG the file's markers are followed to the end of its first image (ITU-T T.81, annex B), so that neither a
    preview in its metadata nor data appended by a phone is mistaken for that end.
    """
    if content[:2] == b"\xff\xd8":
        return not _jpeg_ends(content)
    if content[:4] == b"\x89PNG":
        return b"IEND" not in content
    if content[:4] == b"RIFF":
        return int.from_bytes(content[4:8], "little") + 8 > len(content)
    if content[:2] == b"BM":
        return int.from_bytes(content[2:6], "little") > len(content)
    if content[:4] in (b"II*\0", b"MM\0*"):
        return int.from_bytes(content[4:8], "little" if content[:1] == b"I" else "big") >= len(content)
    return False


def is_cut(content: bytes, picture: Picture) -> bool:
    """True if the data of a JPEG file end early, although an end marker follows; the rest is grey, or lacks detail.

    libjpeg decodes the missing blocks as the middle of each channel. An image that ends in grey is therefore decoded
    again with more data before the end marker: they fill a missing block, but are ignored after a complete image.

    Args:
        content: the file's bytes.
        picture: the decoded image.
    """
    if _lacks_scans(content):
        return True
    width, height = picture.size
    # The place of the stored image's last pixel in the upright one.
    x = width - 1 if picture.orientation in (1, 4, 5, 8) else 0
    y = height - 1 if picture.orientation in (1, 2, 5, 6) else 0
    if not all(127 <= value <= 129 for value in picture.image.getpixel((x, y))):  # type: ignore[union-attr]
        return False
    kept = content[: content.rfind(b"\xff\xd9")].rstrip(b"\xff")
    changed = b"".join(_FILLING + bytes((0xFF, 0xD0 + number)) for number in range(8)) + b"\xff\xd9"
    pixels = []
    for data in (content, kept + changed):
        with open_image(data, name="image") as image:
            pixels.append(image.tobytes())
    return pixels[0] != pixels[1]


def _lacks_scans(content: bytes) -> bool:
    """True if a progressive JPEG file lacks bits of some coefficients (ITU-T T.81, annex G)."""
    missing: dict[tuple[int, int], int] = {}
    for code, segment in _jpeg_segments(content):
        if code == 0xC2:
            missing = {(part, place): 1 for part in segment[6::3] for place in range(64)}
        elif code == 0xDA and missing and len(segment) >= 4 + 2 * segment[0]:
            first, last, low = segment[-3], segment[-2], segment[-1] & 15
            missing.update({(part, place): low for part in segment[1:-3:2] for place in range(first, last + 1)})
    return any(missing.values())


def _jpeg_ends(content: bytes) -> bool:
    """True if following the markers leads to the end-of-image marker."""
    return any(code == 0xD9 for code, _ in _jpeg_segments(content))


def _jpeg_segments(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the code of each marker up to the end-of-image marker, with the contents of its segment."""
    place = 2
    while match := _MARKER.search(content, place):
        place = match.end()
        code = content[place - 1]
        # All other codes except 01 are followed by the length of their segment.
        length = 0 if code in (0x01, 0xD9) else int.from_bytes(content[place : place + 2], "big")
        yield code, content[place + 2 : place + length]
        if code == 0xD9:
            return
        place += length


def _stored_mode(image: Image.Image) -> str:
    """Return `Picture.mode` of an image that was opened but not yet decoded."""
    # Pillow's name of the packing, for example RGB;16B. BGR;16 means 16 bits for all three channels.
    packing = " ".join(str(tile.args) for tile in image.tile[:1]) if isinstance(image, ImageFile.ImageFile) else ""
    wide = re.search(r"\b(RGB|RGBA|RGBX|LA|CMYK);16[BLN]", packing) is not None
    return image.mode + ";16" * wide + "+transparency" * ("transparency" in image.info)


def _frames(image: Image.Image) -> int:
    """Return the number of images in a file; 1 if it is unknown."""
    if image.format == "MPO":
        return 1
    try:
        return int(getattr(image, "n_frames", 1))
    except (OSError, *_DECODING):
        return 1


def image_to_rgb(image: Image.Image, *, name: str = "image", max_pixels: int = MAX_PIXELS) -> RgbArray:
    """Convert an opened image to (H, W, 3) uint8, turned by its EXIF orientation.

    The rule: 16-bit and wider integers keep their high byte (v / 257 rounded); floats are scaled from 0..1 if they are
    in it, else clipped to 0..255; transparency is laid on white; Pillow's `convert` handles every other mode.

    Raises:
        ImageError: no pixels, pixels that cannot be read or converted, or (as ImageTooLargeError) more than
            `max_pixels`.
    """
    with decode_errors(name):
        return np.array(_to_rgb(image, name=name, max_pixels=max_pixels))


def _to_rgb(image: Image.Image, *, name: str, max_pixels: int) -> Image.Image:
    """Convert like `image_to_rgb`, but return a Pillow image."""
    width, height = image.size
    if width * height == 0:
        raise ImageError(f"{name}: has no pixels")
    if width * height > max_pixels:
        raise ImageTooLargeError(
            f"{name}: {width}x{height} is more than {max_pixels} pixels; raise data.max_pixels if the size is intended"
        )
    # Load first, so that a fault of the pixels is not mistaken for one of the metadata, which is ignored.
    image.load()
    orientation = exif_orientation(image)
    if orientation in _TURNS:
        image = image.transpose(_TURNS[orientation])
    if image.mode.startswith("I"):
        values = np.asarray(image, dtype=np.float64)
        image = Image.fromarray(np.clip(np.rint(values / 257.0), 0, 255).astype(np.uint8))
    elif image.mode == "F":
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        scale = 255.0 if values.size and values.min() >= 0.0 and values.max() <= 1.0 else 1.0
        image = Image.fromarray(np.clip(np.rint(values * scale), 0, 255).astype(np.uint8))
    elif image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    # A copy, unless the pixels are in memory: those of several frames are read again from a file that closes.
    return image if image.mode == "RGB" and not getattr(image, "is_animated", False) else image.convert("RGB")


def exif_orientation(image: Image.Image) -> int:
    """Return Exif's orientation, 1 to 8; 1 if the file has no valid one."""
    try:
        value = image.getexif().get(EXIF_ORIENTATION, 1)
    except (OSError, *_DECODING):
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _exif(image: Image.Image) -> Image.Exif | None:
    """Return the image's metadata; None if they are damaged, which does not affect the image."""
    try:
        exif = image.getexif()
    except (OSError, *_DECODING):
        return None
    with contextlib.suppress(OSError, *_DECODING):
        # Read the inner folder now: a TIFF's is read from the file, which is closed soon.
        exif.get_ifd(_EXIF_FOLDER)
    return exif


def resize_rgb(image: RgbArray, size: int) -> RgbArray:
    """Resize (H, W, 3) uint8 to (size, size, 3) uint8: stretched to the square like `resize_image`."""
    if image.shape[:2] == (size, size):
        return image
    return np.asarray(resize_image(Image.fromarray(image), size))


def resize_image(image: Image.Image, size: int) -> Image.Image:
    """Stretch an RGB image to a square: means over whole pixels first, then bilinear with antialiasing.

    A side that is k to k + 1 times too long is first made k times shorter by the mean of k pixels (`reducing_gap`),
    which takes half the time or less. In real photos the result differs from the bilinear filter alone by 1.6 grey
    levels on average, and is about as close to a Lanczos filter (35.4 dB against 36.3).
    """
    return image.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=1.0)
