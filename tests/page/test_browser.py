"""The page in a headless browser: what a visitor does, what is seen, and that nothing is asked of another machine."""

import re
import shutil
from urllib.parse import urlsplit

import pytest
from PIL import Image

from tests.tiny import picture

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

WIDE, PHONE = 1200, 390
SECONDS = 60_000  # that a busy machine may take, in milliseconds


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    options = [
        *("--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
        # A camera that shows a moving clock, and a visitor who allows it.
        *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
    ]
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=options)
        yield running
        running.close()


@pytest.fixture
def visit(browser, served):
    """Opens the page; in the end nothing may have been complained of, nor asked of another machine."""
    contexts, complaints, asked = [], [], []

    def opened(width=WIDE, scheme="light"):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, permissions=["camera"], bypass_csp=False
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(SECONDS)
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.on("websocket", lambda socket: asked.append(socket.url))
        page.goto(served.url)
        page.wait_for_selector("#picture input[type=file]", state="attached")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []
    assert {urlsplit(url).netloc for url in asked if not url.startswith(("data:", "blob:"))} == {served.url[7:]}
    assert served.turned_to <= {"127.0.0.1"}


def saved(path, image):
    Image.fromarray(image).save(path)
    return str(path)


def drop(page, place, path):
    page.set_input_files(f"{place} input[type=file]", path)


def see(page, place, *words):
    """Wait until a place shows these words."""
    shown = page.locator(place)
    for word in words:
        shown.get_by_text(word, exact=False).first.wait_for()
    return shown.inner_text()


def move(page, label, value):
    """Set the slider of this name that can be seen."""
    number = page.get_by_label(f"number input for {label}").locator("visible=true")
    number.fill(str(value))
    number.press("Tab")


def fits(page):
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_picture_is_answered_and_the_sliders_change_what_is_seen(visit, tmp_path):
    page = visit()
    assert page.title() == "panvision · tiny.onnx"
    see(page, "body", "tiny.onnx", "mask + boxes + state", "Drop a photo of a pan")
    drop(page, "#picture", saved(tmp_path / "<b>a.png", picture(640, 480)))
    text = see(page, "#picture-cards", "lid", "640 × 480 pixels")
    # The state with its probability, and the box over the upper left with its place in the picture's pixels.
    assert re.search(r"frozen\s+\d\d%", text) and re.search(r"lid\s+0\.97\s+0\s+0\s+80\s+60", text)
    page.wait_for_selector("#picture-drawn img")
    move(page, "Score threshold", 0.99)
    see(page, "#picture-cards", "None scores above the threshold")
    move(page, "Score threshold", 0.3)
    see(page, "#picture-cards", "lid")
    page.get_by_role("tab", name="Mask").click()
    mask = page.wait_for_selector("#picture-mask img:visible")
    assert mask.evaluate("image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])") == [640, 480]
    page.get_by_role("tab", name="Model").click()
    see(page, "body", "frozen → browned → fresh", "No metrics found for this file")


def test_what_cannot_be_used_is_told_and_what_was_seen_before_goes(visit, tmp_path):
    page = visit()
    drop(page, "#picture", saved(tmp_path / "a.png", picture()))
    page.wait_for_selector("#picture-drawn img")
    page.get_by_label("Clear").or_(page.get_by_label("Remove Image")).first.click()
    see(page, "#picture-said", "Drop a photo")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    drop(page, "#picture", str(tmp_path / "broken.png"))
    text = see(page, "#picture-said", "broken.png: cannot be decoded: not a picture in a known format")
    assert "Traceback" not in text and str(tmp_path.parent) not in text and "panvision-page-" not in text
    assert not page.locator("#picture-drawn").is_visible() and not page.locator("#picture-cards").is_visible()
    page.get_by_role("tab", name="Clip").click()
    (tmp_path / "list.mp4").write_bytes(b"#EXTM3U\nhttp://192.0.2.1/a.ts\n")
    drop(page, "#clip", str(tmp_path / "list.mp4"))
    see(page, "#clip-said", "list.mp4: is no video that is read here")


def test_a_clip_is_watched_on_a_phone_in_the_dark(visit, clip):
    page = visit(PHONE, "dark")
    page.get_by_role("tab", name="Clip").click()
    drop(page, "#clip", str(clip))
    text = see(page, "#clip-cards", "stirrer missing", "States in time")
    assert re.search(r"0:0\d\.\d\s+frozen\s+\d\d%", text)
    video = page.wait_for_selector("#clip-shown video")
    video.evaluate("video => new Promise(done => video.readyState > 1 ? done() : video.onloadeddata = done)")
    assert video.evaluate("video => [video.duration, video.videoWidth, video.error]") == [6, 640, None]
    assert fits(page)
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", dark)[:3])) < 60


def test_a_camera_is_watched_and_each_visitors_pan_is_its_own(visit):
    pages = (visit(PHONE), visit())
    for page, half_life in zip(pages, (10, 0.5), strict=True):
        page.get_by_role("tab", name="Camera").click()
        move(page, "Half-life, seconds", half_life)
        page.get_by_text("Click to Access Webcam").click()
        page.locator("#camera .capture-button").click()
    for page in pages:
        # The fake camera's picture is green, without a pan. That counts after two seconds of one and the same watching,
        # which would start anew with every frame of a visitor with another half-life.
        text = see(page, "#camera-cards", "lid", "pan removed")
        assert re.search(r"fresh\s+\d+%", text)
        before = page.locator("#camera-shown img").get_attribute("src")
        page.wait_for_function("src => document.querySelector('#camera-shown img').src !== src", arg=before)
        assert fits(page)
