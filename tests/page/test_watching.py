import sys

import numpy as np
import pytest

from panvision.monitor.events import STATE_CHANGED
from panvision.page import watching
from panvision.page.model import Controls, PageError, SharedModel
from panvision.page.watching import PAUSE_SECONDS, Watcher, watch_camera, watch_clip
from tests.page.made import FRESH, FROZEN
from tests.tiny import picture

CONTROLS = Controls(score=0.3, nms=0.5)


@pytest.fixture
def watched(model, clip, tmp_path):
    """All that a clip gives."""
    return list(watch_clip(model, clip, "clip.avi", CONTROLS, tmp_path))


def test_a_clip_ends_with_its_events_its_states_and_a_drawn_video(watched, tmp_path):
    last = watched[-1]
    changes = [(event.before, event.after) for event in last.events if event.event == STATE_CHANGED]
    assert changes == [(None, "frozen"), ("frozen", "fresh")]
    assert [moment for moment, _ in last.states] == pytest.approx(np.arange(30) / 5, abs=2e-3)
    assert last.states[0][1] is None and last.states[10][1] == "frozen" and last.states[-1][1] == "fresh"
    assert last.share == 1.0 and not last.cut and last.missing == 0
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".webm"] == [last.video.name]
    from panvision.monitor.video import open_file

    drawn, frames = open_file(last.video), 0
    while (found := drawn.read()) is not None:
        # The right half is bright, so it is mask, and blue now.
        assert found[0][160, 500, 0] < 180 < found[0][160, 500, 2]
        frames += 1
    assert frames == 30


def test_work_in_progress_is_shown(model, clip, tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "PREVIEW_SECONDS", 0.0)
    seen = list(watch_clip(model, clip, "clip.avi", CONTROLS, tmp_path))
    assert len(seen) == 31 and all(one.video is None for one in seen[:-1])
    shares = [one.share for one in seen]
    assert shares == sorted(shares) and 0.4 < shares[15] < 0.6 and seen[15].frame.shape == (320, 640, 3)


def test_a_clip_that_nobody_waits_for_leaves_nothing(model, clip, tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "PREVIEW_SECONDS", 0.0)
    running = watch_clip(model, clip, "clip.avi", CONTROLS, tmp_path)
    next(running)
    running.close()
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


def test_only_the_beginning_of_a_long_clip_is_watched(model, clip, tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "CLIP_SECONDS", 2.0)
    last = list(watch_clip(model, clip, "clip.avi", CONTROLS, tmp_path))[-1]
    assert last.cut and len(last.states) == 10


def test_of_a_clip_that_is_cut_short_the_missing_frames_are_counted(model, clip, tmp_path):
    half = tmp_path / "half.avi"
    half.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    last = list(watch_clip(model, half, "half.avi", CONTROLS, tmp_path))[-1]
    assert last.missing == 30 - len(last.states) > 0


def test_of_many_frames_some_are_watched(model, clip, tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "CLIP_FPS", 2.0)
    last = list(watch_clip(model, clip, "clip.avi", CONTROLS, tmp_path))[-1]
    assert len(last.states) == 12


def test_the_sliders_count(model, clip, tmp_path):
    calm = Controls(score=0.3, nms=0.5, half_life=60.0)
    assert list(watch_clip(model, clip, "clip.avi", calm, tmp_path))[-1].states[-1][1] is None


@pytest.mark.parametrize(
    "content",
    [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"<?xml version='1.0'?><MPD></MPD>",
        b"#EXTAVI \n",
        b"",
        b"RIFF\0\0\0\0WAVE",
    ],
)
def test_what_is_no_video_is_not_handed_to_the_decoder(model, tmp_path, monkeypatch, content):
    monkeypatch.setattr(watching, "video_module", lambda: pytest.fail("was to be decoded"))
    (tmp_path / "stored").write_bytes(content)
    with pytest.raises(PageError, match=r"^a\.mp4: is no video that is read here; MP4,"):
        next(watch_clip(model, tmp_path / "stored", "a.mp4", CONTROLS, tmp_path))


def test_a_broken_video_is_named_as_its_visitor_does(model, clip, tmp_path, capfd):
    (tmp_path / "stored.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + b"\0" * 1000)
    with pytest.raises(PageError, match=r"^a\.mp4: is no video that can be read; is it whole\?$"):
        next(watch_clip(model, tmp_path / "stored.mp4", "a.mp4", CONTROLS, tmp_path))
    assert "".join(capfd.readouterr()) == ""


def test_a_video_that_has_gone(model, tmp_path):
    with pytest.raises(PageError, match=r"^a\.mp4: is no longer here; drop it again$"):
        next(watch_clip(model, tmp_path / "stored.mp4", "a.mp4", CONTROLS, tmp_path))


def test_without_opencv_there_is_one_line(model, clip, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "panvision.monitor.video", None)
    monkeypatch.delattr("panvision.monitor.video", raising=False)
    with pytest.raises(PageError, match=r"need the package .*; `pip install"):
        next(watch_clip(model, clip, "clip.avi", CONTROLS, tmp_path))
    assert "need the package" in watching.can_read_clips()


class Camera:
    """A camera of one visitor, ten frames a second."""

    def __init__(self, model: SharedModel) -> None:
        self.model, self.now, self.watcher = model, 100.0, None

    def see(self, colour, frames=1, controls=CONTROLS):
        for _ in range(frames):
            self.now += 0.1
            image = picture(colour=colour, box=(10, 10, 20, 20))
            self.watcher, reading = watch_camera(self.model, self.watcher, image, controls, self.now)
        return reading


def test_a_camera_is_steadied(model):
    camera = Camera(model)
    assert camera.see(FROZEN).state is None
    assert camera.see(FROZEN, 10).state == "frozen"
    assert camera.see(FRESH).state == "frozen", "one frame changes nothing"
    assert camera.see(FRESH, 20).state == "fresh"


def test_two_visitors_have_nothing_in_common_but_the_model(model):
    one, other = Camera(model), Camera(model)
    one.see(FROZEN, 20)
    other.see(FRESH, 20)
    assert (one.see(FROZEN).state, other.see(FRESH).state) == ("frozen", "fresh")
    assert one.watcher.events != other.watcher.events


def test_a_threshold_holds_at_once_and_starts_nothing_anew(model):
    camera = Camera(model)
    assert camera.see(FROZEN, 20).result["detection"]["boxes"]
    before = camera.watcher
    reading = camera.see(FROZEN, controls=Controls(score=1.0, nms=0.5))
    assert not reading.raw["detection"]["boxes"] and camera.watcher is before


def test_other_steadying_and_a_pause_start_anew(model):
    camera = Camera(model)
    camera.see(FROZEN, 20)
    before = camera.watcher
    assert camera.see(FROZEN, controls=Controls(score=0.3, nms=0.5, half_life=5.0)).state is None
    assert camera.watcher is not before
    camera.see(FROZEN, 20)
    camera.now += PAUSE_SECONDS
    assert camera.see(FROZEN).state is None


def test_a_coarse_clock_does_no_harm(model):
    camera = Camera(model)
    camera.see(FROZEN)
    camera.now -= 0.1
    assert camera.see(FROZEN).time > 100.1


def test_only_the_newest_events_are_kept(model, monkeypatch):
    monkeypatch.setattr(watching, "EVENTS", 2)
    watcher = Watcher(model, CONTROLS)
    reported = []
    for number in range(80):
        image = np.full((48, 96, 3), 0 if number % 40 < 20 else 255, np.uint8)
        reported += watcher.see(image, number / 2).events
    assert len(reported) > 2 and list(watcher.events) == reported[-2:]
