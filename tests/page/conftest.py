import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from panvision.inference.predictor import Predictor
from panvision.page.facts import read_facts
from panvision.page.model import Controls, SharedModel
from panvision.page.server import PageServer
from tests.page.serving import Served, Site
from tests.tiny import ColourBackend, changed_metadata, picture, write_onnx

# The tiny model takes the strongest colour for the state.
FROZEN, FRESH = (0, 0, 90), (0, 90, 0)
CONTROLS = Controls(score=0.3, nms=0.5)
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="session")
def clip(tmp_path_factory) -> Path:
    """Six seconds at five frames a second; the state changes in the middle."""
    pytest.importorskip("cv2")
    from panvision.monitor.video import VideoFile

    path = tmp_path_factory.mktemp("clip") / "clip.avi"
    with VideoFile(path, 5.0) as video:
        for number in range(30):
            video.write(picture(192, 96, colour=FROZEN if number < 15 else FRESH), number / 5)
    return path


@pytest.fixture
def model() -> SharedModel:
    return SharedModel(Predictor(ColourBackend()))


@pytest.fixture
def serve(tmp_path) -> Iterator:
    """Serves a model in a thread of the test until the test ends; uploads are limited to 1 MB."""
    servers = []

    def serving(model: SharedModel) -> Site:
        (tmp_path / "m.onnx").write_bytes(b"abc")
        server = PageServer(0, model, read_facts(tmp_path / "m.onnx", model), 2**20)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        servers.append((server, thread))
        return Site(server.server_address[1])

    yield serving
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def site(serve, model) -> Site:
    return serve(model)


@pytest.fixture(scope="session")
def served(tmp_path_factory) -> Iterator[Served]:
    """The command with a tiny model, until the tests end; one of its classes has a hostile name."""
    folder = tmp_path_factory.mktemp("served")
    metadata = changed_metadata(state_order=["frozen", "browned", "fresh"], det_class_names=[EVIL, "stirrer"])
    checkpoint = write_onnx(folder / "tiny.onnx", metadata=metadata)
    with Served(folder, "--checkpoint", checkpoint, "--max_upload_mb", "1") as running:
        yield running
        assert running.hosts <= {"127.0.0.1"}
