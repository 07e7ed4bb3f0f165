"""The page itself, in Gradio: the only module that imports it."""

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import fastapi
import gradio as gr
from PIL import Image, ImageDraw

from panvision.monitor.options import MonitorOptions
from panvision.page import parts
from panvision.page.facts import Facts
from panvision.page.model import Controls, PageError, SharedModel
from panvision.page.view import data_url, read_frame, read_upload, show
from panvision.page.watching import CLIP_SECONDS, ClipSeen, Watcher, can_read_clips, watch_camera, watch_clip

# How often the toolkit looks for uploads that nobody wants any more, and how old they are then; seconds.
SWEEP_SECONDS, KEEP_SECONDS = 300, 3600
FRAME_SECONDS = 0.2  # between two frames of a camera
# How often the toolkit looks whether a visitor wants something. Its own thousandth of a second takes a tenth of a core
# from a device on which nobody looks at the page; this is waited once for each answer, half of it on average.
QUEUE_SECONDS = 0.01
CAMERA_SIDE = 960  # pixels of the longer side of a camera's drawn frame
VIDEO_TYPES = [".mp4", ".mov", ".mkv", ".webm", ".avi"]
# Most visitors of one page at a time whose cameras are watched; each holds a place as long as its camera runs.
CAMERAS = 8

DROP_PICTURE = "Drop a photo of a pan, or paste one."
DROP_CLIP = f"Drop a clip. Its first {CLIP_SECONDS:.0f} seconds are watched."
START_CAMERA = "Allow the camera and press Record. Its frames are looked at, and not kept."

Updates = tuple[Any, ...]


def mounted(model: SharedModel, facts: Facts, folder: Path, max_upload: int) -> fastapi.FastAPI:
    """The page as an ASGI application without guard.

    Args:
        model: answers.
        facts: what the page says of it.
        folder: GRADIO_TEMP_DIR, where uploads and what is drawn lie.
        max_upload: bytes of one uploaded file.
    """
    return gr.mount_gradio_app(
        fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        Page(model, facts, folder).build(),
        "/",
        favicon_path=str(_icon(folder / "icon.png")),
        max_file_size=max_upload,
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=_theme(),
        css_paths=Path(__file__).with_name("page.css"),
    )


class Page:
    """What the page shows, and what it does when a visitor gives it something.

    Args:
        model: answers.
        facts: what the page says of it.
        folder: where uploads and what is drawn lie.
    """

    def __init__(self, model: SharedModel, facts: Facts, folder: Path) -> None:
        self._model, self._facts, self._folder = model, facts, folder.resolve()
        self._tasks = model.info.tasks

    def build(self) -> gr.Blocks:
        """The layout, with what belongs to each event."""
        with gr.Blocks(
            analytics_enabled=False,
            title=f"panvision · {self._facts.name}",
            fill_width=True,
            delete_cache=(SWEEP_SECONDS, KEEP_SECONDS),
        ) as blocks:
            gr.HTML(parts.header(self._facts))
            with gr.Tabs():
                with gr.Tab("Picture"):
                    self._picture_tab()
                with gr.Tab("Clip"):
                    self._clip_tab()
                with gr.Tab("Camera"):
                    self._camera_tab()
                with gr.Tab("Model"):
                    gr.HTML(parts.model_panel(self._facts))
        blocks._queue.sleep_when_free = QUEUE_SECONDS
        return blocks

    def _picture_tab(self) -> None:
        with gr.Row(elem_classes="pv-work"):
            with gr.Column(scale=4, min_width=300):
                given = gr.Image(
                    label="Picture",
                    type="filepath",
                    image_mode=None,
                    sources=["upload", "clipboard"],
                    height=260,
                    buttons=[],
                    elem_id="picture",
                )
                sliders = self._sliders(steadied=False)
            with gr.Column(scale=8, min_width=300):
                said = gr.HTML(parts.hint(DROP_PICTURE), elem_id="picture-said")
                with gr.Tabs(visible=False) as views:
                    with gr.Tab("Drawn"):
                        drawn = _result_image("picture-drawn", "webp")
                    with gr.Tab("Mask", visible="segmentation" in self._tasks):
                        # In the picture's own pixels, and without loss: it may be wanted for other than looking at.
                        mask = _result_image("picture-mask", "png")
                cards = gr.HTML(elem_id="picture-cards")
        gr.on(
            [given.change, *(slider.change for slider in sliders.values())],
            lambda file, *values: self._look(file, _controls(sliders, values)),
            [given, *sliders.values()],
            [said, views, drawn, mask, cards],
            **_EVENT,
            trigger_mode="always_last",
        )

    def _look(self, file: Any, controls: Controls) -> Updates:
        """Answer one picture."""
        hidden = (gr.update(visible=False), None, None, "")
        if not file:
            return parts.hint(DROP_PICTURE), *hidden
        try:
            image = read_upload(*self._uploaded(file))
            result = self._model.predict(image, controls)
        except PageError as error:
            return parts.problem(str(error)), *hidden
        mask = result["segmentation"]["mask"] if "segmentation" in result else None
        return "", gr.update(visible=True), show(image, result), mask, self._cards(result, image.shape)

    def _clip_tab(self) -> None:
        lacking = can_read_clips()
        with gr.Row(elem_classes="pv-work"):
            with gr.Column(scale=4, min_width=300):
                given = gr.File(
                    label="Clip",
                    file_types=VIDEO_TYPES,
                    type="filepath",
                    height=170,
                    elem_id="clip",
                    visible=not lacking,
                )
                with gr.Row(visible=not lacking):
                    again = gr.Button("Watch again", variant="primary", size="md")
                    stop = gr.Button("Stop", size="md")
                sliders = self._sliders(steadied=True)
            with gr.Column(scale=8, min_width=300):
                said = gr.HTML(parts.problem(lacking) if lacking else parts.hint(DROP_CLIP), elem_id="clip-said")
                shown = gr.HTML(elem_id="clip-shown")
                cards = gr.HTML(elem_id="clip-cards")
        run = gr.on(
            [given.upload, again.click],
            lambda file, *values: (yield from self._watch(file, _controls(sliders, values))),
            [given, *sliders.values()],
            [said, shown, cards],
            **_EVENT,
        )
        stop.click(lambda: parts.note("Stopped."), None, said, **_EVENT, cancels=[run])
        given.clear(lambda: (parts.hint(DROP_CLIP), "", ""), None, [said, shown, cards], **_EVENT, cancels=[run])

    def _watch(self, file: Any, controls: Controls) -> Iterator[Updates]:
        """Watch one clip; what is known appears as it comes."""
        if not file:
            yield parts.hint(DROP_CLIP), "", ""
            return
        clips = self._folder / "clips"
        for old in clips.glob("*.webm"):
            if time.time() - old.stat().st_mtime > KEEP_SECONDS:
                old.unlink(missing_ok=True)
        try:
            for seen in watch_clip(self._model, *self._uploaded(file), controls, clips):
                yield self._clip_parts(seen)
        except PageError as error:
            yield parts.problem(str(error)), "", ""

    def _clip_parts(self, seen: ClipSeen) -> Updates:
        order = self._model.info.state_order or self._model.info.cls_class_names
        cards = parts.cards(parts.time_line(seen.states, order), parts.events_card(seen.events))
        if seen.video is None and seen.frame is not None:
            words = "the frame that is watched now"
            return parts.progress(seen.share, seen.seconds), parts.frame(data_url(seen.frame), words), cards
        said = ""
        if seen.cut:
            said = parts.note(f"The clip is longer: its first {CLIP_SECONDS:.0f} seconds were watched.")
        elif seen.missing:
            said = parts.note(f"{seen.missing} frames of the clip could not be read: it is cut short or damaged.")
        return said, parts.player(f"/gradio_api/file={quote(str(seen.video))}"), cards

    def _camera_tab(self) -> None:
        with gr.Row(elem_classes="pv-work"):
            with gr.Column(scale=4, min_width=300):
                given = gr.Image(
                    label="Camera",
                    sources=["webcam"],
                    streaming=True,
                    height=260,
                    buttons=[],
                    webcam_options=gr.WebcamOptions(
                        mirror=False, constraints={"video": {"width": {"ideal": 1280}, "height": {"ideal": 720}}}
                    ),
                    elem_id="camera",
                )
                sliders = self._sliders(steadied=True)
            with gr.Column(scale=8, min_width=300):
                shown = gr.HTML(parts.hint(START_CAMERA), elem_id="camera-shown")
                cards = gr.HTML(elem_id="camera-cards")
        watcher = gr.State()  # of this visitor alone
        given.stream(
            lambda frame, last, *values: self._frame(frame, last, _controls(sliders, values)),
            [given, watcher, *sliders.values()],
            [watcher, shown, cards],
            **_EVENT,
            stream_every=FRAME_SECONDS,
            concurrency_limit=CAMERAS,
        )

    def _frame(self, file: Any, watcher: Watcher | None, controls: Controls) -> Updates:
        """Answer one frame of a visitor's camera."""
        if not file:
            return watcher, gr.skip(), gr.skip()
        now = time.monotonic()
        try:
            image = read_frame(str(file.get("url") or ""))
            watcher, reading = watch_camera(self._model, watcher, image, controls, now)
        except PageError as error:
            return watcher, parts.problem(str(error)), ""
        drawn = data_url(show(image, reading.result, CAMERA_SIDE))
        events = parts.events_card(watcher.events, clock=time.time() - now)
        words = "what the camera sees, with mask, boxes and state"
        return (
            watcher,
            parts.frame(drawn, words),
            self._cards(reading.result, image.shape, events, decided=reading.state),
        )

    def _cards(self, result: Any, shape: Sequence[int], *others: str, decided: str | None = "") -> str:
        """State and boxes of a picture of this shape, (H, W, 3)."""
        found = []
        if "classification" in result:
            found.append(parts.state_card(result["classification"], self._model.info.state_order, decided))
        if "detection" in result:
            found.append(parts.boxes_card(result["detection"], shape[1], shape[0]))
        return parts.cards(*found, *others)

    def _sliders(self, *, steadied: bool) -> dict[str, gr.Slider]:
        """The sliders that the model has a use for, by what they set."""
        start, calm = self._model.info.thresholds, MonitorOptions()
        wanted: dict[str, tuple[float, float, float, str, str]] = {}
        if "detection" in self._tasks:
            overlap = "Of a class's boxes that overlap more, the best is shown."
            wanted["score"] = (0, 1, start.score, "Score threshold", "Boxes that score less are not shown.")
            wanted["nms"] = (0, 1, start.nms, "Overlap threshold", overlap)
        if steadied and "classification" in self._tasks:
            wanted["half_life"] = (
                0.1,
                10,
                calm.half_life,
                "Half-life, seconds",
                "What was seen then counts half.",
            )
            wanted["margin"] = (0, 0.9, calm.margin, "Margin", "A new state must be ahead by so much.")
        with gr.Group(elem_classes="pv-sliders", visible=bool(wanted)):
            return {name: _slider(*words) for name, words in wanted.items()}

    def _uploaded(self, file: Any) -> tuple[Path, str]:
        """Where an uploaded file lies, and what the visitor calls it."""
        path = Path(str(file.get("path") or "")).resolve()
        name = Path(str(file.get("orig_name") or path.name)).name
        if not path.is_relative_to(self._folder):
            raise PageError(f"{name}: was not uploaded here; drop it again")
        return path, name


# Of every event: the page's own, no endpoint for others; files come as they were uploaded, for none is opened without
# the care of `view`.
_EVENT: dict[str, Any] = {"api_visibility": "private", "preprocess": False, "show_progress": "hidden"}


def _controls(names: dict[str, gr.Slider], values: Sequence[Any]) -> Controls:
    """What the sliders say, within what each may."""
    said = {"score": 0.0, "nms": 1.0}
    for (name, slider), value in zip(names.items(), values, strict=True):
        number = value if isinstance(value, (int, float)) and math.isfinite(value) else slider.value
        said[name] = min(max(number, slider.minimum), slider.maximum)
    return Controls(**said)


def _slider(low: float, high: float, start: float, label: str, info: str) -> gr.Slider:
    return gr.Slider(low, high, start, step=0.01 if high <= 1 else 0.1, label=label, info=info, buttons=["reset"])


def _result_image(name: str, kind: str) -> gr.Image:
    return gr.Image(
        show_label=False, interactive=False, buttons=["download", "fullscreen"], elem_id=name, format=kind, height=560
    )


def _icon(path: Path) -> Path:
    """Write the page's icon, a pan from above; gives its path."""
    image = Image.new("RGBA", (64, 64))
    draw = ImageDraw.Draw(image)
    draw.line((38, 38, 58, 58), fill=(68, 64, 60), width=10)
    draw.ellipse((2, 2, 48, 48), fill=(68, 64, 60))
    draw.ellipse((10, 10, 40, 40), fill=(234, 88, 12))
    image.save(path)
    return path


def _theme() -> gr.themes.Base:
    """Readable in the light and in the dark; the letters are the machine's own, so that none are fetched."""
    theme = gr.themes.Base(
        primary_hue="orange",
        neutral_hue="stone",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
    return theme.set(
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="*neutral_400",
        block_label_text_color="*neutral_600",
        block_title_text_color="*neutral_600",
        color_accent="*primary_600",
        slider_color="*primary_600",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_600",
        button_primary_text_color="white",
    )
