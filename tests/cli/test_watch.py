import contextlib
import http.server
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest
from PIL import Image

from panvision.cli.main import main
from panvision.monitor.sources import SystemClock
from panvision.monitor.video import VideoFile, open_file
from tests.cli.shown import json_keys
from tests.tiny import changed_metadata, picture, write_onnx

# The tiny model takes the strongest colour for the state.
FROZEN = {"colour": (0, 0, 90)}
FRESH = {"colour": (0, 90, 0)}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_onnx(tmp_path_factory.mktemp("model") / "m.onnx")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Four seconds in which the state changes once."""
    path = tmp_path_factory.mktemp("clip") / "clip.avi"
    with VideoFile(path, 10.0) as video:
        for number in range(40):
            video.write(picture(**(FROZEN if number < 20 else FRESH)), number / 10)
    return path


def watched(capsys, *arguments):
    code = main(["watch", *map(str, arguments)])
    text = capsys.readouterr()
    return code, text.out.splitlines(), text.err.splitlines()


def test_events_are_lines_of_json(model, clip, capsys):
    options = ("--json", "--order", "browned,fresh,frozen", "--margin", "0.1")
    code, out, err = watched(capsys, clip, "--checkpoint", model, *options)
    lines = [json.loads(line) for line in out]
    assert code == 0
    assert [(line["event"], line.get("from"), line.get("to")) for line in lines] == [
        ("state changed", None, "frozen"),
        ("stirrer missing", None, None),
        ("state changed", "frozen", "fresh"),
    ]
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
    assert 2.2 < lines[2]["time"] < 3.5 and all(0.5 < line["confidence"] <= 1 for line in lines)
    assert len(err) == 1 and err[0].startswith("panvision watch: 40 frames watched, 0 skipped, ")


def test_a_quiet_watch_prints_events_alone(model, clip, capsys):
    code, out, err = watched(capsys, clip, "--checkpoint", model, "--json", "--quiet")
    assert code == 0 and not err
    assert out and all({"event", "time", "confidence"} <= set(json.loads(line)) & json_keys("watch") for line in out)


def test_events_are_words_without_json(model, clip, capsys):
    _, out, _ = watched(capsys, clip, "--checkpoint", model, "--expected", "")
    assert len(out) == 2
    assert out[0].strip() == "0.50 s  state changed from nothing to frozen (97%)"
    assert "state changed from frozen to fresh" in out[1]


def test_every_frame_is_a_line_on_request(model, clip, capsys):
    _, out, _ = watched(capsys, clip, "--checkpoint", model, "--json", "--every-frame", "--max_frames", "12")
    frames = [json.loads(line) for line in out if "event" not in json.loads(line)]
    assert len(frames) == 12 and [frame["time"] for frame in frames] == pytest.approx(np.arange(12) / 10, abs=2e-3)
    assert frames[0]["state"] is None and frames[-1]["state"] == "frozen"
    assert frames[-1]["boxes"][0]["class_name"] == "lid"
    _, out, _ = watched(capsys, clip, "--checkpoint", model, "--every-frame", "--max_frames", "12")
    assert out[-1].strip() == "1.10 s  frozen 97%, lid"


def test_the_drawn_video_has_every_frame(model, clip, tmp_path, capsys):
    code, _, _ = watched(capsys, clip, "--checkpoint", model, "--video", tmp_path / "drawn.avi")
    assert code == 0
    drawn, plain = open_file(tmp_path / "drawn.avi"), open_file(clip)
    count = 0
    while (got := drawn.read()) is not None:
        # The right half is bright, so it is mask, and blue now.
        before = plain.read()[0]
        assert got[0][24, 90].astype(int)[0] < before[24, 90].astype(int)[0] - 40
        count += 1
    assert count == 40


def test_a_recording_in_real_time_drops_late_frames(model, clip, capsys, monkeypatch):
    from panvision.inference.predictor import Predictor

    predict = Predictor.predict

    def slowly(self, *arguments):
        time.sleep(0.25)
        return predict(self, *arguments)

    monkeypatch.setattr(Predictor, "predict", slowly)
    # Time runs twenty times as fast for the player, so that it does not take four seconds.
    monkeypatch.setattr(SystemClock, "wait", lambda self, seconds: self._stop.wait(seconds / 20))
    began = time.monotonic()
    monkeypatch.setattr(SystemClock, "time", lambda self: (time.monotonic() - began) * 20)
    code, _, err = watched(capsys, clip, "--checkpoint", model, "--realtime")
    words = err[0].split()
    seen, dropped = int(words[2]), int(words[5])
    assert code == 0 and dropped > 0 and seen + dropped == 40


def test_states_follow_the_costs_in_the_model_file(tmp_path, clip, capsys):
    # Frozen food that is called fresh is too costly to be called so at 97 %.
    costs = [[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 100.0, 0.0]]
    model = write_onnx(tmp_path / "m.onnx", metadata=changed_metadata(confusion_costs=costs))
    _, out, _ = watched(capsys, clip, "--checkpoint", model, "--expected", "")
    assert len(out) == 1 and "to frozen" in out[0]


@pytest.mark.parametrize(
    ("options", "states"),
    [
        ([], ["frozen", "browned", "fresh"]),
        (["--unordered"], ["frozen", "fresh"]),
        (["--order", "browned,frozen,fresh"], ["frozen", "fresh"]),
    ],
)
def test_states_follow_the_order_in_the_model_file(tmp_path, clip, capsys, options, states):
    model = write_onnx(tmp_path / "m.onnx", metadata=changed_metadata(state_order=["frozen", "browned", "fresh"]))
    _, out, _ = watched(capsys, clip, "--checkpoint", model, "--json", "--margin", "0.1", "--strong", "1", *options)
    lines = [json.loads(line) for line in out]
    assert [line["to"] for line in lines if line["event"] == "state changed"] == states


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["missing.mp4"], "missing.mp4: no such file or folder; give a camera's number"),
        (["CLIP", "--half_life", "0"], "half_life must be a number from 0.01 to 3600, found 0.0"),
        (
            ["CLIP", "--order", "fresh,frozen"],
            "order must name each of the model's states once (browned, fresh, frozen)",
        ),
        (["CLIP", "--expected", "ladle"], "expected names ladle, but the model's boxes are lid, stirrer"),
        (["CLIP", "--video", "drawn.gif"], "drawn.gif: not a supported video name"),
        (["CLIP", "--video", "CLIP"], "is the watched video; give another name"),
        (["CLIP", "--checkpoint", "gone.onnx"], "gone.onnx: no such model file"),
        (["77"], "camera 77: cannot be opened; is it connected"),
    ],
)
def test_an_error_is_one_line(model, clip, capfd, options, message):
    before = clip.read_bytes()
    arguments = [str(clip) if word == "CLIP" else word for word in options]
    assert main(["watch", "--checkpoint", str(model), *arguments]) == 1
    text = capfd.readouterr()
    assert text.err.startswith("panvision watch: ") and message in text.err
    assert len(text.err.splitlines()) == 1 and text.out == ""
    assert clip.read_bytes() == before


def test_a_source_without_a_frame_is_an_error(model, tmp_path, capfd):
    broken = tmp_path / "broken.png"
    Image.fromarray(picture()).save(broken)
    broken.write_bytes(broken.read_bytes()[:60])
    assert main(["watch", "--checkpoint", str(model), str(broken)]) == 1
    assert "broken.png: no frame in it could be read" in capfd.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("options", [[], ["--realtime", "--quiet"]])
def test_a_truncated_video_is_a_warning(model, clip, tmp_path, capsys, monkeypatch, options):
    monkeypatch.setattr(SystemClock, "wait", lambda self, seconds: None)
    cut = tmp_path / "cut.avi"
    cut.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    code, _, err = watched(capsys, cut, "--checkpoint", model, *options)
    (warning,) = (line for line in err if "warning" in line)
    missing = int(warning.removeprefix(f"panvision watch: warning: {cut}: ").split()[0])
    assert code == 3 and "frames that its header declares could not be read: it is cut short" in warning
    with contextlib.closing(open_file(cut)) as capture:
        assert missing == 40 - sum(1 for _ in iter(capture.read, None))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_with_a_whole_video(model, tmp_path, number):
    """The command runs in a separate process, on a folder into which images are written: a source without an end."""
    folder, drawn = tmp_path / "in", tmp_path / "drawn.avi"
    folder.mkdir()
    Image.fromarray(picture()).save(folder / "0.png")
    command = [sys.executable, "-m", "panvision.cli.main", "watch", str(folder), "--checkpoint", str(model), "--json"]
    options = ["--every_frame", "--video", str(drawn)]
    # A shell that runs the tests in the background has Ctrl-C ignored.
    restore = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    with subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ), **restore
    ) as process:
        ended = threading.Timer(60, process.kill)
        ended.start()
        first = json.loads(process.stdout.readline())
        Image.fromarray(picture()).save(folder / "1.png")
        second = json.loads(process.stdout.readline())
        assert not drawn.exists()
        process.send_signal(number)
        _, err = process.communicate()
        ended.cancel()
    assert process.returncode == 0, err
    assert first["time"] < second["time"]
    assert len(err.splitlines()) == 1 and "2 frames watched" in err
    assert [path.name for path in tmp_path.iterdir() if path != folder] == ["drawn.avi"]
    capture = cv2.VideoCapture(str(drawn))
    assert capture.read()[0]


class Camera(http.server.BaseHTTPRequestHandler):
    """A network camera: it gives ten frames, refuses the next two who ask, and then works again."""

    asked = 0

    def do_GET(self):
        type(self).asked += 1
        if type(self).asked in (2, 3):
            self.send_error(503)
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        image = io.BytesIO()
        Image.fromarray(picture(320, 240)).save(image, "JPEG")
        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(image.getvalue())}\r\n\r\n".encode()
        with contextlib.suppress(OSError):  # the watcher has gone
            for _ in range(10 if type(self).asked == 1 else 1000):
                self.wfile.write(head + image.getvalue() + b"\r\n")
                time.sleep(0.02)

    def log_message(self, *arguments):
        pass


@pytest.mark.slow  # it waits until the camera is tried again
def test_a_lost_network_camera_is_reopened(model, capfd):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Camera) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://me:secret@127.0.0.1:{server.server_address[1]}/live"
        options = ["--json", "--lost_after", "1.5", "--expected", "", "--half_life", "60"]
        code = main(["watch", address, "--checkpoint", str(model), "--max_frames", "16", *options])
        server.shutdown()
    text = capfd.readouterr()
    assert code == 0 and Camera.asked == 4
    assert [json.loads(line)["event"] for line in text.out.splitlines()] == ["source lost", "source returned"]
    assert abs(json.loads(text.out.splitlines()[0])["time"] - time.time()) < 60
    assert "secret" not in text.err + text.out and len(text.err.splitlines()) == 1


def test_frames_are_collected_within_the_rate(model, clip, tmp_path, capsys):
    options = ("--collect", tmp_path / "kept", "--collect_per_minute", "60", "--order", "browned,fresh,frozen")
    code, _, err = watched(capsys, clip, "--checkpoint", model, *options, "--margin", "0.1")
    lines = [json.loads(line) for line in (tmp_path / "kept/collected.jsonl").read_text(encoding="utf-8").splitlines()]
    assert code == 0 and [line["reason"] for line in lines] == ["state changed", "state changed"]
    assert [Image.open(tmp_path / "kept" / line["file"]).size for line in lines] == [(96, 48)] * 2
    assert err[-1].startswith(f"panvision watch: 2 frames kept in {tmp_path}/kept, which has 2 (0.0 MB)")


@pytest.mark.parametrize("changes", [{}, {"tasks": ["detection"], "cls_class_names": []}])
def test_a_box_just_below_the_threshold_is_collected_not_reported(changes, clip, tmp_path, capsys):
    model = write_onnx(tmp_path / "m.onnx", metadata=changed_metadata(**changes))
    options = ("--score_threshold", "0.99", "--every_frame", "--json", "--max_frames", "3", "--checkpoint", model)
    _, plain, _ = watched(capsys, clip, *options)
    _, out, _ = watched(capsys, clip, *options, "--collect", tmp_path / "kept")
    assert out == plain and json.loads(out[0])["boxes"] == []
    (line,) = (tmp_path / "kept/collected.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["reason"] == "uncertain" and json.loads(line)["time"] == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--collect", "kept"], "--collect works with a model that has boxes or states; this one has masks alone."),
        (["--collect_mb", "200"], "--collect_mb works only with --collect."),
        (["--collect_per_minute", "6"], "--collect_per_minute works only with --collect."),
        (["--realtime"], "--realtime works only with a video file."),
    ],
)
def test_an_option_without_effect_is_refused(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    names = {"det_class_names": [], "cls_class_names": []}
    masks = write_onnx(tmp_path / "m.onnx", metadata=changed_metadata(tasks=["segmentation"], **names))
    code, out, err = watched(capsys, tmp_path, "--checkpoint", masks, *options)
    assert code == 2 and not out and err == [f"panvision watch: {message} See `panvision watch --help`."]
    assert not (tmp_path / "kept").exists()


def test_a_folder_that_is_lost_does_not_end_the_watch(model, clip, tmp_path, capsys, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("panvision.labelling.collect.Collector._write", refuse)
    code, out, err = watched(capsys, clip, "--checkpoint", model, "--collect", tmp_path / "kept")
    warnings = [line for line in err if "warning" in line]
    assert code == 0 and any("to fresh" in line for line in out)
    assert warnings == [f"panvision watch: warning: {tmp_path}/kept: no more frames are kept: No space left on device"]
