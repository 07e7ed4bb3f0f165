import shutil

import pytest

from panvision.core.files import write_rows
from panvision.core.tasks import TASKS
from panvision.dataset.packed import SPLIT_COLUMNS, open_packed
from panvision.dataset.problems import Problem, problem
from panvision.report.archive import Archive
from panvision.report.findings import COLUMNS, MOST_LISTED, MOST_MEMBERS, draw_findings
from panvision.validate.settings import SplitSettings
from panvision.validate.verdict import judge, write_verdict
from tests.prepare import raw_sets


@pytest.fixture
def sets(tmp_path):
    """A small raw set of each task that nothing is wrong with."""
    raw_sets.all_sets(tmp_path)
    return tmp_path


def judged(root, limit=6):
    """Return the real checks' findings by code."""
    raw_sets.pack_all(root)
    settings = SplitSettings(val=0.2, test=0.2)
    verdict = judge(root / "prepared", settings, {})
    write_verdict(verdict, root / "splits.csv", root / "problems.csv", root / "data.json")
    packed = [open_packed(root / "prepared" / task, task) for task in TASKS]
    archive = Archive.open(packed, root / "splits.csv", raw_sets.set_settings(root))
    return {found.code: found for found in draw_findings(verdict.problems, archive, limit)}


def names(exhibit) -> list[str]:
    return [tile.name for tile in exhibit.tiles]


def drawn(problems, root, *, groups=(), limit=6):
    """Findings over pictures that exist by name only; `groups` are (task, file, group, split)."""
    splits = write_rows(root / "splits.csv", SPLIT_COLUMNS, groups) or root / "splits.csv"
    return draw_findings(problems, Archive.open([], splits, raw_sets.set_settings(root)), limit)


def test_errors_come_first_and_files_in_their_order(tmp_path) -> None:
    problems = [
        problem("mode_converted", "detection/images/a.png", "is RGBA"),
        problem("mask_empty", "segmentation/masks/b.png", "marks no pan"),
        problem("image_empty", "detection/images/z.png", "is empty"),
        problem("image_empty", "detection/images/a.png", "is empty"),
    ]
    found = drawn(problems, tmp_path)
    assert [(one.code, one.severity, one.count) for one in found] == [
        ("image_empty", "error", 2),
        ("mask_empty", "warning", 1),
        ("mode_converted", "fixed", 1),
    ]
    assert [one.file for one in found[0].listed] == ["detection/images/a.png", "detection/images/z.png"]
    assert [names(exhibit) for exhibit in found[0].exhibits] == [["detection/images/a.png"], ["detection/images/z.png"]]
    assert found[0].exhibits[0].tiles[0].uri == "" and found[0].exhibits[0].reasons == ["is empty"]


def test_one_code_of_two_severities_is_two_findings(tmp_path) -> None:
    problems = [
        problem("box_outside", "detection/images/a.png", "x"),
        problem("box_outside", "detection/images/a.png", "x", "error"),
    ]
    assert [one.severity for one in drawn(problems, tmp_path)] == ["error", "warning"]


@pytest.mark.parametrize(("limit", "shown"), [(0, []), (1, [5]), (2, [2, 7]), (100, list(range(10)))])
def test_findings_spread_images(tmp_path, limit, shown) -> None:
    problems = [problem("image_empty", f"detection/images/{number}.png", "is empty") for number in range(10)]
    (found,) = drawn(problems, tmp_path, limit=limit)
    assert [names(exhibit) for exhibit in found.exhibits] == [[f"detection/images/{number}.png"] for number in shown]
    assert found.count == len(found.listed) == 10 and found.complete is (limit == 100)


def test_the_list_of_files_ends_somewhere(tmp_path) -> None:
    problems = [problem("class_unused", "detection", f"the class {number} …") for number in range(MOST_LISTED + 5)]
    (found,) = drawn(problems, tmp_path)
    assert (found.count, len(found.listed), found.exhibits) == (MOST_LISTED + 5, MOST_LISTED, [])


@pytest.mark.parametrize("code", ["class_empty", "annotations_broken", "pin_unknown", "split_topped_up"])
def test_what_is_about_no_picture_shows_none(tmp_path, code) -> None:
    problems = [problem(code, "detection/_annotations.coco.json", "x")]
    if code == "split_topped_up":
        problems = [problem(code, "detection/images/a.png", "goes to val instead of train")]
    (found,) = drawn(problems, tmp_path)
    assert (found.exhibits, found.columns, found.complete) == ([], COLUMNS, False)


def test_a_picture_with_many_faults_is_shown_once(tmp_path) -> None:
    problems = [problem("box_negative", "detection/images/a.png", f"annotation {number}") for number in range(5)]
    (found,) = drawn(problems, tmp_path)
    (exhibit,) = found.exhibits
    assert (exhibit.reasons, exhibit.more) == (["annotation 0", "annotation 1", "annotation 2"], 2)
    assert not found.complete


def copies(group: str, why: str, members: list[tuple[str, str]]):
    """Rows of the split table of a group, and its problem."""
    rows = [(task, f"images/{group}{number}.png", group, split) for number, (task, split) in enumerate(members)]
    return rows, problem("copies_in_set", "/".join(rows[0][:2]), f"is of one photo with others (by {why})")


def test_findings_order_of_groups(tmp_path) -> None:
    one = ("detection", "train")
    made = {
        "burst": copies("burst", "burst", [one] * 9),
        "name": copies("name", "name", [one] * 4),
        "few": copies("few", "look and name", [one] * 2),
        "many": copies("many", "look", [one] * 3),
        "both": copies("both", "pixels", [one, ("segmentation", "train")]),
    }
    rows = [row for rows, _ in made.values() for row in rows]
    (found,) = drawn([said for _, said in made.values()], tmp_path, groups=rows, limit=100)
    groups = [names(exhibit)[0].removeprefix("detection/images/")[:-5] for exhibit in found.exhibits]
    assert groups == ["both", "many", "few", "name", "burst"]
    assert found.exhibits[2].reasons == ["2 images, joined by look and name"]
    (found,) = drawn([said for _, said in made.values()], tmp_path, groups=rows, limit=2)
    assert len(found.exhibits) == 2


def test_findings_of_large_groups(tmp_path) -> None:
    members = [("detection", "train")] * 20 + [("detection", "val"), ("segmentation", "train")]
    rows, said = copies("g", "look", members)
    (found,) = drawn([said], tmp_path, groups=rows)
    (exhibit,) = found.exhibits
    assert len(exhibit.tiles) == MOST_MEMBERS and exhibit.more == 16
    assert {"detection/images/g20.png", "segmentation/images/g21.png"} < set(names(exhibit))


def test_a_group_is_on_the_page_once(tmp_path) -> None:
    rows, said = copies("g", "pixels", [("detection", "train"), ("detection", "val")])
    leak = problem("split_leak", "detection/images/g0.png", "the same photo on two sides: …")
    found = drawn([said, leak, said], tmp_path, groups=rows)
    assert [(one.code, len(one.exhibits)) for one in found] == [("split_leak", 1), ("copies_in_set", 0)]
    assert found[0].exhibits[0].reasons == [leak.reason]


def test_findings_show_real_copies(sets) -> None:
    shutil.copy(sets / "segmentation/images/s0.png", sets / "classification/images/raw/same.png")
    shutil.copy(sets / "classification/images/burnt/c1200.png", sets / "classification/images/burnt/again.png")
    found = judged(sets)
    (across,), (within,) = found["copies_across_sets"].exhibits, found["copies_in_set"].exhibits
    assert names(across) == ["classification/images/raw/same.png", "segmentation/images/s0.png"]
    assert across.reasons == ["2 images, joined by pixels"]
    assert names(within) == ["classification/images/burnt/again.png", "classification/images/burnt/c1200.png"]
    assert all(tile.uri for tile in across.tiles + within.tiles) and found["copies_in_set"].compared


def test_findings_show_real_conflicts(sets) -> None:
    raw, burnt = sets / "classification/images/raw", sets / "classification/images/burnt"
    shutil.copy(raw / "c200.png", burnt / "c200.png")
    found = judged(sets)
    (exhibit,) = found["label_conflict"].exhibits
    assert names(exhibit) == ["classification/images/burnt/c200.png", "classification/images/raw/c200.png"]
    assert [tile.note.split(" · ")[2] for tile in exhibit.tiles] == ["burnt", "raw"]
    assert found["label_conflict"].severity == "error" and found["label_conflict"].complete


@pytest.mark.parametrize("prefix", ["", "classification/"])
@pytest.mark.parametrize("state", ["raw", "raw, or nearly"])
def test_findings_show_the_named_neighbour(tmp_path, prefix, state) -> None:
    pictures = (f"{state}/1", f"{state}/11", "burnt/1")
    rows = [("classification", f"images/{name}.png", name, "train") for name in pictures]
    reason = f"labelled burnt, but 5 of its 5 nearest are labelled {state}, first {prefix}images/{state}/1.png"
    said = problem("neighbours_disagree", "classification/images/burnt/1.png", reason)
    (found,) = drawn([said], tmp_path, groups=rows)
    assert names(found.exhibits[0]) == ["classification/images/burnt/1.png", f"classification/images/{state}/1.png"]


def test_findings_draw_named_boxes(sets, monkeypatch) -> None:
    files = [f"d{number}.png" for number in range(100, 106)]
    boxes = [(0, 0, [1, 1, 8, 8]), (0, 0, [20, 12, 15, 15]), (0, 0, [20, 13, 15, 15])]
    document = raw_sets.coco([(file, 40, 30) for file in files], boxes + [(n, 0, [5, 5, 9, 9]) for n in range(1, 6)])
    raw_sets.save_coco(sets / "detection/_annotations.coco.json", document)
    asked = {}
    tile = Archive.tile

    def noting(archive, name, side, *, labelled=False, boxes=()):
        asked[name] = list(boxes)
        return tile(archive, name, side, labelled=labelled, boxes=boxes)

    monkeypatch.setattr(Archive, "tile", noting)
    found = judged(sets)
    assert found["boxes_duplicated"].exhibits[0].tiles[0].uri
    assert asked["detection/images/d100.png"] == [(20, 12, 35, 27), (20, 13, 35, 28)]


def test_findings_of_unknown_codes(tmp_path) -> None:
    (found,) = drawn([Problem("stranger", "warning", "detection/images/a.png", "is odd", "look")], tmp_path)
    assert (found.code, found.remedy, len(found.exhibits)) == ("stranger", "look", 1)
