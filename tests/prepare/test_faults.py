"""One small broken input per code: each is found under its own code, and nothing crashes."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from panvision.dataset.packed import open_packed
from panvision.dataset.problems import CATALOGUE, read_problems
from tests.prepare.raw_sets import (
    check,
    classification_set,
    coco,
    codes,
    detection_set,
    load,
    pack,
    picture,
    rotated,
    save,
    save_coco,
    save_mask,
    segmentation_set,
)

TASKS = ("segmentation", "detection", "classification")
# An image of each task's set, below the task's folder.
IMAGE = {"segmentation": "images/s1.png", "detection": "images/d101.png", "classification": "images/raw/c201.png"}


def small_set(root, task):
    makers = {"segmentation": segmentation_set, "detection": detection_set, "classification": classification_set}
    return makers[task](root, count=3)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def link_out(path):
    """Put the file outside the task's folder, and a link in its place."""
    outside = next(folder for folder in path.parents if folder.name == "images").parents[1] / "elsewhere.png"
    path.rename(outside)
    path.symlink_to(outside)


def lead_nowhere(path):
    path.unlink()
    path.symlink_to("gone.png")


def change(root, edit):
    """Edit a detection set's annotations."""
    path = root / "_annotations.coco.json"
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


def change_one(root, **values):
    change(root, lambda document: document["annotations"][1].update(values))


def change_all(root, **values):
    """Change every annotation, and add one more, so that there are enough for a judgement."""

    def edit(document):
        document["annotations"].append({**document["annotations"][0], "id": 99})
        for annotation in document["annotations"]:
            annotation.update(values)

    change(root, edit)


def masks_of(root, number, areas):
    """A mask with some values, each in a rectangle; later ones cover earlier ones."""
    mask = np.zeros((30, 40), np.uint8)
    for value, (left, top, right, bottom) in areas.items():
        mask[top:bottom, left:right] = value
    save(root / "masks" / f"s{number}.png", Image.fromarray(mask))


def stated_size(root, width, height):
    change(root, lambda document: document["images"][1].update(width=width, height=height))


def outline(root, polygons, box):
    change_one(root, segmentation=polygons, bbox=box)


def grey_mask(root):
    mask = Image.open(root / "masks" / "s1.png").resize((80, 60), Image.Resampling.BILINEAR)
    mask.resize((40, 30), Image.Resampling.BILINEAR).save(root / "masks" / "s1.png")


def inverted_mask(root):
    mask = np.array(Image.open(root / "masks" / "s1.png"))
    save(root / "masks" / "s1.png", Image.fromarray(255 - mask))


def outlines_for_masks(root):
    """The same set with COCO outlines instead of mask files."""
    for path in (root / "masks").iterdir():
        path.unlink()
    (root / "masks").rmdir()
    document = coco([(f"s{n}.png", 40, 30) for n in range(3)], [(n, 0, [10, 5, 20, 20]) for n in range(3)], ("pan",))
    for annotation in document["annotations"]:
        annotation["segmentation"] = [[10, 5, 30, 5, 30, 25, 10, 25]]
    save_coco(root / "_annotations.coco.json", document)


def yolo_for_coco(root, names=("pot",)):
    """The same set with YOLO's text files instead of COCO's document."""
    (root / "_annotations.coco.json").unlink()
    for path in (root / "images").iterdir():
        (root / "labels").mkdir(exist_ok=True)
        (root / "labels" / f"{path.stem}.txt").write_text("0 0.5 0.5 0.25 0.25\n")
    if names:
        (root / "classes.txt").write_text("\n".join(names))


def orphaned_label_file(root):
    yolo_for_coco(root)
    (root / "labels" / "ghost.txt").write_text("0 0.5 0.5 0.25 0.25\n")


# Faults of a file or a picture, the same in every task; each spoils one image.
FILES = {
    "image_empty": lambda path: path.write_bytes(b""),
    "image_truncated": cut,
    "image_undecodable": lambda path: path.write_bytes(b"no picture"),
    "image_blank": lambda path: save(path, Image.new("RGB", (40, 30), (90, 91, 90))),
    "image_animated": lambda path: save(path, picture(1), save_all=True, append_images=[picture(2)]),
    "extension_wrong": lambda path: save(path, picture(1), format="JPEG"),
    "exif_rotated": lambda path: save(path, **rotated(picture(1), 3)),
    "mode_converted": lambda path: save(path, picture(1).convert("RGBA")),
    "hidden_file": lambda path: (path.parent / f"._{path.name}").write_bytes(b"x"),
    "foreign_file": lambda path: (path.parent / "clip.mp4").write_bytes(b"x"),
    "link_escapes": link_out,
    "link_broken": lead_nowhere,
}
SEGMENTATION = {
    "nested_folder": lambda root: (root / "images" / "more").mkdir(),
    "names_clash": lambda root: (save(root / "images" / "S1.png", 8), save_mask(root / "masks" / "S1.png")),
    "stem_twice": lambda root: save(root / "images" / "s1.jpg", 1),
    "mask_missing": lambda root: (root / "masks" / "s1.png").unlink(),
    "mask_twice": lambda root: save_mask(root / "masks" / "s1.bmp"),
    "mask_undecodable": lambda root: (root / "masks" / "s1.png").write_bytes(b"x"),
    "mask_size": lambda root: save_mask(root / "masks" / "s1.png", width=41),
    "mask_rotated": lambda root: save(root / "images" / "s1.png", **rotated(picture(1), 6)),
    "mask_orphaned": lambda root: save_mask(root / "masks" / "other.png"),
    "mask_name_differs": lambda root: (root / "masks" / "s1.png").rename(root / "masks" / "S1.png"),
    "mask_empty": lambda root: save_mask(root / "masks" / "s1.png", value=0),
    "mask_full": lambda root: save_mask(root / "masks" / "s1.png", pan=(0, 0, 40, 30)),
    "mask_not_binary": grey_mask,
    "mask_inverted": inverted_mask,
    "masks_drawn": outlines_for_masks,
    "masks_alike": lambda root: [save_mask(root / "masks" / f"s{n}.png", pan=(0, 0, 40, 30)) for n in range(3)],
    "mask_void": lambda root: [masks_of(root, n, {1: (10, 5, 30, 25), 255: (10, 5, 30, 7)}) for n in range(3)],
    "pan_unclear": lambda root: [masks_of(root, n, {1: (10, 5, 30, 25), 2: (0, 0, 5, 5)}) for n in range(3)],
}
DETECTION = {
    "annotations_missing": lambda root: (root / "_annotations.coco.json").unlink(),
    "annotations_unread": lambda root: (
        (root / "_annotations.coco.json").rename(root / "x.json").write_text('[{"data_row": {}}]')
    ),
    "annotations_twice": lambda root: save_coco(root / "images" / "_annotations.coco.json", coco([], [])),
    "annotations_broken": lambda root: (root / "_annotations.coco.json").write_text("{"),
    "annotations_incomplete": lambda root: change(root, lambda d: d["images"][1].pop("file_name")),
    "annotation_file_orphaned": orphaned_label_file,
    "class_names_missing": lambda root: yolo_for_coco(root, names=()),
    "category_id_twice": lambda root: change(root, lambda d: d["categories"].append({"id": 0, "name": "lid"})),
    "category_name_twice": lambda root: change(root, lambda d: d["categories"].append({"id": 1, "name": "pot"})),
    "class_unused": lambda root: change(root, lambda d: d["categories"].append({"id": 1, "name": "lid"})),
    "class_names_alike": lambda root: change(root, lambda d: d["categories"].append({"id": 1, "name": " Pot"})),
    "root_category_dropped": lambda root: change(
        root,
        lambda d: d["categories"].extend([{"id": 8, "name": "all"}, {"id": 9, "name": "x", "supercategory": "all"}]),
    ),
    "path_escapes": lambda root: change(root, lambda d: d["images"][1].update(file_name="../../d101.png")),
    "image_missing": lambda root: (root / "images" / "d101.png").unlink(),
    "image_id_twice": lambda root: change(root, lambda d: d["images"][1].update(id=0)),
    "image_listed_twice": lambda root: change(root, lambda d: d["images"].append({**d["images"][1], "id": 77})),
    "image_unlisted": lambda root: save(root / "images" / "new.png", 55),
    "image_size": lambda root: stated_size(root, 40, 40),
    "image_size_swapped": lambda root: stated_size(root, 30, 40),
    "boxes_scaled": lambda root: stated_size(root, 80, 60),
    "rotation_unclear": lambda root: (
        yolo_for_coco(root),
        save(root / "images" / "d101.png", **rotated(picture(1), 3)),
    ),
    "boxes_rotated": lambda root: save(root / "images" / "d101.png", **rotated(picture(1), 8)),
    "annotation_broken": lambda root: change_one(root, category_id="pot"),
    "annotation_id_twice": lambda root: change_one(root, id=0),
    "annotation_unknown_image": lambda root: change_one(root, image_id=77),
    "annotation_unknown_category": lambda root: change_one(root, category_id=77),
    "crowd_ignored": lambda root: change_one(root, iscrowd=1),
    "outline_broken": lambda root: outline(root, [[5, 5, 9, 9]], []),
    "crowds_only": lambda root: change_all(root, iscrowd=1),
    "crowds_used": lambda root: change_all(root, iscrowd=1, segmentation=[[5, 5, 15, 5, 15, 15, 5, 15]]),
    "boxes_other_form": lambda root: change_all(root, bbox=[0.1, 0.2, 0.5, 0.5]),
    "box_from_outline": lambda root: outline(root, [[5, 5, 15, 5, 10, 15]], []),
    "box_not_finite": lambda root: change_one(root, bbox=[float("nan"), 0, 5, 5]),
    "box_negative": lambda root: change_one(root, bbox=[10, 10, -5, 5]),
    "box_zero_area": lambda root: change_one(root, bbox=[10, 10, 0, 5]),
    "box_outside": lambda root: change_one(root, bbox=[40, 10, 10, 5]),
    "box_clipped": lambda root: change_one(root, bbox=[35, 10, 10, 5]),
}
CLASSIFICATION = {
    "nested_folder": lambda root: (root / "images" / "raw" / "more").mkdir(),
    "names_clash": lambda root: [save(root / "images" / "Raw" / f"{n}.png", n) for n in range(2)],
    "class_empty": lambda root: (root / "images" / "golden").mkdir(),
    "class_placeholder": lambda root: save(root / "images" / "no_label" / "a.png", 5),
    "class_single_image": lambda root: save(root / "images" / "golden" / "a.png", 5),
    "name_unreadable": lambda root: [save(root / "images" / "gol\nden" / f"{n}.png", n) for n in range(40, 42)],
    "image_without_class": lambda root: save(root / "images" / "a.png", 5),
    "layout_mixed": lambda root: [save(root / "train" / "raw" / f"{n}.png", n) for n in range(2)],
}
CORPUS = {
    **{
        (task, code): lambda root, task=task, spoil=spoil: spoil(root / IMAGE[task])
        for task in TASKS
        for code, spoil in FILES.items()
    },
    **{("segmentation", code): spoil for code, spoil in SEGMENTATION.items()},
    **{("detection", code): spoil for code, spoil in DETECTION.items()},
    **{("classification", code): spoil for code, spoil in CLASSIFICATION.items()},
}
# What cannot be had without other codes beside it.
ALSO = {
    ("segmentation", "link_escapes"): {"mask_orphaned"},
    ("segmentation", "link_broken"): {"mask_orphaned"},
    ("segmentation", "mask_rotated"): {"exif_rotated"},
    ("detection", "link_broken"): {"image_missing"},
    ("detection", "annotations_incomplete"): {"image_unlisted"},
    ("detection", "root_category_dropped"): {"class_unused"},
    ("detection", "path_escapes"): {"image_unlisted"},
    ("detection", "class_names_alike"): {"class_unused"},
    ("detection", "image_id_twice"): {"annotation_unknown_image"},
    ("detection", "boxes_rotated"): {"exif_rotated"},
    ("detection", "rotation_unclear"): {"exif_rotated"},
}
# Codes with a separate test below, and those that other tests find.
BELOW = {"pan_unknown", "set_unusable", "image_too_large", "image_tiny", "name_unreadable", "not_permitted"}
ELSEWHERE = {
    "label_conflict",
    "label_conflict_near",
    "copies_in_set",
    "copies_across_sets",
    "frames_torn",
    "set_missing",
    "boxes_none",
    "classes_too_many",
    "class_alone",
    "order_unfit",
    "split_lists_read",
    "split_lists_overlap",
    "split_list_unknown",
    "split_list_incomplete",
    "split_leak",
    "split_empty",
    "split_uneven",
    "split_small",
    "split_topped_up",
    "class_absent",
    "group_moved",
    "pin_unknown",
    "own_split_pooled",
    "box_unusual_size",
    "box_unusual_place",
    "boxes_duplicated",
    "boxes_off_grid",
    "neighbours_disagree",
}


def test_every_code_is_covered():
    assert {*(code for _, code in CORPUS), *BELOW, *ELSEWHERE} == set(CATALOGUE)


@pytest.mark.parametrize("task", TASKS)
def test_a_sound_set_has_no_problems(tmp_path, task):
    small_set(tmp_path, task)
    assert check(tmp_path, task).problems == []


@pytest.mark.parametrize(("task", "code"), CORPUS)
def test_each_fault_is_found_under_its_own_code(tmp_path, task, code):
    root = small_set(tmp_path, task)
    CORPUS[task, code](root)
    result = check(tmp_path, task)
    assert set(codes(result)) == {code} | ALSO.get((task, code), set())
    for found in result.problems:
        assert (found.severity, found.remedy) == CATALOGUE[found.code]
        assert found.reason and found.file and str(tmp_path) not in str(found)


@pytest.mark.parametrize(("task", "code"), [(task, code) for task, code in CORPUS if code in FILES])
def test_a_fault_of_one_image_names_it_and_costs_no_other(tmp_path, task, code):
    root = small_set(tmp_path, task)
    whole = check(tmp_path, task).images
    CORPUS[task, code](root)
    result = check(tmp_path, task)
    named = {found.file for found in result.problems}
    if code in ("hidden_file", "foreign_file"):
        assert {Path(file).parent for file in named} == {Path(IMAGE[task]).parent}
    else:
        assert named <= {IMAGE[task], IMAGE[task].replace("images", "masks")}
    lost = any(found.severity == "error" for found in result.problems)
    assert result.images == whole - lost


@pytest.mark.parametrize("task", TASKS)
def test_prepare_finds_what_is_found_here(tmp_path, task):
    root = small_set(tmp_path, task)
    for code in ("image_truncated", "hidden_file", "foreign_file"):
        CORPUS[task, code](root)
    assert pack(tmp_path, task) == check(tmp_path, task)


@pytest.mark.parametrize("code", ["annotations_missing", "annotations_broken"])
def test_a_set_without_any_label_stops_prepare(tmp_path, code):
    DETECTION[code](small_set(tmp_path, "detection"))
    with pytest.raises(ValueError, match=rf"(?s)nothing usable.*\[{code}\]"):
        pack(tmp_path, "detection")


@pytest.mark.parametrize("task", TASKS)
def test_too_many_pixels(tmp_path, task):
    root = small_set(tmp_path, task)
    save(root / IMAGE[task], picture(1, 120, 90))
    result = check(tmp_path, task, max_pixels=5000)
    assert [(found.code, found.file) for found in result.problems] == [("image_too_large", IMAGE[task])]


@pytest.mark.parametrize("size", [(40, 15), (15, 40)])
def test_too_few_pixels(tmp_path, size):
    root = small_set(tmp_path, "classification")
    save(root / IMAGE["classification"], picture(1, *size))
    (found,) = check(tmp_path, "classification").problems
    assert (found.code, found.severity) == ("image_tiny", "warning")
    assert found.reason.startswith(f"is {size[0]}x{size[1]} pixels, less than 16")


def test_a_name_that_is_not_text(tmp_path):
    root = small_set(tmp_path, "classification")
    name = os.fsdecode(b"caf\xe9.png")
    try:
        save(root / "images" / "raw" / "plain.png", 1).rename(root / "images" / "raw" / name)
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    result = check(tmp_path, "classification")
    assert [(found.code, found.file) for found in result.problems] == [("name_unreadable", "images/raw/caf\\udce9.png")]


@pytest.mark.parametrize("task", TASKS)
def test_a_carriage_return_in_a_name_breaks_no_table(tmp_path, task):
    """The name may come from a folder or an annotation file; any other character is allowed."""
    root = small_set(tmp_path, task)
    image = root / IMAGE[task]
    odd = image.with_name("q\"u,o;t\ne'<b>.png")
    for name in (image.with_name("a\rb.png"), odd):
        shutil.copy(image, name)
        if task == "segmentation":
            shutil.copy(root / "masks" / image.name, root / "masks" / name.name)
    if task == "detection":
        change(root, lambda document: document["images"][0].update(file_name=odd.name))
        change(root, lambda document: document["images"][1].update(file_name="a\rb.png"))
        change(root, lambda document: document["images"][2].update(file_name="gone\r.png"))
    result = pack(tmp_path, task)
    folder = tmp_path / "prepared" / task
    assert read_problems(folder / "problems.csv") == result.problems
    refused = {found.file for found in result.problems if found.code == "name_unreadable"}
    assert f"{IMAGE[task].rpartition('/')[0]}/a\\rb.png" in refused
    files = open_packed(folder, task).files
    assert len(files) == result.images and odd.relative_to(root).as_posix() in files
    assert not any("\r" in file for file in files)


def refuse(monkeypatch, method, part):
    """Make the system refuse a call to `Path.method` for paths that end in `part`."""
    real = getattr(Path, method)

    def guarded(self, *args, **kwargs):
        if self.as_posix().endswith(part):
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, method, guarded)


NOT_PERMITTED = [
    ("segmentation", "images/s1.png", 2),
    ("segmentation", "masks/s1.png", 2),
    ("segmentation", "images", 0),
    ("segmentation", "masks", 0),
    ("detection", "images/d101.png", 2),
    ("classification", "images/raw/c201.png", 5),
    ("classification", "images/raw", 3),
    ("classification", "images", 0),
]


@pytest.mark.parametrize(("task", "part", "images"), NOT_PERMITTED)
def test_what_may_not_be_read(tmp_path, monkeypatch, task, part, images):
    small_set(tmp_path, task)
    if part.endswith(".png"):
        real = open

        def guarded(path, *args, **kwargs):
            if str(path).endswith(f"{task}/{part}"):
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, *args, **kwargs)

        monkeypatch.setattr("builtins.open", guarded)
    else:
        refuse(monkeypatch, "iterdir", f"{task}/{part}")
    result = check(tmp_path, task)
    assert ("not_permitted", "error", part) in [(found.code, found.severity, found.file) for found in result.problems]
    assert result.images == images


@pytest.mark.parametrize(("task", "part", "images"), NOT_PERMITTED)
def test_what_the_file_system_forbids_to_read(tmp_path, task, part, images):
    path = small_set(tmp_path, task) / part
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("root may read everything")
    try:
        result = check(tmp_path, task)
    finally:
        path.chmod(0o755)
    assert ("not_permitted", part) in [(found.code, found.file) for found in result.problems]
    assert result.images == images


def test_a_folder_whose_files_may_not_be_looked_at(tmp_path, monkeypatch):
    small_set(tmp_path, "classification")
    # As in a folder that may be listed, but not entered.
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("raw"))
    refuse(monkeypatch, "stat", "c201.png")
    result = check(tmp_path, "classification")
    assert [(found.code, found.file) for found in result.problems] == [("not_permitted", "images/raw/c201.png")]


def test_links_in_circles_end(tmp_path):
    root = small_set(tmp_path, "detection")
    (root / "images" / "again").symlink_to(root / "images", target_is_directory=True)
    (root / "images" / "self.png").symlink_to("self.png")
    result = check(tmp_path, "detection")
    assert [(found.code, found.file) for found in result.problems] == [
        ("link_broken", "images/self.png"),
        ("nested_folder", "images/again"),
    ]


def test_a_pipe_is_not_read(tmp_path):
    root = small_set(tmp_path, "classification")
    os.mkfifo(root / "images" / "raw" / "pipe.png")
    result = check(tmp_path, "classification")
    assert [(found.code, found.file) for found in result.problems] == [("foreign_file", "images/raw/pipe.png")]


@pytest.mark.parametrize("kind", ["box_zero_area", "box_outside"])
def test_boxes_without_area_can_be_refused(tmp_path, kind):
    detection_set(tmp_path, count=3)
    DETECTION[kind](tmp_path / "detection")
    dropped, refused = check(tmp_path, "detection"), check(tmp_path, "detection", zero_area_boxes="refuse")
    assert (dropped.images, refused.images) == (3, 2)
    assert [found.severity for found in (*dropped.problems, *refused.problems)] == ["warning", "error"]


@pytest.mark.parametrize("name", ["/etc/passwd.png", "C:\\a.png", "a\0.png", "x" * 5000 + ".png", "..\\..\\a.png"])
def test_odd_file_names_do_not_crash(tmp_path, name):
    root = detection_set(tmp_path, count=3)
    change(root, lambda document: document["images"][1].update(file_name=name))
    assert set(codes(check(tmp_path, "detection"))) <= {"path_escapes", "image_missing", "image_unlisted"}


def test_error_rows_do_not_shift_labels(tmp_path):
    """The second image is lost; the third keeps its own box."""
    root = detection_set(tmp_path, count=3)
    (root / "images" / "d101.png").write_bytes(b"")
    change(root, lambda document: document["annotations"][2].update(bbox=[7, 7, 7, 7]))
    pack(tmp_path, "detection")
    lines = (tmp_path / "prepared" / "detection" / "boxes.csv").read_text().splitlines()
    assert lines == ["row,x1,y1,x2,y2,label", "0,5.0,5.0,15.0,15.0,0", "1,7.0,7.0,14.0,14.0,0"]


def test_mask_share_is_stated(tmp_path):
    root = segmentation_set(tmp_path, count=1)
    mask = np.zeros((30, 40), np.uint8)
    mask[:15] = 255
    mask[15] = np.arange(40) + 100
    save(root / "masks" / "s0.png", Image.fromarray(mask))
    (found,) = check(tmp_path, "segmentation").problems
    assert found.reason.startswith("3.3% of the pixels")


NAMES = st.text(min_size=1, max_size=30).filter(lambda name: not {"/", "\0"} & set(name) and name not in (".", ".."))


@given(names=st.lists(st.tuples(NAMES, st.sampled_from([".png", ".JPG", ".Webp", ".gif", ""])), max_size=6))
@settings(max_examples=60, deadline=None)
def test_any_file_name_is_a_sample_or_a_problem(tmp_path_factory, names):
    root = tmp_path_factory.mktemp("names")
    folder = root / "segmentation" / "images"
    folder.mkdir(parents=True)
    image = save(root / "one.png", 1).read_bytes()
    for name, suffix in names:
        try:
            (folder / f"{name}{suffix}").write_bytes(image)
        except OSError:
            assume(False)
    written = {in_tables(f"images/{path.name}") for path in folder.iterdir()}
    reading, loaded = load(root, "segmentation")
    seen = {sample.file for sample in reading.samples} | {found.file for found in reading.problems}
    silent = {file for file in written if Path(file).suffix.lower() in (".txt", ".md", ".csv", ".dvc")}
    silent |= {file for file in written if Path(file).name.startswith((".git", ".dvc"))}
    assert written - silent <= seen
    assert all(one.image is not None for one in loaded)


@given(name=NAMES)
@settings(max_examples=40, deadline=None)
def test_any_class_name_is_a_class_or_a_problem(tmp_path_factory, name):
    root = tmp_path_factory.mktemp("classes")
    try:
        path = save(root / "classification" / "images" / name / "a.png", 1)
    except OSError:
        assume(False)
    reading, _ = load(root, "classification")
    if name in reading.classes:
        assert [sample.file for sample in reading.samples] == [f"images/{name}/a.png"]
    else:
        written = in_tables(f"images/{path.parent.name}")
        assert any(found.file == written for found in reading.problems) or name.startswith(".")


def in_tables(file):
    """Return a file's path as a problem writes it."""
    return file.replace("\r", "\\r")


def mutated(content, edits, length):
    spoilt = bytearray(content)
    for place, value in edits:
        spoilt[place % len(spoilt)] = value
    return bytes(spoilt[: max(1, int(len(spoilt) * length))])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """The same picture in every format, with and without what makes decoding harder."""
    folder = tmp_path_factory.mktemp("pictures")
    plain, exif = picture(1), rotated(picture(1), 6)
    files = [save(folder / f"a{suffix}", plain) for suffix in (".png", ".jpg", ".bmp", ".webp", ".tif", ".gif", ".ppm")]
    files += [save(folder / f"exif{suffix}", **exif) for suffix in (".png", ".jpg", ".webp", ".tif")]
    files += [save(folder / f"{mode}.tif", plain.convert(mode)) for mode in ("CMYK", "LA", "I", "F", "1", "P", "RGBA")]
    files.append(save(folder / "lzw.tif", plain, compression="tiff_lzw"))
    files.append(save(folder / "many.webp", plain, save_all=True, append_images=[picture(2)]))
    return [path.read_bytes() for path in files]


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_as_image_and_mask_do_not_crash(tmp_path_factory, pictures, data):
    edits = st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), max_size=6)
    spoilt = st.builds(mutated, st.sampled_from(pictures), edits, st.floats(0, 1))
    image, mask = (data.draw(st.one_of(st.binary(max_size=60), spoilt, st.sampled_from(pictures))) for _ in range(2))
    root = tmp_path_factory.mktemp("bytes")
    for folder, content in (("images", image), ("masks", mask)):
        (root / "segmentation" / folder).mkdir(parents=True)
        (root / "segmentation" / folder / "a.png").write_bytes(content)
    _, (loaded,) = load(root, "segmentation", max_pixels=10**5)
    failed = any(found.severity == "error" for found in loaded.problems)
    assert (loaded.image is None) == (loaded.coverage is None) == failed
    if not failed:
        assert loaded.image.shape == (64, 64, 3) and loaded.image.dtype == np.uint8
        assert loaded.coverage.shape == (64, 64)
