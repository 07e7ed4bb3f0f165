"""Comparison of two aligned looks, part by part: is one a copy of the other?

Two frames of a camera that does not move are nearly equal as a whole, and differ much in one place: where the tool has
moved. A copy (cropped, mirrored, brighter, saved again) differs a little everywhere. So the look that may be a crop of
the other is first aligned by Gauss-Newton steps on window and brightness together (Lucas and Kanade 1981; Baker and
Matthews, "Lucas-Kanade 20 Years On", 2004), and then compared by its worst parts.
"""

import numpy as np

from panvision.dataset.descriptors import SIDE, Floats

# Difference of looks that are too badly exposed to be compared.
UNKNOWN = 9.0

_SMALLEST_WINDOW, _LARGEST_STEP = 0.75, 0.04
# Grey levels beyond these were cut off when the image was taken or brightened; they are ignored.
_DARKEST, _BRIGHTEST = 6.0, 249.0
# Parts of 1/8 × 1/8 are compared. One in 24 that show anything, at most two, may differ in any way: a logo, a date, a
# blackened patch.
_PARTS, _EXCUSED, _SHOWING = 8, 2, 24
# With fewer exposed parts the result is UNKNOWN.
_FEWEST_PARTS = 12
# Grey levels that are added to a look's standard deviation, so that noise in a plain look does not count.
_NOISE = 4.0
# The side of the grid that looks are compared on, in pixels.
_GRID = 32
# Widths of the blur before each step, in pixels, for two attempts. Wider ones converge from farther away, but as often
# to a wrong place: the window's start is at most 2.5 % off.
_ATTEMPTS = ((0.5, 0.5, 0.5, 0.3), (1.5, 1.0, 0.5, 0.5, 0.3))
# A first difference up to this may be a copy whose place was missed.
_DOUBTFUL = 0.7
# Slightly blurred looks are compared: in a fine texture, an offset of half a pixel would make everything differ.
_FINAL_BLUR = 0.7


def differences(sources: Floats, windows: Floats, targets: Floats, *, limit: float) -> Floats:
    """Return the difference of each target from the window of its source that fits it best.

    Args:
        sources: (P, 64, 64) float32 grey levels.
        windows: (P, 3) first guess: top, left and side as fractions of the source.
        targets: (P, 64, 64), the same.
        limit: a difference up to it needs no second attempt.

    Returns:
        (P,) float32: root mean square difference of the third worst of 64 parts, or of the whole if that is larger,
        in units of the target's standard deviation; UNKNOWN where too much is over- or underexposed in one of them.
    """
    start = np.stack([windows[:, 2], windows[:, 0], windows[:, 2], windows[:, 1]], axis=1).astype(np.float32)
    targets = _shrink(targets, SIDE // _GRID)
    found = _align(sources, start, targets, _ATTEMPTS[0])
    again = np.flatnonzero((found > limit) & (found < _DOUBTFUL))
    if len(again):
        found[again] = np.minimum(found[again], _align(sources[again], start[again], targets[again], _ATTEMPTS[1]))
    return found


def _align(sources: Floats, start: Floats, targets: Floats, blurs: tuple[float, ...]) -> Floats:
    """Return the differences (P,) after one step per blur; windows are (P, 4: height, top, width, left)."""
    place = start
    for blur in blurs:
        warped, mask = _sample(sources, place, targets)
        smooth = _blur(blur)
        warped, aim = smooth @ warped @ smooth, smooth @ targets @ smooth
        residual, slope = _match_brightness(warped, aim, mask)
        place = _step(place, warped, slope, residual, mask)
    warped, mask = _sample(sources, place, targets)
    smooth = _blur(_FINAL_BLUR)
    residual, _ = _match_brightness(smooth @ warped @ smooth, smooth @ targets @ smooth, mask)
    # Pixels that are white in both agree, though they take no part in the fit; so do pixels that are black in both.
    agreed = ((warped >= _BRIGHTEST) & (targets >= _BRIGHTEST)) | ((warped <= _DARKEST) & (targets <= _DARKEST))
    return _worst(residual, targets, np.maximum(mask, agreed))


def _sample(sources: Floats, place: Floats, targets: Floats) -> tuple[Floats, Floats]:
    """Return the windows of the sources on the grid, each pixel the mean of its area, and where both are exposed."""
    rows = _means(place[:, 0], place[:, 1], sources.shape[1])
    columns = _means(place[:, 2], place[:, 3], sources.shape[1])
    warped = rows @ sources @ columns.swapaxes(1, 2)
    exposed = (np.minimum(warped, targets) > _DARKEST) & (np.maximum(warped, targets) < _BRIGHTEST)
    return warped, exposed.astype(np.float32)


def _means(length: Floats, start: Floats, source: int) -> Floats:
    """Return (P, 32, source) matrices that average the pixels in each of 32 equal parts of a window."""
    edges = (start[:, None] + length[:, None] * np.arange(_GRID + 1, dtype=np.float32) / _GRID) * source
    pixels = np.arange(source, dtype=np.float32)
    covered = np.minimum(edges[:, 1:, None], pixels + 1) - np.maximum(edges[:, :-1, None], pixels)
    covered = np.maximum(covered, 0.0)
    return np.asarray(covered / np.maximum(covered.sum(axis=2, keepdims=True), 1e-6), np.float32)


def _blur(width: float) -> Floats:
    """Return a (32, 32) symmetric matrix that blurs one axis by a Gaussian."""
    pixels = np.arange(_GRID)
    weights = np.exp(-0.5 * ((pixels[:, None] - pixels) / width) ** 2)
    return np.asarray(weights / weights.sum(axis=0).max(), np.float32)


def _match_brightness(warped: Floats, targets: Floats, mask: Floats) -> tuple[Floats, Floats]:
    """Return the residual of the targets after the best quadratic of `warped`, and its slope: (P, S, S) each.

    A quadratic, because brightness and contrast are changed on values that a gamma curve has bent.
    """
    count = len(warped)
    grey = ((warped - 128.0) / 64.0).reshape(count, -1)
    weight = mask.reshape(count, -1)
    terms = np.stack([weight, grey * weight, grey * grey * weight], axis=2)  # (P, S·S, 3)
    # Ridge: in a uniform look slope and bend are undefined.
    ridge = np.diag([1e-3, 1e-3, 1e-2]).astype(np.float32) * (weight.sum(axis=1) + 1.0)[:, None, None] * 0.1
    normal = terms.swapaxes(1, 2) @ terms + ridge
    aim = (targets.reshape(count, -1) * weight)[:, :, None]
    factors = np.linalg.solve(normal, terms.swapaxes(1, 2) @ aim)  # (P, 3, 1)
    residual = (aim - terms @ factors)[:, :, 0]
    slope = (factors[:, 1] + 2.0 * factors[:, 2] * grey) / 64.0
    return residual.reshape(warped.shape), slope.reshape(warped.shape)


def _step(place: Floats, warped: Floats, slope: Floats, residual: Floats, mask: Floats) -> Floats:
    """Take one Gauss-Newton step of the windows."""
    count, side = len(warped), warped.shape[1]
    down = np.gradient(warped, axis=1) * slope * mask * (side / place[:, 0])[:, None, None]
    right = np.gradient(warped, axis=2) * slope * mask * (side / place[:, 2])[:, None, None]
    along = ((np.arange(side) + 0.5) / side).astype(np.float32)
    slopes = np.stack([down * along[:, None], down, right * along, right], axis=3).reshape(count, -1, 4)
    normal = slopes.swapaxes(1, 2) @ slopes
    damping = 1e-3 * (np.trace(normal, axis1=1, axis2=2) / 4.0 + 1e-3)
    normal = normal + np.eye(4, dtype=np.float32) * damping[:, None, None]
    step = np.linalg.solve(normal, slopes.swapaxes(1, 2) @ residual.reshape(count, -1, 1))[:, :, 0]
    moved = place + np.clip(step, -_LARGEST_STEP, _LARGEST_STEP)
    length = np.clip(moved[:, [0, 2]], _SMALLEST_WINDOW, 1.0)
    start = np.clip(moved[:, [1, 3]], 0.0, 1.0 - length)
    return np.asarray(np.stack([length[:, 0], start[:, 0], length[:, 1], start[:, 1]], axis=1), np.float32)


def _worst(residual: Floats, targets: Floats, mask: Floats) -> Floats:
    """Return the differences (P,), as defined by `differences`."""
    exposed = np.maximum(mask.sum(axis=(1, 2)), 1.0)
    mean = (targets * mask).sum(axis=(1, 2)) / exposed
    deviation = np.sqrt((((targets - mean[:, None, None]) * mask) ** 2).sum(axis=(1, 2)) / exposed)
    pixels = np.maximum(_part_sums(mask), 1.0)
    says = pixels >= 0.5 * (mask.shape[1] // _PARTS) ** 2
    part = np.where(says, np.sqrt(_part_sums(residual**2) / pixels), 0.0)
    # If all but an object is white, none of the few parts that show it is excused.
    spread = _part_sums((targets * mask) ** 2) / pixels - (_part_sums(targets * mask) / pixels) ** 2
    excused = np.minimum(_EXCUSED, (says & (spread > _NOISE**2)).sum(axis=1) // _SHOWING)
    worst = np.take_along_axis(np.sort(part, axis=1), part.shape[1] - 1 - excused[:, None], axis=1)[:, 0]
    whole = np.sqrt((residual**2).sum(axis=(1, 2)) / exposed)
    found = np.maximum(worst, whole) / (deviation + _NOISE)
    return np.asarray(np.where(says.sum(axis=1) >= _FEWEST_PARTS, found, UNKNOWN), np.float32)


def _part_sums(values: Floats) -> Floats:
    """Sum (P, S, S) over each of the 8 × 8 parts: (P, 64)."""
    count, side = len(values), values.shape[1] // _PARTS
    return np.asarray(values.reshape(count, _PARTS, side, _PARTS, side).sum(axis=(2, 4)).reshape(count, -1))


def _shrink(looks: Floats, factor: int) -> Floats:
    """Average over factor × factor pixels; the factor is a power of two."""
    while factor > 1:
        looks = 0.25 * (looks[:, ::2, ::2] + looks[:, 1::2, ::2] + looks[:, ::2, 1::2] + looks[:, 1::2, 1::2])
        factor //= 2
    return looks
