"""Pins: read however a spreadsheet writes them, honoured, and reported where they are not."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.core.files import write_rows
from panvision.core.tasks import DATASETS
from panvision.dataset.packed import SPLIT_COLUMNS, SPLITS
from panvision.dataset.problems import IngestError
from panvision.validate.splits.pins import follow_exports, read_pins
from tests.validate.split_sets import (
    by_name,
    codes,
    exported,
    found_of,
    given_set,
    names,
    photo,
    photos,
    some,
    split,
    three_sets,
)

both = pytest.mark.parametrize("method", ["stable", "balanced"])

TWO = {("detection", "a b.jpg"): "test", ("segmentation", "images/ä.png"): "train"}


def pinned(assigned):
    """Pins of what a run assigned: {"task/file": split}."""
    return {tuple(name.split("/", 1)): side for name, side in assigned.items()}


@pytest.fixture
def read(tmp_path):
    def read_content(content):
        path = tmp_path / "pins.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_pins(path)

    return read_content


def test_splits_csv_can_be_read(tmp_path):
    rows = [("detection", "a b.jpg", "detection/a b.jpg", "test"), ("segmentation", "images/ä.png", "x", "train")]
    write_rows(tmp_path / "splits.csv", SPLIT_COLUMNS, rows)
    assert read_pins(tmp_path / "splits.csv") == TWO


@pytest.mark.parametrize(
    "content",
    [
        "task,file,split\ndetection,a b.jpg,test\nsegmentation,images/ä.png,train\n",
        "\ufefftask;file;group;split\r\ndetection;a b.jpg;;test\r\nsegmentation;images/ä.png;;train\r\n",
        "task\tfile\tsplit\rdetection\ta b.jpg\ttest\rsegmentation\timages/ä.png\ttrain",
        '\n\n Split , Task,file\n\n,,\n test ,Detection, "a b.jpg"\nTRAIN,segmentation,images/ä.png,,,\n\n',
        "task,file,split\ndetection,a b.jpg,test\ndetection,a b.jpg,test\nsegmentation,images/ä.png,train",
        "task,file,split\ndetection,a b.jpg,Testing\nsegmentation,images/ä.png,training",
    ],
    ids=["plain", "excel", "tabs", "untidy", "line twice", "names of folders"],
)
def test_what_spreadsheets_write_is_read(read, content):
    assert read(content) == TWO


@pytest.mark.parametrize(
    "content", ["task,file,split\n", "task,file,group,split", "\ufefftask;file;split\r\n\r\n;;\r\n"]
)
def test_a_header_alone_pins_nothing(read, content):
    assert read(content) == {}


names_of_files = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=12)


@given(
    pins=st.dictionaries(st.tuples(st.sampled_from(DATASETS), names_of_files), st.sampled_from(SPLITS), max_size=8),
    delimiter=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n"]),
)
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read(tmp_path_factory, pins, delimiter, end):
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end)
    writer.writerows([("file", "task", "split"), *((file, task, side) for (task, file), side in pins.items())])
    path = tmp_path_factory.getbasetemp() / "pins.csv"
    path.write_bytes(text.getvalue().encode())
    assert read_pins(path) == pins


def test_a_missing_file_says_what_to_write(tmp_path):
    with pytest.raises(IngestError, match=r"pins\.csv: missing.*split\.pins.*task,file,split"):
        read_pins(tmp_path / "pins.csv")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(IngestError, match=r"split\.pins cannot be read"):
        read_pins(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "must name the columns task, file and split; it lacks task, file, split"),
        ("detection,a.jpg,test\n", "it lacks task, file, split"),
        ("task,split\ndetection,test\n", "it lacks file$"),
        ("task,file,split,group,split\ndetection,a.jpg,test,g,train\n", "names the column split twice"),
        ("task,file,split\ndetection,\xe9.jpg,test".encode("cp1252"), "not UTF-8 text; .*CSV UTF-8"),
        ("task,file,split".encode("utf-16"), "not UTF-8 text"),
        ('task,file,split\ndetection,a,test\ndetection,"b,test\n', "line 3: unexpected end of data"),
        ('"task,file,split', "line 1: unexpected end of data"),
        ("task,file,split\ndetection," + "x" * 140_000 + ",test", "line 2: field larger than field limit"),
    ],
)
def test_files_that_are_no_pins(read, content, message):
    with pytest.raises(IngestError, match=message) as error:
        read(content)
    assert "pins.csv: " in str(error.value) and "split.pins" in str(error.value)


def test_every_fault_is_listed_with_its_line(read):
    with pytest.raises(IngestError) as error:
        read("\ntask,file,split\ndet,a,test\ndetection,b,tset\ndetection,,\ndetection,c,val\nDetection,c,train\nx\n")
    assert str(error.value).split("\n  ")[1:] == [
        "line 3: unknown task 'det' (one of segmentation, detection, classification)",
        "line 4: unknown split 'tset' (one of train, val, test)",
        "line 5: no file; unknown split '' (one of train, val, test)",
        "lines 6 and 7: detection/c is pinned to different splits",
        "line 8: no file; unknown task 'x' (one of segmentation, detection, classification); "
        "unknown split '' (one of train, val, test)",
    ]


def test_a_flood_of_faults_is_cut_short(read):
    with pytest.raises(IngestError, match=r"line 51: .*\n  and 50 more$"):
        read("task,file,split\n" + "detection,a,nowhere\n" * 100)


@both
@given(drawn=three_sets(most=30), extra=st.integers(1, 60), seed=st.integers(0, 50))
@settings(max_examples=20, deadline=None)
def test_pinned_images_stay_when_others_are_added(method, drawn, extra, seed):
    entries, groups = drawn
    before = by_name(entries, split(entries, groups, method=method, seed=seed).splits)
    new = [photo(f"new{n}", DATASETS[n % 3], traits=(f"class{n % 4}",)) for n in range(extra)]
    # Some of the new images are linked to old ones.
    entries, groups = [*new, *entries], [*(f"g{n}" if n % 2 else f"new{n}" for n in range(extra)), *groups]
    after = split(entries, groups, pinned(before), method=method, seed=seed + 1)
    assert before.items() <= by_name(entries, after.splits).items()
    assert not {"group_moved", "pin_unknown", "split_leak"} & set(codes(after))


@both
def test_images_linked_to_a_pinned_one_follow_it(method):
    entries = some("detection", 40)
    groups = ["frames"] * 10 + names(entries)[10:]
    for side in SPLITS:
        assignment = split(entries, groups, {("detection", "0003"): side}, method=method)
        assert assignment.splits[:10] == [side] * 10 and assignment.problems == []


@both
def test_pins_that_a_new_link_joins_are_outvoted_by_name(method):
    entries = [*some("detection", 40), photo("new", "segmentation"), *some("segmentation", 40)]
    groups = names(entries)
    groups[3] = groups[5] = groups[8] = groups[40]
    pins = {("detection", f"{n:04}"): side for n, side in ((3, "test"), (5, "test"), (8, "train"))}
    assignment = split(entries, groups, pins, method=method)
    assert [assignment.splits[row] for row in (3, 5, 8, 40)] == ["test"] * 4
    (moved,) = assignment.problems
    assert (moved.code, moved.file) == ("group_moved", "detection/0008")
    assert moved.reason == "is pinned to train and goes to test: it is of one group with segmentation/new"


@both
@pytest.mark.parametrize(
    ("first", "second", "winner"), [("train", "test", "train"), ("test", "val", "val"), ("val", "train", "train")]
)
def test_of_equally_many_pins_the_safer_split_wins(method, first, second, winner):
    entries = some("detection", 40)
    groups = names(entries)
    groups[3] = groups[5]
    pins = {("detection", "0003"): first, ("detection", "0005"): second}
    assignment = split(entries, groups, pins, method=method)
    assert assignment.splits[3] == assignment.splits[5] == winner
    (moved,) = found_of(assignment, "group_moved")
    stays = "0003" if first == winner else "0005"
    assert moved.reason.endswith(f"to {winner}: it is of one group with detection/{stays}")


@both
def test_folders_take_precedence_over_pins(method):
    entries = given_set("detection", {"train": 20, "val": 5, "test": 5})
    pins = {("detection", "0002"): "test", ("detection", "0022"): "val"}
    assignment = split(entries, pins=pins, method=method)
    assert assignment.splits == [e.split for e in entries]
    (moved,) = assignment.problems
    assert moved.file == "detection/0002"
    assert moved.reason == "is pinned to test and goes to train: its own folder or list is train"


@both
def test_a_pinned_copy_of_a_users_test_image_follows_the_folder(method):
    entries = [*given_set("detection", {"train": 20, "val": 5, "test": 5}), *some("segmentation", 40)]
    groups = names(entries)
    groups[28] = groups[35] = groups[36]
    assignment = split(entries, groups, {("segmentation", "0005"): "train"}, method=method)
    assert assignment.splits[35] == assignment.splits[36] == "test"
    (moved,) = assignment.problems
    assert moved.reason == "is pinned to train and goes to test: it is of one group with detection/0028"


@both
def test_pins_decide_what_a_missing_split_takes_from_train(method):
    entries = given_set("detection", {"train": 40, "test": 10})
    pins = {("detection", f"{n:04}"): "val" for n in range(20)} | {("detection", "0030"): "test"}
    assignment = split(entries, pins=pins, method=method)
    assert assignment.splits[:20] == ["val"] * 20
    (moved,) = found_of(assignment, "group_moved")  # test is given, so nothing of train goes there
    assert moved.file == "detection/0030" and moved.reason.endswith("its own folder or list is train")


@both
def test_pins_of_a_torn_group_hold_where_a_side_agrees(method):
    entries = [*given_set("detection", {"train": 20, "val": 5, "test": 5}), *some("segmentation", 40)]
    groups = names(entries)
    groups[0] = groups[28] = groups[35]
    assignment = split(entries, groups, {("segmentation", "0005"): "test"}, method=method)
    assert assignment.splits[35] == "test" and codes(assignment) == ["split_leak"]


@both
def test_pins_hold_for_new_roboflow_exports(method):
    """The names differ in their hash, and the bytes too; there are more copies than before, and one photo less."""
    before = [exported(f"pan{n}", hash_) for n in range(40) for hash_ in ("a1", "b2")]
    pins = pinned(by_name(before, split(before, photos(before), method=method).splits))
    after = [exported(f"pan{n}", hash_) for n in range(1, 40) for hash_ in ("c3", "d4", "e5")]
    assignment = split(after, photos(after), pins, method=method, seed=7)
    kept = {entry.photo: pins["detection", entry.file] for entry in before}
    assert assignment.splits == [kept[entry.photo] for entry in after]
    gone = found_of(assignment, "pin_unknown")
    assert [found.reason for found in gone] == [
        f"pins detection/pan0_jpg.rf.{hash_}.jpg, which is in no dataset" for hash_ in ("a1", "b2")
    ]
    assert "group_moved" not in codes(assignment)


def test_follow_exports_keeps_own_pins_and_other_files():
    entries = [exported("pan1", "new"), exported("pan1", "old"), photo("pan2_jpg.rf.new.jpg"), photo("pan3.jpg")]
    pins = {("detection", "pan1_jpg.rf.gone.jpg"): "val", ("detection", "pan1_jpg.rf.old.jpg"): "test"}
    others = {("detection", "pan2_jpg.rf.gone.jpg"): "val", ("segmentation", "pan1_jpg.rf.x.jpg"): "val"}
    assert follow_exports(entries, pins | others) == others | {
        ("detection", "pan1_jpg.rf.new.jpg"): "val",
        ("detection", "pan1_jpg.rf.old.jpg"): "test",
    }


@both
@pytest.mark.parametrize("count", [1, 5])
def test_unknown_pins_are_named(method, count):
    pins = {("detection", f"gone{n}.jpg"): "val" for n in range(count)}
    assignment = split(some("detection", 40), pins=pins, method=method)
    assert [(found.code, found.file, found.reason) for found in assignment.problems] == [
        ("pin_unknown", "data/pins.csv", f"pins detection/gone{n}.jpg, which is in no dataset") for n in range(count)
    ]


@both
def test_many_unknown_pins_are_one_problem(method):
    pins = {("detection", f"gone{n}.jpg"): "val" for n in range(6)}
    (found,) = split(some("detection", 40), pins=pins, method=method).problems
    assert found.file == "data/pins.csv"
    assert found.reason.startswith("pins 6 images that are in no dataset: detection/gone0.jpg, detection/gone1.jpg, ")
    assert "gone5" not in found.reason
