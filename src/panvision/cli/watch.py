"""`panvision watch`: a pan through a camera, a video or a growing folder; events as they happen."""

import argparse
import contextlib
import json
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from panvision.cli.exits import Exit
from panvision.cli.flags import FILE, add_model, add_output, completed, fraction, whole_number
from panvision.cli.manual import Manual
from panvision.cli.predict import load_predictor
from panvision.cli.status import StatusLine

if TYPE_CHECKING:
    from panvision.monitor.events import Event
    from panvision.monitor.feeds import LiveFeed, RecordingFeed
    from panvision.monitor.monitor import Monitor, Reading
    from panvision.monitor.options import MonitorOptions
    from panvision.monitor.sources import Shot, Source

# Between two lines of progress.
PROGRESS_SECONDS = 0.5


MANUAL = Manual(
    usage="SOURCE --checkpoint FILE",
    about="Watches a pan and tells what happens: the state of the onions changed, the stirrer is missing, the pan was "
    "removed, the source was lost. Mask, boxes and state are steadied over time. Ctrl-C and SIGTERM end it cleanly.",
    examples={
        "the first camera, for programs": "panvision watch 0 --checkpoint models/panvision.onnx --json",
        "a video file, with a drawn one": "panvision watch clip.mp4 --checkpoint models/panvision.onnx "
        "--video drawn.mp4",
        "a network camera; the pipes must be seen, too": "panvision watch rtsp://camera/stream "
        "--checkpoint models/panvision.onnx --expected stirrer,inlet_pipe",
        "a folder into which pictures are written": "panvision watch incoming --checkpoint models/panvision.onnx",
    },
    exits={
        Exit.DONE: "the source has ended, or a signal has stopped it",
        Exit.WARNINGS: "a video ended before the length that its head names",
    },
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `panvision watch`."""
    source = parser.add_argument_group("arguments")
    text = "camera's number (0, 1 …), video file, address (rtsp://…), or folder into which pictures are written"
    completed(source.add_argument("source", metavar="SOURCE", help=text), FILE)
    source.add_argument(
        "--realtime",
        action="store_true",
        help="play a video file at its own pace, as if it were a camera: frames are dropped where the model is slower",
    )
    source.add_argument(
        "--max_frames", type=whole_number(1), metavar="N", help="stop after so many frames (default: never)"
    )
    add_model(parser)
    _add_monitor_arguments(parser)
    output = add_output(parser, "a line for each event, with event, time and confidence", quiet="progress")
    output.add_argument(
        "--every_frame", action="store_true", help="print a line for each frame too: state, probabilities, boxes"
    )
    text = "write a video with mask, boxes and state drawn (.mp4, .avi, .mkv, .webm)"
    completed(output.add_argument("--video", type=Path, metavar="FILE", help=text), FILE)


def _add_monitor_arguments(parser: argparse.ArgumentParser) -> None:
    # The numbers are checked, and have their defaults, where they belong: in panvision.monitor.options.
    seconds: dict[str, Any] = {"type": float, "metavar": "SEC"}
    states = parser.add_argument_group("state of the onions")
    states.add_argument(
        "--half_life",
        help="seconds after which evidence counts half; 0.01 to 3600 (default: 0.5)",
        **seconds,
    )
    states.add_argument(
        "--margin",
        type=fraction,
        metavar="X",
        help="smoothed probability that a new state must be ahead, 0 to 0.9 (default: 0.2)",
    )
    states.add_argument(
        "--strong",
        type=fraction,
        metavar="X",
        help="smoothed probability at which an ordered state leaps over others, 0.5 to 1 (default: 0.75)",
    )
    order = states.add_mutually_exclusive_group()
    order.add_argument(
        "--order",
        type=_names,
        metavar="A,B,…",
        help="all states in their order: they then change step by step (default: the order that the model file names)",
    )
    order.add_argument("--unordered", action="store_true", help="each state may follow each")
    seen = parser.add_argument_group("mask, boxes and source")
    seen.add_argument(
        "--box_half_life", help="of the steadying of boxes; 0 reports them as they come (default: 0.2)", **seconds
    )
    seen.add_argument("--mask_half_life", help="of the steadying of the mask, likewise (default: 0.2)", **seconds)
    seen.add_argument(
        "--expected",
        type=_names,
        metavar="A,B,…",
        help="classes of boxes whose absence is reported (default: stirrer); '' for none",
    )
    seen.add_argument(
        "--missing_after",
        help="seconds after which absence of these or the pan is reported (default: 2)",
        **seconds,
    )
    seen.add_argument(
        "--lost_after", help="seconds without a frame after which the source counts as lost (default: 5)", **seconds
    )


def run(args: argparse.Namespace) -> int:
    """Watch; returns 0 at the source's end or when stopped by Ctrl-C or SIGTERM, 3 when a video lacks frames.

    Raises:
        SourceError: the source ended without a frame.
    """
    # Here rather than above, so that `--help` answers at once.
    from panvision.monitor.monitor import Monitor
    from panvision.monitor.sources import SystemClock, find_source

    stop = threading.Event()
    clock = SystemClock(stop)
    source = find_source(args.source, clock, stop, realtime=args.realtime)
    predictor = load_predictor(args)
    monitor = Monitor(predictor, _options(args, predictor.info.state_order))
    with _stopped_by_signals(stop):
        missing = _watch(args, source, monitor, clock, stop)
    return Exit.WARNINGS if missing else Exit.DONE


def _options(args: argparse.Namespace, order: tuple[str, ...]) -> "MonitorOptions":
    """The monitor's options: what was given, the model's own order of states, and defaults for the rest."""
    from panvision.monitor.options import RANGES, MonitorOptions

    names = [name for name in (*RANGES, "order", "expected") if getattr(args, name, None) is not None]
    given = {name: getattr(args, name) for name in names}
    return MonitorOptions(**({} if args.unordered else {"order": order}) | given)


def _watch(args: argparse.Namespace, source: "Source", monitor: "Monitor", clock: Any, stop: threading.Event) -> int:
    """Watch an opened source, print what happens, and in the end what it came to → how many frames were missing."""
    from panvision.monitor.sources import SourceError
    from panvision.monitor.watch import open_feed, watch

    if args.video is not None and args.video.resolve() == Path(args.source).resolve():
        raise SourceError(f"{args.video}: is the video that is watched; give another name for the drawn one")
    feed = open_feed(source, clock, stop)
    show = _Screen(feed, args, wall=source.live and not source.recorded)
    with contextlib.ExitStack() as stack:
        stack.enter_context(feed)
        if args.video is not None:
            from panvision.monitor.sources import video_module

            fps = feed.fps or video_module().LIVE_FPS
            show.video = stack.enter_context(video_module().VideoFile(args.video, fps))
        watched = watch(feed, monitor, stop, on_reading=show.reading, on_event=show.event, max_frames=args.max_frames)
    if watched.frames == 0 and source.recorded and not stop.is_set():
        raise SourceError(f"{args.source}: no frame in it could be read; name a video file, or a folder of pictures")
    show.end(watched.frames, watched.dropped)
    if watched.missing:
        print(
            f"panvision watch: warning: {args.source}: {watched.missing} frames that its head names could not be read: "
            "it is cut short, damaged, or was trimmed without being encoded anew",
            file=sys.stderr,
        )
    return watched.missing


class _Screen:
    """What the user sees: events and readings on stdout, progress on stderr, and the drawn video."""

    def __init__(self, feed: "LiveFeed | RecordingFeed", args: argparse.Namespace, *, wall: bool) -> None:
        self._feed, self._json, self._every, self._wall = feed, args.json, args.every_frame, wall
        self._quiet = args.quiet
        self._status = StatusLine(quiet=args.quiet)
        self.video: Any = None
        self._frames = 0
        self._start = self._shown = time.monotonic()

    def event(self, event: "Event") -> None:
        self._status.wipe()
        words = f"{self._clock(event.time)}  {event.in_words()}"
        print(json.dumps(event.to_json(), ensure_ascii=False) if self._json else words, flush=True)

    def reading(self, shot: "Shot", reading: "Reading") -> None:
        from panvision.photos.drawing import draw_result

        self._frames += 1
        if self._every:
            self._status.wipe()
            print(
                _frame_line(reading) if self._json else f"{self._clock(reading.time)}  {_in_words(reading)}", flush=True
            )
        if self.video is not None:
            self.video.write(draw_result(shot.image, reading.result), reading.time)
        now = time.monotonic()
        if now - self._shown >= PROGRESS_SECONDS:
            self._shown = now
            words = f"{self._clock(reading.time)}  {_in_words(reading)}  {self._so_far(self._feed.dropped)}"
            self._status.show(words)

    def end(self, frames: int, dropped: int) -> None:
        self._status.wipe()
        self._frames = frames
        if not self._quiet:
            print(f"panvision watch: {self._so_far(dropped)}", file=sys.stderr)

    def _so_far(self, dropped: int) -> str:
        rate = self._frames / max(time.monotonic() - self._start, 1e-9)
        return f"{self._frames} frames watched, {dropped} passed over, {rate:.1f} frames/s"

    def _clock(self, seconds: float) -> str:
        return time.strftime("%H:%M:%S", time.localtime(seconds)) if self._wall else f"{seconds:8.2f} s"


def _frame_line(reading: "Reading") -> str:
    """A frame as a line of JSON; the mask is left out."""
    line: dict[str, Any] = {"time": round(reading.time, 3), "state": reading.state}
    if "classification" in reading.result:
        probabilities = reading.result["classification"]["probabilities"]
        line["probabilities"] = {name: round(value, 4) for name, value in probabilities.items()}
    if "detection" in reading.result:
        found = reading.result["detection"]
        line["boxes"] = [
            {"class_name": name, "score": round(score, 4), "box": [round(edge, 1) for edge in box]}
            for name, score, box in zip(found["class_names"], found["scores"], found["boxes"], strict=True)
        ]
    return json.dumps(line, ensure_ascii=False)


def _in_words(reading: "Reading") -> str:
    """State and boxes of a frame, as far as the model has them."""
    words = []
    if "classification" in reading.result:
        state = reading.result["classification"]
        words.append(f"{reading.state or '(undecided)'} {state['probabilities'][state['class_name']]:.0%}")
    if "detection" in reading.result:
        words.append(", ".join(sorted(reading.result["detection"]["class_names"])) or "no boxes")
    return ", ".join(words) or "mask"


@contextlib.contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask for a stop; a second one ends at once, as before."""
    before: dict[signal.Signals, Any] = {}

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()
        for kind, handler in before.items():
            signal.signal(kind, handler)

    if threading.current_thread() is threading.main_thread():
        before.update({kind: signal.signal(kind, ask) for kind in (signal.SIGINT, signal.SIGTERM)})
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _names(text: str) -> tuple[str, ...]:
    """Names between commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
