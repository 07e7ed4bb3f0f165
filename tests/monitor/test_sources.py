import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import panvision.monitor
from panvision.monitor import sources
from panvision.monitor.errors import SourceError
from panvision.monitor.sources import DirectoryCapture, PacedCapture, find_source
from panvision.photos.pixels import ImageError
from tests.monitor.fakes import FakeCapture, FakeClock


class Folder:
    """A folder that is written into while the capture waits."""

    def __init__(self, path):
        self.path, self.stop, self.clock = path, threading.Event(), FakeClock()
        self.plans, self.written = [], 0
        self.clock.wait = self.wait

    def wait(self, seconds):
        if not self.plans:
            self.stop.set()
        else:
            self.plans.pop(0)()

    def capture(self):
        return DirectoryCapture(self.path, self.clock, self.stop)

    def add(self, *levels):
        """Write images of these levels, each later than the one before, also on a coarse clock."""
        for level in levels:
            self.written += 1
            Image.fromarray(np.full((4, 4, 3), level, np.uint8)).save(self.path / f"{self.written:03}.png")
            self.settle()

    def settle(self):
        """Wait until the file system's clock has ticked."""
        probe = self.path / ".tick"
        probe.write_bytes(b"")
        first = probe.stat().st_ctime_ns
        while probe.stat().st_ctime_ns == first:
            probe.write_bytes(b"")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    return Folder(tmp_path / "in")


def level(found):
    return int(found[0][0, 0, 0])


def test_the_newest_image_of_a_folder_comes_first(folder):
    folder.add(10, 20, 30)
    capture = folder.capture()
    assert level(capture.read()) == 30 and capture.skipped == 0
    folder.plans = [lambda: None, lambda: folder.add(40)]
    assert level(capture.read()) == 40
    folder.add(50, 60, 70)
    assert level(capture.read()) == 70 and capture.skipped == 2
    assert capture.read() is None and folder.stop.is_set()


def test_an_image_copied_with_an_old_date_is_new(folder):
    folder.add(10)
    capture = folder.capture()
    capture.read()
    folder.add(20)
    os.utime(folder.path / "002.png", (1e9, 1e9))
    assert level(capture.read()) == 20


def test_a_half_written_image_is_read_when_complete(folder):
    folder.add(10)
    capture = folder.capture()
    capture.read()
    folder.add(20)
    whole = (folder.path / "002.png").read_bytes()
    (folder.path / "002.png").write_bytes(whole[: len(whole) // 2])
    looks = []
    folder.plans = [lambda: looks.append(1), lambda: (folder.path / "002.png").write_bytes(whole)]
    assert level(capture.read()) == 20 and looks == [1]


def test_an_image_completed_within_a_clock_tick_is_read(folder, monkeypatch):
    """File times are coarse: an image can be completed without a new change time."""
    folder.add(10)
    capture = folder.capture()
    capture.read()
    folder.add(20)
    read, failures = sources.read_image, [1, 2, 3]

    def whole_at_last(path):
        if failures:
            raise ImageError(f"{path}: truncated {failures.pop()}")
        return read(path)

    monkeypatch.setattr(sources, "read_image", whole_at_last)
    folder.plans = [lambda: None] * 3
    assert level(capture.read()) == 20


def test_a_broken_image_does_not_hide_others(folder):
    folder.add(10)
    capture = folder.capture()
    capture.read()
    folder.add(20)
    (folder.path / "zz.jpg").write_bytes(b"broken")
    (folder.path / "notes.txt").write_bytes(b"no picture")
    assert level(capture.read()) == 20
    tries = []
    folder.plans = [lambda: tries.append(1)] * 20 + [lambda: folder.add(30)]
    assert level(capture.read()) == 30


def test_a_removed_folder_is_lost(folder):
    folder.add(10)
    capture = folder.capture()
    capture.read()
    for path in folder.path.iterdir():
        path.unlink()
    folder.path.rmdir()
    assert capture.read() is None and not folder.stop.is_set()
    with pytest.raises(SourceError, match="no such folder"):
        folder.capture()


def test_a_recording_is_played_at_its_own_pace():
    clock = FakeClock()
    paced = PacedCapture(FakeCapture([1, 2, 3, 4]), clock)
    assert [paced.read()[1] for _ in range(2)] == pytest.approx([0.0, 0.1])
    clock.now += 0.15  # the consumer is late
    assert paced.read()[1] == pytest.approx(0.2) and clock.waits == pytest.approx([0.1])
    assert paced.read()[1] == pytest.approx(0.3) and clock.waits == pytest.approx([0.1, 0.05])
    assert paced.read() is None


@pytest.mark.parametrize(
    ("text", "name", "live"),
    [("0", "camera 0", True), ("rtsp://me:secret@10.0.0.1/live?x=1", "rtsp://10.0.0.1/live?x=1", True)],
)
def test_find_source_cameras_and_streams(text, name, live):
    found = find_source(text, FakeClock(), threading.Event())
    assert (found.name, found.live, found.recorded) == (name, live, False)


def test_find_source_files_and_folders(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"")
    stop = threading.Event()
    recording = find_source(str(tmp_path / "clip.mp4"), FakeClock(), stop)
    played = find_source(str(tmp_path / "clip.mp4"), FakeClock(), stop, realtime=True)
    folder = find_source(str(tmp_path), FakeClock(), stop)
    assert [(found.live, found.recorded) for found in (recording, played, folder)] == [
        (False, True),
        (True, True),
        (True, False),
    ]
    with pytest.raises(SourceError, match=r"gone\.mp4: no such file or folder; give a camera's number"):
        find_source(str(tmp_path / "gone.mp4"), FakeClock(), stop)


def test_find_source_device(monkeypatch):
    opened = []
    link = "/dev/v4l/by-id/usb-camera-index0"
    monkeypatch.setattr(Path, "exists", lambda path: str(path) in (link, "/dev/video3"))
    monkeypatch.setattr(Path, "resolve", lambda path: Path("/dev/video3") if str(path) == link else path)
    monkeypatch.setattr(sources, "video_module", lambda: SimpleNamespace(open_camera=lambda *args: opened.append(args)))
    for name in (link, "/dev/video3"):
        found = find_source(name, FakeClock(), threading.Event())
        assert (found.name, found.live, found.recorded) == (name, True, False)
        found.open()
    assert opened == [(3, link), (3, "/dev/video3")]
    with pytest.raises(SourceError, match="/dev/video4: no such file or folder"):
        find_source("/dev/video4", FakeClock(), threading.Event())


def test_find_source_neither_file_nor_camera():
    with pytest.raises(SourceError, match=f"{os.devnull}: neither a file, a folder nor a camera; give a camera's num"):
        find_source(os.devnull, FakeClock(), threading.Event())


def test_without_opencv_the_error_names_the_extra(monkeypatch):
    monkeypatch.delitem(sys.modules, "panvision.monitor.video", raising=False)
    monkeypatch.delattr(panvision.monitor, "video", raising=False)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(SourceError, match=r"need the package cv2.*pip install '\.\[video\]'"):
        find_source("0", FakeClock(), threading.Event()).open()
