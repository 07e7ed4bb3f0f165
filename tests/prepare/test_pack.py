import csv
import json
import threading

import numpy as np
import pytest
from PIL import Image

from panvision.dataset.packed import HALF_PAN, open_packed
from panvision.dataset.problems import IngestError
from panvision.photos.pixels import read_image, resize_rgb
from panvision.photos.settings import DataSettings
from panvision.photos.truth import read_truth
from panvision.prepare.arrays import ArrayFile
from panvision.prepare.pack import prepare
from tests.prepare.raw_sets import (
    SIDE,
    all_sets,
    classification_set,
    coco,
    codes,
    detection_set,
    pack,
    pack_all,
    picture,
    save,
    save_coco,
    save_mask,
    segmentation_set,
)


def test_segmentation_arrays(tmp_path):
    segmentation_set(tmp_path)
    result = pack(tmp_path, "segmentation")
    packed = open_packed(tmp_path / "prepared" / "segmentation", "segmentation")
    assert result.images == len(packed) == 6 and result.problems == []
    assert packed.files == [f"images/s{n}.png" for n in range(6)]
    assert packed.mask_files == [f"masks/s{n}.png" for n in range(6)]
    assert packed.sizes.tolist() == [[40, 30]] * 6
    assert packed.classes == ["background", "pan"]
    assert packed.image_size == SIDE and packed.masks.shape == (6, SIDE, SIDE)
    expected = resize_rgb(read_image(tmp_path / "segmentation" / packed.files[3]), SIDE)
    assert (packed.images[3] == expected).all()
    # The pan covers columns 10 to 30 of 40 and rows 5 to 25 of 30.
    rows, columns = np.nonzero(packed.masks[0] >= HALF_PAN)
    assert (columns.min(), columns.max() + 1) == (16, 48)
    assert abs(rows.min() - 5 * SIDE / 30) <= 0.5 and abs(rows.max() + 1 - 25 * SIDE / 30) <= 0.5
    # Pixel 10 of 64 is crossed by the edge at 10.67.
    assert packed.masks[0, 10, 32] == 85 and set(np.unique(packed.masks[0])) == {0, 85, 255}
    assert isinstance(packed.images, np.memmap)


def test_detection_boxes_in_original_and_in_packed_pixels(tmp_path):
    root = detection_set(tmp_path, count=2)
    save(root / "images" / "negative.png", 9)
    document = coco(
        [("d100.png", 40, 30), ("d101.png", 40, 30), ("negative.png", 40, 30)],
        [(1, 1, [4, 3, 20, 15]), (1, 0, [0, 0, 40, 30])],
        ("lid", "pot"),
    )
    save_coco(root / "_annotations.coco.json", document)
    assert codes(pack(tmp_path, "detection")) == []
    packed = open_packed(tmp_path / "prepared" / "detection", "detection")
    assert packed.classes == ["lid", "pot"]
    assert [len(labels) for labels in packed.labels] == [0, 2, 0]
    assert packed.boxes[0].shape == (0, 4) and packed.labels[0].dtype == np.int64
    assert packed.boxes[1].tolist() == [[4, 3, 24, 18], [0, 0, 40, 30]]
    assert packed.labels[1].tolist() == [1, 0]
    assert packed.packed_boxes(1)[1].tolist() == [0, 0, SIDE, SIDE]
    assert packed.packed_boxes(1)[0] == pytest.approx([6.4, 6.4, 38.4, 38.4])


def test_crowds_are_packed_as_regions_to_ignore(tmp_path):
    root = detection_set(tmp_path, count=2)
    files, boxes = [("d100.png", 40, 30), ("d101.png", 40, 30)], [(1, 1, [4, 3, 20, 15]), (1, 0, [0, 0, 40, 30])]
    document = coco(files, boxes, ("lid", "pot"))
    document["annotations"][1]["iscrowd"] = 1
    save_coco(root / "_annotations.coco.json", document)
    found = pack(tmp_path, "detection").problems
    assert ("crowd_ignored", "fixed") in {(each.code, each.severity) for each in found}
    folder = tmp_path / "prepared" / "detection"
    packed = open_packed(folder, "detection")
    assert [boxes.tolist() for boxes in packed.boxes] == [[], [[4, 3, 24, 18]]]
    assert [labels.tolist() for labels in packed.labels] == [[], [1]]
    assert [crowds.tolist() for crowds in packed.crowds] == [[], [[0, 0, 40, 30]]]
    assert [labels.tolist() for labels in packed.crowd_labels] == [[], [0]]
    assert packed.packed_crowds(1).tolist() == [[0, 0, SIDE, SIDE]] and packed.packed_crowds(0).shape == (0, 4)
    assert [row["boxes"] for row in csv.DictReader((folder / "index.csv").open())] == ["0", "1"]
    truth = read_truth(packed, 1, root)
    assert truth["crowds"].tolist() == [[0, 0, 40, 30]] and truth["labels"].tolist() == [1]


def test_classification_states_by_sorted_name(tmp_path):
    classification_set(tmp_path, count=2, classes=("raw", "burnt"))
    pack(tmp_path, "classification")
    packed = open_packed(tmp_path / "prepared" / "classification", "classification")
    assert packed.classes == ["burnt", "raw"]
    assert packed.states.tolist() == [0, 0, 1, 1]


def test_an_unreadable_image_is_left_out_and_the_rest_is_packed(tmp_path):
    root = segmentation_set(tmp_path)
    (root / "images" / "s2.png").write_bytes(b"no picture")
    result = pack(tmp_path, "segmentation")
    packed = open_packed(tmp_path / "prepared" / "segmentation", "segmentation")
    assert result.images == 5 and "images/s2.png" not in packed.files
    assert len(packed.images) == len(packed.masks) == 5
    assert [(found.code, found.file) for found in result.problems] == [("image_undecodable", "images/s2.png")]


def test_prepare_outputs_are_byte_identical_without_paths(tmp_path):
    for name in ("one", "two"):
        all_sets(tmp_path / name)
        (tmp_path / name / "segmentation" / "images" / "s1.png").write_bytes(b"")
        (tmp_path / name / "segmentation" / "masks" / "s2.png").write_bytes(b"broken")
        pack_all(tmp_path / name)
    for file in sorted((tmp_path / "one" / "prepared").rglob("*.*")):
        content = file.read_bytes()
        assert content == (tmp_path / "two" / file.relative_to(tmp_path / "one")).read_bytes(), file
        assert str(tmp_path).encode() not in content, file


def test_raw_data_are_not_touched(tmp_path):
    all_sets(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    pack_all(tmp_path)
    assert {path: path.read_bytes() for path in before} == before


def test_old_files_of_another_run_do_not_stay(tmp_path):
    segmentation_set(tmp_path)
    pack(tmp_path, "segmentation")
    stale = tmp_path / "prepared" / "segmentation" / "stale.npy"
    stale.write_bytes(b"")
    pack(tmp_path, "segmentation")
    assert not stale.exists()


def test_missing_folder_names_it_and_both_layouts(tmp_path):
    with pytest.raises(
        IngestError, match=r"gone: no such folder.*detection/ .*_annotations.coco.json.*train/, valid/ and test/"
    ):
        prepare("detection", DataSettings(root=str(tmp_path / "gone")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("task", ["segmentation", "detection", "classification"])
@pytest.mark.parametrize("exists", [False, True])
def test_absent_dataset_is_packed_without_images(tmp_path, task, exists):
    if exists:
        (tmp_path / task).mkdir()
        (tmp_path / task / ".gitkeep").touch()
    result = pack(tmp_path, task)
    assert (result.images, result.problems) == (0, [])
    packed = open_packed(tmp_path / "prepared" / task, task)
    assert (len(packed), packed.classes, packed.image_size) == (0, [], SIDE)


def test_nothing_usable_says_why(tmp_path):
    root = segmentation_set(tmp_path, count=1)
    (root / "masks" / "s0.png").unlink()
    with pytest.raises(IngestError, match=r"(?s)nothing usable found.*images/ and masks/.*s0.png: has no mask"):
        pack(tmp_path, "segmentation")
    assert not (tmp_path / "prepared" / "segmentation").exists()
    assert list((tmp_path / "prepared").iterdir()) == []


def test_index_holds_fingerprints_and_group(tmp_path):
    root = tmp_path / "segmentation"
    image = picture(3)
    save(root / "images" / "pan_jpg.rf.0a1b.png", image)
    save(root / "images" / "copy.png", image, compress_level=1)
    save_mask(root / "masks" / "pan_jpg.rf.0a1b.png")
    save_mask(root / "masks" / "copy.png")
    pack(tmp_path, "segmentation")
    with (tmp_path / "prepared" / "segmentation" / "index.csv").open() as stream:
        copy, original = csv.DictReader(stream)
    assert (original["group"], original["roboflow"]) == ("pan_jpg", "1")
    assert (copy["group"], copy["roboflow"]) == ("copy", "0")
    assert copy["pixels"] == original["pixels"]
    assert copy["sha256"] != original["sha256"]
    assert float(copy["pan_fraction"]) == pytest.approx(20 * 20 / (30 * 40), abs=1e-6)


def test_index_uses_roboflows_name_of_renamed_files(tmp_path):
    root = detection_set(tmp_path, count=2)
    document = json.loads((root / "_annotations.coco.json").read_text())
    document["images"][0]["extra"] = {"name": "photo7_jpg.rf.abc.jpg"}
    document["images"][1]["extra"] = {"name": "photo8.jpg"}
    save_coco(root / "_annotations.coco.json", document)
    pack(tmp_path, "detection")
    with (tmp_path / "prepared" / "detection" / "index.csv").open() as stream:
        rows = [(row["group"], row["roboflow"]) for row in csv.DictReader(stream)]
    assert rows == [("photo7_jpg", "1"), ("d101", "0")]


def test_exif_rotation_turns_unrotated_mask_and_boxes(tmp_path):
    """The file is 40 × 30, the image 30 × 40; the mark is at the file's left edge, which is the image's top."""
    stored = np.zeros((30, 40, 3), np.uint8)
    stored[10:20, 0:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "segmentation" / "images" / "a.png", Image.fromarray(stored), exif=exif)
    save(tmp_path / "segmentation" / "masks" / "a.png", Image.fromarray(stored[:, :, 0]))
    save(tmp_path / "detection" / "images" / "a.png", Image.fromarray(stored), exif=exif)
    save_coco(tmp_path / "detection" / "_annotations.coco.json", coco([("a.png", 40, 30)], [(0, 0, [0, 10, 8, 10])]))
    assert codes(pack(tmp_path, "segmentation")) == ["exif_rotated", "mask_rotated"]
    assert codes(pack(tmp_path, "detection")) == ["boxes_rotated", "exif_rotated"]
    seg = open_packed(tmp_path / "prepared" / "segmentation", "segmentation")
    assert seg.sizes.tolist() == [[30, 40]]
    bright = seg.images[0, :, :, 0] > 127
    assert np.mean(bright == (seg.masks[0] >= HALF_PAN)) > 0.98
    det = open_packed(tmp_path / "prepared" / "detection", "detection")
    assert det.boxes[0].tolist() == [[10, 0, 20, 8]]


def test_rows_keep_their_order_with_many_threads(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(8))
    classification_set(tmp_path, count=40)
    before = threading.active_count()
    pack(tmp_path, "classification")
    assert threading.active_count() == before
    packed = open_packed(tmp_path / "prepared" / "classification", "classification")
    assert packed.files == sorted(packed.files) and len(packed) == 80
    for row in (0, 17, 79):
        assert (
            packed.images[row] == resize_rgb(read_image(tmp_path / "classification" / packed.files[row]), SIDE)
        ).all()


def test_images_left_out_shift_the_others(tmp_path, monkeypatch):
    """Enough pictures for several processes, some of them empty files."""
    root = segmentation_set(tmp_path, 110)
    images = sorted((root / "images").iterdir())
    for number in (0, 3, 4, 40, 77, 109):
        images[number].write_bytes(b"")
    folders = []
    for cores in (1, 3):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, cores=cores: range(cores))
        folders.append(tmp_path / f"with{cores}")
        assert pack(tmp_path, "segmentation", folders[-1]).images == 104
    one, several = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert one == several
    packed = open_packed(folders[1], "segmentation")
    assert [row for row, file in enumerate(packed.files) if file.endswith(images[41].name)] == [37]
    assert (packed.images[37] == resize_rgb(read_image(images[41]), SIDE)).all()
    assert (packed.images[103] == resize_rgb(read_image(images[108]), SIDE)).all()


def test_an_array_refuses_other_rows_and_can_be_empty(tmp_path):
    with ArrayFile(tmp_path / "a.npy", (2, 2)) as array:
        with pytest.raises(ValueError, match=r"expected uint8 \(2, 2\)"):
            array.write(0, np.zeros((2, 3), np.uint8))
        array.finish([])
    assert np.load(tmp_path / "a.npy").shape == (0, 2, 2)


@pytest.mark.parametrize("moved", [1, 64, 1 << 22])
@pytest.mark.parametrize(
    "kept", [range(1200), range(3, 1200), [*range(500), *range(501, 1200)], range(0, 1200, 7), [1199], range(1100), []]
)
def test_rows_that_are_not_kept_leave_no_gap(tmp_path, monkeypatch, moved, kept):
    """Rows may be written in any order, and any number may be moved at a time."""
    monkeypatch.setattr("panvision.prepare.arrays._MOVED_BYTES", moved)
    rows = np.random.default_rng(0).integers(0, 255, (1200, 2, 3), np.uint8)
    for numbers in (range(1199, -1, -2), range(0, 1200, 2)):
        with ArrayFile(tmp_path / "a.npy", (2, 3)) as array:
            for number in numbers:
                array.write(number, rows[number])
    with ArrayFile(tmp_path / "a.npy", (2, 3)) as array:
        array.finish(kept)
    np.save(tmp_path / "expected.npy", rows[list(kept)])
    assert np.array_equal(np.load(tmp_path / "a.npy", mmap_mode="r"), rows[list(kept)])
    assert (tmp_path / "a.npy").stat().st_size == (tmp_path / "expected.npy").stat().st_size
