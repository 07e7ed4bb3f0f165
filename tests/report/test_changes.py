import pytest

from panvision.core.tasks import TASKS
from panvision.dataset.packed import open_packed
from panvision.report.archive import Archive
from panvision.report.changes import draw_changes
from panvision.report.data_page import build_data_page
from panvision.validate.changes import Change, Image
from tests.report.test_page import Page


def image(row, **values):
    return Image(f"images/{row:02d}.png", f"{row}", "test", ("pan",), "mask")._replace(**values)


CHANGES = [
    *(Change("added", "segmentation", None, image(row)) for row in range(3)),
    Change("removed", "detection", image(0), None),
    Change("relabelled", "segmentation", image(1), image(1, names=("",))),
]


@pytest.fixture
def archive(run):
    return Archive.open([open_packed(run.prepared / task, task) for task in TASKS], run.splits, run.data)


def test_images_are_shown_before_and_after(run, archive):
    findings = draw_changes(CHANGES, archive, archive, limit=2)
    assert [(each.code, each.count, len(each.exhibits)) for each in findings] == [
        ("added", 3, 2),
        ("removed", 1, 1),
        ("relabelled", 1, 1),
    ]
    assert [len(shown.tiles) for each in findings for shown in each.exhibits] == [1, 1, 1, 2]
    page = Page(build_data_page([], archive, "not split", limit=2, changes=findings))
    assert page.count("img") == 5 and "pan → no pan" in page.text["changes"]
    assert "added 3" in page.text["changes"] and "segmentation/images/01.png" in page.text["changes"]


def test_without_changes_there_is_no_section(run, archive):
    assert draw_changes([], archive, archive, limit=2) == []
    page = Page(build_data_page([], archive, "not split", limit=2))
    assert "changes" not in page.attributes("id")
