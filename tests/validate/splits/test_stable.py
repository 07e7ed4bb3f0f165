"""`method: stable`: each group by its own hash, and the few moves that give every split its sets and classes."""

import hashlib

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from panvision.core.tasks import DATASETS
from panvision.dataset.packed import SPLITS
from tests.validate.split_sets import (
    SHARES,
    codes,
    counts,
    exported,
    found_of,
    given_set,
    lacking,
    names,
    photo,
    photos,
    some,
    split,
    three_sets,
)


def value(entry, seed=42):
    """Return the image's pseudo-random number in [0, 1)."""
    return int(hashlib.sha256(f"{seed}:{entry.sha256}".encode()).hexdigest(), 16) / 2**256


def drawn(entry, seed=42):
    """Return the split that the number alone gives."""
    return "test" if value(entry, seed) < 0.15 else "val" if value(entry, seed) < 0.3 else "train"


def drawn_into(side, count, *, traits=("",), task="detection", start=0):
    """Images that chance alone puts into a split."""
    found = (photo(f"{n:05}", task, traits=traits) for n in range(start, start + 2000))
    return [entry for entry in found if drawn(entry) == side][:count]


def test_the_hash_of_the_content_decides():
    entries = some("detection", 300)
    assert split(entries).splits == [drawn(entry) for entry in entries]
    assert split(entries, seed=7).splits == [drawn(entry, 7) for entry in entries]


def test_the_smallest_hash_speaks_for_a_group():
    entries = some("detection", 300)
    groups = [f"g{n % 100}" for n in range(300)]
    smallest = [min(range(n % 100, 300, 100), key=lambda row: entries[row].sha256) for n in range(300)]
    assert split(entries, groups).splits == [drawn(entries[row]) for row in smallest]


def test_photo_stays_when_roboflow_exports_it_again():
    first = [exported(f"pan{n}", hash_) for n in range(200) for hash_ in ("a1", "b2")]
    again = [exported(f"pan{n}", hash_) for n in range(220) for hash_ in ("c3", "d4", "e5")]
    before = dict(zip(photos(first), split(first, photos(first)).splits, strict=True))
    after = dict(zip(photos(again), split(again, photos(again)).splits, strict=True))
    assert before.items() <= after.items() and set(before.values()) == set(SPLITS)


def test_a_photo_stays_when_its_export_comes_to_it():
    entries = some("detection", 200)
    groups = names(entries)
    exports = [exported(f"pan{n}", "a1", "segmentation") for n in range(200)]
    before, after = split(entries, groups).splits, split([*entries, *exports], groups * 2).splits
    assert after == before * 2


def test_shares_are_met_as_chance_meets_them():
    splits = split(some("detection", 4000)).splits
    assert all(abs(splits.count(side) - 4000 * share) < 100 for side, share in SHARES.items())  # 3.4 sd of train


@given(drawn_sets=three_sets(fewest=150, most=200, most_classes=3), extra=st.integers(1, 200), seed=st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_new_images_move_no_old_one(drawn_sets, extra, seed):
    entries, groups = drawn_sets
    before = split(entries, groups, seed=seed)
    new = [photo(f"new{n}", DATASETS[n % 3], traits=(f"class{n % 4}",)) for n in range(extra)]
    after = split([*new, *entries], [*names(new), *groups], seed=seed)
    moved = before.splits != after.splits[extra:]
    assert not moved or {"split_topped_up"} & {*codes(before), *codes(after)}
    if not found_of(before, "split_topped_up") and extra > 60:
        assert not moved


@pytest.mark.parametrize("sizes", [{"train": 300}, {"train": 300, "test": 20}, {"train": 300, "val": 150}])
def test_new_images_move_no_old_one_out_of_a_users_train(sizes):
    old, new = given_set("detection", sizes), some("detection", 400, split="train", start=5000)
    before, after = split(old).splits, split([*old, *new]).splits
    assert after[: len(old)] == before and len(set(before)) == 3


@given(drawn_sets=three_sets(fewest=3, most=25), extra=st.integers(1, 30), seed=st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_groups_moved_by_new_images_are_named(drawn_sets, extra, seed):
    entries, groups = drawn_sets
    new = [photo(f"new{n}", DATASETS[n % 3], traits=(f"class{n % 7}",)) for n in range(extra)]
    before = split(entries, groups, seed=seed)
    after = split([*entries, *new], [*groups, *names(new)], seed=seed)
    group_of = dict(zip([*names(entries), *names(new)], [*groups, *names(new)], strict=True))
    named = {group_of[found.file] for run in (before, after) for found in found_of(run, "split_topped_up")}
    moved = {group for group, old, now in zip(groups, before.splits, after.splits, strict=False) if old != now}
    assert moved <= named
    # A move for each set or class and split at most, however many images there are.
    assert len(named) <= 2 * len(SPLITS) * (len(DATASETS) + len({(e.task, *e.traits) for e in [*entries, *new]}))


@given(count=st.integers(3, 60), classes=st.integers(1, 8), seed=st.integers(0, 1000))
@settings(max_examples=80, deadline=None)
def test_what_can_be_topped_up_is(count, classes, seed):
    """Every class of three groups is in each split if no image is in two datasets or has two classes."""
    entries = some("classification", count, classes=[f"class{n}" for n in range(classes)])
    assignment = split(entries, seed=seed)
    for _, trait, groups, side in lacking(entries, names(entries), assignment.splits):
        assert trait and groups < 3 and (side != "train" or count <= 2 * classes)
    assert not found_of(assignment, "split_empty")
    absent = {(found.file, found.reason) for found in found_of(assignment, "class_absent")}
    assert len(absent) == len(lacking(entries, names(entries), assignment.splits))


@given(drawn_sets=three_sets(fewest=3, most=25), seed=st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_topping_up_empties_no_split(drawn_sets, seed):
    entries, groups = drawn_sets
    smallest = {}
    for entry, group in zip(entries, groups, strict=True):
        smallest[group] = min(entry, smallest.get(group, entry), key=lambda e: e.sha256)
    by_chance = [drawn(smallest[group], seed) for group in groups]

    def empty_splits(splits):
        gaps = [groups for _, trait, groups, _ in lacking(entries, groups, splits) if not trait]
        assume(min(gaps, default=3) >= 3)  # a set that can be split
        return len(gaps)

    assert empty_splits(split(entries, groups, seed=seed).splits) <= empty_splits(by_chance)


def test_a_single_image_of_a_class_is_moved_to_train():
    (burnt,) = drawn_into("test", 1, traits=("burnt",))
    entries = [*some("detection", 100, classes=("raw",), start=3000), burnt]
    assignment = split(entries)
    assert assignment.splits[-1] == "train"
    (moved,) = found_of(assignment, "split_topped_up")
    assert (moved.file, moved.severity) == (burnt.name, "fixed")
    assert moved.reason == "goes to train instead of test: train had no 'burnt'"
    assert [found.reason[-4:] for found in found_of(assignment, "class_absent")] == [" val", "test"]


def test_two_images_of_a_class_stay_where_one_can_be_learned():
    rare = [*drawn_into("test", 1, traits=("burnt",)), *drawn_into("train", 1, traits=("burnt",))]
    entries = [*some("detection", 100, classes=("raw",), start=3000), *rare]
    assignment = split(entries)
    assert assignment.splits[-2:] == ["test", "train"] and codes(assignment) == ["class_absent"]


def test_the_fewest_images_nearest_to_the_interval_are_moved():
    rare = drawn_into("train", 6, traits=("burnt",))
    entries = [*some("detection", 100, classes=("raw",), start=3000), *rare]
    assignment = split(entries)
    moved = {row for row in range(6) if assignment.splits[100 + row] != "train"}
    assert moved == set(sorted(range(6), key=lambda row: value(rare[row]))[:2])
    assert sorted(assignment.splits[100:]) == ["test", *["train"] * 4, "val"]
    assert assignment.splits[:100] == [drawn(e) for e in entries[:100]]


@pytest.mark.parametrize(("count", "splits"), [(2, {"train"}), (3, set(SHARES))])
def test_a_class_is_held_out_from_three_images_on(count, splits):
    rare = drawn_into("train", count, traits=("burnt",))
    assignment = split([*some("detection", 100, classes=("raw",), start=3000), *rare])
    assert set(assignment.splits[100:]) == splits


def test_train_takes_the_nearest_images():
    rare = sorted(drawn_into("test", 5, traits=("burnt",)), key=value)
    assignment = split([*some("detection", 100, classes=("raw",), start=3000), *rare])
    assert assignment.splits[100:] == ["test", "test", "test", "val", "train"]


def test_gap_is_filled_from_the_largest_surplus():
    """Val is nearer to test than train, but has no surplus."""
    rare = [*drawn_into("train", 20, traits=("burnt",)), *drawn_into("val", 2, traits=("burnt",))]
    assignment = split([*some("detection", 100, classes=("raw",), start=3000), *rare])
    assert assignment.splits[-2:] == ["val", "val"] and assignment.splits[100:120].count("test") == 1


def test_train_does_not_take_the_only_image_of_a_class():
    near, far = sorted(drawn_into("val", 2), key=value, reverse=True)
    both, one = photo(near.file, traits=("egg", "lid")), photo(far.file, traits=("egg",))
    lids = [*drawn_into("train", 3, traits=("lid",)), *drawn_into("test", 2, traits=("lid",))]
    assignment = split([*some("detection", 100, classes=("raw",), start=3000), *lids, one, both])
    assert assignment.splits[-2:] == ["train", "val"]


def test_train_does_not_take_the_only_image_of_a_split():
    held_out = [*drawn_into("val", 1, traits=("egg",)), *drawn_into("test", 1, traits=("egg",))]
    others = [*drawn_into("train", 20, traits=("raw",)), *drawn_into("test", 3, traits=("raw",), start=2000)]
    others += drawn_into("val", 3, traits=("raw",), start=2000, task="classification")
    assignment = split([*others, *held_out])
    assert assignment.splits[-2:] == ["val", "train"]


def test_one_image_fills_several_gaps():
    """An image with both rare classes is moved, not one of each."""
    rare = drawn_into("train", 9)
    traits = [("lid",)] * 4 + [("egg", "lid")] + [("egg",)] * 4
    rare = [photo(e.file, traits=own) for e, own in zip(rare, traits, strict=True)]
    entries = [*drawn_into("val", 30, traits=("egg",)), *drawn_into("val", 1, traits=("lid",), start=9000), *rare]
    entries += some("detection", 80, classes=("pot",), start=4000)
    assignment = split(entries)
    moved = found_of(assignment, "split_topped_up")
    assert [found.file for found in moved] == [rare[4].name] and " to test instead of train: " in moved[0].reason


def test_a_move_names_the_rest_of_its_group():
    entries = [*some("detection", 100, classes=("raw",), start=3000), *drawn_into("test", 3, traits=("burnt",))]
    groups = [*names(entries)[:100], "frames", "frames", "frames"]
    (moved,) = found_of(split(entries, groups), "split_topped_up")
    assert moved.reason == "goes to train instead of test with 2 more of its group: train had no 'burnt'"


@pytest.mark.parametrize(("kept", "lack"), [("train", "test"), ("train", "val"), ("val", "train"), ("test", "train")])
def test_a_set_without_a_split_is_topped_up(kept, lack):
    entries = drawn_into(kept, 10)
    assignment = split(entries)
    assert set(assignment.splits) == set(SHARES) and assignment.splits.count(kept) == 8
    reasons = [found.reason for found in found_of(assignment, "split_topped_up")]
    assert f"goes to {lack} instead of {kept}: {lack} had no image of detection" in reasons


def test_the_only_image_of_another_class_is_not_taken():
    """The image nearest to test is val's only lid, so another one is taken for the class that it also shows."""
    eggs = drawn_into("train", 5, traits=("egg",))
    both = drawn_into("val", 1, traits=("egg", "lid"))
    lids = [*drawn_into("train", 3, traits=("lid",), start=2000), *drawn_into("test", 2, traits=("lid",), start=2000)]
    entries = [*eggs, *both, *lids, *some("detection", 80, classes=("pot",), start=4000)]
    assignment = split(entries)
    assert assignment.splits[5] == "val"
    assert "test" in assignment.splits[:5]


def test_three_classes_of_one_image_leave_no_split_empty():
    """Each class wants its image in train, but a set needs all three splits."""
    entries = [
        drawn_into(side, 1, traits=(f"class{side}",), task="classification")[0] for side in ("train", "val", "test")
    ]
    assignment = split(entries)
    assert assignment.splits == ["train", "val", "test"] and set(codes(assignment)) == {"class_absent"}


def test_users_own_images_are_not_taken():
    entries = given_set("detection", {"train": 30, "val": 10}, classes=("raw",))
    rare = [photo(f"x{n}", split="val", traits=("burnt",)) for n in range(5)]
    assignment = split([*entries, *rare])
    assert assignment.splits[-5:] == ["val"] * 5
    assert [found.reason for found in found_of(assignment, "class_absent")] == [
        "'burnt', with 5 images in 5 groups, has none in train",
        "'burnt', with 5 images in 5 groups, has none in test",
    ]


def test_pinned_images_are_not_taken():
    rare = drawn_into("train", 4, traits=("burnt",))
    entries = [*some("detection", 100, classes=("raw",), start=3000), *rare]
    assignment = split(entries, pins={("detection", e.file): "train" for e in rare[:3]})
    assert assignment.splits[100:] == ["train", "train", "train", "test"]  # test comes before val


def test_folds_are_cut_out_of_the_same_line():
    entries = some("detection", 400)
    for fold in range(5):
        sides = {fold: "test", (fold + 1) % 5: "val"}
        assert split(entries, folds=5, fold=fold).splits == [sides.get(int(value(e) * 5), "train") for e in entries]


def test_a_fold_is_topped_up_by_name():
    entries = [*some("detection", 100, classes=("raw",), start=3000), *drawn_into("test", 3, traits=("burnt",))]
    reasons = [found.reason for found in found_of(split(entries, folds=3), "split_topped_up")]
    assert sorted(reasons) == [
        "goes to fold 1 instead of fold 0: fold 1 had no 'burnt'",
        "goes to fold 2 instead of fold 0: fold 2 had no 'burnt'",
    ]
    assert set(counts(entries, split(entries, folds=3).splits)) == set(SHARES)
