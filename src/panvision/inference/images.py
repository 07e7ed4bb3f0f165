"""Forms of an image that inference accepts, and their conversion to RGB."""

import os
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from panvision.photos.pixels import (
    MAX_PIXELS,
    ImageError,
    ImageTooLargeError,
    RgbArray,
    image_to_rgb,
    most_bytes,
    read_image,
    read_picture,
)

# A file by its path, its bytes, an opened binary file, a Pillow image, or the pixels themselves.
AnyImage = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | npt.NDArray[np.generic]

_CHANNELS = (1, 3, 4)
_ROWS = 1024  # rows of floats that are converted at a time


def to_rgb(image: AnyImage, *, bgr: bool = False, max_pixels: int = MAX_PIXELS) -> RgbArray:
    """Convert any accepted form of an image to (H, W, 3) uint8 RGB.

    Args:
        image: one of

            - the path of a regular file: JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, JPEG 2000 or PPM, of any suffix;
              rotated by its EXIF orientation; the first one if the file has several images;
            - the bytes of such a file, or a binary file opened for reading;
            - a Pillow image of any mode that Pillow converts to RGB; the current frame of an animation;
            - an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) in any memory order, gray, RGB or RGBA: uint8 of 0 to
              255, uint16 of 0 to 65535, floats of 0 to 1, or bool. It is not written to.

            Transparency is drawn on white, and of 16 bits the high byte is kept (`photos.pixels.image_to_rgb`).
        bgr: True if the channels of the array are blue, green, red (and alpha), like in OpenCV; only for arrays.
        max_pixels: larger images are refused, files before they are decoded.

    Raises:
        ImageError: the image has another form, has no pixels, cannot be read, or (ImageTooLargeError) is too large.
    """
    if isinstance(image, np.ndarray):
        return _array_to_rgb(image, bgr=bgr, max_pixels=max_pixels)
    if bgr:
        raise ImageError("image: bgr is for arrays; files and Pillow images name the order of their channels")
    if isinstance(image, (str, os.PathLike)):
        return read_image(os.fspath(image), max_pixels=max_pixels)
    if isinstance(image, Image.Image):
        return image_to_rgb(image, max_pixels=max_pixels)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return read_picture("image", content=bytes(image), max_pixels=max_pixels).rgb
    if callable(getattr(image, "read", None)):
        return _stream_to_rgb(image, max_pixels)
    remedy = {
        "Tensor": "; give its pixels as an array, for example `tensor.permute(1, 2, 0).cpu().numpy()` of (3, H, W)",
        "list": "; make it an array, `np.array(image, np.uint8)`",
        "tuple": "; make it an array, `np.array(image, np.uint8)`",
    }.get(type(image).__name__, "")
    raise ImageError(f"image: expected a path, a Pillow image or an array, found {type(image).__name__}{remedy}")


def _stream_to_rgb(stream: BinaryIO, max_pixels: int) -> RgbArray:
    most = most_bytes(max_pixels)
    try:
        content = stream.read(most + 1)
    except (OSError, ValueError) as error:
        raise ImageError(f"image: cannot be read: {error}") from error
    if not isinstance(content, bytes):
        raise ImageError("image: the file is opened as text; open it with mode 'rb'")
    if len(content) > most:
        raise ImageTooLargeError(f"image: more than {most} bytes, too large for an image of {max_pixels} pixels")
    return read_picture("image", content=content, max_pixels=max_pixels).rgb


def _array_to_rgb(image: npt.NDArray[np.generic], *, bgr: bool, max_pixels: int) -> RgbArray:
    if isinstance(image, np.ma.MaskedArray) and np.ma.is_masked(image):
        raise ImageError("image: some of its pixels are masked; fill them, `image.filled(0)`")
    image = np.asarray(image)  # plain pixels of subclasses such as matrices
    _check_shape(image.shape)
    if image.size == 0:
        raise ImageError(f"image: has no pixels, its shape is {image.shape}")
    height, width = image.shape[:2]
    if height * width > max_pixels:
        raise ImageTooLargeError(f"image: {width}x{height} is more than {max_pixels} pixels; shrink it, or allow more")
    values = _to_bytes(image)
    if bgr and values.ndim == 3:
        values = values[:, :, [2, 1, 0, 3][: values.shape[2]]] if values.shape[2] > 1 else values
    if values.ndim == 3 and values.shape[2] == 3:
        return values
    plane = values[:, :, 0] if values.ndim == 3 and values.shape[2] == 1 else values
    return image_to_rgb(Image.fromarray(np.ascontiguousarray(plane)), max_pixels=max_pixels)


def _check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) == 2 or (len(shape) == 3 and shape[2] in _CHANNELS):
        return
    remedy = ""
    if len(shape) == 3 and shape[0] in _CHANNELS:
        remedy = "; its channels come first: pass `image.transpose(1, 2, 0)`"
    elif len(shape) == 4:
        remedy = "; it is a batch: pass its images one by one, or as a list to `Predictor.predict_batch`"
    raise ImageError(f"image: expected shape (H, W, 3), (H, W, 4) or (H, W), found {shape}{remedy}")


def _to_bytes(image: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """Convert values to uint8 of 0 to 255."""
    kind = image.dtype
    if kind == np.uint8:
        return image.astype(np.uint8, copy=False)
    if kind == np.bool_:
        return image.astype(np.uint8) * np.uint8(255)
    if kind.kind == "f" or (kind.kind == "u" and kind.itemsize == 2):
        # Some rows at a time, so that a large image needs no copy of floats.
        scaled = np.empty(image.shape, np.uint8)
        for start in range(0, len(image), _ROWS):
            rows = slice(start, start + _ROWS)
            values = image[rows].astype(np.float64)
            scaled[rows] = np.rint(_checked(values) * 255.0 if kind.kind == "f" else values / 257.0)
        return scaled
    raise ImageError(
        f"image: arrays must be uint8 (0 to 255), uint16, bool, or floats from 0 to 1, found {kind}; "
        "convert it first, `image.astype(np.uint8)` if its values are 0 to 255"
    )


def _checked(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    low, high = values.min(), values.max()
    # Written so that NaN fails too.
    if not (low >= 0.0 and high <= 1.0):
        raise ImageError(
            f"image: floats must be 0 to 1, found {low:g} to {high:g}; "
            "divide by 255 if they are 0 to 255, and replace what is not finite"
        )
    return values
