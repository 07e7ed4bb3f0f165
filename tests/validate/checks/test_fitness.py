import pytest

from panvision.core.tasks import MOST_CLASSES
from panvision.dataset.packed import open_packed
from panvision.validate.checks.fitness import LabelFacts, unfit_datasets
from tests.prepare.raw_sets import classification_set, coco, detection_set, pack_all, save_coco, segmentation_set

ALL = ("segmentation", "detection", "classification")


def found(root, needed=ALL, order=None, *, broken=False):
    pack_all(root)
    facts = [LabelFacts.of(open_packed(root / "prepared" / task, task), broken=broken) for task in ALL]
    return [(problem.code, problem.severity, problem.file) for problem in unfit_datasets(facts, needed, order)]


@pytest.fixture
def root(tmp_path):
    segmentation_set(tmp_path, count=2)
    detection_set(tmp_path, count=2)
    classification_set(tmp_path, count=2)
    return tmp_path


@pytest.mark.parametrize("order", [None, "auto", ("burnt", "raw")])
def test_unfit_datasets_sound(root, order):
    assert found(root, order=order) == []


def test_unfit_datasets_other_order(root):
    assert found(root, order=("raw", "golden")) == [("order_unfit", "error", "classification")]
    assert found(root, ("detection",), order=("raw", "golden")) == []


def test_unfit_datasets_without_boxes(root):
    for classes in ((), ("pot",)):
        save_coco(
            root / "detection/_annotations.coco.json", coco([("d100.png", 40, 30), ("d101.png", 40, 30)], [], classes)
        )
        assert found(root) == [("boxes_none", "error", "detection")]
    assert found(root, ("segmentation", "classification")) == []
    assert found(root, broken=True) == []


def test_unfit_datasets_too_many_classes(root):
    names = [f"{number}" for number in range(MOST_CLASSES + 1)]
    document = coco([("d100.png", 40, 30), ("d101.png", 40, 30)], [(0, 0, [5, 5, 10, 10])], names)
    save_coco(root / "detection/_annotations.coco.json", document)
    assert found(root) == [("classes_too_many", "error", "detection")]
    document["categories"].pop()
    save_coco(root / "detection/_annotations.coco.json", document)
    assert found(root) == []


def test_unfit_datasets_one_class_label(tmp_path):
    segmentation_set(tmp_path, count=2)
    detection_set(tmp_path, count=2)
    classification_set(tmp_path, count=3, classes=("raw",))
    (tmp_path / "classification/images/empty").mkdir()
    assert found(tmp_path) == [("class_alone", "warning", "classification")]


def test_unfit_datasets_missing(tmp_path):
    detection_set(tmp_path, count=2)
    assert found(tmp_path, ("detection",)) == []
    assert found(tmp_path, ("detection", "classification")) == [("set_missing", "error", "classification")]
