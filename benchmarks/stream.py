"""A pan that is watched: `python benchmarks/stream.py --checkpoint models/panvision.onnx [--clips 4] [--seed 7]`.

Renders clips in which the onions fry from raw to burnt in 40 seconds, the stirrer is away for four of them and the pan
for three, and puts the same frames' results through the frame-by-frame argmax and through the monitor. Prints

- how often the state changes beyond the four true changes (flicker), the share of frames with the true state, and the
  delay of a change: until the new state first shows, and until it stays (to halfway to the next change);
- what is gained on masks and boxes: their IoU with the truth, and how often boxes come and go beyond the truth;
- events of things that are away: how late they come, and how many are false;
- frames per second from a video file to the events, with and without a drawn video;
- skipped frames, and the age of a frame when its result is available, when a video plays faster than the model runs.

`--seed` 7 has the cooking units of the demo sets; any other has units that the model has never seen.
"""

import argparse
import itertools
import platform
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from clip import ClipFrame, ClipScript, render_clip

from panvision.inference import Predictor
from panvision.inference.results import Result
from panvision.monitor import Event, Monitor, MonitorOptions
from panvision.monitor.sources import SystemClock, find_source
from panvision.monitor.video import VideoFile, open_file
from panvision.monitor.watch import open_feed, watch
from panvision.photos.drawing import draw_result
from panvision.scenes.onions import STATES
from panvision.scenes.settings import SceneSettings

SCRIPT = ClipScript(seconds=40, fps=10, doneness=(0.1, 0.9), stirrer_away=(18, 22), pan_away=(28, 31))


@dataclass
class Track:
    """The results of one method on one clip, one entry per frame."""

    states: list[str] = field(default_factory=list)
    masks: list[float] = field(default_factory=list)  # IoU with the truth
    boxes: list[float] = field(default_factory=list)  # best IoU of each true thing with a box of its class
    blinks: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    events: list[Event] = field(default_factory=list)


def look(track: Track, result: Result, shown: ClipFrame, true: Counter[str], before: Counter[str]) -> None:
    """Compare a frame's result with its truth."""
    track.states.append(result["classification"]["class_name"] if "classification" in result else "")
    height, width = shown.frame.photo.shape[:2]
    if "segmentation" in result:
        pans = [thing.mask for thing in shown.frame.things if thing.category == "pan"]
        truth = pans[0] if pans else np.zeros((height, width), bool)
        mask = result["segmentation"]["mask"] > 0
        if truth.any():
            track.masks.append(float((mask & truth).sum() / (mask | truth).sum()))
    if "detection" in result:
        found = result["detection"]
        for thing in shown.frame.things:
            x, y, w, h = thing.box
            same = [
                box for box, name in zip(found["boxes"], found["class_names"], strict=True) if name == thing.category
            ]
            track.boxes.append(max((overlap(box, (x, y, x + w, y + h)) for box in same), default=0.0))
        counts = Counter(found["class_names"])
        changes = sum(abs(counts[name] - track.counts[name]) for name in counts | track.counts)
        track.blinks += max(0, changes - sum(abs(true[name] - before[name]) for name in true | before))
        track.counts = counts


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the IoU of two boxes."""
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / max(sum(areas) - width * height, 1e-9)


def run_clip(predictor: Predictor, settings: SceneSettings, number: int, ways: dict[str, MonitorOptions | None]):
    """Return the results of each method on one clip, and the true states."""
    monitors = {way: None if options is None else Monitor(predictor, options) for way, options in ways.items()}
    tracks = {way: Track() for way in ways}
    truth: list[str | None] = []
    before: Counter[str] = Counter()
    for shown in render_clip(settings, number, SCRIPT):
        raw = predictor.predict(shown.frame.photo)
        true = Counter(thing.category for thing in shown.frame.things)
        truth.append(shown.state)
        for way, monitor in monitors.items():
            result = raw
            if monitor is not None:
                reading = monitor.take(raw, shown.time)
                result = reading.result
                tracks[way].events += reading.events
            look(tracks[way], result, shown, true, before)
        before = true
    return tracks, truth


def delays(states: Sequence[str], truth: Sequence[str | None]) -> list[tuple[float, float] | None]:
    """Return the seconds after each true change until the new state or a later one first shows, and stays, or None."""
    levels = [STATES.index(state) for state in states]
    known = [None if state is None else STATES.index(state) for state in truth]
    filled = [max(level for level in known[: row + 1] if level is not None) for row in range(len(known))]
    changes = [row for row in range(1, len(filled)) if filled[row] != filled[row - 1]]
    borders = [0, *((one + other) // 2 for one, other in itertools.pairwise(changes)), len(filled)]
    found: list[tuple[float, float] | None] = []
    for change, start, end in zip(changes, borders, borders[1:], strict=False):
        there = [levels[row] >= filled[change] for row in range(start, end)]
        if not there[-1]:
            found.append(None)
            continue
        first = start + there.index(True)
        stays = end - next((back for back, yes in enumerate(reversed(there)) if not yes), len(there))
        found.append(((first - change) / SCRIPT.fps, (stays - change) / SCRIPT.fps))
    return found


def state_table(tracks: dict[str, list[Track]], truths: list[list[str | None]]) -> None:
    """Print flicker, accuracy and delay of each method."""
    minutes = len(truths) * SCRIPT.seconds / 60
    print(f"\n{'states':12}{'flicker/min':>12}{'right':>8}{'first, s':>10}{'stays, s':>10}{'worst, s':>10}{'never':>7}")
    for way, clips in tracks.items():
        changes = [sum(a != b for a, b in itertools.pairwise(clip.states)) for clip in clips]
        pairs = [
            (said, true)
            for clip, truth in zip(clips, truths, strict=True)
            for said, true in zip(clip.states, truth, strict=True)
            if true is not None
        ]
        found = [one for clip, truth in zip(clips, truths, strict=True) for one in delays(clip.states, truth)]
        known = [one for one in found if one is not None]
        flicker = (sum(changes) - 4 * len(clips)) / minutes
        right = sum(said == true for said, true in pairs) / len(pairs)
        # First and last of each change that came at all; the worst of the last.
        figures = [statistics.mean(one[0] for one in known), statistics.mean(one[1] for one in known)] if known else []
        figures += [max(one[1] for one in known)] if known else []
        late = "".join(f"{figure:>10.2f}" for figure in figures) or f"{'':>30}"
        print(f"{way:12}{flicker:>12.1f}{right:>8.3f}{late}{len(found) - len(known):>7}")


def thing_table(tracks: dict[str, list[Track]]) -> None:
    """Print masks and boxes of each method."""
    minutes = len(tracks["argmax"]) * SCRIPT.seconds / 60
    print(f"\n{'things':12}{'mask IoU':>10}{'box IoU':>9}{'boxes come and go/min':>23}")
    for way, clips in tracks.items():
        masks = [value for clip in clips for value in clip.masks] or [float("nan")]
        boxes = [value for clip in clips for value in clip.boxes] or [float("nan")]
        blinks = sum(clip.blinks for clip in clips) / minutes
        print(f"{way:12}{statistics.mean(masks):>10.3f}{statistics.mean(boxes):>9.3f}{blinks:>23.1f}")


def event_table(clips: list[Track]) -> None:
    """Print the events of absent things, against the script."""
    print(f"\n{'events':18}{'clips':>7}{'found':>7}{'late by, s':>12}{'false':>7}")
    for name, span, end in (
        ("stirrer missing", SCRIPT.stirrer_away, 0),
        ("stirrer returned", SCRIPT.stirrer_away, 1),
        ("pan removed", SCRIPT.pan_away, 0),
        ("pan returned", SCRIPT.pan_away, 1),
    ):
        assert span is not None
        times = [[event.time - span[end] for event in clip.events if event.event == name] for clip in clips]
        right = [min(late for late in found if 0 <= late < 5) for found in times if any(0 <= one < 5 for one in found)]
        late = f"{statistics.mean(right):>12.1f}" if right else f"{'':>12}"
        print(f"{name:18}{len(clips):>7}{len(right):>7}{late}{sum(map(len, times)) - len(right):>7}")


def write_clip(path: Path, settings: SceneSettings, frames: int, fps: float) -> None:
    """Write a clip as a video file; few frames are rendered and repeated, because only speed is measured on it."""
    shots = list(render_clip(settings, 0, replace(SCRIPT, seconds=4.0)))
    with VideoFile(path, fps) as video:
        for row in range(frames):
            video.write(shots[row % len(shots)].frame.photo, row / fps)


def speed_table(predictor: Predictor, settings: SceneSettings, folder: Path, frames: int) -> float:
    """Print the frames per second end to end; returns the monitor's."""
    path, stop = folder / "clip.avi", threading.Event()
    write_clip(path, settings, frames, SCRIPT.fps)
    rates: dict[str, list[tuple[float, float]]] = {"decode only": [], "watch": [], "watch --video": []}
    for _ in range(3):
        for way, found in rates.items():
            wall, work = time.perf_counter(), time.process_time()
            if way == "decode only":
                capture = open_file(path)
                while capture.read() is not None:
                    pass
                capture.close()
            else:
                feed = open_feed(find_source(str(path), SystemClock(stop), stop), SystemClock(stop), stop)
                with feed, VideoFile(folder / "drawn.avi", SCRIPT.fps) as video:
                    draw = way.endswith("video")
                    watch(
                        feed,
                        Monitor(predictor),
                        stop,
                        on_reading=lambda shot, reading, draw=draw, video=video: (
                            video.write(draw_result(shot.image, reading.result), reading.time) if draw else None
                        ),
                    )
            found.append((frames / (time.perf_counter() - wall), frames / (time.process_time() - work)))
    print(f"\n{'end to end':16}{'frames/s':>10}{'frames per s of CPU':>21}")
    for way, found in rates.items():
        wall, work = (statistics.median(values) for values in zip(*found, strict=True))
        print(f"{way:16}{wall:>10.1f}{work:>21.1f}")
    return statistics.median(one[0] for one in rates["watch"])


def drop_table(predictor: Predictor, settings: SceneSettings, folder: Path, rate: float, seconds: float) -> None:
    """Print the skipped frames of a video that plays faster than the model runs."""
    print(f"\n{'source':>10}{'watched':>9}{'skipped':>13}{'share':>7}{'age, ms: median':>17}{'95 %':>7}")
    for factor in (0.5, 1.0, 2.0, 4.0):
        fps = max(1.0, round(min(factor * rate, 240.0)))
        path, stop = folder / "fast.avi", threading.Event()
        write_clip(path, settings, round(seconds * fps), fps)
        clock = SystemClock(stop)
        feed = open_feed(find_source(str(path), clock, stop, realtime=True), clock, stop)
        ages: list[float] = []
        with feed:
            done = watch(
                feed,
                Monitor(predictor),
                stop,
                on_reading=lambda shot, _, feed=feed, ages=ages: ages.append(1000 * (feed.now() - shot.time)),
            )
        low, high = np.percentile(ages, [50, 95])
        share = done.dropped / (done.frames + done.dropped)
        print(f"{fps:>6.0f}/s{done.frames:>11}{done.dropped:>13}{share:>7.2f}{low:>17.0f}{high:>7.0f}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--clips", type=int, default=4, help="one for each cooking unit; 0: speed only")
    parser.add_argument("--seed", type=int, default=7, help="of the cooking units and clips")
    parser.add_argument("--half-life", type=float, nargs="+", default=[MonitorOptions.half_life], metavar="SECONDS")
    parser.add_argument("--speed-frames", type=int, default=300, help="length of the video for the speed; 0: no speed")
    args = parser.parse_args()
    predictor = Predictor.load(args.checkpoint)
    settings = SceneSettings(seed=args.seed, units=max(args.clips, 1))
    ways: dict[str, MonitorOptions | None] = {"argmax": None}
    for half_life in args.half_life:
        mark = f" {half_life:g}" if len(args.half_life) > 1 else ""
        ways[f"monitor{mark}"] = MonitorOptions(half_life=half_life)
        ways[f"ordered{mark}"] = MonitorOptions(half_life=half_life, order=STATES)
    results = [run_clip(predictor, settings, number, ways) for number in range(args.clips)]
    tracks = {way: [clip[way] for clip, _ in results] for way in ways}
    print(
        f"{platform.machine()}; {args.clips} clips of {SCRIPT.seconds:g} s at {SCRIPT.fps:g} frames/s, seed {args.seed}"
    )
    if args.clips:
        state_table(tracks, [truth for _, truth in results])
        thing_table(tracks)
        event_table(tracks[next(way for way in ways if way.startswith("ordered"))])
    if args.speed_frames:
        with tempfile.TemporaryDirectory() as folder:
            rate = speed_table(predictor, settings, Path(folder), args.speed_frames)
            drop_table(predictor, settings, Path(folder), rate, seconds=5.0)


if __name__ == "__main__":
    main()
