import json
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from panvision.core.tasks import DATASETS
from panvision.decoding.decoder import Thresholds
from panvision.inference.inputs import find_images
from panvision.inference.predictor import Predictor
from panvision.labelling.answers import Panel
from panvision.labelling.labels import Classes
from panvision.labelling.output import LEDGER, Output
from panvision.labelling.prelabel import PrelabelOptions, check_output, prelabel, read_photos, safe_names
from panvision.labelling.writers import WRITERS, WriterError, choose_writers
from panvision.photos.pixels import read_picture
from panvision.prepare.formats.outlines import draw_mask
from panvision.prepare.formats.parsing import read_xml
from panvision.prepare.formats.readers import read_set
from panvision.prepare.formats.yolo import class_names
from tests.tiny import INFO, LIMITED, STATE_NAMES, ColourBackend, picture


def proposed(folder, into, formats, backend=None, names=None, **options):
    """Return the summary and the files that were kept."""
    panel = Panel([Predictor(backend or ColourBackend())])
    images = find_images(folder, recursive=True).images
    output, writers = Output(into), choose_writers(formats, panel.tasks)
    names = names or safe_names([each.name for each in images], output)
    photos = list(read_photos(images, names, panel.max_pixels, [].append))
    check_output(output, writers, panel.info, names.values(), photos)
    return prelabel(panel, photos, writers, output, **options), output.kept


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


def test_a_turned_photo_has_labels_on_the_upright_image(tmp_path, photos):
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = picture(48, 96, box=(8, 8, 40, 40))
    Image.fromarray(np.rot90(upright)).save(photos / "a.png", exif=exif)
    proposed(photos, tmp_path / "out", ["coco"])
    document = json.loads((tmp_path / "out/detection/_annotations.coco.json").read_text(encoding="utf-8"))
    assert (document["images"][0]["width"], document["images"][0]["height"]) == (48, 96)
    assert np.allclose(document["annotations"][0]["bbox"], [8, 8, 32, 32], atol=2.5)
    reading = read_set("detection", tmp_path / "out/detection")
    assert not [found for found in reading.problems if found.severity == "error"]


@pytest.mark.parametrize(
    ("names", "accepted"),
    [
        (["lid", "stirrer"], True),
        ({0: "lid", 1: "stirrer", 2: "pan"}, True),
        ({str(number): name for number, name in enumerate(["lid", "stirrer", *"abcdefghi"])}, True),
        ({0: "lid", 2: "stirrer"}, False),
        (["stirrer", "lid"], False),
        (["lid"], False),
        ({"first": "lid", "second": "stirrer"}, False),
        (7, False),
    ],
)
def test_yolo_numbers_of_earlier_labels_keep_their_classes(tmp_path, photos, names, accepted):
    Image.fromarray(picture()).save(photos / "a.png")
    folder = tmp_path / "out/detection"
    folder.mkdir(parents=True)
    (folder / "data.yaml").write_text(yaml.safe_dump({"names": names}), encoding="utf-8")
    if accepted:
        proposed(photos, tmp_path / "out", ["yolo"])
        return
    with pytest.raises(WriterError, match=r"data\.yaml: .*; choose another folder with --into"):
        proposed(photos, tmp_path / "out", ["yolo"])
    assert [path.name for path in folder.rglob("*")] == ["data.yaml"]


def test_yolo_numbers_of_a_list_keep_their_classes(tmp_path, photos):
    Image.fromarray(picture()).save(photos / "a.png")
    (tmp_path / "out/detection").mkdir(parents=True)
    (tmp_path / "out/detection/classes.txt").write_text("stirrer\nlid\n", encoding="utf-8")
    with pytest.raises(WriterError, match=r"classes\.txt: .*; choose another folder with --into"):
        proposed(photos, tmp_path / "out", ["yolo"])


def test_yolo_labels_of_ours_are_replaced_by_fewer(tmp_path, photos):
    Image.fromarray(picture(box=(8, 8, 40, 40))).save(photos / "a.png")
    for logit, count in ((5.0, 1), (-12.0, 0)):
        proposed(photos, tmp_path / "out", ["yolo"], ColourBackend(box_logit=logit))
        assert len(listed("detection", tmp_path / "out")["a.png"].boxes.xywh) == count


def test_yolo_names_of_earlier_labels_are_not_replaced_by_fewer(tmp_path, photos):
    Image.fromarray(picture()).save(photos / "a.png")
    out = tmp_path / "out"
    output = Output(out)
    for file, content in WRITERS["yolo"].whole("detection", [], Classes((*INFO.det_class_names, "spoon"))):
        output.write(f"detection/{file}", content)
    proposed(photos, out, ["yolo"])
    assert read_set("detection", out / "detection").classes == ["lid", "stirrer", "spoon"]
    assert (out / "detection/classes.txt").read_text(encoding="utf-8").split() == ["lid", "stirrer", "spoon"]


@pytest.mark.parametrize("name", ["yolo", "coco", "folders", "masks"])
def test_another_photo_of_a_name_is_refused(tmp_path, photos, name):
    Image.fromarray(picture()).save(photos / "a.png")
    Image.fromarray(picture()).save(photos / "b.png")
    out = tmp_path / "out"
    proposed(photos, out, [name])
    proposed(photos, out, [name])
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    Image.fromarray(picture(colour=(0, 90, 0))).save(photos / "b.png")
    with pytest.raises(WriterError, match=r"photos.b\.png: .*out.*b\.png is another image of this name; .*--into"):
        proposed(photos, out, [name])
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_photo_that_would_share_a_label_file_is_refused(tmp_path, photos):
    Image.fromarray(picture()).save(photos / "a.png")
    proposed(photos, tmp_path / "out", ["yolo"])
    (photos / "a.png").unlink()
    (photos / "a.bmp").write_bytes((tmp_path / "out/detection/images/a.png").read_bytes())
    with pytest.raises(WriterError, match=r"a\.bmp: .*a\.png is another image of this name"):
        proposed(photos, tmp_path / "out", ["yolo"], names={"a.bmp": "a.bmp"})


def listed(task, folder):
    reading = read_set(task, folder / task)
    assert not [found for found in reading.problems if found.severity == "error" or found.code == "image_unlisted"]
    return {PurePosixPath(sample.file).name: sample for sample in reading.samples}


@pytest.mark.parametrize("name", ["coco", "cvat", "yolo", "voc", "labelme"])
def test_a_removed_image_is_not_listed_again(tmp_path, photos, name):
    for stem in ("a", "b"):
        Image.fromarray(picture(box=(8, 8, 40, 40))).save(photos / f"{stem}.png")
    proposed(photos, tmp_path / "out", [name])
    for path in (tmp_path / "out/detection").rglob("a.*"):
        path.unlink()
    proposed(photos, tmp_path / "out", [name])
    assert set(listed("detection", tmp_path / "out")) == {"b.png"}


def test_an_image_that_a_person_moved_has_their_class(tmp_path, photos):
    for stem in ("a", "b"):
        Image.fromarray(picture()).save(photos / f"{stem}.png")
    proposed(photos, tmp_path / "out", ["cvat"])
    (tmp_path / "out/classification/images/burnt").mkdir()
    (tmp_path / "out/classification/images/frozen/a.png").rename(tmp_path / "out/classification/images/burnt/a.png")
    proposed(photos, tmp_path / "out", ["cvat"])
    listed("classification", tmp_path / "out")
    root, _ = read_xml(tmp_path / "out/classification/annotations.xml", tmp_path)
    found = {image.get("name"): image.find("tag").get("label") for image in root.iterfind("image")}
    assert found == {"burnt/a.png": "burnt", "frozen/b.png": "frozen"}


def test_an_image_that_a_person_and_then_a_model_moved_has_that_class(tmp_path, photos):
    Image.fromarray(picture()).save(photos / "a.png")
    proposed(photos, tmp_path / "out", ["cvat"])
    folder = tmp_path / "out/classification/images"
    (folder / "fresh").mkdir()
    (folder / "frozen/a.png").rename(folder / "fresh/a.png")
    proposed(
        photos, tmp_path / "out", ["cvat"], ColourBackend(replace(INFO, cls_class_names=("browned", "frozen", "fresh")))
    )
    root, _ = read_xml(tmp_path / "out/classification/annotations.xml", tmp_path)
    assert {image.get("name"): image.find("tag").get("label") for image in root.iterfind("image")} == {
        "fresh/a.png": "fresh"
    }


@pytest.mark.parametrize("name", ["folders", "cvat"])
def test_an_image_that_a_person_put_back_among_the_class_folders_has_no_class(tmp_path, photos, name):
    for stem in ("a", "b"):
        Image.fromarray(picture()).save(photos / f"{stem}.png")
    proposed(photos, tmp_path / "out", [name])
    folder = tmp_path / "out/classification/images"
    (folder / "frozen/a.png").rename(folder / "a.png")
    kept = proposed(photos, tmp_path / "out", [name])[1]
    assert kept == ["classification/images/a.png"] and sorted(listed("classification", tmp_path / "out")) == ["b.png"]
    if name == "cvat":
        root, _ = read_xml(tmp_path / "out/classification/annotations.xml", tmp_path)
        assert [image.get("name") for image in root.iterfind("image")] == ["frozen/b.png"]


@pytest.mark.parametrize("name", ["coco", "cvat", "yolo", "voc", "labelme"])
def test_further_images_join_those_of_an_earlier_run(tmp_path, photos, name):
    Image.fromarray(picture(box=(8, 8, 40, 40))).save(photos / "a.png")
    proposed(photos, tmp_path / "out", [name])
    before = listed("detection", tmp_path / "out")["a.png"]
    (photos / "a.png").unlink()
    Image.fromarray(picture()).save(photos / "b.png")
    proposed(photos, tmp_path / "out", [name])
    for task in ("segmentation", "detection", "classification"):
        assert set(listed(task, tmp_path / "out")) == {"a.png", "b.png"}
    assert listed("detection", tmp_path / "out")["a.png"].boxes == before.boxes


@pytest.mark.parametrize(("name", "file"), [("coco", "_annotations.coco.json"), ("cvat", "annotations.xml")])
def test_a_broken_file_of_a_person_is_not_merged(tmp_path, photos, name, file):
    Image.fromarray(picture()).save(photos / "a.png")
    proposed(photos, tmp_path / "out", [name])
    (tmp_path / "out/detection" / file).write_bytes(b"broken")
    proposed(photos, tmp_path / "out", [name])
    assert (tmp_path / "out/detection" / file).read_bytes() == b"broken"


@pytest.mark.parametrize("name", ["coco", "cvat"])
def test_earlier_boxes_keep_their_class_name(tmp_path, photos, name):
    for stem, classes in (("a", ("lid", "spoon")), ("b", ("spoon", "pan"))):
        Image.fromarray(picture(box=(8, 8, 40, 40))).save(photos / f"{stem}.png")
        proposed(photos, tmp_path / "out", [name], ColourBackend(replace(INFO, det_class_names=classes)))
        (photos / f"{stem}.png").unlink()
    reading = read_set("detection", tmp_path / "out/detection")
    found = {PurePosixPath(sample.file).name: sample.boxes.labels for sample in reading.samples}
    assert {name: [reading.classes[each] for each in labels] for name, labels in found.items()} == {
        "a.png": ["spoon"],
        "b.png": ["pan"],
    }


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("of_a_person", [False, True])
@pytest.mark.parametrize("second", WRITERS)
@pytest.mark.parametrize("first", WRITERS)
def test_a_second_format_is_refused_or_a_dataset(tmp_path, photos, first, second, of_a_person):
    out = tmp_path / "out"
    Image.fromarray(picture(box=(8, 8, 40, 40))).save(photos / "a.png")
    proposed(photos, out, [first])
    if of_a_person:
        (out / LEDGER).unlink()
    before = files(out)
    Image.fromarray(picture()).save(photos / "b.png")
    try:
        proposed(photos, out, [second])
    except WriterError as error:
        assert str(error).endswith("another folder with --into") and (first != second or of_a_person)
        assert files(out) == before
        return
    for task in (task for task in DATASETS if (out / task).exists()):
        assert set(listed(task, out)) == {
            path.name for path in (out / task).rglob("?.png") if path.parts[-2] != "masks"
        }
    if of_a_person:
        assert {path: content for path, content in files(out).items() if path in before} == before


@pytest.mark.parametrize(
    "mask",
    ["masks/a_mask.png", "masks/a.png.png", "masks/a.bmp", "SegmentationClass/a.png", "images/a_mask.png"],
)
def test_a_second_mask_of_an_image_is_refused(tmp_path, photos, mask):
    Image.fromarray(picture()).save(photos / "a.png")
    path = tmp_path / "out/segmentation" / mask
    path.parent.mkdir(parents=True)
    Image.new("L", (96, 48)).save(path)
    (tmp_path / "out/segmentation/images").mkdir(exist_ok=True)
    Image.fromarray(picture()).save(tmp_path / "out/segmentation/images/a.png")
    with pytest.raises(WriterError, match=rf"{path.parent.name}.*--into"):
        proposed(photos, tmp_path / "out", ["masks"])
    assert not (tmp_path / "out" / LEDGER).exists()


@pytest.mark.parametrize("file", ["train/images/b.png", "train/notes.txt", "b.png", "JPEGImages/b.png"])
def test_another_layout_is_refused(tmp_path, photos, file):
    Image.fromarray(picture()).save(photos / "a.png")
    path = tmp_path / "out/detection" / file
    path.parent.mkdir(parents=True)
    Image.fromarray(picture()).save(path, format="PNG")
    with pytest.raises(WriterError, match=r"detection.*--into"):
        proposed(photos, tmp_path / "out", ["yolo"])
    assert not (tmp_path / "out" / LEDGER).exists()


def test_images_with_classes_in_a_table_are_refused(tmp_path, photos):
    folder = tmp_path / "out/classification"
    (folder / "images").mkdir(parents=True)
    for path in (folder / "images/a.png", photos / "b.png"):
        Image.fromarray(picture()).save(path)
    (folder / "_classes.csv").write_text("filename,fresh\na.png,1\n", encoding="utf-8")
    with pytest.raises(
        WriterError, match=r"images.a\.png: is of another form than the new labels, LabelMe JSON; .*--into"
    ):
        proposed(photos, tmp_path / "out", ["labelme"])


def test_a_broken_file_without_an_image_is_no_form(tmp_path, photos):
    Image.fromarray(picture()).save(photos / "a.png")
    proposed(photos, tmp_path / "out", ["coco"])
    (tmp_path / "out/detection/notes.xml").write_text("broken", encoding="utf-8")
    Image.fromarray(picture()).save(photos / "b.png")
    proposed(photos, tmp_path / "out", ["coco"])
    assert set(listed("detection", tmp_path / "out")) == {"a.png", "b.png"}


@pytest.mark.parametrize(("name", "file"), [("coco", "_annotations.coco.json"), ("cvat", "annotations.xml")])
def test_images_that_a_persons_file_cannot_list_are_refused(tmp_path, photos, name, file):
    Image.fromarray(picture()).save(photos / "a.png")
    proposed(photos, tmp_path / "out", [name])
    with (tmp_path / "out/detection" / file).open("a", encoding="utf-8") as stream:
        stream.write("\n")
    assert proposed(photos, tmp_path / "out", [name])[1] == [f"detection/{file}"]
    before = files(tmp_path / "out")
    Image.fromarray(picture()).save(photos / "b.png")
    with pytest.raises(WriterError, match=rf"detection.{file}: a person changed it, so that b\.png cannot .*--into"):
        proposed(photos, tmp_path / "out", [name])
    assert files(tmp_path / "out") == before


def test_names_of_earlier_images_do_not_depend_on_others(tmp_path, photos):
    for step, suffixes in enumerate((["jpg"], ["jpg", "png"], ["png"], ["bmp", "jpg"])):
        for path in photos.iterdir():
            path.unlink()
        for suffix in suffixes:
            Image.fromarray(picture(colour=(0, 0, 90 if suffix == "jpg" else 60))).save(photos / f"a.{suffix}")
        proposed(photos, tmp_path / "out", ["masks"])
        names = {path.name for path in (tmp_path / "out/segmentation/images").iterdir()}
        assert names == set(["a.jpg", "a.png.png", "a.png.png", "a.bmp.bmp"][: step + 1])


@pytest.mark.parametrize("together", [False, True])
def test_an_image_keeps_its_own_name_before_one_that_would_get_it(tmp_path, photos, together):
    (photos / "x").mkdir()
    Image.fromarray(picture(colour=(0, 0, 60))).save(photos / "x_a.png")
    if not together:
        proposed(photos, tmp_path / "out", ["masks"])
    Image.fromarray(picture()).save(photos / "x/a.png")
    for _ in range(2):
        proposed(photos, tmp_path / "out", ["masks"])
        written = list((tmp_path / "out/segmentation/images").iterdir())
        assert {path.read_bytes() for path in written} == {path.read_bytes() for path in photos.rglob("*.png")}
        assert len(written) == 2 and (together or tmp_path / "out/segmentation/images/x_a.png" in written)


def test_a_class_that_a_person_added_to_yolo_is_kept(tmp_path, photos):
    Image.fromarray(picture(box=(8, 8, 40, 40))).save(photos / "a.png")
    proposed(photos, tmp_path / "out", ["yolo"])
    path = tmp_path / "out/detection/data.yaml"
    settings = {"train": "images", "val": "images", "nc": 3, "names": [*INFO.det_class_names, "spoon"]}
    changed = yaml.safe_dump(settings, allow_unicode=True, sort_keys=False)
    path.write_text(changed, encoding="utf-8")
    Image.fromarray(picture()).save(photos / "b.png")
    assert not proposed(photos, tmp_path / "out", ["yolo"])[1]
    assert path.read_text(encoding="utf-8") == changed
    assert set(listed("detection", tmp_path / "out")) == {"a.png", "b.png"}


@pytest.mark.parametrize(("theirs", "other"), [("classes.txt", "data.yaml"), ("data.yaml", "classes.txt")])
@pytest.mark.parametrize("other_is_there", [False, True])
def test_further_classes_of_a_person_are_in_both_yolo_files(tmp_path, photos, theirs, other, other_is_there):
    Image.fromarray(picture(box=(8, 8, 40, 40))).save(photos / "a.png")
    folder = tmp_path / "out/detection"
    if other_is_there:
        proposed(photos, tmp_path / "out", ["yolo"])
    folder.mkdir(parents=True, exist_ok=True)
    names = [*INFO.det_class_names, "spoon"]
    content = yaml.safe_dump({"names": names}) if theirs == "data.yaml" else "\n".join(names)
    (folder / theirs).write_text(content, encoding="utf-8")
    assert proposed(photos, tmp_path / "out", ["yolo"])[1] == [f"detection/{theirs}"]
    assert (folder / theirs).read_text(encoding="utf-8") == content
    assert class_names(folder / other, folder) == dict(enumerate(names))


def test_coco_areas_are_those_of_the_polygons(tmp_path, photos):
    pixels = picture()
    pixels[10:20, 60:70] = 0
    Image.fromarray(pixels).save(photos / "a.png")
    proposed(photos, tmp_path / "out", ["coco"], options=PrelabelOptions(tolerance=0.0))
    document = json.loads((tmp_path / "out/segmentation/_annotations.coco.json").read_text(encoding="utf-8"))
    (found,) = document["annotations"]
    reading = read_set("segmentation", tmp_path / "out/segmentation")
    mask, _ = draw_mask(reading.samples[0].outlines, read_picture(photos / "a.png"), "a.png")
    assert found["area"] == np.count_nonzero(mask) < found["bbox"][2] * found["bbox"][3]


def test_a_long_name_is_refused_or_written(tmp_path, photos):
    Image.fromarray(picture()).save(photos / f"{'漢' * 75}.png")
    proposed(photos, tmp_path / "out", ["labelme"])
    assert len(listed("detection", tmp_path / "out")) == 1
    Image.fromarray(picture()).save(photos / f"{'漢' * 79}.png")
    before = files(tmp_path / "out")
    with pytest.raises(WriterError, match=r"漢.*: its name has 241 bytes; shorten it to 230"):
        proposed(photos, tmp_path / "out", ["labelme"])
    assert files(tmp_path / "out") == before


def test_images_keep_their_bytes(tmp_path, photos):
    Image.fromarray(picture()).save(photos / "a.jpg")
    proposed(photos, tmp_path / "out", ["yolo"])
    assert (tmp_path / "out/detection/images/a.jpg").read_bytes() == (photos / "a.jpg").read_bytes()


def test_an_image_that_the_model_does_not_know_gets_no_class(tmp_path, photos):
    Image.new("RGB", (96, 48)).save(photos / "a.jpg")
    summary, _ = proposed(photos, tmp_path / "out", ["folders"], ColourBackend(LIMITED))
    assert (summary.without_class, summary.images, dict(summary.classes)) == (1, 1, {})
    assert not list((tmp_path / "out").rglob("a.jpg"))


def test_costs_decide_the_class_as_in_predict(tmp_path, photos):
    Image.fromarray(picture(colour=(60, 58, 50))).save(photos / "a.png")
    costs = ((0.0, 0.1, 1.0), (1.0, 0.0, 1.0), (1.0, 0.1, 0.0))
    for own, label in ((), "browned"), (costs, "fresh"):
        backend = ColourBackend(replace(INFO, costs=own))
        assert Predictor(backend).predict(photos / "a.png")["classification"]["class_name"] == label
        assert dict(proposed(photos, tmp_path / label, ["folders"], backend)[0].classes) == {label: 1}


class ManyBackend(ColourBackend):
    """Three boxes of each class, those of the first with the higher scores."""

    def run(self, images):
        outputs = super().run(images)
        for row, number, probability in ((0, 0, 0.8), (1, 0, 0.7), (2, 0, 0.6), (8, 1, 0.5), (9, 1, 0.4), (10, 1, 0.3)):
            outputs["class_logits"][:, row, number] = np.log(probability / (1 - probability))
        return outputs


def test_boxes_below_their_threshold_take_no_place(tmp_path, photos):
    Image.fromarray(picture()).save(photos / "a.png")
    backend = ManyBackend(replace(INFO, thresholds=Thresholds(score=(0.95, 0.3), nms=0.5, max_detections=2)))
    votes = []
    proposed(photos, tmp_path / "out", ["coco"], backend, on_vote=lambda *found: votes.append(found[2]))
    wanted = Predictor(backend).predict(photos / "a.png")["detection"]
    assert wanted["class_names"] == ["stirrer", "stirrer"]
    assert votes[0].result(INFO.det_class_names)["detection"] == wanted


def test_a_class_that_is_no_folder_name(tmp_path, photos):
    Image.fromarray(picture()).save(photos / "a.jpg")
    info = replace(INFO, cls_class_names=tuple(f"a/{name}" for name in STATE_NAMES))
    for name in ("coco", "yolo", "voc", "cvat", "folders"):
        with pytest.raises(WriterError, match="cannot be the name of a folder; use --to labelme"):
            proposed(photos, tmp_path / "out", [name], ColourBackend(info))
        assert not (tmp_path / "out").exists()
    assert proposed(photos, tmp_path / "out", ["labelme"], ColourBackend(info))[0].images == 1


def test_formats_are_chosen_by_what_the_model_has():
    tasks = ("segmentation", "detection", "classification")
    chosen = choose_writers(["coco", "masks"], tasks)
    assert list(chosen) == ["segmentation", "detection", "classification"]
    assert chosen["classification"].tasks == ("classification",) and chosen["segmentation"].tasks == ("segmentation",)
    assert list(choose_writers(["masks"], tasks)) == ["segmentation"]
    assert list(choose_writers(["coco"], ("detection", "coverage"))) == ["detection"]
    with pytest.raises(
        WriterError,
        match=r"^folders: holds labels of classification, not detection; choose coco, .*, voc$",
    ):
        choose_writers(["folders"], ["detection"])


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8), min_size=1, max_size=6, unique=True))
def test_names_are_different_and_safe(stems):
    paths = list(dict.fromkeys(f"{stem.strip('/.') or 'x'}{end}" for stem in stems for end in (".jpg", ".PNG")))
    names = safe_names(paths)
    assert set(names) == set(paths)
    folded = [PurePosixPath(name).stem.casefold() for name in names.values()]
    assert len(set(folded)) == len(folded)
    for path, name in names.items():
        assert PurePosixPath(name).suffix == PurePosixPath(path).suffix
        assert name.isprintable() and not set(name) & set('/\\:*?"<>|')


def test_plain_names_stay():
    assert safe_names(["a b.jpg", "sub/ä.png"]) == {"a b.jpg": "a b.jpg", "sub/ä.png": "sub_ä.png"}
