"""Times and cameras from EXIF data and from names; hostile ones count as none."""

import io
import struct
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from panvision.prepare.capture import Capture, capture_time

ORIGINAL, DIGITIZED, DATE_TIME = 0x9003, 0x9004, 0x0132
SUBSECOND_ORIGINAL, SUBSECOND_DIGITIZED = 0x9291, 0x9292
MAKE, MODEL, SERIAL = 0x010F, 0x0110, 0xA431
HASH = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"


def seconds(*parts, fraction=0.0):
    return datetime(*parts, tzinfo=UTC).timestamp() + fraction


NEW_YEAR = seconds(2023, 1, 1, 12, 34, 56)


def exif(inner=None, **outer):
    """EXIF data as they come back from a JPEG file."""
    data = Image.Exif()
    data.update({{"make": MAKE, "model": MODEL, "changed": DATE_TIME}[name]: value for name, value in outer.items()})
    data.get_ifd(0x8769).update(inner or {})
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "JPEG", exif=data)
    return Image.open(stream).getexif()


@pytest.mark.parametrize(
    ("name", "taken", "camera"),
    [
        ("PXL_20231008_093112354.jpg", seconds(2023, 10, 8, 9, 31, 12, fraction=0.354), "PXL"),
        ("PXL_20231008_093112354.MP.jpg", seconds(2023, 10, 8, 9, 31, 12, fraction=0.354), "PXL"),
        ("PXL_20231008_093112354~2.jpg", seconds(2023, 10, 8, 9, 31, 12, fraction=0.354), "PXL"),
        (f"PXL_20231008_093112354_jpg.rf.{HASH}.jpg", seconds(2023, 10, 8, 9, 31, 12, fraction=0.354), "PXL"),
        ("IMG_20230101_123456.jpg", NEW_YEAR, "IMG"),
        ("IMG_20230101_123456 (1).jpg", NEW_YEAR, "IMG"),
        ("IMG_20230101_123456_BURST001_COVER.jpg", NEW_YEAR, "IMG"),
        ("IMG20230101123456.jpg", NEW_YEAR, "IMG"),
        ("MVIMG_20230101_123456.jpg", NEW_YEAR, "IMG"),
        ("00100lrPORTRAIT_00100_BURST20230101123456789_COVER.jpg", NEW_YEAR + 0.789, "IMG"),
        ("VID_20230101_123456_frame0012.png", NEW_YEAR, "IMG"),
        ("20230101_123456.jpg", NEW_YEAR, ""),
        ("20230101T123456Z.png", NEW_YEAR, ""),
        ("2023-01-01 12.34.56.jpg", NEW_YEAR, ""),
        ("2023-01-01_12-34-56.png", NEW_YEAR, ""),
        ("pan_raw_2023-01-01T12:34:56.250000.png", NEW_YEAR + 0.25, ""),
        (f"2023-01-01-12-34-56_png.rf.{HASH}.jpg", NEW_YEAR, ""),
        ("Screenshot_2023-01-01-12-34-56-789_com.app.png", NEW_YEAR + 0.789, "Screenshot"),
        ("Screenshot 2023-01-01 at 12.34.56 PM.png", NEW_YEAR, "Screenshot"),
        ("Screenshot 2023-01-01 at 1.23.45\u202fPM.png", seconds(2023, 1, 1, 13, 23, 45), "Screenshot"),
        ("Screenshot 2023-01-01 at 12.34.56 AM.png", seconds(2023, 1, 1, 0, 34, 56), "Screenshot"),
        ("signal-2023-01-01-123456.jpg", NEW_YEAR, "signal"),
        ("signal-2023-01-01-12-34-56-789-1.jpg", NEW_YEAR + 0.789, "signal"),
        ("WhatsApp Image 2023-01-01 at 12.34.56.jpeg", NEW_YEAR, "WhatsApp"),
        (f"WhatsApp-Image-2023-01-01-at-12-34-56_jpeg.rf.{HASH}.jpg", NEW_YEAR, "WhatsApp"),
        ("WhatsApp Bild 2023-01-01 um 12.34.56.jpeg", NEW_YEAR, "WhatsApp"),
        ("DJI_20230101123456_0001.jpg", NEW_YEAR, "DJI"),
        ("WP_20230101_12_34_56_Pro.jpg", NEW_YEAR, "WP"),
        ("1614538666.jpg", 1614538666.0, ""),
        ("1614538666506.jpg", 1614538666.506, ""),
        (f"1614538666506_jpg.rf.{HASH}.jpg", 1614538666.506, ""),
        ("000045_1754035427307980997.jpg", 1754035427.307981, ""),
        ("frame_1754035427.307980997.jpg", 1754035427.307981, ""),
        ("1754035427.307980997.jpg", 1754035427.307981, ""),
    ],
)
def test_names_that_tell_a_time(name, taken, camera):
    found = capture_time(None, name)
    assert found.taken == pytest.approx(taken, abs=1e-6)
    assert found.camera == camera


@pytest.mark.parametrize(
    "name",
    [
        "IMG-20230101-WA0001.jpg",  # a date only
        "IMG_1234.jpg",
        "IMG_20231301_123456.jpg",
        "IMG_20230101_243456.jpg",
        "IMG_20230101_126056.jpg",
        "2023-01-01 at 13.34.56 PM.jpg",
        "2023-01-01 at 0.34.56 AM.jpg",
        "IMG_19010101_123456.jpg",
        "00000000_000000.jpg",
        "2023010112345.6.jpg",
        "1000_F_382776085_RcEETBoRrMpMz2bipRuYtj1qTpiVKZXb.jpg",
        "yakiniku-japanese-version-korean-bbq-260nw-1092008285.jpg",
        "phone 1614538666506.jpg",
        "5551234567.jpg",  # in the year 2145
        "1000012345.jpg",  # the number that Android's picker gives a photo, no second of 2001
        "0614538666.jpg",
        "a20230101123456b.jpg",
        "120230101_123456.jpg",
        "20230101_1234567x.jpg",
        f"pan_jpg.rf.20230101123456{HASH[:18]}.jpg",
        "",
        "\0",
    ],
)
def test_names_that_tell_none(name):
    assert capture_time(None, name).taken is None


@pytest.mark.parametrize(
    "template",
    [
        "IMG_%Y%m%d_%H%M%S.jpg",
        "%Y-%m-%d %H.%M.%S.png",
        "%Y-%m-%d_%H-%M-%S (3).jpg",
        "signal-%Y-%m-%d-%H%M%S.jpg",
        "WhatsApp Image %Y-%m-%d at %I.%M.%S %p.jpeg",
        "DJI_%Y%m%d%H%M%S_0042_D.JPG",
        "%Y%m%d_%H%M%S_jpg.rf." + HASH + ".jpg",
    ],
)
@given(moment=st.datetimes(datetime(1980, 1, 1), datetime(2099, 12, 31, 23, 59, 59)))
@settings(max_examples=50, deadline=None)
def test_formatted_times_come_back(template, moment):
    moment = moment.replace(microsecond=0, tzinfo=UTC)
    assert capture_time(None, moment.strftime(template)).taken == moment.timestamp()


@given(st.integers(1009843200 * 1000, 4102444800 * 1000 - 1))
def test_milliseconds_come_back(milliseconds):
    assert capture_time(None, f"{milliseconds}.jpg").taken == milliseconds / 1000


@given(st.text() | st.text("0123456789-_. :TZPMatIMG~()/jpg", max_size=40))
@settings(max_examples=300)
def test_capture_time_of_any_name(name):
    taken = capture_time(None, name).taken
    assert taken is None or seconds(1980, 1, 1) <= taken <= seconds(2100, 1, 1)


def test_exif_comes_before_the_name():
    data = exif(
        {ORIGINAL: "2022:05:06 07:08:09", SUBSECOND_ORIGINAL: "25", SERIAL: "A 17"}, make="Canon", model="EOS 80D"
    )
    found = capture_time(data, "IMG_20230101_123456.jpg")
    assert found == Capture(seconds(2022, 5, 6, 7, 8, 9, fraction=0.25), "Canon EOS 80D A 17")


def test_digitized_replaces_original_with_its_own_fraction():
    data = exif({DIGITIZED: "2022:05:06 07:08:09", SUBSECOND_ORIGINAL: "9", SUBSECOND_DIGITIZED: "125"})
    assert capture_time(data, "IMG_1.jpg") == Capture(seconds(2022, 5, 6, 7, 8, 9, fraction=0.125), "IMG")


def test_the_time_of_the_last_change_is_ignored():
    assert capture_time(exif(changed="2022:05:06 07:08:09"), "a.jpg").taken is None


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("2022:05:06 07:08:09", seconds(2022, 5, 6, 7, 8, 9)),
        ("2022-05-06T07:08:09.5+02:00", seconds(2022, 5, 6, 7, 8, 9, fraction=0.5)),
        (" 2022:05:06 07:08:09\0junk", seconds(2022, 5, 6, 7, 8, 9)),
        (b"2022:05:06 07:08:09\0", seconds(2022, 5, 6, 7, 8, 9)),
        ("2022:05:06 00:00:01", seconds(2022, 5, 6, 0, 0, 1)),
    ],
)
def test_times_as_writers_vary_them(text, taken):
    data = Image.Exif()
    data[ORIGINAL] = text
    assert capture_time(data, "IMG_20230101_123456.jpg").taken == taken


@pytest.mark.parametrize(
    "value",
    [
        "0000:00:00 00:00:00",
        "    :  :     :  :  ",
        "2022:13:06 07:08:09",
        "2022:05:06 25:08:09",
        "2022:05:06 00:00:00",  # a date without its time
        "2022:05:06",
        "",
        "\0" * 20,
        b"\xff\xfe\x00",
        1651820889,
        ("2022:05:06 07:08:09",) * 2,
        None,
        "2" * 10**6,
        "٢٠٢٢:٠٥:٠٦ ٠٧:٠٨:٠٩",
    ],
)
def test_exif_without_a_time_leaves_it_to_the_name(value):
    data = Image.Exif()
    data[ORIGINAL] = value
    data[SUBSECOND_ORIGINAL] = value
    assert capture_time(data, "IMG_20230101_123456.jpg").taken == NEW_YEAR


@pytest.mark.parametrize(
    ("make", "camera"),
    [
        ("  Canon\0\0 ", "Canon"),
        (b"Canon\0", "Canon"),
        ("line\nbreak,\t\u202etext", "line break, text"),
        ("x" * 10**6, "x" * 64),
        (7, "IMG"),
        ("\0", "IMG"),
    ],
)
def test_cameras_are_one_short_line(make, camera):
    data = Image.Exif()
    data[MAKE] = make
    assert capture_time(data, "IMG_1.jpg").camera == camera


class Broken(Image.Exif):
    """EXIF data of a file that ends early, or was closed."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def get_ifd(self, _):
        raise self.error


@pytest.mark.parametrize("error", [ValueError("closed"), SyntaxError("not a TIFF"), KeyError(7), OSError("read")])
def test_exif_that_cannot_be_read_leaves_it_to_the_name(error):
    damaged = Broken(error)
    assert capture_time(damaged, "IMG_20230101_123456.jpg") == Capture(NEW_YEAR, "IMG")
    damaged[MAKE] = "Canon"
    assert capture_time(damaged, "IMG_20230101_123456.jpg") == Capture(NEW_YEAR, "Canon")


@given(st.data())
@settings(max_examples=150, deadline=None)
@pytest.mark.filterwarnings("ignore")  # Pillow's, of damaged metadata
def test_no_damaged_exif_crashes_it(data):
    content = bytearray(exif({ORIGINAL: "2022:05:06 07:08:09", SERIAL: "17"}, make="Canon", model="EOS").tobytes())
    for place in data.draw(st.lists(st.integers(6, len(content) - 1), max_size=8)):
        content[place] = data.draw(st.integers(0, 255))
    damaged = Image.Exif()
    try:
        damaged.load(bytes(content[: data.draw(st.integers(6, len(content)))]))
    except (SyntaxError, struct.error):
        return  # Pillow cannot open the image either
    assert isinstance(capture_time(damaged, "a.jpg"), Capture)


def test_a_burst_is_within_its_seconds():
    names = ["PXL_20231231_235959900.jpg", "PXL_20240101_000000150.jpg"]
    first, second = (capture_time(None, name) for name in names)
    assert timedelta(seconds=second.taken - first.taken) == timedelta(milliseconds=250)
    assert first.camera == second.camera
