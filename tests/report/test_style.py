"""Colours of page.css, in light and dark: readable by the WCAG's measure of contrast."""

import re
from pathlib import Path

import pytest

from panvision.report import rendering
from panvision.report.gallery import LACKING, SURPLUS

CSS = (Path(rendering.__file__).parent / rendering.STYLE).read_text(encoding="utf-8")
Color = tuple[int, int, int]


def palettes() -> dict[str, dict[str, Color]]:
    """Variables of both colour schemes; what dark does not name it takes from light."""
    found = []
    for block in re.findall(r":root \{(.*?)\}", CSS, re.DOTALL):
        own = {name: hexadecimal(value) for name, value in re.findall(r"--([\w-]+): (#\w{6})", block)}
        red, green, blue = re.search(r"--accent: (\d+) (\d+) (\d+)", block).groups()
        found.append({**own, "accent": (int(red), int(green), int(blue))})
    light, dark = found
    return {"light": light, "dark": {**light, **dark}}


def hexadecimal(value: str) -> Color:
    return int(value[1:3], 16), int(value[3:5], 16), int(value[5:7], 16)


def luminance(color: Color) -> float:
    parts = [part / 255 for part in color]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: Color, other: Color) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_and_lines_can_be_seen(scheme) -> None:
    palette = palettes()[scheme]
    for ground in ("ground", "card"):
        for ink in ("ink", "soft", "accent", "good", "bad", "doubt"):
            assert contrast(palette[ink], palette[ground]) >= 4.5, (ink, ground)
    for line in (f"s{number}" for number in range(9)):
        assert contrast(palette[line], palette["ground"]) >= 3.0, line


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_css_contrast_of_the_confusion_matrix(scheme) -> None:
    palette = palettes()[scheme]
    half = tuple(round((one + other) / 2) for one, other in zip(palette["accent"], palette["ground"], strict=True))
    assert contrast(palette["ink"], half) >= 4.5


def test_css_colours_of_mask_errors() -> None:
    for name, color in (("lacking", LACKING), ("surplus", SURPLUS)):
        assert hexadecimal(re.search(rf"\.{name} {{ background: (#\w{{6}}); }}", CSS)[1]) == color


def test_nothing_is_fetched_and_print_has_no_dark() -> None:
    assert "url(" not in CSS and "@import" not in CSS
    assert "@media screen and (prefers-color-scheme: dark)" in CSS
