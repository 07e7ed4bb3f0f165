import cv2
import numpy as np
import pytest

from panvision.monitor.errors import SourceError
from panvision.monitor.video import VideoFile, open_file


def colour(number, size=(48, 64)):
    """Return a frame that survives an encoder: its own level, more red than blue."""
    image = np.full((*size, 3), 10 * number, np.uint8)
    image[:, :, 0] = 200
    return image


def read_back(path):
    capture, found = open_file(path), []
    while (got := capture.read()) is not None:
        found.append(got)
    assert capture.missing == 0
    capture.close()
    return capture.fps, found


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv", ".webm"])
def test_a_written_video_is_read_back(tmp_path, suffix, capfd):
    path = tmp_path / f"clip{suffix}"
    with VideoFile(path, 10.0) as video:
        for number in range(8):
            video.write(colour(number), 100 + number / 10)
            assert not path.exists()
    fps, found = read_back(path)
    assert fps == pytest.approx(10.0) and len(found) == 8
    assert [time for _, time in found] == pytest.approx([number / 10 for number in range(8)], abs=1e-3)
    for number, (image, _) in enumerate(found):
        assert image.shape == (48, 64, 3) and image.dtype == np.uint8
        assert np.abs(image.mean(axis=(0, 1)) - [200, 10 * number, 10 * number]).max() < 12
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert "".join(capfd.readouterr()) == ""
    assert open_file(path).seconds == pytest.approx(0.8, abs=0.01)


def levels(path):
    return [round(float(image[:, :, 1].mean()) / 10) for image, _ in read_back(path)[1]]


def test_uneven_frames_become_a_video_of_constant_rate(tmp_path):
    with VideoFile(tmp_path / "a.avi", 10.0, longest_gap=1.0) as video:
        for number, time in enumerate([0.0, 0.1, 0.13, 0.5, 60.0, 60.1], start=1):
            video.write(colour(number), time)
    # The third has the second's slot; the fourth comes three slots later; the minute is cut.
    assert levels(tmp_path / "a.avi") == [1, 2, 4, 4, 4, 4, 5, 6]


def test_frames_of_other_sizes_are_resized(tmp_path):
    with VideoFile(tmp_path / "a.avi", 10.0) as video:
        video.write(colour(1, (47, 63)), 0.0)
        video.write(colour(2, (90, 120)), 0.1)
    assert [image.shape for image, _ in read_back(tmp_path / "a.avi")[1]] == [(46, 62, 3)] * 2


def test_nothing_is_left_after_an_error_or_without_frames(tmp_path):
    with pytest.raises(RuntimeError), VideoFile(tmp_path / "a.avi", 10.0) as video:
        video.write(colour(1), 0.0)
        raise RuntimeError
    with VideoFile(tmp_path / "b.avi", 10.0):
        pass
    assert list(tmp_path.iterdir()) == []


def test_unsupported_names_are_refused(tmp_path):
    with pytest.raises(SourceError, match=r"a\.gif: not a supported video name.*\.mp4, \.avi, \.mkv"):
        VideoFile(tmp_path / "a.gif", 10.0)


def test_another_file_is_one_error(tmp_path, capfd):
    (tmp_path / "a.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(SourceError, match=r"a\.mp4: cannot be opened"):
        open_file(tmp_path / "a.mp4")
    assert capfd.readouterr() == ("", "")


def test_times_rise_where_those_of_the_file_do_not():
    class Capture:
        times = iter([0.0, 40.0, 40.0, 0.0, float("nan"), 400.0])

        def get(self, name):
            known = {cv2.CAP_PROP_FPS: 25.0, cv2.CAP_PROP_FRAME_COUNT: -9.2e18}
            return known[name] if name in known else next(self.times)

        def read(self):
            return True, np.zeros((2, 2, 3), np.uint8)

    from panvision.monitor.video import VideoCapture

    capture = VideoCapture(Capture())
    assert capture.missing == 0  # the number of frames is unknown
    assert [capture.read()[1] for _ in range(6)] == pytest.approx([0.0, 0.04, 0.08, 0.12, 0.16, 0.4])
