"""Ground floor beside params: any picture to RGB by one rule, and to the model's square by one resize.

`prepare`, the Predictor and the report all come through here, so that a picture looks the same to training,
to evaluation and on the device. NumPy and Pillow only.
"""

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

RgbArray = npt.NDArray[np.uint8]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})


class ImageError(ValueError):
    """A picture that cannot be used; the message names the file and the reason."""


def read_image(path: str | Path, *, max_pixels: int = 100_000_000) -> RgbArray:
    """Decode an image file fully, turn it by its EXIF orientation and convert it to RGB.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ImageError: missing, empty, truncated, not an image, or larger than `max_pixels`.
    """
    try:
        # Pillow warns of large images before its own limit; ours is checked below, so the warning says nothing.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return image_to_rgb(image, name=str(path), max_pixels=max_pixels)
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file") from error
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path}: {error}") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageError(f"{path}: cannot be decoded: {error}") from error


def image_to_rgb(image: Image.Image, *, name: str = "image", max_pixels: int = 100_000_000) -> RgbArray:
    """An opened picture as (H, W, 3) uint8, turned by its EXIF orientation.

    The rule: 16-bit and wider integers keep their high byte (v / 257 rounded); floats are clipped to 0..1 where
    they fit it, else to 0..255; transparency is laid on white; every other mode goes through Pillow's `convert`.

    Raises:
        ImageError: no pixels, or more than `max_pixels`.
    """
    width, height = image.size
    if width * height == 0:
        raise ImageError(f"{name}: has no pixels")
    if width * height > max_pixels:
        raise ImageError(
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


def resize_rgb(image: RgbArray, size: int) -> RgbArray:
    """Resize (H, W, 3) uint8 to (size, size, 3) uint8: stretched to the square, bilinear with antialiasing."""
    if image.shape[:2] == (size, size):
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
