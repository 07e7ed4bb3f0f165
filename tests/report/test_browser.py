"""The report in a headless browser: nothing asked for, nothing complained about, nothing wider than a phone."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from panvision.core.files import write_json, write_rows
from panvision.dataset.problems import problem, write_problems
from panvision.report.rendering import visible
from tests.report.run import BASELINES, PREVIOUS, RESULTS
from tests.report.test_page import Page

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

INJECTED = '"><img src=x onerror=parent.hit=1><svg onload=parent.hit=1>.png'
NAMES = {
    "segmentation": INJECTED,
    "detection": "&amp;&lt;b&gt; 漢字 🍳 \u202egnp.jpg.png",
    "classification": f"{'x' * 120}.png",
}
WIDTHS = (320, 360, 1280)
# The page in frames of these widths, and in their parent what the page itself may not have: a script.
FRAMES = """<!DOCTYPE html><title>waiting</title>{frames}<script>
addEventListener("load", () => {{
  const found = [...document.querySelectorAll("iframe")].map(frame => {{
    const inner = frame.contentDocument, root = inner.documentElement;
    return {{
      width: root.clientWidth,
      wide: [...inner.querySelectorAll("body *")].filter(each => !each.closest("svg, .scroll, nav")
        && each.getBoundingClientRect().right > root.clientWidth + 0.5).map(each => each.outerHTML.slice(0, 200)),
      scroll: root.scrollWidth,
      requests: frame.contentWindow.performance.getEntriesByType("resource").map(each => each.name.slice(0, 100)),
      images: [...inner.images].map(each => each.loading === "lazy" || each.naturalWidth > 0),
      scripts: inner.scripts.length,
    }};
  }});
  document.title = JSON.stringify({{found, hit: window.hit ?? 0}});
}});
</script>"""


def browse(folder: Path, page: Path) -> tuple[str, str]:
    """A page's document as the browser has it in the end, and what it logged."""
    command = [
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        # The browser's own services find no host; what the page asked for, its security policy would log as refused.
        *("--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder / 'profile'}"),
        # Only so that the frames' parent may look into them.
        *("--allow-file-access-from-files", "--window-size=1400,1000"),
        *("--enable-logging=stderr", "--virtual-time-budget=5000", "--dump-dom", page.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=60, check=True)
    return done.stdout, done.stderr


def full_page(run) -> str:
    """The page with everything that it can have, and names that would break out of it."""
    for task, name in NAMES.items():
        row = next(number for number, each in enumerate(RESULTS[task]) if number == (task != "segmentation"))
        run.rename(task, row, name)
    write_json(run.metrics / "previous.json", {**PREVIOUS, "commit": INJECTED})
    write_json(run.metrics / "baselines.json", BASELINES)
    interval = {"low": 0.4, "high": 0.6}
    run.change("classification", ci95=dict.fromkeys(("accuracy", "recall.browned", "f1.browned"), interval))
    run.change("segmentation", ci95={"miou": interval, "boundary_mean_px": {"low": 100.25, "high": 200.5}})
    name = f"images/{NAMES['detection']}"
    write_problems(run.problems, [problem("image_empty", f"detection/{name}", f"{INJECTED} is empty")])
    pairs = [(f"{name} {'y' * 40}", "browned") for name in (INJECTED, *"abcdefgh")]
    write_rows(run.reports / "plots/confusion.csv", ("actual", "predicted"), pairs)
    return run.page()


def test_a_browser_finds_nothing_to_complain_about(run, tmp_path) -> None:
    page = tmp_path / "report.html"
    page.write_text(full_page(run), encoding="utf-8")
    document, log = browse(tmp_path, page)
    assert "CONSOLE" not in log, log
    shown, written = Page(document), Page(page.read_text(encoding="utf-8"))
    for tag in ("img", "svg", "script", "figure"):
        assert shown.count(tag) == written.count(tag), tag
    for task, name in NAMES.items():
        assert " ".join(visible(name).split()) in shown.text[task]


def test_no_request_leaves_it_and_it_fits_a_phone(run, tmp_path) -> None:
    page, frames = tmp_path / "report.html", tmp_path / "frames.html"
    page.write_text(full_page(run), encoding="utf-8")
    frame = '<iframe width="{}" height="900" style="border:0" src="report.html"></iframe>'
    frames.write_text(FRAMES.format(frames="".join(map(frame.format, WIDTHS))), encoding="utf-8")
    document, log = browse(tmp_path, frames)
    assert "CONSOLE" not in log, log
    seen = json.loads(html.unescape(re.search(r"<title>(.*?)</title>", document).group(1)))
    assert seen["hit"] == 0 and len(seen["found"]) == len(WIDTHS)
    for width, found in zip(WIDTHS, seen["found"], strict=True):
        assert all(name.startswith("data:") for name in found["requests"]), found["requests"]
        assert found["scripts"] == 0 and found["images"] and all(found["images"])
        # A scroll bar takes a little of it.
        assert width - 20 <= found["width"] <= width
        assert found["scroll"] <= found["width"], (width, found["wide"])
