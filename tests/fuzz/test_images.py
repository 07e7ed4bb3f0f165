import io

import numpy as np
from hypothesis import strategies as st
from PIL import Image, features

from panvision.inference.images import to_rgb
from panvision.photos.pixels import ImageError
from tests.fuzz.fuzzing import damaged, fuzzed

PIXELS = np.random.default_rng(0).integers(0, 255, (24, 32, 4), dtype=np.uint8)


def encoded(kind: str, mode: str = "RGB", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def exif() -> Image.Exif:
    made = Image.Exif()
    made[0x0112] = 6
    return made


FILES = [
    encoded("JPEG", exif=exif()),
    encoded("JPEG", progressive=True),
    encoded("JPEG", "CMYK"),
    encoded("PNG", "RGBA"),
    encoded("PNG", "P", exif=exif()),
    encoded("PNG", "I;16"),
    encoded("PNG", save_all=True, append_images=[Image.new("RGB", (9, 9))]),
    encoded("WEBP", exif=exif()),
    encoded("WEBP", "RGBA", lossless=True, save_all=True, append_images=[Image.new("RGBA", (32, 24))]),
    encoded("TIFF", exif=exif()),
    encoded("TIFF", "F"),
    encoded("TIFF", compression="tiff_lzw"),
    encoded("TIFF", "1", compression="group4"),
    encoded("BMP"),
    encoded("GIF", "P", save_all=True, append_images=[Image.new("P", (32, 24))]),
    encoded("PPM"),
    *([encoded("JPEG2000")] if features.check("jpg_2000") else []),
    *([encoded("AVIF", exif=exif())] if features.check("avif") else []),
]


@fuzzed(st.sampled_from(FILES).flatmap(damaged), examples=75)
def test_pictures_with_other_bytes(content):
    try:
        rgb = to_rgb(content, max_pixels=10**6)
    except ImageError as error:
        assert str(error).startswith("image: ")
    else:
        assert rgb.dtype == np.uint8 and rgb.ndim == 3 and rgb.shape[2] == 3 and 0 < rgb.size <= 3 * 10**6
