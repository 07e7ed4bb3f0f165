"""`panvision watch`: a pan through a camera, a video or a growing folder; events as they happen."""

import contextlib
import json
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from panvision.cli.exits import Exit
from panvision.cli.framework import Args, command
from panvision.cli.options import FILE, FOLDER, FRACTION, Number, argument, flag, json_flag, model, needs, option, quiet
from panvision.cli.predict import load_predictor
from panvision.cli.status import StatusLine
from panvision.core.signals import StopSignals

if TYPE_CHECKING:
    from panvision.inference.backend import ModelInfo
    from panvision.inference.predictor import Predictor
    from panvision.monitor.events import Event
    from panvision.monitor.feeds import Feed
    from panvision.monitor.monitor import Monitor, Reading
    from panvision.monitor.options import MonitorOptions
    from panvision.monitor.sources import Shot, Source, SystemClock

# Between two lines of progress.
PROGRESS_SECONDS = 0.5


def _seconds(name: str, help: str, default: float) -> click.Option:
    # The monitor's options have the ranges and the defaults.
    return option(name, help, type=float, metavar="SEC", show_default=f"{default:g}")


def _fraction(name: str, help: str, default: float) -> click.Option:
    return option(name, help, type=FRACTION, show_default=f"{default:g}")


@command(
    about="Watches a pan and reports what happens: the state of the onions changed, the stirrer is missing, the pan "
    "was removed, the lens is covered, the camera was moved, the source was lost. Mask, boxes and state are smoothed "
    "over time. Ctrl-C and SIGTERM end it.",
    examples={
        "the first camera, for programs": "panvision watch 0 --checkpoint models/panvision.onnx --json",
        "a video file, with a drawn one": "panvision watch clip.mp4 --checkpoint models/panvision.onnx "
        "--video drawn.mp4",
        "a network camera; report missing pipes, too": "panvision watch rtsp://camera/stream "
        "--checkpoint models/panvision.onnx --expected stirrer,inlet_pipe",
        "a folder into which images are written": "panvision watch incoming --checkpoint models/panvision.onnx",
        "on the robot, with frames kept for labelling": "panvision watch 0 --checkpoint models/panvision.onnx "
        "--collect collected --collect_mb 200",
    },
    exits={
        Exit.DONE: "the source has ended, or a signal has stopped it",
        Exit.WARNINGS: "a video is shorter than its header declares",
    },
    sections={
        "arguments": [
            argument(
                "source",
                "Camera's number (0, 1 …) or device (/dev/video0), video file, address (rtsp://…), or folder into "
                "which images are written.",
                type=FILE,
                metavar="SOURCE",
            ),
            flag(
                "--realtime",
                "Play a video file at its own pace, as if it were a camera: frames are dropped where the model is "
                "slower.",
            ),
            option("--max_frames", "Stop after N frames.", type=Number(1), show_default="never"),
        ],
        "model": model(),
        "state of the onions": [
            _seconds("--half_life", "Seconds after which evidence counts half; 0.01 to 3600.", 0.5),
            _fraction("--margin", "Smoothed probability that a new state must be ahead, 0 to 0.9.", 0.2),
            _fraction("--strong", "Smoothed probability at which an ordered state skips others, 0.5 to 1.", 0.75),
            option(
                "--order",
                "All states in their order: they then change step by step.",
                metavar="A,B,…",
                show_default="the order that the model file names",
            ),
            flag("--unordered", "Any state may follow any other."),
        ],
        "mask, boxes and source": [
            _seconds("--box_half_life", "Half-life of the smoothing of boxes; 0: no smoothing.", 0.2),
            _seconds("--mask_half_life", "Half-life of the smoothing of the mask; 0: no smoothing.", 0.2),
            option(
                "--expected",
                "Classes of boxes whose absence is reported; '' for none.",
                metavar="A,B,…",
                show_default="stirrer",
            ),
            _seconds("--missing_after", "Seconds after which absence of these or of the pan is reported.", 2),
            _seconds("--lost_after", "Seconds without a frame after which the source counts as lost.", 5),
            _seconds("--drift_half_life", "Of the running distance from the training images.", 60),
            option(
                "--drift_level",
                "Report `drift` above this fraction of the largest answered distance, 0.1 to 2.",
                type=float,
                metavar="X",
                show_default="0.9",
            ),
        ],
        "output": [
            json_flag("a line for each event, with event, time and confidence"),
            quiet("progress"),
            flag("--every_frame", "Print a line for each frame too: state, probabilities, boxes."),
            option(
                "--collect",
                "Keep frames here that are uncertain, new to the model, or change the state.",
                metavar="DIR",
                type=FOLDER,
            ),
            option("--collect_mb", "Most megabytes of kept frames.", type=Number(1), show_default="500"),
            option("--collect_per_minute", "Most frames kept in a minute.", type=Number(1), show_default="6"),
            option("--video", "Write a video with mask, boxes and state drawn (.mp4, .avi, .mkv, .webm).", type=FILE),
        ],
    },
)
def run(args: Args) -> int:
    """Watch until the source ends or a signal comes; returns 3 when a video lacks frames.

    Raises:
        SourceError: the source ended without a frame.
    """
    # Imported here, so that `--help` answers at once.
    from panvision.monitor.monitor import Monitor
    from panvision.monitor.sources import SystemClock, find_source

    if args.order is not None and args.unordered:
        raise click.UsageError("--order and --unordered exclude each other.")
    needs(args, "--collect", "collect_mb", "collect_per_minute", there=args.collect is not None)
    stop = threading.Event()
    clock = SystemClock(stop)
    source = find_source(args.source, clock, stop, realtime=args.realtime)
    needs(args, "a video file", "realtime", there=source.recorded)
    predictor = load_predictor(args)
    keeper = None if args.collect is None else _Keeper(args, predictor.info)
    options = _options(args, predictor.info)
    monitor = Monitor(predictor, options) if keeper is None else keeper.monitor(predictor, options)
    with StopSignals(lambda _: stop.set()):
        missing = _watch(args, source, monitor, clock, stop, keeper=keeper)
    return Exit.WARNINGS if missing else Exit.DONE


def _options(args: Args, info: "ModelInfo") -> "MonitorOptions":
    """Return the given options, the model's own order of states and costs, and defaults for the rest."""
    from panvision.monitor.options import RANGES, MonitorOptions

    given: dict[str, Any] = {name: value for name, value in vars(args).items() if name in RANGES and value is not None}
    for name in ("order", "expected"):
        text = getattr(args, name)
        if text is not None:
            given[name] = tuple(each.strip() for each in text.split(",") if each.strip())
    return MonitorOptions(costs=info.costs, **({} if args.unordered else {"order": info.state_order}) | given)


def _watch(
    args: Args,
    source: "Source",
    monitor: "Monitor",
    clock: "SystemClock",
    stop: threading.Event,
    *,
    keeper: "_Keeper | None",
) -> int:
    """Watch an opened source and print what happens; returns the number of missing frames."""
    from panvision.monitor.errors import SourceError
    from panvision.monitor.watch import open_feed, watch

    if args.video is not None and Path(args.video).resolve() == Path(args.source).resolve():
        raise SourceError(f"{args.video}: is the watched video; give another name for the drawn one")
    feed = open_feed(source, clock, stop)
    show = _Screen(feed, args, keeper, wall=source.live and not source.recorded)
    with contextlib.ExitStack() as stack:
        stack.enter_context(feed)
        if args.video is not None:
            from panvision.monitor.sources import video_module

            fps = feed.fps or video_module().LIVE_FPS
            show.video = stack.enter_context(video_module().VideoFile(args.video, fps))
        watched = watch(feed, monitor, stop, on_reading=show.reading, on_event=show.event, max_frames=args.max_frames)
    if watched.frames == 0 and source.recorded and not stop.is_set():
        raise SourceError(f"{args.source}: no frame in it could be read; name a video file, or a folder of images")
    show.end(watched.frames, watched.dropped)
    if watched.missing:
        print(
            f"panvision watch: warning: {args.source}: {watched.missing} frames that its header declares could not be "
            "read: it is cut short, damaged, or was trimmed without being re-encoded",
            file=sys.stderr,
        )
    return watched.missing


class _Screen:
    """Events and readings on stdout, progress on stderr, and the drawn video."""

    def __init__(self, feed: "Feed", args: Args, keeper: "_Keeper | None", *, wall: bool) -> None:
        self._feed, self._json, self._every, self._wall = feed, args.json, args.every_frame, wall
        self._quiet = args.quiet
        self._status = StatusLine(quiet=args.quiet)
        self.video: Any = None
        self._keeper = keeper
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
        if self._keeper is not None:
            self._keeper.reading(shot, reading)
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
            if self._keeper is not None:
                print(f"panvision watch: {self._keeper.summary()}", file=sys.stderr)

    def _so_far(self, dropped: int) -> str:
        rate = self._frames / max(time.monotonic() - self._start, 1e-9)
        return f"{self._frames} frames watched, {dropped} skipped, {rate:.1f} frames/s"

    def _clock(self, seconds: float) -> str:
        return time.strftime("%H:%M:%S", time.localtime(seconds)) if self._wall else f"{seconds:8.2f} s"


class _Keeper:
    """Keeps frames for labelling; a full disk or a lost folder ends the keeping, not the watch."""

    def __init__(self, args: Args, info: "ModelInfo") -> None:
        from panvision.labelling.answers import box_thresholds
        from panvision.labelling.collect import CollectOptions, Collector

        if not info.det_class_names and not info.cls_class_names:
            raise click.UsageError("--collect works with a model that has boxes or states; this one has masks alone.")
        limits = {"budget_mb": args.collect_mb, "per_minute": args.collect_per_minute}
        options = CollectOptions(**{name: limit for name, limit in limits.items() if limit is not None})
        self._thresholds = box_thresholds(info)
        self._collector = Collector(args.collect, self._thresholds, options)
        self._folder, self._failed = args.collect, False

    def monitor(self, predictor: "Predictor", options: "MonitorOptions") -> "Monitor":
        """Return a monitor that reports the same boxes as without a keeper, which sees those just below, too."""
        from panvision.decoding.detection import TOP_CANDIDATES
        from panvision.labelling.collect import NEAR_BOX
        from panvision.monitor.monitor import Monitor

        lower = {name: max(0.0, threshold - NEAR_BOX) for name, threshold in self._thresholds.items()}
        seen = predictor.with_thresholds(lower, max_detections=TOP_CANDIDATES)
        return Monitor(seen, options, self._thresholds, predictor.max_detections)

    def reading(self, shot: "Shot", reading: "Reading") -> None:
        from panvision.monitor.events import STATE_CHANGED

        if self._failed:
            return
        changed = any(event.event == STATE_CHANGED for event in reading.events)
        try:
            self._collector.consider(shot.image, reading.raw, reading.time, changed=changed)
        except OSError as error:
            self._failed = True
            reason = error.strerror or type(error).__name__
            print(f"panvision watch: warning: {self._folder}: no more frames are kept: {reason}", file=sys.stderr)

    def summary(self) -> str:
        """Return the number of kept frames, of this run and of all."""
        new, all_runs, used = self._collector.count, len(self._collector), self._collector.used / 1e6
        return f"{new} frames kept in {self._folder}, which has {all_runs} ({used:.1f} MB)"


def _frame_line(reading: "Reading") -> str:
    """Return a frame as a line of JSON; the mask is left out."""
    line: dict[str, Any] = {"time": round(reading.time, 3), "state": reading.state}
    if "classification" in reading.result:
        found = reading.result["classification"]
        line["probabilities"] = {name: round(value, 4) for name, value in found["probabilities"].items()}
        line |= {"answered": found["answered"], "reason": found["reason"]}
        line["drift"] = None if reading.drift is None else round(reading.drift, 4)
    if "detection" in reading.result:
        boxes = reading.result["detection"]
        line["boxes"] = [
            {"class_name": name, "score": round(score, 4), "box": [round(edge, 1) for edge in box]}
            for name, score, box in zip(boxes["class_names"], boxes["scores"], boxes["boxes"], strict=True)
        ]
    return json.dumps(line, ensure_ascii=False)


def _in_words(reading: "Reading") -> str:
    """Return state and boxes of a frame, as far as the model has them."""
    words = []
    if "classification" in reading.result:
        state = reading.result["classification"]
        label = f"{reading.state or '(undecided)'} {state['probabilities'][state['class_name']]:.0%}"
        words.append(label if state["answered"] else f"no answer: {state['reason']}")
    if "detection" in reading.result:
        words.append(", ".join(sorted(reading.result["detection"]["class_names"])) or "no boxes")
    return ", ".join(words) or "mask"
