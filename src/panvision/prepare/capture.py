"""When a photo was taken and by which camera, as its EXIF data or its name tell; bursts are found by it."""

import posixpath
import re
import struct
from dataclasses import dataclass
from datetime import UTC, datetime

from PIL import Image

from panvision.dataset.paths import photo_name

# Exif 2.32, tags. DateTime (0x0132) is left out: editors write the time of the last change there.
_MAKE, _MODEL, _BODY_SERIAL = 0x010F, 0x0110, 0xA431
_EXIF_IFD = 0x8769
# Each time with the tag of its fraction of a second.
_TIMES = ((0x9003, 0x9291), (0x9004, 0x9292))

# What Pillow raises where EXIF data are damaged, or where the image they are read from is closed.
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

# A date and a time in a name. What stands before them may be separated (`IMG_`) or letters only (`BURST`), so that
# digits in the middle of an identifier are no date; after them no further letter or digit may follow. Between them
# stands no more than a short word (`at`).
_NAME_TIME = re.compile(
    r"(?:^|[^0-9A-Za-z])[A-Za-z]{0,16}"
    r"(?P<year>[12][0-9]{3})(?P<in_date>[-_.:]?)(?P<month>[0-9]{2})(?P=in_date)(?P<day>[0-9]{2})"
    r"(?P<between>[-_ ][^\W\d_]{1,5}[-_ ]|[-_ .T]?)"
    r"(?P<hour>[0-9]{1,2})(?P<in_time>[-_.:]?)(?P<minute>[0-9]{2})(?P=in_time)(?P<second>[0-9]{2})"
    r"(?:[.,](?P<decimals>[0-9]{1,9})|-?(?P<fraction>[0-9]{6}|[0-9]{3}))?"
    r"(?:[\s_-]?(?P<half>[AaPp])[Mm]|Z)?(?![0-9A-Za-z])"
)

# Seconds, milli-, micro- or nanoseconds since 1970 are the whole name; a video's recorder (ROS) puts a counter before.
_COPY_MARK = r"(?:~[0-9]{1,3}|[ _-]?\([0-9]{1,3}\))?"
_EPOCH = re.compile(rf"(?P<whole>[0-9]{{10}})(?:\.?(?P<fraction>[0-9]{{3}}|[0-9]{{6}}|[0-9]{{9}}))?{_COPY_MARK}")
_FRAME = re.compile(r"(?:[A-Za-z]{1,16}[-_])?(?:[0-9]{1,9}[-_])?(?P<whole>[0-9]{10})\.?(?P<fraction>[0-9]{9}|[0-9]{6})")

_SUFFIX = re.compile(r"\.(?=[0-9]*[A-Za-z])[0-9A-Za-z]{1,5}$")
# What Roboflow makes of the suffix of the file that was uploaded.
_ROBOFLOW_SUFFIX = re.compile(r"_(?:jpe?g|png|bmp|webp|tiff?|heic|heif|avif|mpo)$", re.IGNORECASE)

# Words that a camera or a program puts into its names. One phone writes all of IMG's.
_PREFIXES = {
    **dict.fromkeys(("img", "mvimg", "vid", "pano", "burst"), "IMG"),
    **{word.lower(): word for word in ("PXL", "DJI", "DSC", "WP", "Screenshot", "WhatsApp", "signal")},
}

_YEARS = range(1980, 2100)
# Not from 2001: Android's picker of photos hands them on under numbers that count up from 1000000000 (September 2001).
_EPOCH_YEARS = range(2002, 2100)


@dataclass(frozen=True, slots=True)
class Capture:
    """When and by what a photo was taken.

    Attributes:
        taken: seconds of the camera's own clock, counted from 1970 as if it showed UTC; None: unknown.
        camera: maker, model and serial number, or the word by which the name tells the kind of camera; "": unknown.
    """

    taken: float | None
    camera: str


def capture_time(image_exif: Image.Exif | None, name: str) -> Capture:
    """What a picture says about when it was taken; damaged or hostile data count as none.

    EXIF's DateTimeOriginal is asked first, then DateTimeDigitized, then the name. Names of messengers tell when a
    photo was sent; those sent together mostly were taken together.

    Args:
        image_exif: `image.getexif()` of the opened image, which must not be closed yet.
        name: the file's name, also as Roboflow changes it (`PXL_20231008_093112354_jpg.rf.<hash>.jpg`).
    """
    stem = _stem(name)
    tags = _tags(image_exif)
    taken = next((time for pair in _TIMES if (time := _exif_time(tags, pair)) is not None), None)
    return Capture(_name_time(stem) if taken is None else taken, _exif_camera(tags) or _name_camera(stem))


def _stem(name: str) -> str:
    """The name of the photo without folders and suffix."""
    photo, roboflow = photo_name(name)
    return _ROBOFLOW_SUFFIX.sub("", photo) if roboflow else _SUFFIX.sub("", posixpath.basename(name))


def _tags(exif: Image.Exif | None) -> dict[int, str]:
    """The texts among the tags that are asked for."""
    asked = (*(tag for pair in _TIMES for tag in pair), _MAKE, _MODEL, _BODY_SERIAL)
    texts: dict[int, str] = {}
    if not exif:
        return texts
    # Some writers put everything into the first directory. What can be read there holds if the second is damaged.
    for directory in (lambda: exif, lambda: exif.get_ifd(_EXIF_IFD)):
        try:
            tags = directory()
            texts |= {tag: text for tag in asked if (text := _text(tags.get(tag)))}
        except _DAMAGED:
            continue
    return texts


def _text(value: object) -> str:
    """One line of printable characters, at most 64; "" for anything that is no text."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if not isinstance(value, str):
        return ""
    # Slicing first: the text may be as long as the file.
    printable = "".join(character if character.isprintable() else " " for character in value[:256])
    return " ".join(printable.split())[:64]


def _exif_time(tags: dict[int, str], pair: tuple[int, int]) -> float | None:
    """Seconds from a time's tag and from the tag of its fraction."""
    found = _EXIF_TIME.match(tags.get(pair[0], ""))
    if found is None:
        return None
    *parts, decimals = found.groups()
    numbers = [int(part) for part in parts]
    if not any(numbers[3:]):
        # Midnight to the second is a date without a time, or a clock that was never set.
        return None
    subsecond = re.match(r"[0-9]{1,9}", tags.get(pair[1], ""))
    return _seconds(numbers, decimals or (subsecond.group() if subsecond else ""))


def _name_time(stem: str) -> float | None:
    """Seconds from a name, None if it tells no time or an impossible one."""
    if (found := _EPOCH.fullmatch(stem) or _FRAME.fullmatch(stem)) is not None:
        whole, fraction = int(found["whole"]), found["fraction"] or "0"
        if datetime.fromtimestamp(whole, UTC).year not in _EPOCH_YEARS:
            return None
        return whole + int(fraction) / 10 ** len(fraction)
    times = (_seconds_of(found) for found in _NAME_TIME.finditer(stem))
    return next((time for time in times if time is not None), None)


def _seconds_of(found: re.Match[str]) -> float | None:
    """Seconds from a date and a time in a name."""
    plain = not found["in_time"]
    if (not found["between"] and (found["in_date"] or not plain)) or (plain and len(found["hour"]) < 2):
        # Without separators only fixed widths can be told apart.
        return None
    numbers = [int(found[part]) for part in ("year", "month", "day", "hour", "minute", "second")]
    if found["half"]:
        if not 1 <= numbers[3] <= 12:
            return None
        numbers[3] = numbers[3] % 12 + (12 if found["half"] in "Pp" else 0)
    return _seconds(numbers, found["decimals"] or found["fraction"] or "")


def _seconds(numbers: list[int], decimals: str) -> float | None:
    """Seconds of year, month, day, hour, minute, second and the digits after its point; None: there is no such time."""
    year, month, day, hour, minute, second = numbers
    if year not in _YEARS:
        return None
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    return moment.timestamp() + (int(decimals) / 10 ** len(decimals) if decimals else 0.0)


def _exif_camera(tags: dict[int, str]) -> str:
    return " ".join(tags[tag] for tag in (_MAKE, _MODEL, _BODY_SERIAL) if tag in tags)


def _name_camera(stem: str) -> str:
    words = (word.lower() for word in re.findall(r"[A-Za-z]+", stem))
    return next((_PREFIXES[word] for word in words if word in _PREFIXES), "")
