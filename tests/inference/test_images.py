import io
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from panvision.config import Config
from panvision.inference import infer_image
from panvision.inference.images import to_rgb
from panvision.inference.predictor import Predictor
from panvision.photos.pixels import ImageEmptyError, ImageError, ImageTooLargeError, ImageTruncatedError
from panvision.photos.settings import DataSettings
from tests.tiny import ColourBackend, picture, write_onnx


def encoded(image, kind="PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(ColourBackend())


LAYOUTS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "every other": lambda values: np.repeat(np.repeat(values, 2, axis=0), 2, axis=1)[::2, ::2],
    "backwards": lambda values: np.ascontiguousarray(values[::-1, ::-1])[::-1, ::-1],
    "part of a larger one": lambda values: np.pad(values, [(1, 2), (3, 4)] + [(0, 0)] * (values.ndim - 2))[1:-2, 3:-4],
    "read-only": lambda values: np.frombuffer(values.tobytes(), values.dtype).reshape(values.shape),
    "of a subclass": lambda values: values.view(np.recarray),
}
TYPES = ["u1", "?", "<u2", ">u2", "<f2", "<f4", ">f4", "<f8", ">f8"]


SIDES = st.integers(1, 40)


@st.composite
def pictures(draw, sides=SIDES):
    """An array of any accepted shape, type and layout, and the bytes 0 to 255 of its RGB."""
    channels = draw(st.sampled_from([(), (1,), (3,), (4,)]))
    shape = (draw(sides), draw(sides), *channels)
    levels = draw(arrays.arrays(np.uint8, shape, elements=st.integers(0, 255), fill=st.integers(0, 255)))
    kind = np.dtype(draw(st.sampled_from(TYPES)))
    if kind == np.bool_:
        levels = np.where(levels > 127, 255, 0).astype(np.uint8)
        values = levels > 127
    elif kind.kind == "u":
        values = (levels * kind.type(257 if kind.itemsize == 2 else 1)).astype(kind)
    else:
        values = (levels / 255).astype(kind)
    return draw(st.sampled_from(sorted(LAYOUTS))), values, levels


def plain(levels: np.ndarray) -> np.ndarray:
    """Return gray, RGB or RGBA levels as RGB."""
    if levels.ndim == 2 or levels.shape[2] == 1:
        return np.repeat(levels.reshape(*levels.shape[:2], 1), 3, axis=2)
    if levels.shape[2] == 3:
        return levels
    alpha = levels[:, :, 3:] / 255
    return np.rint(levels[:, :, :3] * alpha + 255 * (1 - alpha))


@settings(deadline=None, max_examples=30)
@given(pictures(), st.booleans())
def test_to_rgb_of_any_array(made, bgr) -> None:
    layout, values, levels = made
    given_values = LAYOUTS[layout](values)
    before = values.copy()
    rgb = to_rgb(given_values, bgr=bgr)
    expected = plain(levels[:, :, [2, 1, 0, 3][: levels.shape[2]]] if bgr and levels.shape[2:] > (1,) else levels)
    assert rgb.dtype == np.uint8 and rgb.shape == expected.shape
    # Floats of half precision have 11 bits; Pillow lays transparency on white in whole numbers.
    assert np.abs(rgb - expected).max() <= 1
    assert np.array_equal(values, before)


@settings(deadline=None, max_examples=20)
@given(pictures(st.integers(1, 12) | st.sampled_from([1, 2, 333, 5000])), st.booleans())
def test_any_array_gives_a_result_in_its_own_pixels(made, bgr) -> None:
    layout, values, _ = made
    result = infer_image(Predictor(ColourBackend()), LAYOUTS[layout](values), score_threshold=0.0, bgr=bgr)
    height, width = values.shape[:2]
    mask = result["segmentation"]["mask"]
    assert mask.shape == (height, width) and mask.dtype == np.uint8 and set(np.unique(mask)) <= {0, 255}
    assert all(0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height for x1, y1, x2, y2 in result["detection"]["boxes"])


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (30_000, 1), (2, 3, 4), (700, 500, 3)])
def test_extreme_shapes_through_onnx_runtime(tmp_path, shape) -> None:
    image = np.full(shape, 200, np.uint8)
    result = infer_image(Predictor.load(write_onnx(tmp_path / "m.onnx")), image)
    assert result["segmentation"]["mask"].shape == shape[:2]
    assert (result["segmentation"]["mask"] == 255).all()


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "I", "I;16", "F"]
)
def test_pillow_images_of_every_mode(predictor, mode) -> None:
    image = Image.new(mode, (5, 3))
    assert to_rgb(image).shape == (3, 5, 3)
    assert predictor.predict(image)["segmentation"]["mask"].shape == (3, 5)


def test_to_rgb_of_a_broken_pillow_image(tmp_path) -> None:
    content = encoded(Image.effect_noise((200, 200), 90), "JPEG")
    with pytest.raises(ImageError, match="image: cannot be decoded"):
        to_rgb(Image.open(io.BytesIO(content[: len(content) // 2])))
    closed = Image.open(io.BytesIO(content))
    closed.close()
    with pytest.raises(ImageError, match="image: cannot be decoded"):
        to_rgb(closed)


def test_every_form_of_a_picture_is_the_same_picture(tmp_path) -> None:
    image = picture(box=(4, 4, 30, 30))
    path = tmp_path / "a.png"
    Image.fromarray(image).save(path)
    opaque = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
    content = path.read_bytes()
    forms = (path, str(path), content, bytearray(content), memoryview(content), io.BytesIO(content))
    for form in (*forms, Image.fromarray(image), image, opaque, image[:]):
        assert np.array_equal(to_rgb(form), image)
    with path.open("rb") as stream:
        assert np.array_equal(to_rgb(stream), image)
    grey = image[:, :, 0]
    for form in (grey, grey[:, :, None], Image.fromarray(grey)):
        assert np.array_equal(to_rgb(form), np.repeat(grey[:, :, None], 3, axis=2))


def test_transparency_is_laid_on_white() -> None:
    assert np.all(to_rgb(np.zeros((4, 5, 4), np.uint8)) == 255)


def test_a_frame_of_opencv_is_read_with_its_strides(predictor) -> None:
    image = picture(box=(4, 4, 30, 30))
    frame = np.ascontiguousarray(image[:, :, ::-1])
    assert predictor.predict(frame)["detection"]["labels"] == []
    assert predictor.predict(frame, bgr=True)["detection"]["labels"] == [1]
    assert infer_image(predictor, frame, bgr=True)["detection"]["labels"] == [1]
    alpha = np.dstack([frame, np.full(frame.shape[:2], 255, np.uint8)])
    assert np.array_equal(to_rgb(alpha, bgr=True), image)
    assert np.array_equal(to_rgb(frame[:, :, 0], bgr=True)[:, :, 1], frame[:, :, 0])
    with pytest.raises(ImageError, match="bgr is for arrays"):
        predictor.predict(Image.fromarray(frame), bgr=True)


def test_predict_applies_exif_orientation(tmp_path, predictor) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(96, 48)).save(tmp_path / "a.png", exif=exif)
    for form in (tmp_path / "a.png", (tmp_path / "a.png").read_bytes(), Image.open(tmp_path / "a.png")):
        assert predictor.predict(form)["segmentation"]["mask"].shape == (96, 48)


def test_to_rgb_of_an_animation() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "WEBP", "TIFF", "PNG"):
        content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert to_rgb(content)[0, 0, 0] > 200
        with Image.open(io.BytesIO(content)) as image:
            image.seek(2)
            assert to_rgb(image)[0, 0].argmax() == 2


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((4, 4, 3), 2.0), "floats must be 0 to 1, found 2 to 2; divide by 255"),
        (np.full((4, 4), -0.1, np.float32), "floats must be 0 to 1"),
        (np.full((4, 4), np.nan, np.float16), "found nan to nan; .* not finite"),
        (np.full((4, 4), np.inf), "floats must be 0 to 1"),
        (np.zeros((4, 4), np.int64), r"found int64; .*astype\(np\.uint8\)"),
        (np.zeros((4, 4), np.uint32), "uint32"),
        (np.zeros((4, 4), np.complex64), "complex64"),
        (np.full((4, 4), None), "object"),
        (np.full((4, 4), "a"), "<U1"),
        (np.zeros((4, 4), "M8[s]"), "datetime64"),
        (np.zeros((4, 4), [("r", "u1"), ("g", "u1")]), "'r'"),
        (np.ma.masked_array(np.zeros((4, 4), np.uint8), [[True] * 4] * 4), "pixels are masked"),
        (np.zeros((4, 4, 2), np.uint8), "shape"),
        (np.zeros((3, 40, 50), np.uint8), r"channels come first: pass `image\.transpose\(1, 2, 0\)`"),
        (np.zeros((2, 40, 50, 3), np.uint8), "is a batch"),
        (np.zeros(4, np.uint8), "shape"),
        (np.zeros((), np.uint8), "shape"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (np.zeros((4, 0), np.uint8), "no pixels"),
        (Image.new("RGB", (0, 3)), "no pixels"),
        (None, "NoneType"),
        ([[1, 2]], r"found list; make it an array"),
        (3, "int"),
        ({"a": 1}, "dict"),
        ("missing.png", "missing.png: no such file"),
        ("a\0b.png", "null"),
        ("x" * 5000 + ".png", "File name too long"),
        ("", "Is a directory|no such file"),
        (b"", "image: is empty"),
        (b"not a picture", "not an image in a known format"),
        (io.StringIO("text"), "opened as text"),
    ],
)
def test_predict_refuses_other_inputs(predictor, image, message) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        predictor.predict(image)
    assert len(str(caught.value).splitlines()) == 1


def test_a_tensor_is_refused_with_the_remedy() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(ImageError, match=r"found Tensor; .*permute\(1, 2, 0\)\.cpu\(\)\.numpy\(\)"):
        to_rgb(torch.zeros(3, 4, 4))


def test_masked_arrays_without_a_mask_are_arrays() -> None:
    assert to_rgb(np.ma.masked_array(np.full((2, 2), 7, np.uint8)))[0, 0].tolist() == [7, 7, 7]


class TestFiles:
    def test_pipes_and_devices_are_refused(self, tmp_path) -> None:
        os.mkfifo(tmp_path / "pipe.png")
        (tmp_path / "loop.png").symlink_to("loop.png")
        (tmp_path / "gone.png").symlink_to("nowhere.png")
        for path, message in {
            tmp_path / "pipe.png": "is a pipe or a device, not a file",
            "/dev/zero": "is a pipe or a device, not a file",
            tmp_path / "loop.png": "Too many levels of symbolic links",
            tmp_path / "gone.png": "no such file",
            tmp_path: "Is a directory",
        }.items():
            with pytest.raises(ImageError, match=f"{path}: .*{message}"):
                to_rgb(path)

    def test_names_may_hold_any_byte(self, tmp_path) -> None:
        path = os.fsencode(tmp_path) + b"/caf\xe9\n.png"
        with open(path, "wb") as file:  # noqa: PTH123 -- a name of bytes
            file.write(encoded(Image.new("RGB", (3, 2))))
        assert to_rgb(os.fsdecode(path)).shape == (2, 3, 3)

    def test_empty_truncated_and_misnamed_files(self, tmp_path) -> None:
        content = encoded(Image.fromarray(picture()), "JPEG")
        for name, some, error in (("a.jpg", b"", ImageEmptyError), ("b.jpg", content[:400], ImageTruncatedError)):
            (tmp_path / name).write_bytes(some)
            with pytest.raises(error, match=name):
                to_rgb(tmp_path / name)
        (tmp_path / "c.png").write_bytes(content)
        assert to_rgb(tmp_path / "c.png").shape == (48, 96, 3)

    def test_rare_formats_are_refused(self, tmp_path) -> None:
        for kind in ("PCX", "SGI", "ICNS", "XBM"):
            image = Image.new("1" if kind == "XBM" else "RGB", (16, 16))
            with pytest.raises(ImageError, match="not an image in a known format"):
                to_rgb(encoded(image, kind))


class TestLimits:
    def test_large_images_are_refused_undecoded(self, tmp_path) -> None:
        path = tmp_path / "a.png"
        path.write_bytes(encoded(Image.new("1", (300, 300)))[:60])  # the header is enough
        for form in (path, path.read_bytes(), io.BytesIO(path.read_bytes())):
            with pytest.raises(ImageTooLargeError, match="300x300 is more than 80000 pixels"):
                to_rgb(form, max_pixels=80_000)
        for form in (np.zeros((300, 300), np.uint8), Image.new("1", (300, 300))):
            with pytest.raises(ImageTooLargeError, match="300x300 is more than 80000 pixels"):
                to_rgb(form, max_pixels=80_000)

    def test_files_too_long_for_a_picture_are_not_read(self, tmp_path) -> None:
        with (tmp_path / "a.png").open("wb") as file:
            file.truncate(10**12)
        with pytest.raises(ImageTooLargeError, match="1000000000000 bytes are too many"):
            to_rgb(tmp_path / "a.png")

    def test_an_endless_stream_is_given_up(self) -> None:
        with open("/dev/zero", "rb") as stream, pytest.raises(ImageTooLargeError, match="bytes, too large"):  # noqa: PTH123
            to_rgb(stream, max_pixels=1000)

    def test_the_limit_is_the_configurations(self, predictor) -> None:
        config = Config(data=DataSettings(max_pixels=5000))
        with pytest.raises(ImageTooLargeError, match="more than 5000 pixels"):
            infer_image(predictor, np.zeros((100, 100), np.uint8), config=config)
        assert infer_image(predictor.with_max_pixels(5000), np.zeros((50, 100), np.uint8))
        with pytest.raises(ImageTooLargeError):
            predictor.with_max_pixels(50).with_thresholds(0.4).predict(np.zeros((50, 100), np.uint8))
