"""`method: balanced`: the shares of each set and class are met as closely as whole groups allow."""

from functools import partial

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.validate.split_sets import SHARES, codes, counts, names, photo, sides, some, split, three_sets

balanced = partial(split, method="balanced")


def share_gaps(entries, splits):
    """Deviation of each dataset's fractions from the configured ones, in units of 12 % of it, but at least 4 images."""
    for task in ("segmentation", "detection", "classification"):
        found = counts(entries, splits, task)
        total = found.total()
        for side, share in SHARES.items():
            yield abs(found[side] - share * total) / max(4, 0.12 * total)


@given(three_sets(), st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_a_partition_in_which_no_group_straddles(drawn, seed):
    entries, groups = drawn
    assignment = balanced(entries, groups, seed=seed)
    assert len(assignment.splits) == len(entries) and set(assignment.splits) == set(SHARES)
    assert all(len(found) == 1 for found in sides(groups, assignment.splits).values())
    assert set(codes(assignment)) <= {"class_absent", "split_uneven", "split_small"}
    assert balanced(entries, groups, seed=seed).splits == assignment.splits
    assert max(share_gaps(entries, assignment.splits)) <= 1.6  # a split may take more to have each class


@given(three_sets(most_classes=1), st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_groups_and_no_classes_leave_the_shares_met(drawn, seed):
    entries, groups = drawn
    assert max(share_gaps(entries, balanced(entries, groups, seed=seed).splits)) <= 1.0


@given(count=st.integers(40, 300), classes=st.integers(1, 6), seed=st.integers(0, 50))
@settings(max_examples=30, deadline=None)
def test_without_groups_the_shares_are_met_in_each_class(count, classes, seed):
    entries = some("classification", count, classes=[f"class{n}" for n in range(classes)])
    splits = balanced(entries, seed=seed).splits
    for side, share in SHARES.items():
        assert abs(counts(entries, splits)[side] - share * count) <= 2
        for traits in {e.traits for e in entries}:
            own = [s for e, s in zip(entries, splits, strict=True) if e.traits == traits]
            assert abs(own.count(side) - share * len(own)) <= 2


@given(count=st.integers(3, 30), seed=st.integers(0, 20))
@settings(max_examples=40, deadline=None)
def test_tiny_sets_get_something_in_each_split(count, seed):
    entries = some("segmentation", count)
    found = counts(entries, balanced(entries, seed=seed).splits)
    assert min(found[side] for side in SHARES) >= 1
    assert found["train"] >= found["test"] and found["train"] >= found["val"]


def test_class_with_one_image_goes_to_train_and_is_reported():
    for seed in range(10):
        entries = [*some("classification", 30, classes=("raw",)), photo("x", "classification", traits=("burnt",))]
        assignment = balanced(entries, seed=seed)
        assert assignment.splits[-1] == "train"
        assert [found.reason for found in assignment.problems] == [
            "'burnt', with 1 image in 1 group, has none in val",
            "'burnt', with 1 image in 1 group, has none in test",
        ]


def test_class_with_three_images_is_in_each_split():
    for seed in range(10):
        entries = [*some("classification", 40, classes=("raw",)), *some("classification", 3, classes=("x",), start=90)]
        assert set(balanced(entries, seed=seed).splits[-3:]) == set(SHARES)


def test_three_images_of_three_classes_leave_no_split_empty():
    entries = some("classification", 3, classes=("raw", "done", "burnt"))
    assert set(balanced(entries).splits) == set(SHARES)


def test_one_large_group_is_for_training():
    entries = some("segmentation", 40)
    splits = balanced(entries, ["one"] * 25 + names(entries)[25:]).splits
    assert set(splits[:25]) == {"train"} and counts(entries, splits)["test"] in (5, 6, 7)


@pytest.mark.parametrize("missing", ["val", "test"])
def test_a_missing_split_gets_its_share_of_the_whole_set(missing):
    other = {"val": "test", "test": "val"}[missing]
    entries = [*some("detection", 80, split="train"), *some("detection", 20, split=other, start=80)]
    assert counts(entries, balanced(entries).splits) == {"train": 65, other: 20, missing: 15}


def test_negatives_are_spread_but_are_no_class():
    entries = [*some("detection", 40, classes=("pot",)), *some("detection", 20, classes=("",), start=50)]
    assignment = balanced(entries)
    assert set(assignment.splits[40:]) == set(SHARES) and assignment.problems == []


@given(st.floats(0.05, 0.4), st.floats(0.05, 0.4))
@settings(max_examples=20, deadline=None)
def test_shares_by_param(val, test):
    assume(val + test < 0.9)
    entries = some("segmentation", 200)
    found = counts(entries, balanced(entries, val=val, test=test).splits)
    assert abs(found["val"] - 200 * val) <= 1 and abs(found["test"] - 200 * test) <= 1


@given(count=st.integers(20, 120), folds=st.integers(3, 8), seed=st.integers(0, 20))
@settings(max_examples=25, deadline=None)
def test_folds_are_of_one_size_in_each_class(count, folds, seed):
    entries = some("classification", count, classes=("raw", "done"))
    for fold in range(folds):
        splits = balanced(entries, folds=folds, fold=fold, seed=seed).splits
        assert abs(splits.count("test") - count / folds) <= 1
        raw = [side for e, side in zip(entries, splits, strict=True) if e.traits == ("raw",)]
        assert abs(raw.count("test") - len(raw) / folds) <= 1


def test_classes_that_share_images_are_in_every_fold():
    for seed in range(15):
        chance = np.random.default_rng(seed)
        drawn = [chance.exponential(3, chance.integers(1, 8)).astype(int).tolist() for _ in range(24)]
        entries = [photo(f"{n:02}", traits=tuple(f"class{label}" for label in {*own})) for n, own in enumerate(drawn)]
        runs = [balanced(entries, folds=4, fold=fold, seed=seed).splits for fold in range(4)]
        for label in {trait for e in entries for trait in e.traits}:
            own = [row for row, e in enumerate(entries) if label in e.traits]
            seen = sum("test" in {run[row] for row in own} for run in runs)
            assert seen == 4 or len(own) < 4
