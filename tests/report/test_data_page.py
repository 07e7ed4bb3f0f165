import base64
import io

import pytest
from PIL import Image

from panvision.core.tasks import TASKS
from panvision.dataset.packed import open_packed
from panvision.dataset.problems import problem, write_problems
from panvision.report.archive import Archive
from panvision.report.data_page import build_data_page, read_problem_table
from panvision.report.findings import MOST_LISTED
from panvision.report.inputs import DataMetrics, ReportError, read_metrics
from tests.report.test_page import Page
from tests.tiny import picture

HOSTILE = "<img src=x onerror=alert(1)>\"'&amp;.jpg"


def page(run, problems, limit=6, **changes) -> str:
    given = {
        "packed": [open_packed(run.prepared / task, task) for task in TASKS],
        "splits": run.splits,
        "data": read_metrics(run.metrics / "data.json", DataMetrics),
        **changes,
    }
    archive = Archive.open(given.pop("packed"), given.pop("splits"), run.data)
    return build_data_page(problems, archive, limit=limit, **given)


@pytest.fixture
def problems():
    return [
        problem("mask_empty", "segmentation/masks/00.png", "marks no pan"),
        problem("image_empty", f"detection/images/{HOSTILE}", f"{HOSTILE} is empty"),
        problem("class_empty", "classification/images/x", "the class 'x' has no images"),
    ]


def test_the_page_shows_figures_counts_and_pictures(run, problems) -> None:
    shown = Page(page(run, problems))
    assert "1 error, 2 warnings, 0 fixed. Fix the errors before training." in shown.text["top"]
    assert "segmentation 7 6 4 1 2 pan 7 4 1 2" in shown.text["data"]
    assert "image_empty error 1 copy the image again" in shown.text["data"]
    assert "classification/images/x the class 'x' has no images" in shown.text["findings"]
    assert shown.count("img") == 1 and "cannot be shown" in shown.text["findings"]


def test_data_page_is_repeatable(run, problems, tmp_path) -> None:
    html = page(run, problems)
    shown = Page(html)
    assert html == page(run, list(reversed(problems)))
    assert all(value.startswith("data:") for name in ("src", "href") for value in shown.attributes(name))
    assert not {"script", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in shown.tags}
    assert "url(" not in html and "@import" not in html and "default-src 'none'" in html
    assert str(tmp_path) not in html


def test_names_are_escaped(run, problems) -> None:
    html = page(run, problems)
    shown = Page(html)
    assert "<img src=x" not in html and not any(name.startswith("on") for _, attrs in shown.tags for name in attrs)
    assert f"detection/images/{HOSTILE} {HOSTILE} is empty" in shown.text["findings"]


@pytest.mark.parametrize("limit", [0, 6])
def test_what_a_name_hides_is_shown(run, limit) -> None:
    """A line end that reads like a space, and a sign that makes `gpj.exe` read `exe.jpg`."""
    found = problem("image_empty", "detection/images/a\nb\u202egpj.jpg", "is like c\nd.jpg")
    text = Page(page(run, [found], limit)).text["findings"]
    assert r"detection/images/a\nb\u202egpj.jpg" in text and r"is like c\nd.jpg" in text


def test_no_pictures_where_none_are_asked_for(run, problems) -> None:
    shown = Page(page(run, problems, limit=0))
    assert shown.count("img") == 0 and "segmentation/masks/00.png marks no pan" in shown.text["findings"]


def test_data_page_before_the_split(run, problems) -> None:
    packed = [open_packed(run.prepared / "segmentation", "segmentation")]
    html = page(run, problems, packed=packed, splits=None, data="detection cannot be used")
    shown = Page(html)
    assert "detection cannot be used" in shown.text["data"] and shown.count("img") == 1


def test_data_page_shows_name_balance_and_histograms(run) -> None:
    run.add("detection", [(picture(128, 96), [(0, 0, 64, 48, 1), (0, 0, 128, 96, 1)])])
    shown = Page(page(run, [], limit=0, name="my <b>pans"))
    assert shown.text["top"].startswith("Data checks of my <b>pans")
    assert (
        "Class balance Dataset and class images segmentation pan 7 detection lid 7 detection stirrer 7"
        in (shown.text["data"])
    )
    assert shown.count("svg") == 2 and shown.attributes("class").count("name") == 4
    assert "Image sizes segmentation (3) detection (1) classification (2)" in shown.text["data"]
    assert "Box sizes stirrer (2)" in shown.text["data"]


def test_data_page_lists_every_file(run) -> None:
    many = [problem("class_empty", f"classification/images/{row}", "x") for row in range(MOST_LISTED + 5)]
    text = Page(page(run, many)).text["findings"]
    assert f"images/{MOST_LISTED + 4} x" in text and "more" not in text


def test_data_page_dismissed_findings_are_counted_and_kept(run, problems) -> None:
    keys = [(*each.file.split("/", 1), each.code) for each in problems[:2]]
    html = page(run, problems, dismissed=[*keys, ("classification", "images/x", "mask_empty")])
    shown = Page(html)
    # An error cannot be dismissed, and a dismissed warning of another code stays.
    assert "1 error, 1 warning, 0 fixed; 1 more dismissed by a person. Fix the errors" in shown.text["top"]
    assert "mask_empty" not in shown.text["findings"] and "class_empty" in shown.text["findings"]
    assert "mask_empty warning 1" in shown.text["dismissed"] and "segmentation/masks/00.png" in shown.text["dismissed"]
    assert '<details class="finding" style' in html.partition('id="dismissed"')[2]
    assert " open>" not in html.partition('id="dismissed"')[2]


def test_thumbnails_can_be_enlarged(run, problems) -> None:
    archive = Archive.open([open_packed(run.prepared / task, task) for task in TASKS], run.splits, run.data, enlarged=3)
    html = build_data_page(problems, archive, "not split", limit=6)
    shown = Page(html)
    labels = [label for label in shown.attributes("aria-label") if label.startswith("enlarge")]
    assert labels == ["enlarge segmentation/masks/00.png"]
    (image,) = [attrs for tag, attrs in shown.tags if tag == "img"]
    stored = Image.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2])))
    assert (image["width"], image["height"], stored.size) == ("240", "180", (720, 540))


def test_nothing_wrong_is_said(run) -> None:
    shown = Page(page(run, []))
    assert "No problems were found" in shown.text["data"] and "findings" not in shown.attributes("id")


def test_thumbnails_keep_the_page_small(run) -> None:
    many = [problem("image_blank", f"segmentation/images/{row:02d}.png", "x") for row in range(3)]
    assert len(page(run, many)) - len(page(run, many, limit=0)) < 3 * 30_000


def test_the_problem_table_is_read_back(tmp_path, problems) -> None:
    path = tmp_path / "problems.csv"
    write_problems(path, problems)
    assert read_problem_table(path) == sorted(problems)
    path.write_text("code,severity,file,reason,remedy\nnew,grave,f,r,m\n")
    assert read_problem_table(path)[0].severity == "warning"
    path.write_text("code,file\n")
    with pytest.raises(ReportError, match="severity"):
        read_problem_table(path)
