from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given

from panvision.core.tasks import TASKS
from panvision.dataset.packed import PackedError, open_packed
from panvision.evaluation.metrics import scores
from panvision.evaluation.slices import COLUMNS, MOST_VALUES, Facts, facts_of, part, read_facts, slice_table, slices
from tests.evaluation.made import all_results, mask_results
from tests.prepare.raw_sets import all_sets, pack_all


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = tmp_path_factory.mktemp("raw")
    all_sets(root)
    pack_all(root)
    return root / "prepared"


def test_facts_are_those_of_every_image(prepared):
    found = read_facts(prepared)
    assert {task: len(own) for task, own in found.items()} == {"segmentation": 6, "detection": 6, "classification": 12}
    assert all(0 < each.brightness < 255 for own in found.values() for each in own.values())


def test_facts_need_the_cameras(prepared, tmp_path):
    packed = open_packed(prepared / "detection", "detection")
    (tmp_path / "index.csv").write_text("file,width,height\n")
    with pytest.raises(PackedError, match=r"no column 'camera'.*prepare\.py detection"):
        facts_of(replace(packed, folder=tmp_path))


@given(st.lists(st.tuples(st.integers(0, 255), st.sampled_from("abc"), st.booleans()), max_size=24))
def test_slices_of_a_column_are_disjoint_and_complete(given_facts):
    results = mask_results(count=len(given_facts))
    facts = {}
    for image, (level, camera, pan) in zip(results.images, given_facts, strict=True):
        facts[image["file"]] = Facts(float(level), camera)
        image["pixels"] = [5, 0, 0, 100] if pan else [0, 5, 0, 100]
    by_column = {}
    for name, rows in slices(results, facts):
        by_column.setdefault(name.partition(" ")[0], []).extend(rows)
        assert part(results, rows).images == [results.images[row] for row in rows]
    assert all(sorted(rows) == list(range(len(given_facts))) for rows in by_column.values())
    assert ("masks" in by_column) == (len({pan for _, _, pan in given_facts}) == 2)


def test_slices_from_dark_to_bright_without_a_column_of_many_values():
    count = MOST_VALUES + 1
    results = mask_results(count=count)
    facts = {image["file"]: Facts(float(row), f"camera {row}") for row, image in enumerate(results.images)}
    names = [name for name, _ in slices(results, facts) if "masks" not in name]
    assert names == ["brightness dark", "brightness medium", "brightness bright"]


def test_slice_table_has_the_metrics_of_each_part():
    results = all_results()
    facts = {
        task: {image["file"]: Facts(float(row), "") for row, image in enumerate(own.images)}
        for task, own in results.items()
    }
    header, rows = slice_table(results, facts)
    assert header == COLUMNS and {row[0] for row in rows} == set(TASKS)
    dark = [row for row in rows if row[:2] == ("segmentation", "brightness dark")]
    known = scores(part(results["segmentation"], range(4)))
    assert [(row[2], row[3], row[4]) for row in dark] == [(4, "miou", known["miou"]), (4, "dice", known["dice"])]
    # Four groups are too few for an interval.
    assert {row[5:] for row in dark} == {(None, None, "few_groups")}
