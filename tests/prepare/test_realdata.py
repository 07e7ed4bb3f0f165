"""Real photographs, if they are beside the checkout."""

from collections import defaultdict

import pytest

from panvision.core.tasks import TASKS
from panvision.dataset.packed import open_packed
from panvision.photos.settings import DataSettings
from panvision.prepare.pack import prepare
from panvision.validate.settings import SplitSettings
from panvision.validate.verdict import judge
from tests.prepare.raw_sets import REAL

pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="no real data beside the checkout")


def packed_set(name, folder):
    settings = DataSettings(root=str(REAL / name), image_size=64)
    results = {task: prepare(task, settings, folder / task) for task in TASKS}
    return results, judge(folder, SplitSettings(), {})


@pytest.fixture(scope="module")
def wok(tmp_path_factory):
    return packed_set("wok", tmp_path_factory.mktemp("wok"))


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kitchen")
    return *packed_set("kitchen", folder), folder


def sides(verdict):
    found = defaultdict(set)
    for entry, group, split in zip(verdict.entries, verdict.groups.names, verdict.assignment.splits, strict=True):
        found[group].add((entry.task, entry.file, split))
    return found


def test_the_same_thirty_frames_are_found_in_both_of_woks_tasks(wok):
    _, verdict = wok
    group = {(e.task, e.file): g for e, g in zip(verdict.entries, verdict.groups.names, strict=True)}
    split = {(e.task, e.file): s for e, s in zip(verdict.entries, verdict.assignment.splits, strict=True)}
    frames = [file for task, file in group if task == "segmentation"]
    assert len(frames) == 30
    for file in frames:
        assert group["segmentation", file] == group["detection", file]
        assert split["segmentation", file] == split["detection", file]


def test_no_group_of_wok_straddles(wok):
    assert all(len({split for _, _, split in rows}) == 1 for rows in sides(wok[1]).values())


def test_woks_annotation_ids_from_zero_and_its_root(wok):
    results, verdict = wok
    assert [found.code for found in results["detection"].problems] == ["root_category_dropped"]
    assert "black wok" in verdict.metrics()["detection"]["classes"]


def test_kitchens_empty_root_is_dropped(kitchen):
    results, _, folder = kitchen
    assert [found.code for found in results["detection"].problems] == ["root_category_dropped"]
    packed = open_packed(folder / "detection", "detection")
    assert packed.classes == ["curtain", "pot", "toaster"]
    assert len(packed) == 600 and sum(map(len, packed.labels)) == 791


# One class is of few, large bursts: dealt out by hash, one of them decides its share.
@pytest.mark.parametrize(("method", "set_gap", "class_gap"), [("balanced", 0.02, 0.07), ("stable", 0.06, 0.30)])
def test_kitchens_shares(kitchen, method, set_gap, class_gap):
    figures = judge(kitchen[2], SplitSettings(method=method), {}).metrics()
    for task in TASKS:
        own = figures[task]
        assert own["val"] / own["images"] == pytest.approx(0.15, abs=set_gap)
        assert own["test"] / own["images"] == pytest.approx(0.15, abs=set_gap)
        for counts in own["classes"].values():
            assert counts["test"] / sum(counts.values()) == pytest.approx(0.15, abs=class_gap)


def test_kitchens_roboflow_copies_lie_on_one_side(kitchen):
    _, verdict, _ = kitchen
    assert verdict.metrics()["detection"]["groups"] < 600
    assert all(len({split for _, _, split in rows}) == 1 for rows in sides(verdict).values())


def test_kitchens_empty_mask_is_a_legal_negative(kitchen):
    results, verdict, _ = kitchen
    assert [(found.code, found.severity) for found in results["segmentation"].problems] == [("mask_empty", "warning")]
    assert verdict.metrics()["segmentation"]["images"] == 100
