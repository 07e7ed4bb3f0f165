import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from panvision.inference.backend import PredictorError
from panvision.inference.directory import list_images, output_names, predict_directory
from panvision.inference.predictor import Predictor
from tests.tiny import SUBSETS, ColourBackend, PartBackend, picture


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(ColourBackend())


@pytest.fixture
def folder(tmp_path):
    pictures = tmp_path / "pictures"
    (pictures / "deeper").mkdir(parents=True)
    for name in ("a.png", "a.bmp", "B.PNG", ".hidden.png", "deeper/c.png"):
        Image.fromarray(picture(box=(4, 4, 30, 30))).save(pictures / name)
    (pictures / "notes.txt").write_text("not a picture")
    return pictures


def test_only_visible_pictures_directly_in_the_folder_are_listed(folder) -> None:
    assert [path.name for path in list_images(folder)] == ["B.PNG", "a.bmp", "a.png"]


def test_what_is_written(predictor, folder, tmp_path) -> None:
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    out = tmp_path / "out"
    failures = predict_directory(predictor, folder, out, visualize=True)
    assert [failure.name for failure in failures] == ["broken.jpg"]
    assert sorted(path.name for path in out.iterdir()) == [
        "B_mask.png",
        "B_pred.png",
        "a.bmp_mask.png",
        "a.bmp_pred.png",
        "a.png_mask.png",
        "a.png_pred.png",
        "predictions.json",
    ]
    written = json.loads((out / "predictions.json").read_text())
    assert [one["image_name"] for one in written["images"]] == ["B.PNG", "a.bmp", "a.png"]
    first = written["images"][0]
    assert (first["width"], first["height"], first["segmentation"]) == (96, 48, {"mask": "B_mask.png"})
    assert first["detection"]["class_names"] == ["stirrer"]
    assert set(first["classification"]) == {"class_idx", "class_name", "probabilities"}
    assert [one["image_name"] for one in written["failed"]] == ["broken.jpg"]
    assert str(tmp_path) not in (out / "predictions.json").read_text()
    mask = np.asarray(Image.open(out / "B_mask.png"))
    assert np.array_equal(mask, predictor.predict(folder / "B.PNG")["segmentation"]["mask"])
    assert Image.open(out / "B_pred.png").size == (96, 48)


@pytest.mark.parametrize("tasks", SUBSETS)
def test_of_a_model_without_some_tasks_only_the_others_are_written(folder, tmp_path, tasks) -> None:
    out = tmp_path / "out"
    predict_directory(Predictor(PartBackend(*tasks)), folder, out, visualize=True)
    written = json.loads((out / "predictions.json").read_text())["images"]
    assert all(set(one) == {"image_name", "width", "height", *tasks} for one in written)
    assert (written[0]["width"], written[0]["height"]) == (96, 48)
    assert len(list(out.glob("*_mask.png"))) == (3 if "segmentation" in tasks else 0)
    assert len(list(out.glob("*_pred.png"))) == 3


def test_the_same_folder_gives_the_same_bytes(predictor, folder, tmp_path) -> None:
    for out in ("one", "two"):
        predict_directory(predictor, folder, tmp_path / out, visualize=True)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_drawings_are_written_only_when_asked_for(predictor, folder, tmp_path) -> None:
    predict_directory(predictor, folder, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*_pred.png"))


def test_folders_that_do_not_fit_are_refused(predictor, folder, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for image_dir, output_dir, visualize, message in (
        (tmp_path / "missing", None, False, "no such folder"),
        (tmp_path / "empty", None, False, "holds no pictures"),
        (folder, None, True, "needs output_dir"),
        (folder, folder, False, "must not be the folder of the pictures"),
        (folder, folder / "deeper" / "..", False, "must not be the folder of the pictures"),
        (folder, tmp_path / "file", False, "is a file"),
    ):
        with pytest.raises(PredictorError, match=message):
            predict_directory(predictor, image_dir, output_dir, visualize=visualize)


NAMES = st.sets(st.from_regex(r"[aAb]{1,2}(\.jpg)?(_)?\.(jpg|png|JPG)", fullmatch=True), max_size=12)


@given(NAMES)
def test_output_names_never_meet(names) -> None:
    paths = [Path(name) for name in sorted(names)]
    given_names = output_names(paths)
    assert len(given_names) == len(paths)
    assert len({name.casefold() for name in given_names}) == len(paths)


def test_a_stem_of_its_own_is_the_name() -> None:
    paths = [Path("a.jpg"), Path("a.png"), Path("b.jpg")]
    assert output_names(paths) == ["a.jpg", "a.png", "b"]
