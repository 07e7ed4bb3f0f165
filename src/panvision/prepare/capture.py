"""The time when a photo was taken and its camera, from EXIF data or the file's name; bursts are found by them."""

import posixpath
import re
import struct
from dataclasses import dataclass
from datetime import UTC, datetime

from PIL import Image

from panvision.dataset.paths import photo_name

# Exif 2.32, tags. DateTime (0x0132) is not used: editors write the time of the last change there.
_CAMERA_TAGS = (0x010F, 0x0110, 0xA431)  # maker, model, serial number
_EXIF_IFD = 0x8769
# Times when the photo was taken or digitised, each with the tag of its fraction of a second.
_TIME_TAGS = ((0x9003, 0x9291), (0x9004, 0x9292))

# What Pillow raises on damaged EXIF data, or if the image they are read from is closed.
_DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    SyntaxError,
    struct.error,
)

_EXIF_TIME = re.compile(
    r"\s*([0-9]{4})[-:/.]([0-9]{1,2})[-:/.]([0-9]{1,2})[\sT]+([0-9]{1,2}):([0-9]{2}):([0-9]{2})(?:[.,]([0-9]{1,9}))?"
)

# A date and a time in a name. A separator (`IMG_`) or letters only (`BURST`) come before them, so that digits in the
# middle of an identifier are not a date; no letter or digit may follow. Between them is at most a short word (`at`).
_NAME_TIME = re.compile(
    r"(?:^|[^0-9A-Za-z])[A-Za-z]{0,16}"
    r"(?P<year>[12][0-9]{3})(?P<in_date>[-_.:]?)(?P<month>[0-9]{2})(?P=in_date)(?P<day>[0-9]{2})"
    r"(?P<between>[-_ ][^\W\d_]{1,5}[-_ ]|[-_ .T]?)"
    r"(?P<hour>[0-9]{1,2})(?P<in_time>[-_.:]?)(?P<minute>[0-9]{2})(?P=in_time)(?P<second>[0-9]{2})"
    r"(?:[.,](?P<decimals>[0-9]{1,9})|-?(?P<fraction>[0-9]{6}|[0-9]{3}))?"
    r"(?:[\s_-]?(?P<half>[AaPp])[Mm]|Z)?(?![0-9A-Za-z])"
)

# Names that are seconds, milli-, micro- or nanoseconds since 1970. A video recorder (ROS) puts a counter before them.
_COPY_MARK = r"(?:~[0-9]{1,3}|[ _-]?\([0-9]{1,3}\))?"
_EPOCHS = (
    re.compile(rf"(?P<whole>[0-9]{{10}})(?:\.?(?P<fraction>[0-9]{{3}}|[0-9]{{6}}|[0-9]{{9}}))?{_COPY_MARK}"),
    re.compile(r"(?:[A-Za-z]{1,16}[-_])?(?:[0-9]{1,9}[-_])?(?P<whole>[0-9]{10})\.?(?P<fraction>[0-9]{9}|[0-9]{6})"),
)

_SUFFIX = re.compile(r"\.(?=[0-9]*[A-Za-z])[0-9A-Za-z]{1,5}$")
# Roboflow's form of the suffix of the uploaded file.
_ROBOFLOW_SUFFIX = re.compile(r"_(?:jpe?g|png|bmp|webp|tiff?|heic|heif|avif|mpo)$", re.IGNORECASE)

# Words that cameras and programs put into names. One phone writes all of IMG's.
_PREFIXES = {
    **dict.fromkeys(("img", "mvimg", "vid", "pano", "burst"), "IMG"),
    **{word.lower(): word for word in ("PXL", "DJI", "DSC", "WP", "Screenshot", "WhatsApp", "signal")},
}

_YEARS = range(1980, 2100)
# Not from 2001: Android's picker of photos numbers them from 1000000000 (September 2001) on.
_EPOCH_YEARS = range(2002, 2100)


@dataclass(frozen=True, slots=True)
class Capture:
    """Time and camera of a photo.

    Attributes:
        taken: seconds of the camera's own clock since 1970, as if it showed UTC; None: unknown.
        camera: maker, model and serial number, or the word in the name that identifies the camera; "": unknown.
    """

    taken: float | None
    camera: str


def capture_time(image_exif: Image.Exif | None, name: str) -> Capture:
    """Return when and by which camera an image was taken; damaged or hostile data count as none.

    EXIF's DateTimeOriginal comes first, then DateTimeDigitized, then the name. Names of messengers have the time when a
    photo was sent; photos sent together mostly were taken together.

    Args:
        image_exif: `image.getexif()` of the opened image, which must still be open.
        name: the file's name, also as Roboflow changes it (`PXL_20231008_093112354_jpg.rf.<hash>.jpg`).
    """
    photo, roboflow = photo_name(name)
    stem = _ROBOFLOW_SUFFIX.sub("", photo) if roboflow else _SUFFIX.sub("", posixpath.basename(name))
    tags = _tags(image_exif)
    taken = next((time for pair in _TIME_TAGS if (time := _exif_time(tags, *pair)) is not None), None)
    camera = " ".join(tags[tag] for tag in _CAMERA_TAGS if tag in tags)
    words = (word.lower() for word in re.findall(r"[A-Za-z]+", stem))
    known = next((_PREFIXES[word] for word in words if word in _PREFIXES), "")
    return Capture(_name_time(stem) if taken is None else taken, camera or known)


def _tags(exif: Image.Exif | None) -> dict[int, str]:
    """Return the wanted tags that hold text."""
    wanted = (*(tag for pair in _TIME_TAGS for tag in pair), *_CAMERA_TAGS)
    texts: dict[int, str] = {}
    if not exif:
        return texts
    # Some writers put everything into the first directory. Its tags are used even if the second one is damaged.
    for directory in (lambda: exif, lambda: exif.get_ifd(_EXIF_IFD)):
        try:
            tags = directory()
            texts |= {tag: text for tag in wanted if (text := _text(tags.get(tag)))}
        except _DAMAGED:
            continue
    return texts


def _text(value: object) -> str:
    """Return one line of printable characters, at most 64; "" for anything but text."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if not isinstance(value, str):
        return ""
    # Slice first: the text may be as long as the file.
    printable = "".join(character if character.isprintable() else " " for character in value[:256])
    return " ".join(printable.split())[:64]


def _exif_time(tags: dict[int, str], tag: int, fraction_tag: int) -> float | None:
    found = _EXIF_TIME.match(tags.get(tag, ""))
    if found is None:
        return None
    *parts, decimals = found.groups()
    numbers = [int(part) for part in parts]
    if not any(numbers[3:]):
        # Midnight to the second is a date without a time, or a clock that was never set.
        return None
    subsecond = re.match(r"[0-9]{1,9}", tags.get(fraction_tag, ""))
    return _seconds(numbers, decimals or (subsecond.group() if subsecond else ""))


def _name_time(stem: str) -> float | None:
    """Return the seconds that a name states, None if it states no time or an impossible one."""
    for pattern in _EPOCHS:
        if (found := pattern.fullmatch(stem)) is not None:
            whole, fraction = int(found["whole"]), found["fraction"] or "0"
            valid = datetime.fromtimestamp(whole, UTC).year in _EPOCH_YEARS
            return whole + int(fraction) / 10 ** len(fraction) if valid else None
    times = (_seconds_of(found) for found in _NAME_TIME.finditer(stem))
    return next((time for time in times if time is not None), None)


def _seconds_of(found: re.Match[str]) -> float | None:
    """Return the seconds of a date and a time in a name."""
    plain = not found["in_time"]
    if (not found["between"] and (found["in_date"] or not plain)) or (plain and len(found["hour"]) < 2):
        # Without separators only fixed widths are unambiguous.
        return None
    numbers = [int(found[part]) for part in ("year", "month", "day", "hour", "minute", "second")]
    if found["half"]:
        if not 1 <= numbers[3] <= 12:
            return None
        numbers[3] = numbers[3] % 12 + (12 if found["half"] in "Pp" else 0)
    return _seconds(numbers, found["decimals"] or found["fraction"] or "")


def _seconds(numbers: list[int], decimals: str) -> float | None:
    """Return the seconds of year, month, day, hour, minute, second and decimals; None if there is no such time."""
    if numbers[0] not in _YEARS:
        return None
    try:
        moment = datetime(*numbers, tzinfo=UTC)  # type: ignore[misc,arg-type]
    except ValueError:
        return None
    return moment.timestamp() + (int(decimals) / 10 ** len(decimals) if decimals else 0.0)
