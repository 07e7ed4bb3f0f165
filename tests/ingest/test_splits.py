from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from panvision.ingest.problems import IngestError
from panvision.ingest.settings import SplitSettings
from panvision.ingest.splits import assign_splits
from tests.ingest.test_groups import entry

SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}


def some(task, count, *, classes=("",), split="", start=0):
    return [
        entry(f"{n:04}", task, split=split, traits=(classes[n % len(classes)],)) for n in range(start, start + count)
    ]


def own_groups(entries):
    return [f"{e.task}/{e.file}" for e in entries]


def counts(entries, splits, task=None):
    return Counter(split for e, split in zip(entries, splits, strict=True) if task in (None, e.task))


def share_gaps(entries, splits):
    """How far each set's splits are from the wished shares, in units of 12 % of the set, but at least 4 images."""
    for task in ("segmentation", "detection", "classification"):
        found = counts(entries, splits, task)
        total = found.total()
        for split, share in SHARES.items():
            yield abs(found[split] - share * total) / max(4, 0.12 * total)


@st.composite
def three_sets(draw, most_classes=5):
    """Entries of three sets, many of them in groups that reach over sets."""
    entries, groups = [], []
    for task in ("segmentation", "detection", "classification"):
        count = draw(st.integers(10, 60))
        classes = draw(st.integers(1, most_classes))
        chance = np.random.default_rng(draw(st.integers(0, 10**6)))
        for number in range(count):
            traits = (f"class{chance.integers(classes)}",)
            entries.append(entry(f"{number:03}", task, traits=traits))
            groups.append(f"g{chance.integers(count)}")
    return entries, groups


@given(three_sets(), st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_a_partition_in_which_no_group_straddles(drawn, seed):
    entries, groups = drawn
    assignment = assign_splits(entries, groups, SplitSettings(seed=seed))
    assert len(assignment.splits) == len(entries) and set(assignment.splits) == set(SHARES)
    sides = defaultdict(set)
    for group, split in zip(groups, assignment.splits, strict=True):
        sides[group].add(split)
    assert all(len(found) == 1 for found in sides.values())
    assert all(found.code == "class_absent" for found in assignment.problems)
    assert assign_splits(entries, groups, SplitSettings(seed=seed)).splits == assignment.splits
    assert max(share_gaps(entries, assignment.splits)) <= 1.6  # a split may take more to have each class


@given(three_sets(most_classes=1), st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_groups_and_no_classes_leave_the_shares_met(drawn, seed):
    entries, groups = drawn
    assert max(share_gaps(entries, assign_splits(entries, groups, SplitSettings(seed=seed)).splits)) <= 1.0


@given(count=st.integers(40, 300), classes=st.integers(1, 6), seed=st.integers(0, 50))
@settings(max_examples=30, deadline=None)
def test_without_groups_the_shares_are_met_in_each_class(count, classes, seed):
    entries = some("classification", count, classes=[f"class{n}" for n in range(classes)])
    splits = assign_splits(entries, own_groups(entries), SplitSettings(seed=seed)).splits
    for split, share in SHARES.items():
        assert abs(counts(entries, splits)[split] - share * count) <= 2
        for name in {e.traits for e in entries}:
            own = [s for e, s in zip(entries, splits, strict=True) if e.traits == name]
            assert abs(own.count(split) - share * len(own)) <= 2


@given(count=st.integers(3, 30), seed=st.integers(0, 20))
@settings(max_examples=40, deadline=None)
def test_tiny_sets_get_something_in_each_split(count, seed):
    entries = some("segmentation", count)
    found = counts(entries, assign_splits(entries, own_groups(entries), SplitSettings(seed=seed)).splits)
    assert min(found[split] for split in SHARES) >= 1
    assert found["train"] >= found["test"] and found["train"] >= found["val"]


def test_seed_changes_who_is_held_out():
    entries = some("segmentation", 60)
    held_out = [assign_splits(entries, own_groups(entries), SplitSettings(seed=seed)).splits for seed in (1, 2)]
    assert held_out[0] != held_out[1]


def test_order_of_the_images_does_not_matter():
    entries = [*some("segmentation", 30), *some("detection", 30, classes=("pot", "lid"))]
    groups = own_groups(entries)
    straight = dict(zip(groups, assign_splits(entries, groups, SplitSettings()).splits, strict=True))
    turned = assign_splits(entries[::-1], groups[::-1], SplitSettings()).splits
    assert dict(zip(groups[::-1], turned, strict=True)) == straight


def test_class_with_one_image_goes_to_train_and_is_reported():
    for seed in range(10):
        entries = [*some("classification", 30, classes=("raw",)), entry("x", "classification", traits=("burnt",))]
        assignment = assign_splits(entries, own_groups(entries), SplitSettings(seed=seed))
        assert assignment.splits[-1] == "train"
        assert [found.reason for found in assignment.problems] == [
            "'burnt', with 1 images, has none in val",
            "'burnt', with 1 images, has none in test",
        ]


def test_class_with_three_images_is_in_each_split():
    for seed in range(10):
        entries = [*some("classification", 40, classes=("raw",)), *some("classification", 3, classes=("x",), start=90)]
        splits = assign_splits(entries, own_groups(entries), SplitSettings(seed=seed)).splits
        assert set(splits[-3:]) == set(SHARES)


def test_one_large_group_is_for_training():
    entries = some("segmentation", 40)
    groups = ["one"] * 25 + own_groups(entries)[25:]
    splits = assign_splits(entries, groups, SplitSettings()).splits
    assert set(splits[:25]) == {"train"} and counts(entries, splits)["test"] in (5, 6, 7)


@pytest.mark.parametrize("groups", [["one"] * 12, ["one"] * 6 + ["two"] * 6])
def test_a_set_that_cannot_be_split(groups):
    entries = some("segmentation", 12)
    with pytest.raises(
        IngestError, match=r"segmentation: nothing is left for .*12 images in \d groups.*near_duplicate"
    ):
        assign_splits(entries, groups, SplitSettings())


def test_every_set_that_cannot_be_split_is_named():
    entries = [*some("segmentation", 2), *some("detection", 1)]
    with pytest.raises(IngestError, match=r"(?s)detection:.*segmentation:"):
        assign_splits(entries, own_groups(entries), SplitSettings())


def given_set(task, sizes, classes=("",)):
    entries, start = [], 0
    for split, count in sizes.items():
        entries += some(task, count, split=split, classes=classes, start=start)
        start += count
    return entries


def test_users_own_splits_stand():
    entries = given_set("detection", {"train": 5, "val": 20, "test": 3})
    assignment = assign_splits(entries, own_groups(entries), SplitSettings())
    assert assignment.splits == [e.split for e in entries] and assignment.problems == []


@pytest.mark.parametrize("missing", ["val", "test"])
def test_a_missing_split_is_taken_out_of_train(missing):
    other = {"val": "test", "test": "val"}[missing]
    entries = given_set("detection", {"train": 80, other: 20})
    splits = assign_splits(entries, own_groups(entries), SplitSettings()).splits
    assert splits[80:] == [other] * 20
    assert counts(entries, splits)[missing] == 15 and set(splits[:80]) == {"train", missing}


def test_only_train_given_is_split_in_three():
    entries = given_set("detection", {"train": 100})
    assert counts(entries, assign_splits(entries, own_groups(entries), SplitSettings()).splits) == {
        "train": 70,
        "val": 15,
        "test": 15,
    }


def test_no_train_given_is_an_error():
    entries = given_set("detection", {"val": 10, "test": 10})
    with pytest.raises(IngestError, match="nothing is left for train"):
        assign_splits(entries, own_groups(entries), SplitSettings())


def test_images_linked_to_a_given_split_follow_it():
    fixed = given_set("detection", {"train": 20, "val": 5, "test": 5})
    free = some("segmentation", 30)
    entries, groups = [*fixed, *free], [f"g{n}" for n in range(30)] * 2
    assignment = assign_splits(entries, groups, SplitSettings())
    assert assignment.splits[30:] == [e.split for e in fixed] and assignment.problems == []


def test_leaks_of_given_splits_are_reported():
    entries = given_set("detection", {"train": 10, "val": 5, "test": 5})
    groups = own_groups(entries)
    groups[19] = groups[0]
    assignment = assign_splits(entries, groups, SplitSettings())
    assert assignment.splits == [e.split for e in entries]
    (leak,) = assignment.problems
    assert (leak.code, leak.severity, leak.file) == ("split_leak", "warning", "detection/0000")
    assert "detection/0000 in train, detection/0019 in test" in leak.reason


def test_a_train_image_linked_to_a_given_test_stays_and_is_reported():
    """Only val may be carved out of train here, so the copy of a test image cannot follow it."""
    entries = given_set("detection", {"train": 30, "test": 10})
    groups = own_groups(entries)
    groups[0] = groups[35]
    assignment = assign_splits(entries, groups, SplitSettings())
    assert assignment.splits[0] == "train" and [found.code for found in assignment.problems] == ["split_leak"]


def test_negatives_are_spread_but_are_no_class():
    entries = [*some("detection", 40, classes=("pot",)), *some("detection", 20, classes=("",), start=50)]
    assignment = assign_splits(entries, own_groups(entries), SplitSettings())
    assert set(assignment.splits[40:]) == set(SHARES) and assignment.problems == []


def test_sets_joined_frame_by_frame_share_their_splits():
    entries = [*some("segmentation", 30), *some("detection", 30, classes=("egg", "wok"))]
    groups = [f"frame{n}" for n in range(30)] * 2
    splits = assign_splits(entries, groups, SplitSettings()).splits
    assert splits[:30] == splits[30:]


@given(st.floats(0.05, 0.4), st.floats(0.05, 0.4))
@settings(max_examples=20, deadline=None)
def test_shares_by_param(val, test):
    assume(val + test < 0.9)
    entries = some("segmentation", 200)
    found = counts(entries, assign_splits(entries, own_groups(entries), SplitSettings(val=val, test=test)).splits)
    assert abs(found["val"] - 200 * val) <= 1 and abs(found["test"] - 200 * test) <= 1
