"""Ground floor beside params: any picture to RGB by one rule, and to the model's square by one resize.

`prepare`, the Predictor and the report all come through here, so that a picture looks the same to training,
to evaluation and on the device. NumPy and Pillow only.
"""

import contextlib
import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

RgbArray = npt.NDArray[np.uint8]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})


# The tag of Exif 2.32 that says how a viewer turns the picture, 1 (not at all) to 8.
EXIF_ORIENTATION = 0x0112


class ImageError(ValueError):
    """A picture that cannot be used; the message names the file and the reason."""


class ImageTooLargeError(ImageError):
    """A picture with more pixels than allowed; it was not decoded."""


class Picture(NamedTuple):
    """A decoded image file.

    Attributes:
        rgb: (H, W, 3) uint8, upright.
        stored_size: width and height in the file, before EXIF rotation.
        orientation: EXIF orientation, 1 to 8.
    """

    rgb: RgbArray
    stored_size: tuple[int, int]
    orientation: int


def read_image(path: str | Path, *, max_pixels: int = 100_000_000) -> RgbArray:
    """Decode an image file fully, turn it by its EXIF orientation and convert it to RGB.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ImageError: missing, empty, truncated, not an image, or larger than `max_pixels`.
    """
    return read_picture(path, max_pixels=max_pixels).rgb


def read_picture(path: str | Path, *, max_pixels: int = 100_000_000, content: bytes | None = None) -> Picture:
    """Like `read_image`, with what the file says about its size and orientation.

    Args:
        path: the file, and its name in messages.
        max_pixels: larger pictures are refused before they are decoded.
        content: the file's bytes, where they are at hand.
    """
    with decode_errors(str(path)):
        content = Path(path).read_bytes() if content is None else content
        if not content:
            raise ImageError(f"{path}: is empty")
    with decode_errors(str(path)), Image.open(io.BytesIO(content)) as image:
        stored_size = image.size
        rgb = image_to_rgb(image, name=str(path), max_pixels=max_pixels)
        return Picture(rgb, stored_size, exif_orientation(image))


@contextlib.contextmanager
def decode_errors(name: str) -> Iterator[None]:
    """Everything that decoding a file can raise, as ImageError with the file's name."""
    try:
        yield
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"{name}: no such file") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: cannot be decoded: not a picture in a known format") from error
    except Image.DecompressionBombError as error:
        raise ImageTooLargeError(f"{name}: {error}") from error
    except OSError as error:
        raise ImageError(f"{name}: cannot be decoded: {error.strerror or error}") from error
    except (SyntaxError, ValueError, EOFError, IndexError, TypeError, struct.error, zlib.error) as error:
        raise ImageError(f"{name}: cannot be decoded: {error}") from error


def image_to_rgb(image: Image.Image, *, name: str = "image", max_pixels: int = 100_000_000) -> RgbArray:
    """An opened picture as (H, W, 3) uint8, turned by its EXIF orientation.

    The rule: 16-bit and wider integers keep their high byte (v / 257 rounded); floats are clipped to 0..1 where
    they fit it, else to 0..255; transparency is laid on white; every other mode goes through Pillow's `convert`.

    Raises:
        ImageError: no pixels, or (as ImageTooLargeError) more than `max_pixels`.
    """
    width, height = image.size
    if width * height == 0:
        raise ImageError(f"{name}: has no pixels")
    if width * height > max_pixels:
        raise ImageTooLargeError(
            f"{name}: {width}x{height} is more than {max_pixels} pixels; raise data.max_pixels if it is meant"
        )
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        values = np.asarray(image, dtype=np.float64)
        image = Image.fromarray(np.clip(np.rint(values / 257.0), 0, 255).astype(np.uint8))
    elif image.mode == "F":
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        scale = 255.0 if values.size and values.min() >= 0.0 and values.max() <= 1.0 else 1.0
        image = Image.fromarray(np.clip(np.rint(values * scale), 0, 255).astype(np.uint8))
    elif image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return np.array(image.convert("RGB"))


def exif_orientation(image: Image.Image) -> int:
    """How a viewer turns the picture: Exif's 1 to 8, 1 where the file says nothing that makes sense."""
    value = image.getexif().get(EXIF_ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def resize_rgb(image: RgbArray, size: int) -> RgbArray:
    """Resize (H, W, 3) uint8 to (size, size, 3) uint8: stretched to the square, bilinear with antialiasing."""
    if image.shape[:2] == (size, size):
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
