"""The page in a headless browser: what a visitor does and sees, and that no other machine is asked."""

import re
import shutil
from urllib.parse import urlsplit

import pytest
from PIL import Image

from tests.page.conftest import EVIL
from tests.tiny import picture

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

WIDE, PHONE = 1400, 400
TIMEOUT_MS = 60_000  # for a busy machine


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
    """Opens the page; at the end there may be no error, and no request to another machine."""
    contexts, errors, asked = [], [], []

    def opened(width=WIDE, scheme="light"):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, permissions=["camera"], bypass_csp=False
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        # That a response has an error's status is not one of the page.
        page.on(
            "console", lambda m: errors.append(m.text) if m.type == "error" and "status of 4" not in m.text else None
        )
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.on("websocket", lambda socket: asked.append(socket.url))
        page.goto(f"http://127.0.0.1:{served.port}")
        page.get_by_text("Here you see").wait_for()
        return page

    yield opened
    for context in contexts:
        context.close()
    assert errors == []
    hosts = {urlsplit(url).netloc for url in asked if not url.startswith(("data:", "blob:"))}
    assert hosts == {f"127.0.0.1:{served.port}"} and served.hosts <= {"127.0.0.1"}


def saved(path, image):
    Image.fromarray(image).save(path)
    return str(path)


def see(page, place, *words):
    """Wait until a place shows these words; return all of its text."""
    for word in words:
        page.locator(place).get_by_text(word).first.wait_for()
    return page.locator(place).inner_text()


def fits(page):
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_an_image_is_answered_and_follows_the_sliders(visit, tmp_path):
    page = visit()
    assert page.title() == "panvision · tiny.onnx"
    see(page, "header", "tiny.onnx", "mask + boxes + state")
    page.set_input_files("#image-file", saved(tmp_path / "<b>a.png", picture(640, 480)))
    # The names of a class and of the file, as they are written; the box in the image's pixels.
    text = see(page, "#image-found", EVIL, "640 × 480 pixels", "<b>a.png")
    assert re.search(r"frozen\s+\d\d%", text) and re.search(r"0\.97\s+0\s+0\s+80\s+60", text)
    assert page.evaluate("document.querySelectorAll('[onerror], main b b').length") == 0
    shown = page.locator(".sliders b").first
    assert shown.inner_text() == "the model's own"
    page.get_by_label("Score threshold").fill("0.99")
    see(page, "#image-found", "None scores above the threshold")
    assert shown.inner_text() == "0.99"
    page.get_by_role("button", name="Reset").click()
    see(page, "#image-found", EVIL)
    assert shown.inner_text() == "the model's own"
    size = "image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])"
    assert page.get_by_alt_text("the mask").evaluate(size) == [640, 480]
    assert page.get_by_alt_text("the image with").evaluate(size) == [1280, 960]
    assert fits(page)
    page.get_by_role("tab", name="Model").click()
    see(page, "#model-found", "frozen → browned → fresh", "No metrics found for this file")
    assert not page.get_by_label("Score threshold").is_visible()


def test_files_are_dropped_pasted_and_refused(visit, tmp_path):
    page = visit()
    give = """([kind, name, type]) => {
        const given = new DataTransfer();
        given.items.add(new File(["nothing"], name, { type }));
        const options = { bubbles: true, cancelable: true, dataTransfer: given, clipboardData: given };
        document.dispatchEvent(kind === "drop" ? new DragEvent(kind, options) : new ClipboardEvent(kind, options));
    }"""
    page.evaluate(give, ["paste", "pasted.png", "image/png"])
    text = see(page, "#image-found", "pasted.png: ")
    assert str(tmp_path.parent) not in text and "panvision-page-" not in text
    page.evaluate(give, ["drop", "list.mp4", "video/mp4"])
    see(page, "#clip-found", "list.mp4: is not a video that can be read here")
    page.evaluate(give, ["drop", "dropped.jpg", "image/jpeg"])
    see(page, "#image-found", "dropped.jpg: ")
    (tmp_path / "large.png").write_bytes(bytes(2**20 + 1))
    page.set_input_files("#image-file", str(tmp_path / "large.png"))
    see(page, "#image-found", "large.png: is larger than 1 MB; --max_upload_mb N allows more")


def test_a_clip_is_watched_on_a_phone_in_the_dark(visit, clip):
    page = visit(PHONE, "dark")
    page.get_by_role("tab", name="Clip").click()
    page.set_input_files("#clip-file", str(clip))
    text = see(page, "#clip-found", "stirrer missing", "States in time")
    assert re.search(r"0:0\d\.\d\s+frozen\s+\d\d%", text)
    video = page.wait_for_selector("#clip-found video")
    video.evaluate("video => new Promise(done => video.readyState > 1 ? done() : video.onloadeddata = done)")
    assert video.evaluate("video => [video.duration, video.videoWidth, video.error]") == [6, 640, None]
    with page.expect_download() as download:
        page.get_by_text("Save the drawn video").click()
    assert download.value.suggested_filename == "clip_drawn.webm"
    page.get_by_label("Half-life, seconds").fill("10")
    page.get_by_role("button", name="Watch again").click()
    page.wait_for_function("!document.querySelector('#clip-found').innerText.includes('States in time')")
    page.wait_for_selector("#clip-found video")
    assert fits(page)
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", dark)[:3])) < 60


def test_a_camera_is_watched_for_each_visitor(visit):
    pages = (visit(PHONE), visit())
    for page, half_life in zip(pages, ("10", "0.5"), strict=True):
        page.get_by_role("tab", name="Camera").click()
        page.get_by_label("Half-life, seconds").fill(half_life)
        page.get_by_role("button", name="Start the camera").click()
    for page in pages:
        # The fake camera's image is green, without a pan. That counts after two seconds with one and the same monitor,
        # which would start again with every frame of a visitor with another half-life.
        assert re.search(r"fresh\s+\d+%", see(page, "#camera-found", EVIL, "pan removed"))
        before = page.locator("#camera-found img").get_attribute("src")
        page.wait_for_function("src => document.querySelector('#camera-found img').src !== src", arg=before)
        assert fits(page)
    page.get_by_role("button", name="Stop the camera").click()
    assert page.evaluate("document.querySelector('#live').srcObject") is None
