import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from panvision.scenes.demo import SETS, DemoError, write_demo_sets
from panvision.scenes.frames import CATEGORIES
from panvision.scenes.onions import STATES
from panvision.scenes.settings import SceneSettings, SetSizes

SIZES = SetSizes(segmentation=40, detection=60, classification=15)
# A seed by which all three kinds of objects are away now and then.
SMALL = SceneSettings(seed=3, width=96, height=72, images=SIZES, units=3)


def tree(root):
    """Content of every file below a folder."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in Path(root).rglob("*") if path.is_file()}


def render(root, workers=1, sizes=None, **changes):
    """Write demo sets below `root`; returns their files."""
    images = SIZES.model_copy(update=sizes or {})
    write_demo_sets(root, SMALL.model_copy(update={"images": images, **changes}), workers=workers)
    return tree(root)


def of(files, name):
    return {path: content for path, content in files.items() if path.startswith(f"{name}/")}


def open_mask(path):
    return np.asarray(Image.open(path))


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    root = tmp_path_factory.mktemp("demo") / "sets"
    render(root)
    return root


@pytest.fixture(scope="module")
def coco(demo):
    return json.loads((demo / "detection" / "_annotations.coco.json").read_text())


FEW = {"segmentation": 4, "detection": 4, "classification": 5}


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_same_settings_give_the_same_bytes(tmp_path, workers):
    assert render(tmp_path / "b", workers, FEW) == render(tmp_path / "a", 1, FEW)


def test_the_seed_changes_every_photo(tmp_path):
    one, two = render(tmp_path / "a", sizes=FEW), render(tmp_path / "b", sizes=FEW, seed=8)
    assert one.keys() == two.keys()
    assert all(one[path] != two[path] for path in one if path.endswith(".jpg"))


@pytest.mark.parametrize("grown", SETS)
def test_more_photos_in_one_set_change_nothing_in_the_others(tmp_path, grown):
    before, after = render(tmp_path / "a", sizes=FEW), render(tmp_path / "b", sizes={**FEW, grown: 9})
    for name in SETS:
        if name == grown:
            photos = {path: content for path, content in of(before, name).items() if not path.endswith(".json")}
            assert photos.items() <= after.items()
            assert sum(path.endswith(".jpg") for path in of(after, name)) == 9
        else:
            assert of(before, name) == of(after, name)


def test_no_photo_is_in_two_sets_or_twice_in_one(demo):
    photos = [content for path, content in tree(demo).items() if path.endswith(".jpg")]
    assert len(set(photos)) == len(photos) == 40 + 60 + 15


def test_folders_of_the_raw_layout(demo):
    files = tree(demo)
    assert {path.name for path in demo.iterdir()} == set(SETS)
    assert {path.name for path in (demo / "classification" / "images").iterdir()} == set(STATES)
    assert Counter(path.rsplit("/", 1)[0] for path in files) == {
        "segmentation/images": 40,
        "segmentation/masks": 40,
        "detection/images": 60,
        "detection": 1,
        **{f"classification/images/{state}": 3 for state in STATES},
    }
    for path in demo.rglob("*.jpg"):
        with Image.open(path) as photo:
            assert photo.size == (96, 72) and photo.mode == "RGB"


def test_each_photo_has_a_mask_of_its_size_in_black_and_white(demo):
    photos = {path.stem for path in (demo / "segmentation" / "images").iterdir()}
    assert photos == {path.stem for path in (demo / "segmentation" / "masks").iterdir()}
    for path in (demo / "segmentation" / "masks").iterdir():
        mask = open_mask(path)
        assert mask.shape == (72, 96) and mask.dtype == np.uint8 and set(np.unique(mask)) <= {0, 255}


def test_annotations_are_coco(demo, coco, capsys):
    dataset = COCO(str(demo / "detection" / "_annotations.coco.json"))
    assert len(dataset.imgs) == 60 and {entry["name"] for entry in dataset.cats.values()} == set(CATEGORIES)
    for entries in (coco["images"], coco["annotations"], coco["categories"]):
        # From 1: pycocotools takes annotation 0 for no match.
        assert [entry["id"] for entry in entries] == list(range(1, len(entries) + 1))
    for image in coco["images"]:
        assert (demo / "detection" / "images" / image["file_name"]).is_file()
        assert (image["width"], image["height"]) == (96, 72)
    for found in coco["annotations"]:
        x, y, width, height = found["bbox"]
        assert x >= 0 and y >= 0 and width >= 1 and height >= 1 and x + width <= 96 and y + height <= 72
        assert found["area"] == width * height and found["iscrowd"] == 0 and found["image_id"] in dataset.imgs


def test_now_and_then_something_is_away(demo, coco):
    names = {entry["id"]: entry["name"] for entry in coco["categories"]}
    shown = {image["id"]: [] for image in coco["images"]}
    for found in coco["annotations"]:
        shown[found["image_id"]].append(names[found["category_id"]])
    for name in CATEGORIES:
        having = sum(name in own for own in shown.values())
        assert 0 < having < len(shown), name
    # Never two pans or two stirrers.
    assert all(own.count("pan") <= 1 and own.count("stirrer") <= 1 for own in shown.values())
    empty = [not open_mask(path).any() for path in (demo / "segmentation" / "masks").iterdir()]
    assert 0 < sum(empty) < len(empty) / 3


@pytest.mark.parametrize(
    "changes",
    [{"units": 1}, {"units": 64}, {"difficulty": 0.0}, {"difficulty": 1.0}, {"width": 64, "height": 64},
     {"width": 64, "height": 200}, {"width": 400, "height": 64}, {"seed": 2**32 - 1}],
)  # fmt: skip
def test_edges_of_the_settings(tmp_path, changes):
    files = render(tmp_path / "a", sizes=FEW, **changes)
    assert len(files) == 4 + 4 + 4 + 1 + 5
    for path in (tmp_path / "a").rglob("*.jpg"):
        photo = np.asarray(Image.open(path))
        assert photo.shape == (changes.get("height", 72), changes.get("width", 96), 3)
        assert photo.std() > 8


def test_difficulty_changes_the_photo_and_not_its_truth(tmp_path):
    easy, hard = render(tmp_path / "a", sizes=FEW, difficulty=0.0), render(tmp_path / "b", sizes=FEW, difficulty=1.0)
    for path, content in easy.items():
        assert (content == hard[path]) == (not path.endswith(".jpg")), path


@pytest.mark.parametrize("name", [*SETS, "all"])
def test_a_set_without_photos_has_empty_folders(tmp_path, name):
    none = dict.fromkeys(SETS, 0) if name == "all" else {**FEW, name: 0}
    files = render(tmp_path / "a", workers=2 if name == "all" else 1, sizes=none)
    assert not any(path.endswith(".jpg") for path in of(files, name)) and (tmp_path / "a" / "detection").is_dir()
    annotations = json.loads(files["detection/_annotations.coco.json"])
    assert len(annotations["images"]) == none["detection"] and len(annotations["categories"]) == 3


def test_old_demo_sets_are_replaced_whole(tmp_path):
    render(tmp_path / "a", sizes={**FEW, "segmentation": 9})
    (tmp_path / "a" / ".DS_Store").write_text("litter")
    assert render(tmp_path / "a", sizes=FEW) == render(tmp_path / "b", sizes=FEW)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


def own_photos(root):
    (root / "segmentation" / "images").mkdir(parents=True)
    (root / "segmentation" / "images" / "mine.jpg").write_bytes(b"precious")


def own_annotations(root):
    (root / "detection").mkdir(parents=True)
    (root / "detection" / "_annotations.coco.json").write_text('{"images": []}')


def stranger_among_demo_sets(root):
    render(root, sizes=FEW)
    (root / "notes.txt").write_text("precious")


def repository_among_demo_sets(root):
    render(root, sizes=FEW)
    (root / ".git").mkdir()
    (root / ".git" / "HEAD").write_text("precious")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (own_photos, "holds datasets that were not rendered here"),
        (own_annotations, "holds datasets that were not rendered here"),
        (stranger_among_demo_sets, "also holds notes.txt"),
        (repository_among_demo_sets, "also holds .git"),
        (lambda root: root.write_text("precious"), "is a file"),
    ],
)
def test_nothing_of_a_users_own_is_replaced(tmp_path, make, message):
    root = tmp_path / "data"
    make(root)
    before = tree(tmp_path)
    with pytest.raises(DemoError) as caught:
        render(root, sizes=FEW)
    assert str(caught.value).startswith(f"{root}: {message}")
    assert tree(tmp_path) == before and [path.name for path in tmp_path.iterdir()] == ["data"]


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "data").mkdir()
    assert len(render(tmp_path / "data", sizes=FEW)) == 18


def test_a_failure_leaves_the_old_sets_and_no_scratch(tmp_path, monkeypatch):
    before = render(tmp_path / "a", sizes=FEW)

    def fail(*_arguments, **_options):
        raise RuntimeError("out of paint")

    monkeypatch.setattr("panvision.scenes.demo.render_frame", fail)
    with pytest.raises(RuntimeError, match="out of paint"):
        render(tmp_path / "a", sizes=FEW)
    assert tree(tmp_path / "a") == before and [path.name for path in tmp_path.iterdir()] == ["a"]
