from collections.abc import Iterator
from pathlib import Path

import pytest

from panvision.inference.predictor import Predictor
from panvision.page.model import SharedModel
from tests.page.made import FRESH, FROZEN
from tests.page.serving import Served
from tests.tiny import ColourBackend, changed_metadata, picture, write_onnx


@pytest.fixture(scope="session")
def clip(tmp_path_factory) -> Path:
    """Six seconds at five frames a second; the state is another one from the middle on."""
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


@pytest.fixture(scope="session")
def served(tmp_path_factory) -> Iterator[Served]:
    """The command at work on a tiny model, until the tests end."""
    pytest.importorskip("gradio")
    folder = tmp_path_factory.mktemp("served")
    order = ["frozen", "browned", "fresh"]
    checkpoint = write_onnx(folder / "tiny.onnx", metadata=changed_metadata(state_order=order))
    with Served(folder, "--checkpoint", checkpoint, "--max_upload_mb", "1") as running:
        yield running
