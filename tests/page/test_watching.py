import base64
import sys

import numpy as np
import pytest

from panvision.page import watching
from panvision.page.model import Controls, PageError
from panvision.page.watching import CAMERAS, PAUSE_SECONDS, Cameras, Watcher, watch_clip
from tests.page.conftest import CONTROLS, FRESH, FROZEN
from tests.tiny import picture


@pytest.fixture
def watch(model, clip, tmp_path):
    """Watches a clip; returns all that it gives."""

    def watching(path=clip, controls=CONTROLS):
        return list(watch_clip(model, path, "a.avi", controls, tmp_path))

    return watching


def test_watch_clip_ends_with_states_events_and_video(watch, tmp_path):
    from panvision.monitor.video import open_file

    last = watch()[-1]
    changes = [(event["from"], event["to"]) for event in last["events"] if event["event"] == "state changed"]
    assert changes == [(None, "frozen"), ("frozen", "fresh")]
    (_, first, _), (_, change, _), (_, end, _) = last["states"]
    assert [state for _, _, state in last["states"]] == [None, "frozen", "fresh"]
    assert 0 < first < 2 and 3 < change < 4.5 and end == pytest.approx(6.0, abs=0.01)
    assert (last["fraction"], last["note"]) == (1.0, "")
    (tmp_path / "saved.webm").write_bytes(base64.b64decode(last["video"]))
    drawn, frames = open_file(tmp_path / "saved.webm"), 0
    while (found := drawn.read()) is not None:
        # The right half is bright, so it is drawn as the mask: blue.
        assert found[0][160, 500, 0] < 180 < found[0][160, 500, 2]
        frames += 1
    assert frames == 30


def test_watch_clip_reports_its_progress(watch, monkeypatch):
    monkeypatch.setattr(watching, "PREVIEW_SECONDS", 0.0)
    seen = watch()
    assert len(seen) == 31 and all("video" not in item and item["drawn"] for item in seen[:-1])
    fractions = [item["fraction"] for item in seen]
    assert fractions == sorted(fractions) and 0.4 < fractions[15] < 0.6
    # States that follow each other without a gap.
    assert all(
        left[1] == right[0] for item in seen for left, right in zip(item["states"], item["states"][1:], strict=False)
    )


def test_watch_clip_notes_what_was_left_out(watch, clip, tmp_path, monkeypatch):
    half = tmp_path / "half.avi"
    half.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    assert " frames of the clip could not be read" in watch(half)[-1]["note"]
    monkeypatch.setattr(watching, "CLIP_SECONDS", 2.0)
    last = watch()[-1]
    assert last["note"] == "The clip is longer: its first 2 seconds were watched." and last["seconds"] < 2


def test_watch_clip_of_many_frames_takes_some(watch, model, monkeypatch):
    monkeypatch.setattr(watching, "CLIP_FPS", 2.0)
    watch()
    assert len(model.predictor.backend.batches) == 12


def test_watch_clip_uses_the_sliders(watch):
    calm = watch(controls=Controls(score=0.3, nms=0.5, half_life=60.0))
    assert [state for _, _, state in calm[-1]["states"]] == [None]


@pytest.mark.parametrize(
    "content",
    [
        b"#EXTM3U\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\n",
        b"<?xml?><MPD/>",
        b"#EXTAVI \n",
        b"",
        b"RIFF\0\0\0\0WAVE",
    ],
)
def test_watch_clip_decodes_nothing_but_videos(watch, tmp_path, monkeypatch, content):
    monkeypatch.setattr(watching, "video_module", lambda: pytest.fail("would be decoded"))
    (tmp_path / "clip").write_bytes(content)
    with pytest.raises(PageError, match=r"^a\.avi: is not a video that can be read here; use MP4,"):
        watch(tmp_path / "clip")


def test_watch_clip_names_a_broken_video(watch, tmp_path, capfd):
    (tmp_path / "clip").write_bytes(b"\0\0\0\x18ftypmp42" + b"\0" * 1000)
    with pytest.raises(PageError, match=r"^a\.avi: is not a video that can be read; record or export it again$"):
        watch(tmp_path / "clip")
    assert "".join(capfd.readouterr()) == ""


def test_watch_clip_without_opencv_names_the_package(watch, monkeypatch):
    monkeypatch.setitem(sys.modules, "panvision.monitor.video", None)
    monkeypatch.delattr("panvision.monitor.video", raising=False)
    with pytest.raises(PageError, match=r"need the package .*; `pip install"):
        watch()


class Visitors:
    """Cameras of visitors, ten frames a second."""

    def __init__(self, model) -> None:
        self.now = 100.0
        self.cameras = Cameras(model, lambda: self.now)

    def see(self, colour, frames=1, controls=CONTROLS, name="a"):
        for _ in range(frames):
            self.now += 0.1
            found = self.cameras.see(name, picture(colour=colour, box=(10, 10, 20, 20)), controls)
        return found


def test_cameras_steady_the_state(model):
    visitors = Visitors(model)
    assert visitors.see(FROZEN)["decided"] is None
    assert visitors.see(FROZEN, 10)["decided"] == "frozen"
    assert visitors.see(FRESH)["decided"] == "frozen", "one frame changes nothing"
    found = visitors.see(FRESH, 20)
    assert found["decided"] == found["state"]["class_name"] == "fresh" and found["now"] == visitors.now
    assert [event["to"] for event in found["events"] if event["event"] == "state changed"] == ["frozen", "fresh"]


def test_cameras_of_two_visitors_share_only_the_model(model):
    visitors = Visitors(model)
    for _ in range(20):
        visitors.see(FROZEN, name="a")
        visitors.see(FRESH, name="b")
    assert (visitors.see(FROZEN, name="a")["decided"], visitors.see(FRESH, name="b")["decided"]) == ("frozen", "fresh")


def test_cameras_use_a_new_threshold(model):
    visitors = Visitors(model)
    assert visitors.see(FROZEN, 20)["boxes"]
    strict = Controls(score=1.0, nms=0.5)
    assert visitors.see(FROZEN, controls=strict)["decided"] == "frozen", "the monitor continues"
    assert not visitors.see(FROZEN, 10, controls=strict)["boxes"]


def test_cameras_start_again_after_a_pause_or_other_steadying(model):
    visitors = Visitors(model)
    visitors.see(FROZEN, 20)
    assert visitors.see(FROZEN, controls=Controls(score=0.3, nms=0.5, half_life=5.0))["decided"] is None
    visitors.see(FROZEN, 20)
    visitors.now += PAUSE_SECONDS
    assert visitors.see(FROZEN)["decided"] is None


def test_cameras_at_a_time_are_limited(model):
    visitors = Visitors(model)
    for number in range(CAMERAS):
        visitors.see(FROZEN, name=str(number))
    with pytest.raises(PageError, match=r"^8 cameras are watched already; stop another one first$"):
        visitors.see(FROZEN, name="more")
    visitors.see(FROZEN, name="0")
    visitors.now += PAUSE_SECONDS
    visitors.see(FROZEN, name="more")


def test_cameras_accept_a_coarse_clock(model):
    visitors = Visitors(model)
    visitors.see(FROZEN)
    visitors.now -= 0.1
    assert visitors.see(FROZEN)["now"] > 100.1


def test_watcher_keeps_the_newest_events(model, monkeypatch):
    monkeypatch.setattr(watching, "EVENTS", 2)
    watcher, reported = Watcher(model, CONTROLS), []
    for number in range(80):
        image = np.full((48, 96, 3), 0 if number % 40 < 20 else 255, np.uint8)
        reported += watcher.see(image, number / 2, CONTROLS).events
    assert len(reported) > 2 and watcher.events == [event.to_json() for event in reported[-2:]]
