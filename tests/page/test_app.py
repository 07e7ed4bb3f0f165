"""The page without a browser: what is on it for each kind of model, and what its events give."""

import inspect
import sys
from pathlib import Path

import pytest
from PIL import Image

from panvision.core.tasks import TASKS
from panvision.inference.predictor import Predictor
from panvision.page.model import SharedModel
from tests.page.made import facts_of
from tests.tiny import SUBSETS, PartBackend, picture

SLIDERS = {
    "detection": {"Score threshold": 3, "Overlap threshold": 3},
    "classification": {"Half-life, seconds": 2, "Margin": 2},
}


@pytest.fixture
def build(tmp_path, monkeypatch):
    """The page of a model of some tasks, and the functions behind its events, by the place that they are told of."""
    pytest.importorskip("gradio")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")

    def built(*tasks):
        from panvision.page.app import Page

        model = SharedModel(Predictor(PartBackend(*tasks)))
        blocks = Page(model, facts_of(model.info), tmp_path).build()
        functions = {}
        for function in blocks.fns.values():
            given = function.inputs[0].elem_id if function.inputs else None
            functions.setdefault(given, function.fn)
        return blocks, functions

    return built


def test_a_page_that_nobody_looks_at_seldom_looks_for_work(build, tmp_path):
    """The attribute is the toolkit's own, and what it calls it is nobody's promise."""
    from gradio.queueing import Queue

    from panvision.page.app import QUEUE_SECONDS, mounted

    model = SharedModel(Predictor(PartBackend(*TASKS)))
    (page,) = (route.app for route in mounted(model, facts_of(model.info), tmp_path, 1).routes if route.path == "")
    queue = page.get_blocks()._queue
    assert isinstance(queue, Queue) and queue.sleep_when_free == QUEUE_SECONDS
    assert "sleep(self.sleep_when_free)" in inspect.getsource(Queue.start_processing)


def upload(path: Path, name=None):
    return {"path": str(path), "orig_name": name or path.name}


@pytest.mark.parametrize("tasks", SUBSETS, ids="+".join)
def test_only_what_the_model_can_answer_is_on_the_page(build, tmp_path, tasks):
    blocks, functions = build(*tasks)
    parts = [part["props"] for part in blocks.config["components"]]
    labels = [part.get("label") for part in parts]
    for task, sliders in SLIDERS.items():
        for label, times in sliders.items():
            # Of a picture alone, of a clip and of a camera.
            assert labels.count(label) == (times if task in tasks else 0), label
    masks = [part for part in parts if part.get("label") == "Mask"]
    assert [part["visible"] for part in masks] == ["segmentation" in tasks]
    Image.fromarray(picture(box=(4, 4, 24, 24))).save(tmp_path / "a.png")
    values = [0.3, 0.5] if "detection" in tasks else []
    said, _, drawn, mask, cards = functions["picture"](upload(tmp_path / "a.png"), *values)
    assert said == "" and drawn.shape == (192, 384, 3)
    assert (mask is not None) is ("segmentation" in tasks)
    assert ("Boxes" in cards) is ("detection" in tasks) and ("State" in cards) is ("classification" in tasks)


def test_a_file_that_was_not_uploaded_is_not_opened(build, tmp_path, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "a.png"
    Image.fromarray(picture()).save(elsewhere)
    (tmp_path / "link.png").symlink_to(elsewhere)
    _, functions = build("segmentation")
    for path in (elsewhere, tmp_path / "link.png", tmp_path / ".." / "a.png", Path()):
        said, _, drawn, *_ = functions["picture"](upload(path, "a.png"))
        assert "a.png: was not uploaded here; drop it again" in said and drawn is None
    (said, *_) = next(functions["clip"](upload(elsewhere, "a.mp4")))
    assert "a.mp4: was not uploaded here" in said


def test_a_name_is_shown_as_it_is_written(build, tmp_path):
    (tmp_path / "stored").write_bytes(b"no picture")
    _, functions = build("segmentation")
    said, *_ = functions["picture"](upload(tmp_path / "stored", "up/<img src=x onerror=alert(1)>.png"))
    assert "&lt;img src=x onerror=alert(1)&gt;.png: cannot be decoded" in said and "<img" not in said


def test_a_slider_says_nothing_that_it_cannot(build, tmp_path):
    Image.fromarray(picture(box=(4, 4, 24, 24))).save(tmp_path / "a.png")
    _, functions = build("detection")
    for value in (5, -1, "x", None, [0.5], float("nan"), float("inf")):
        said, *_, cards = functions["picture"](upload(tmp_path / "a.png"), value, 0.5)
        assert said == "", value
        assert ("None scores" in cards) is (value == 5), value


def test_an_empty_place_asks_for_something(build):
    _, functions = build("segmentation", "classification")
    assert "Drop a photo" in functions["picture"](None)[0]
    assert "Drop a clip" in next(functions["clip"](None, 0.5, 0.2))[0]


def test_a_clip_goes_to_the_folder_that_ends_with_the_page(build, clip, tmp_path):
    _, functions = build("classification")
    (tmp_path / "clip.avi").write_bytes(clip.read_bytes())
    *_, (said, shown, cards) = functions["clip"](upload(tmp_path / "clip.avi"), 0.5, 0.2)
    assert said == "" and "States in time" in cards
    (drawn,) = (tmp_path / "clips").glob("*.webm")
    assert f"/gradio_api/file={drawn}" in shown


def test_nothing_is_asked_of_the_toolkits_makers(build):
    blocks, _ = build("segmentation")
    assert blocks.analytics_enabled is False
    assert "gradio.analytics" not in sys.modules or not sys.modules["gradio.analytics"].analytics_enabled()
