import pytest

from panvision.prepare.formats.readers import read_set
from tests.prepare.label_formats import codes, reason, write_text

BOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>4.5</xmax><ymax>6</ymax></bndbox>"
POLYGON = "<polygon><x1>1</x1><y1>2</y1><x2>9</x2><y2>2</y2><x3>9</x3><y3>8</y3></polygon>"


def document(*objects, filename="a.jpg", size="<size><width>40</width><height>30</height><depth>3</depth></size>"):
    return f"<annotation><filename>{filename}</filename>{size}{''.join(objects)}</annotation>"


def item(inner=BOX, name="<name>pot</name>"):
    return f"<object>{name}<difficult>1</difficult>{inner}</object>"


def voc_set(root, content, stem="a"):
    write_text(root / "JPEGImages" / f"{stem}.jpg", "")
    write_text(root / "Annotations" / f"{stem}.xml", content)
    return root


def test_an_object_is_a_box(tmp_path):
    reading = read_set("detection", voc_set(tmp_path, document(item(), item(name="<name> lid </name>"))))
    assert reading.problems == [] and reading.classes == ["lid", "pot"]
    (sample,) = reading.samples
    assert sample.file == "JPEGImages/a.jpg" and sample.boxes.size == (40, 30) and sample.boxes.ids == ("1", "2")
    assert sample.boxes.xywh == ((1, 2, 3.5, 4),) * 2 and sample.boxes.labels == (1, 0)


def test_a_file_without_objects_is_a_negative(tmp_path):
    reading = read_set("detection", voc_set(tmp_path, document()))
    assert reading.problems == [] and reading.samples[0].boxes.xywh == ()


@pytest.mark.parametrize("size", ["", "<size/>", "<size><width>0</width><height>0</height></size>"])
def test_no_size(tmp_path, size):
    assert read_set("detection", voc_set(tmp_path, document(item(), size=size))).samples[0].boxes.size is None


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (item(name=""), "annotation_broken", "object 2 has no name"),
        (item(inner=""), "annotation_broken", "annotation 2: has neither a box nor an outline"),
        (item(inner="<polygon><x1>1</x1><y1>2</y1></polygon>"), "outline_broken", "annotation 2: its outline has 2"),
        (item(inner="<polygon><x1>1</x1><y2>2</y2></polygon>"), "outline_broken", "annotation 2"),
        (item(inner=POLYGON), "box_from_outline", "1 boxes"),
    ],
)
def test_objects_that_are_no_box(tmp_path, content, code, words):
    reading = read_set("detection", voc_set(tmp_path, document(item(), content)))
    assert [found.code for found in reading.problems] == [code] and words in reason(reading, code)


@pytest.mark.parametrize("edge", ["<xmin/>", "<xmin>one</xmin>", "<xmin>nan</xmin>", ""])
def test_a_box_without_numbers_is_left_to_the_check_of_boxes(tmp_path, edge):
    reading = read_set("detection", voc_set(tmp_path, document(item(BOX.replace("<xmin>1</xmin>", edge)))))
    (box,) = reading.samples[0].boxes.xywh
    assert box[0] != box[0] and reading.problems == []


def test_the_boxes_of_an_objects_parts_are_not_its_own(tmp_path):
    parts = f"<part><name>handle</name>{BOX.replace('4.5', '3')}</part>"
    reading = read_set("detection", voc_set(tmp_path, document(item(parts + BOX))))
    assert reading.samples[0].boxes.xywh == ((1, 2, 3.5, 4),) and reading.classes == ["pot"]


def test_beside_the_images_in_split_folders(tmp_path):
    """Roboflow's export."""
    for part in ("train", "valid"):
        write_text(tmp_path / part / "a_jpg.rf.1.jpg", "")
        write_text(tmp_path / part / "a_jpg.rf.1.xml", document(item(POLYGON + BOX), filename="a_jpg.rf.1.jpg"))
    reading = read_set("detection", tmp_path)
    assert reading.problems == [] and [sample.split for sample in reading.samples] == ["train", "val"]
    reading = read_set("segmentation", tmp_path)
    assert codes(reading) == [("masks_drawn", "train"), ("masks_drawn", "valid")]
    assert reading.samples[0].outlines.polygons == ((1, 2, 9, 2, 9, 8),)


def test_the_files_own_name_comes_before_the_stated_one(tmp_path):
    voc_set(tmp_path, document(item(), filename="b.jpg"))
    voc_set(tmp_path, document(filename="a.jpg"), stem="b")
    reading = read_set("detection", tmp_path)
    assert [(sample.name, len(sample.boxes.xywh)) for sample in reading.samples] == [("a.jpg", 1), ("b.jpg", 0)]


def test_the_stated_name_where_the_files_own_says_nothing(tmp_path):
    voc_set(tmp_path, document(item(), filename="C:\\photos\\a.jpg"))
    (tmp_path / "Annotations" / "a.xml").rename(tmp_path / "Annotations" / "0001.xml")
    assert [sample.name for sample in read_set("detection", tmp_path).samples] == ["a.jpg"]
    write_text(tmp_path / "JPEGImages" / "a.png", "")
    (tmp_path / "Annotations" / "0001.xml").rename(tmp_path / "Annotations" / "a.xml")
    reading = read_set("detection", tmp_path)
    assert [sample.name for sample in reading.samples] == ["a.jpg"]
    assert codes(reading) == [("image_unlisted", "JPEGImages/a.png")]


def test_other_xml_is_passed_over(tmp_path):
    voc_set(tmp_path, document(item()))
    write_text(tmp_path / "JPEGImages" / "a.aux.xml", "<PAMDataset/>")
    assert read_set("detection", tmp_path).problems == []
