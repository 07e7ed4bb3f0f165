"""Properties of both methods: users' own splits, empty splits, folds."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.dataset.problems import IngestError
from tests.validate.split_sets import (
    SHARES,
    by_name,
    codes,
    counts,
    found_of,
    given_set,
    names,
    photo,
    sides,
    some,
    split,
    three_sets,
)

METHODS = ("stable", "balanced")
both = pytest.mark.parametrize("method", METHODS)


@both
def test_seed_changes_who_is_held_out(method):
    entries = some("segmentation", 60)
    held_out = [split(entries, method=method, seed=seed).splits for seed in (1, 2)]
    assert held_out[0] != held_out[1]


@both
def test_file_names_change_nothing(method):
    entries = [photo(f"{n:03}", content=str(n), traits=(f"class{n % 3}",)) for n in range(60)]
    renamed = [photo(f"{59 - n:03}.jpg", content=str(n), traits=(f"class{n % 3}",)) for n in range(60)]
    assert split(renamed, method=method).splits == split(entries, method=method).splits


@both
def test_no_images_are_no_problem(method):
    assert split([], method=method).splits == []


@both
@pytest.mark.parametrize(("groups", "count"), [(["one"] * 12, 1), (["one"] * 6 + ["two"] * 6, 2)])
def test_a_set_that_cannot_be_split(method, groups, count):
    assignment = split(some("segmentation", 12), groups, method=method)
    (empty,) = found_of(assignment, "split_empty")
    assert (empty.file, empty.severity) == ("segmentation", "error")
    noun = "group" if count == 1 else "groups"
    assert empty.reason.startswith("nothing is left for ")
    assert empty.reason.endswith(f": 12 images in {count} {noun} of the same photos")
    assert "split.burst_seconds" in empty.remedy
    assert "train" in assignment.splits and "" not in assignment.splits


@both
def test_every_set_that_cannot_be_split_is_named(method):
    assignment = split([*some("segmentation", 2), *some("detection", 1), *some("classification", 90)], method=method)
    assert [found.file for found in found_of(assignment, "split_empty")] == ["detection", "segmentation"]
    assert counts([*some("classification", 90)], assignment.splits[3:]).keys() == set(SHARES)


def one_large_group(seed):
    """Forty images of one burst and twenty others, and how they are split."""
    entries = some("detection", 60)
    groups = ["detection/0000"] * 40 + names(entries)[40:]
    return entries, groups, split(entries, groups, seed=seed)


def test_large_group_that_leaves_train_little_is_reported():
    told = 0
    for seed in range(20):
        entries, groups, assignment = one_large_group(seed)
        found = found_of(assignment, "split_uneven")
        held = assignment.splits.count("train")
        assert bool(found) is (held < 21), seed
        if found:
            told += 1
            side = assignment.splits[0]
            assert (found[0].file, found[0].severity) == ("detection", "warning")
            assert found[0].reason == (
                f"train gets {held} of 60 images, {held / 60:.1%} instead of 70%; the largest "
                f"group elsewhere, that of detection/0000, takes 40 of them to {side}"
            )
            pins = {("detection", entry.file): side for entry in entries[:40]}
            assert not found_of(split(entries, groups, pins, seed=seed), "split_uneven"), "the pins want it so"
    assert told >= 3


@both
def test_uneven_splits_of_users_folders_and_of_folds_are_theirs(method):
    own = given_set("detection", {"train": 5, "val": 20, "test": 20})
    assert "split_uneven" not in codes(split(own, method=method))
    entries = some("detection", 60)
    groups = ["one"] * 54 + names(entries)[54:]
    for fold in range(3):
        assignment = split(entries, groups, method=method, folds=3, fold=fold)
        assert "split_uneven" not in codes(assignment)


@both
def test_no_train_given_is_an_error(method):
    assignment = split(given_set("detection", {"val": 10, "test": 10}), method=method)
    (empty,) = found_of(assignment, "split_empty")
    assert empty.reason.startswith("nothing is left for train: 20 images in 20 groups of the same photos, 20 of them")


@both
def test_users_own_splits_stand(method):
    entries = given_set("detection", {"train": 5, "val": 20, "test": 3})
    assignment = split(entries, method=method)
    assert assignment.splits == [e.split for e in entries] and assignment.problems == []


@both
@pytest.mark.parametrize("missing", ["val", "test"])
def test_a_missing_split_is_taken_out_of_train(method, missing):
    other = {"val": "test", "test": "val"}[missing]
    entries = given_set("detection", {"train": 800, other: 200})
    splits = split(entries, method=method).splits
    assert splits[800:] == [other] * 200 and set(splits[:800]) == {"train", missing}
    assert abs(splits.count(missing) - 150) <= 40  # by chance: 3.5 standard deviations around 141


@both
def test_only_train_given_is_split_in_three(method):
    entries = given_set("detection", {"train": 1000})
    found = counts(entries, split(entries, method=method).splits)
    assert all(abs(found[side] - 1000 * share) <= 45 for side, share in SHARES.items())


@both
def test_images_linked_to_a_given_split_follow_it(method):
    fixed = given_set("detection", {"train": 20, "val": 5, "test": 5})
    free = some("segmentation", 30)
    assignment = split([*fixed, *free], [f"g{n}" for n in range(30)] * 2, method=method)
    assert assignment.splits[30:] == [e.split for e in fixed] and assignment.problems == []


@both
def test_leaks_of_given_splits_are_reported(method):
    entries = given_set("detection", {"train": 10, "val": 5, "test": 5})
    groups = names(entries)
    groups[19] = groups[1] = groups[0]
    assignment = split(entries, groups, method=method)
    assert assignment.splits == [e.split for e in entries]
    (leak,) = assignment.problems
    assert split(entries[::-1], groups[::-1], method=method).problems == [leak]
    assert (leak.code, leak.severity, leak.file) == ("split_leak", "warning", "detection/0000")
    assert "detection/0000 in train, detection/0019 in test" in leak.reason


@both
def test_a_free_image_follows_the_larger_side_of_a_leak(method):
    fixed = given_set("detection", {"train": 10, "val": 5, "test": 5})
    entries = [*fixed, *some("segmentation", 30)]
    groups = names(entries)
    groups[0] = groups[18] = groups[19] = groups[20]
    assignment = split(entries, groups, method=method)
    assert assignment.splits[20] == "test"
    (leak,) = found_of(assignment, "split_leak")
    assert leak.reason.endswith("detection/0000 in train, detection/0018 in test")


@both
def test_train_image_linked_to_a_given_test_is_reported(method):
    """Train may only give images to val here, so the copy of a test image cannot follow it."""
    entries = given_set("detection", {"train": 30, "test": 10})
    groups = names(entries)
    groups[0] = groups[35]
    assignment = split(entries, groups, method=method)
    assert assignment.splits[0] == "train" and "split_leak" in codes(assignment)


@both
def test_sets_joined_frame_by_frame_share_their_splits(method):
    entries = [*some("segmentation", 60), *some("detection", 60, classes=("egg", "wok"))]
    splits = split(entries, [f"frame{n}" for n in range(60)] * 2, method=method).splits
    assert splits[:60] == splits[60:]


@both
def test_class_absent_unless_the_whole_split_is_empty(method):
    entries = [
        *given_set("classification", {"train": 10, "val": 5, "test": 5}, classes=("raw",)),
        photo("x", "classification", split="test", traits=("burnt",)),
        *given_set("segmentation", {"train": 4, "val": 4}, classes=("pan",)),
        *given_set("detection", {"val": 4, "test": 4}, classes=("pot",)),
    ]
    absent = [(found.file, found.reason[-5:]) for found in found_of(split(entries, method=method), "class_absent")]
    assert absent == [("classification", "train"), ("classification", "n val")]


@both
@given(drawn=three_sets(), k=st.integers(3, 7), seed=st.integers(0, 50))
@settings(max_examples=15, deadline=None)
def test_over_the_folds_every_image_is_tested_and_validated_once(method, drawn, k, seed):
    entries, groups = drawn
    runs = [split(entries, groups, method=method, folds=k, fold=fold, seed=seed).splits for fold in range(k)]
    for row in range(len(entries)):
        assert sorted(run[row] for run in runs) == ["test", *["train"] * (k - 2), "val"]
    for number, run in enumerate(runs):
        assert all(len(found) == 1 for found in sides(groups, run).values())
        held_out = [row for row, side in enumerate(run) if side == "val"]
        assert all(runs[(number + 1) % k][row] == "test" for row in held_out)


@both
@given(count=st.integers(6, 60), k=st.integers(3, 6), seed=st.integers(0, 50))
@settings(max_examples=20, deadline=None)
def test_a_class_with_enough_groups_is_in_every_fold(method, count, k, seed):
    entries = [
        *some("classification", count, classes=("raw", "done")),
        *some("classification", k - 1, classes=("burnt",), start=500),
    ]
    seen = set()
    for fold in range(k):
        splits = split(entries, method=method, folds=k, fold=fold, seed=seed).splits
        for e, side in zip(entries, splits, strict=True):
            if side == "test":
                seen.add((*e.traits, fold))
    assert sum(trait == "burnt" for trait, _ in seen) == k - 1
    if count >= 2 * k:
        assert {("raw", fold) for fold in range(k)} | {("done", fold) for fold in range(k)} <= seen


@both
def test_folds_pool_the_users_own_splits(method):
    entries = [*given_set("detection", {"train": 60, "test": 30}), *some("segmentation", 60)]
    assignment = split(entries, method=method, folds=3)
    assert set(assignment.splits[:60]) == set(assignment.splits[60:90]) == set(SHARES)
    (pooled,) = assignment.problems
    assert (pooled.code, pooled.file) == ("own_split_pooled", "detection")
    assert pooled.reason.startswith("has 60 train, 30 test images by its folders")


@both
def test_folds_refuse_pins(method):
    entries = some("detection", 30)
    with pytest.raises(IngestError, match=r"data/pins\.csv: pins 1 images.*split\.folds is 3.*only the header"):
        split(entries, method=method, folds=3, pins={("detection", "0001"): "test"})


@both
def test_a_fold_that_stays_empty_is_an_error_where_it_matters(method):
    entries = [*some("detection", 4), *some("segmentation", 60), *some("classification", 60)]
    empty = [found_of(split(entries, method=method, folds=5, fold=fold), "split_empty") for fold in range(5)]
    assert sorted(len(found) for found in empty) == [0, 0, 0, 1, 1]  # the empty fold as test, and as val
    for (found,) in filter(None, empty):
        assert found.reason.endswith(": 4 images in 4 groups of the same photos, for 5 folds")
        assert "lower split.folds" in found.remedy


@both
@given(drawn=three_sets(most=30), order=st.randoms(use_true_random=False), folds=st.sampled_from([0, 3, 5]))
@settings(max_examples=25, deadline=None)
def test_the_order_of_the_images_changes_nothing(method, drawn, order, folds):
    entries, groups = drawn
    rows = list(range(len(entries)))
    order.shuffle(rows)
    straight = split(entries, groups, method=method, folds=folds)
    turned = split([entries[row] for row in rows], [groups[row] for row in rows], method=method, folds=folds)
    assert by_name([entries[row] for row in rows], turned.splits) == by_name(entries, straight.splits)
    assert sorted(turned.problems) == sorted(straight.problems)


@pytest.mark.parametrize("count", [14, 30, 100])
def test_val_or_test_below_half_of_its_share_is_reported(count):
    reported = set()
    for seed in range(40):
        entries = some("detection", count)
        assignment = split(entries, method="stable", seed=seed)
        held = {place: assignment.splits.count(place) for place in ("val", "test")}
        few = {place for place, number in held.items() if number < 0.15 * count / 2}
        assert {found.reason.split()[0] for found in found_of(assignment, "split_small")} == few
        for found in found_of(assignment, "split_small"):
            place = found.reason.split()[0]
            assert (found.file, found.severity) == ("detection", "warning")
            assert found.reason == (
                f"{place} gets {held[place]} of {count} images, {held[place] / count:.1%} instead of 15%"
            )
        reported |= few
        assert not found_of(split(entries, method="balanced", seed=seed), "split_small")
    assert reported or count != 30


def test_small_splits_of_folders_and_of_pins_are_the_users():
    entries = given_set("detection", {"train": 60, "test": 3})
    small = [found.reason for seed in range(40) for found in found_of(split(entries, seed=seed), "split_small")]
    assert small and all(reason.startswith("val gets ") for reason in small)
    entries = some("detection", 60)
    pins = {("detection", entry.file): "test" for entry in entries[:20]}
    for seed in range(20):
        found = found_of(split(entries, pins=pins, seed=seed), "split_small")
        assert not any(each.reason.startswith("test") for each in found)
