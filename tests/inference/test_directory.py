import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from panvision.inference.backend import PredictorError
from panvision.inference.directory import DirectoryOptions, output_names, predict_directory
from panvision.inference.predictor import Predictor
from panvision.inference.results import ClassResult
from tests.tiny import LIMITED, SUBSETS, ColourBackend, HeatBackend, PartBackend, picture


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


def test_directory_reports_broken_links(predictor, folder, tmp_path) -> None:
    (folder / "moved.png").symlink_to(tmp_path / "gone.png")
    outcome = predict_directory(predictor, folder, tmp_path / "out")
    assert "moved.png" in [failure.name for failure in outcome.failures]


def test_what_is_written(predictor, folder, tmp_path) -> None:
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    out = tmp_path / "out"
    outcome = predict_directory(predictor, folder, out, visualize=True)
    assert [failure.name for failure in outcome.failures] == ["broken.jpg", "deeper"]
    assert sorted(path.name for path in out.glob("[!.]*")) == [
        "B_mask.png",
        "B_pred.png",
        "a.bmp_mask.png",
        "a.bmp_pred.png",
        "a.png_mask.png",
        "a.png_pred.png",
        "predictions.json",
        "predictions.jsonl",
    ]
    written = json.loads((out / "predictions.json").read_text())
    assert [one["image_name"] for one in written["images"]] == ["B.PNG", "a.bmp", "a.png"]
    first = written["images"][0]
    assert (first["width"], first["height"], first["segmentation"]) == (96, 48, {"mask": "B_mask.png"})
    assert first["detection"]["class_names"] == ["stirrer"]
    assert set(first["classification"]) == set(ClassResult.__annotations__)
    assert [one["image_name"] for one in written["failed"]] == ["broken.jpg", "deeper"]
    assert str(tmp_path) not in (out / "predictions.json").read_text()
    mask = np.asarray(Image.open(out / "B_mask.png"))
    assert np.array_equal(mask, predictor.predict(folder / "B.PNG")["segmentation"]["mask"])
    assert Image.open(out / "B_pred.png").size == (96, 48)


@pytest.mark.parametrize("tasks", SUBSETS)
def test_directory_with_fewer_tasks(folder, tmp_path, tasks) -> None:
    out = tmp_path / "out"
    predict_directory(Predictor(PartBackend(*tasks)), folder, out, visualize=True)
    written = json.loads((out / "predictions.json").read_text())["images"]
    assert all(set(one) == {"image_name", "width", "height", *tasks} for one in written)
    assert (written[0]["width"], written[0]["height"]) == (96, 48)
    assert len(list(out.glob("*_mask.png"))) == (3 if "segmentation" in tasks else 0)
    assert len(list(out.glob("*_pred.png"))) == 3


def test_what_is_not_answered_is_written(tmp_path) -> None:
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    pictures.mkdir()
    Image.fromarray(picture()).save(pictures / "a.png")
    Image.fromarray(picture() * 0).save(pictures / "b.png")
    limited = Predictor(ColourBackend(LIMITED))
    predict_directory(limited, pictures, out, visualize=True, options=DirectoryOptions(coco=True))
    one, other = (image["classification"] for image in json.loads((out / "predictions.json").read_text())["images"])
    assert (one["answered"], one["reason"]) == (True, None)
    assert (other["answered"], other["reason"]) == (False, "unlike the training images") and other["distance"] == 50.0
    assert set(other["probabilities"]) == set(limited.cls_class_names)
    images = json.loads((out / "predictions.coco.json").read_text())["images"]
    assert ["state" in image for image in images] == [True, False]


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
        (tmp_path / "missing", None, False, "no such folder, file or pattern"),
        (tmp_path / "empty", None, False, "has no images"),
        (folder, None, True, "needs output_dir"),
        (folder, folder, False, "must not be the folder of the images"),
        (folder, folder / "deeper" / "..", False, "must not be the folder of the images"),
        (folder, tmp_path / "file", False, "is a file"),
    ):
        with pytest.raises(PredictorError, match=message):
            predict_directory(predictor, image_dir, output_dir, visualize=visualize)


NAMES = st.sets(st.from_regex(r"[aAb]{1,2}(\.jpg)?(_)?\.(jpg|png|JPG)", fullmatch=True), max_size=12)


@given(NAMES)
def test_output_names_never_meet(names) -> None:
    given_names = output_names(sorted(names))
    assert len({name.casefold() for name in given_names}) == len(given_names) == len(names)


def test_a_stem_of_its_own_is_the_name() -> None:
    assert output_names(["a.jpg", "a.png", "b.jpg", "c/a.jpg"]) == ["a.jpg", "a.png", "b", "c/a"]


def whole(out):
    return json.loads((out / "predictions.json").read_text())


def lines(out):
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]


@pytest.fixture
def many(tmp_path):
    """Twenty pictures, of which two are broken."""
    pictures = tmp_path / "many"
    pictures.mkdir()
    for number in range(20):
        path = pictures / f"{number:02}.png"
        Image.fromarray(picture(colour=(0, 0, 80 + number), box=(4, 4, 30 + number, 30))).save(path)
    for name in ("07.png", "16.png"):
        (pictures / name).write_bytes(b"broken")
    return pictures


@pytest.mark.parametrize("options", [DirectoryOptions(1, 1), DirectoryOptions(6, 3), DirectoryOptions(50, 2)])
def test_directory_batches_and_threads_change_nothing(predictor, many, tmp_path, options) -> None:
    given, progress = [], []
    outcome = predict_directory(
        predictor,
        many,
        tmp_path / "out",
        options=options,
        on_result=given.append,
        on_progress=lambda *done: progress.append(done),
    )
    good = [f"{number:02}.png" for number in range(20) if number not in (7, 16)]
    assert [failure.name for failure in outcome.failures] == ["07.png", "16.png"]
    assert [result["image_name"] for result in given] == good
    assert progress[0] == (0, 20) and progress[-1] == (20, 20)
    for result in given:
        alone = predictor.predict(many / result["image_name"])
        assert np.array_equal(result["segmentation"]["mask"], alone["segmentation"]["mask"])
        assert result["detection"] == alone["detection"] and result["classification"] == alone["classification"]
    batches = [size for size in predictor.backend.batches[1:] if size > 1]  # the first is the probe
    assert max(batches, default=1) <= options.batch_size
    assert (options.batch_size > 1) is bool(batches)


def test_the_whole_file_is_as_json_dumps_writes_it(predictor, many, tmp_path) -> None:
    predict_directory(predictor, many, tmp_path / "out", options=DirectoryOptions(3))
    text = (tmp_path / "out/predictions.json").read_text()
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n"
    assert [one["image_name"] for one in whole(tmp_path / "out")["failed"]] == ["07.png", "16.png"]
    assert [line for line in lines(tmp_path / "out") if "failed" not in line] == whole(tmp_path / "out")["images"]


def test_directory_lines_follow_their_mask(predictor, many, tmp_path) -> None:
    out, seen = tmp_path / "out", []

    def look(done, total):
        there = lines(out)
        assert len(there) == done and all(
            "failed" in one or (out / one["segmentation"]["mask"]).is_file() for one in there
        )
        seen.append(done)

    predict_directory(predictor, many, out, options=DirectoryOptions(4), on_progress=look)
    assert len(set(seen)) > 4


class StoppedError(Exception):
    pass


def interrupt_after(count):
    def look(done, total):
        if done >= count:
            raise StoppedError

    return look


def test_directory_resume_equals_one_run(many, tmp_path) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    options = DirectoryOptions(4, coco=True)
    predict_directory(Predictor(ColourBackend()), many, straight, visualize=True, options=options)
    with pytest.raises(StoppedError):
        predict_directory(
            Predictor(ColourBackend()), many, broken, visualize=True, options=options, on_progress=interrupt_after(8)
        )
    # As a kill in the middle of a write leaves it.
    with (broken / "predictions.jsonl").open("a") as file:
        file.write('{"image_name": "08.p')
    assert not (broken / "predictions.json").exists()
    given = []
    outcome = predict_directory(
        Predictor(ColourBackend()),
        many,
        broken,
        visualize=True,
        options=DirectoryOptions(4, resume=True, coco=True),
        on_result=given.append,
    )
    assert given[0]["image_name"] == "08.png" and len(given) == 11
    assert [failure.name for failure in outcome.failures] == ["07.png", "16.png"]  # the first once more
    for path in straight.iterdir():
        if path.name != "predictions.jsonl":
            assert path.read_bytes() == (broken / path.name).read_bytes(), path.name
    again = []
    predict_directory(
        Predictor(ColourBackend()),
        many,
        broken,
        visualize=True,
        options=DirectoryOptions(resume=True),
        on_result=again.append,
    )
    assert again == []


def test_directory_refuses_to_resume_other_settings(predictor, many, tmp_path) -> None:
    predict_directory(predictor, many, tmp_path / "out")
    resumed = {"options": DirectoryOptions(resume=True)}
    for other, drawn in (
        (predictor.with_thresholds(0.9), False),
        (Predictor(ColourBackend(box_logit=1.0)), False),
        (predictor, True),
    ):
        if other is not predictor and other.backend is not predictor.backend:
            other.backend.run = lambda images, run=other.backend.run: run(255 - images)
        with pytest.raises(PredictorError, match="another model or other settings"):
            predict_directory(other, many, tmp_path / "out", visualize=drawn, **resumed)
    predict_directory(predictor.with_thresholds(0.9), many, tmp_path / "out")  # without resuming
    assert whole(tmp_path / "out")["images"][0]["detection"]["boxes"]


def test_coco_names_every_box_with_ids_from_1(predictor, many, tmp_path) -> None:
    predict_directory(predictor, many, tmp_path / "out", options=DirectoryOptions(coco=True))
    written = json.loads((tmp_path / "out/predictions.coco.json").read_text())
    assert [one["name"] for one in written["categories"]] == ["lid", "stirrer"]
    assert [one["id"] for one in written["images"]] == list(range(1, 19))
    assert written["images"][0] == {"id": 1, "file_name": "00.png", "width": 96, "height": 48, "state": "browned"}
    first, entry = written["annotations"][0], whole(tmp_path / "out")["images"][0]
    x1, y1, x2, y2 = entry["detection"]["boxes"][0]
    assert (first["id"], first["image_id"], first["category_id"]) == (1, 1, 2)
    assert first["bbox"] == [x1, y1, x2 - x1, y2 - y1] and first["score"] == entry["detection"]["scores"][0]


def test_directory_raises_disk_errors(predictor, many, tmp_path, monkeypatch) -> None:
    def full(path, pixels):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("panvision.inference.directory._write_png", full)
    with pytest.raises(OSError, match="No space"):
        predict_directory(predictor, many, tmp_path / "out", options=DirectoryOptions(4))
    assert lines(tmp_path / "out") == []


def test_few_pictures_are_in_memory_at_a_time(many, tmp_path, monkeypatch) -> None:
    """However fast they are decoded: no more than the batches in work and two ahead."""
    from panvision.inference import inputs

    decoded, most = [], []
    read = inputs.read_image
    monkeypatch.setattr(inputs, "read_image", lambda path, **limit: decoded.append(1) or read(path, **limit))
    predict_directory(
        Predictor(ColourBackend()),
        many,
        options=DirectoryOptions(2, 1),
        on_result=lambda result: most.append(len(decoded)),
    )
    assert max(count - number for number, count in enumerate(most)) <= 2 * 2 + 1 + 2 * 2 + 3


def test_options_that_make_no_sense_are_refused(predictor, many) -> None:
    with pytest.raises(PredictorError, match="batch_size must be at least 1 and workers at least 0, found 0 and -1"):
        predict_directory(predictor, many, options=DirectoryOptions(0, -1))
    with pytest.raises(PredictorError, match="resume and coco needs output_dir"):
        predict_directory(predictor, many, options=DirectoryOptions(resume=True, coco=True))


def test_directory_names_files_of_an_earlier_run(predictor, many, tmp_path) -> None:
    out = tmp_path / "out"
    assert predict_directory(predictor, many, out, visualize=True, options=DirectoryOptions(coco=True)).leftover == []
    assert predict_directory(predictor, many, out, visualize=True, options=DirectoryOptions(coco=True)).leftover == []
    (many / "00.png").unlink()
    (many / "01.png").write_bytes(b"broken")
    drawn = [f"{number:02}_pred.png" for number in range(20) if number not in (7, 16)]
    expected = sorted([*drawn, "00_mask.png", "01_mask.png"])
    assert predict_directory(predictor, many, out).leftover == [*expected, "predictions.coco.json"]


def test_directory_writes_as_the_folders_are(predictor, folder, tmp_path) -> None:
    out = folder / "deeper/out"
    for _ in range(2):  # masks of the first run are not read in the second
        outcome = predict_directory(predictor, folder, out, options=DirectoryOptions(recursive=True))
        assert outcome.failures == outcome.leftover == []
        assert [one["image_name"] for one in whole(out)["images"]] == ["B.PNG", "a.bmp", "a.png", "deeper/c.png"]
        assert (out / "deeper/c_mask.png").is_file()


EXPLAIN = DirectoryOptions(explain=True)


def test_directory_draws_explanations(folder, tmp_path) -> None:
    out, results = tmp_path / "out", []
    outcome = predict_directory(Predictor(HeatBackend()), folder, out, options=EXPLAIN, on_result=results.append)
    assert outcome.leftover == []
    assert sorted(path.name for path in out.glob("*.png")) == [
        f"{name}_{kind}.png" for name in ("B", "a.bmp", "a.png") for kind in ("explain", "mask")
    ]
    assert not any("explanation" in result for result in results), "maps of many images would fill the memory"
    drawn = np.asarray(Image.open(out / "B_explain.png")).astype(int)
    state, box = drawn[:, :96], drawn[:, -96:]
    # The class label marks one of eight columns; the box is at the upper left.
    column = 12 * results[0]["classification"]["class_idx"] + 6
    assert np.ptp(state[40, column]) > 20 and np.ptp(state[40, 80]) == 0
    assert np.ptp(box[17, 17]) > 20 and np.ptp(box[40, 80]) == 0
    assert predict_directory(Predictor(HeatBackend()), folder, out).leftover == [
        "B_explain.png",
        "a.bmp_explain.png",
        "a.png_explain.png",
    ]


def test_directory_explains_only_what_it_can(predictor, folder, tmp_path) -> None:
    with pytest.raises(PredictorError, match="explain: an ONNX file has no gradients"):
        predict_directory(predictor, folder, tmp_path / "out", options=EXPLAIN)
    assert not (tmp_path / "out").exists()
    with pytest.raises(PredictorError, match="explain needs output_dir"):
        predict_directory(Predictor(HeatBackend()), folder, options=EXPLAIN)


def test_directory_resumes_without_explanations_only_what_had_none(folder, tmp_path) -> None:
    model, out = Predictor(HeatBackend()), tmp_path / "out"
    predict_directory(model, folder, out)
    with pytest.raises(PredictorError, match="other settings"):
        predict_directory(model, folder, out, options=DirectoryOptions(explain=True, resume=True))
