"""A contact sheet: one HTML file with a small image of each selected one and the reason. No scripts, no other files."""

import base64
import html
import io
from collections.abc import Mapping, Sequence

from PIL import Image

from panvision.labelling.select import Row
from panvision.photos.pixels import RgbArray

_SIDE = 360  # pixels of a small image's longer side
_QUALITY = 80
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --ground: #fbfaf8; --card: #fff; --ink: #1d2126; --soft: #5b636c; --line: #e2dfd9; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ground: #15181b; --card: #1d2125; --ink: #e7e9eb; --soft: #9fa8b1; --line: #31373d; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1400px; padding: 24px; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { margin: 0; font-size: 1.6rem; line-height: 1.25; }
p { margin: 6px 0 20px; color: var(--soft); max-width: 75ch; }
ol { list-style: none; margin: 0; padding: 0; display: grid; gap: 16px;
  grid-template-columns: repeat(auto-fill, minmax(min(280px, 100%), 1fr)); }
li { background: var(--card); border: 1px solid var(--line); border-radius: 10px; overflow: hidden; }
img { display: block; width: 100%; aspect-ratio: 4 / 3; object-fit: contain; background: #000; }
div { padding: 10px 14px 14px; }
b { font-size: 1.1rem; margin-right: 6px; }
bdi { font-weight: 600; }
small { display: block; margin-top: 4px; font-size: 0.875rem; color: var(--soft); }
@media print { li { break-inside: avoid; } }
"""


def thumbnail(image: RgbArray) -> bytes:
    """Return a small JPEG of an image (H, W, 3) uint8."""
    small = Image.fromarray(image)
    small.thumbnail((_SIDE, _SIDE))
    content = io.BytesIO()
    small.save(content, format="JPEG", quality=_QUALITY)
    return content.getvalue()


def contact_sheet(title: str, text: str, rows: Sequence[Row], thumbnails: Mapping[str, bytes]) -> str:
    """Return the page.

    Args:
        title: its heading.
        text: a sentence below it.
        rows: the ranking.
        thumbnails: JPEG by name of the image; images without one are left out.
    """
    cards = "\n".join(_card(row, thumbnails[row.name]) for row in rows if row.name in thumbnails)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{html.escape(title)}</h1>
<p>{html.escape(text)}</p>
<ol>
{cards}
</ol>
</body>
</html>
"""


def _card(row: Row, small: bytes) -> str:
    name, reason = html.escape(row.name), html.escape(row.reason)
    data = base64.b64encode(small).decode()
    return (
        f'<li><img alt="{name}" loading="lazy" src="data:image/jpeg;base64,{data}">'
        f"<div><b>{row.rank}</b><bdi>{name}</bdi><small>{reason}</small></div></li>"
    )
