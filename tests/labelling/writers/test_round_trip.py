"""Round trips: the readers of `prepare` read back the same labels."""

import contextlib
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from panvision.labelling.labels import Classes, Labels, Marked
from panvision.labelling.polygons import outline_mask
from panvision.labelling.prelabel import safe_names
from panvision.labelling.writers import WRITERS
from panvision.photos.masks import read_mask
from panvision.photos.pixels import read_picture
from panvision.prepare.formats.boxes import place_boxes
from panvision.prepare.formats.outlines import draw_mask
from panvision.prepare.formats.readers import read_set

LETTERS = st.characters(
    whitelist_categories=["Lu", "Ll", "Lo", "Nd"], whitelist_characters=" _-éß漢🍳", max_codepoint=0x3FFFF
)
# Spaces inside are part of a name, at its ends they are not.
NAMES = st.text(LETTERS, min_size=1, max_size=12).map(str.strip).filter(bool)
SIDE = 24


@st.composite
def labelled(draw):
    """Classes, and labels of up to four images of different names and sizes."""
    classes = Classes(
        detection=tuple(draw(st.lists(NAMES, min_size=1, max_size=3, unique_by=str.casefold))),
        classification=tuple(draw(st.lists(NAMES.map("s{}".format), min_size=1, max_size=3, unique_by=str.casefold))),
    )
    stems = draw(st.lists(NAMES, min_size=1, max_size=4, unique_by=str.casefold))
    files = safe_names([f"{stem}.png" for stem in stems]).values()
    return classes, [draw(image(file, classes)) for file in files]


@st.composite
def image(draw, file, classes):
    width, height = draw(st.tuples(st.integers(4, SIDE), st.integers(4, SIDE)))
    mask = np.array(draw(st.lists(st.booleans(), min_size=width * height, max_size=width * height)), np.uint8)
    mask = mask.reshape(height, width) * np.uint8(255)
    polygons = outline_mask(mask, 0.0).polygons
    boxes = draw(st.lists(st.tuples(st.sampled_from(classes.detection), box(width, height)), max_size=4))
    return Labels(
        file=file,
        size=(width, height),
        boxes=tuple(Marked(name, draw(st.floats(0, 1)), corners) for name, corners in boxes),
        outlines=(Marked("pan", 0.5, (0, 0, width, height), polygons),) if polygons else (),
        mask=mask,
        label=draw(st.sampled_from(classes.classification)),
        confidence=0.5,
    )


@st.composite
def box(draw, width, height):
    x1, y1 = draw(st.floats(0, width - 1)), draw(st.floats(0, height - 1))
    return x1, y1, draw(st.floats(x1 + 0.5, width)), draw(st.floats(y1 + 0.5, height))


def write(root, name, task, classes, images):
    """Write a dataset as `prelabel` does."""
    writer = WRITERS[name]
    files = [file for labels in images for file in writer.each(task, labels)] + writer.whole(task, images, classes)
    for path, content in files:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    for labels in images:
        path = root / writer.image(task, labels)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", labels.size).save(path)


@contextlib.contextmanager
def read_back(name, task, classes, images):
    """Write a dataset; yield its folder, the reading, and for each image its labels and the sample that was read."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write(root, name, task, classes, images)
        reading = read_set(task, root)
        assert not [found for found in reading.problems if found.severity == "error"]
        found = {Path(sample.file).name: sample for sample in reading.samples}
        assert set(found) == {labels.file for labels in images}
        yield root, reading, [(labels, found[labels.file]) for labels in images]


def formats(task):
    return [name for name, writer in WRITERS.items() if task in writer.tasks]


@pytest.mark.parametrize("name", formats("detection"))
@settings(deadline=None, max_examples=30)
@given(labelled())
def test_boxes_are_read_back(name, made):
    with read_back(name, "detection", *made) as (root, reading, pairs):
        for labels, sample in pairs:
            placed, _ = place_boxes(sample.boxes, read_picture(root / sample.file), sample.file, zero_area="refuse")
            assert [reading.classes[label] for label in placed.labels] == [box.name for box in labels.boxes]
            wanted = np.array([box.box for box in labels.boxes]).reshape(-1, 4)
            assert np.abs(placed.xyxy - wanted).max(initial=0) < 0.02
        if name in ("coco", "yolo"):
            assert reading.classes == list(made[0].detection)


@pytest.mark.parametrize("name", formats("segmentation"))
@settings(deadline=None, max_examples=30)
@given(labelled())
def test_masks_are_read_back(name, made):
    with read_back(name, "segmentation", *made) as (root, _, pairs):
        for labels, sample in pairs:
            if sample.outlines is not None:
                mask, problems = draw_mask(sample.outlines, read_picture(root / sample.file), sample.file)
                assert not problems
            else:
                mask = read_mask(root / sample.mask, stored_size=labels.size, orientation=1).pan
            assert np.array_equal(mask > 0, labels.mask > 0)


@pytest.mark.parametrize("name", formats("classification"))
@settings(deadline=None, max_examples=30)
@given(labelled())
def test_classes_are_read_back(name, made):
    with read_back(name, "classification", *made) as (_, _, pairs):
        assert all(sample.label == labels.label for labels, sample in pairs)


@pytest.mark.parametrize("name", ["coco", "labelme"])
def test_parts_of_one_mask_are_one_object(tmp_path, name):
    mask = np.zeros((20, 20), np.uint8)
    mask[2:6, 2:6] = mask[10:18, 12:16] = 255
    polygons = outline_mask(mask, 0.0).polygons
    labels = Labels("a.png", (20, 20), outlines=(Marked("pan", 0.5, (2, 2, 16, 18), polygons),), mask=mask)
    write(tmp_path, name, "segmentation", Classes(), [labels])
    (sample,) = read_set("detection", tmp_path).samples
    assert len(polygons) == 2 and sample.boxes.xywh == ((2, 2, 14, 16),)


def test_an_earlier_cvat_file_with_entities_is_not_merged():
    writer = WRITERS["cvat"]
    ((_, new),) = writer.whole("detection", [], Classes(detection=("pan",)))
    earlier = b'<!DOCTYPE a [<!ENTITY b "c">]><annotations><image name="&b;"/></annotations>'
    with pytest.raises(ValueError, match="it declares entities"):
        writer.merge("annotations.xml", new, earlier, lambda _: True)
