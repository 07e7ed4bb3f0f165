"""Images as the split sees them, and helpers to split them and to check the result."""

import hashlib
from collections import Counter, defaultdict

import numpy as np
from hypothesis import strategies as st

from panvision.core.tasks import TASKS
from panvision.dataset.packed import SPLITS
from panvision.validate.copies.groups import Entry
from panvision.validate.settings import SplitSettings
from panvision.validate.splits.assign import assign_splits

SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}


def photo(file, task="detection", *, split="", traits=("",), content=None):
    """Return an image; two files with the same `content` are copies."""
    sha256 = hashlib.sha256((content or f"{task}/{file}").encode()).hexdigest()
    return Entry(
        task=task, file=file, photo=file, roboflow=False, sha256=sha256, pixels=sha256, split=split, traits=traits
    )


def exported(stem, hash_, task="detection"):
    """Return a copy of a photo as Roboflow exports it, with different bytes."""
    file = f"{stem}_jpg.rf.{hash_}.jpg"
    return photo(file, task)._replace(photo=f"{stem}_jpg", roboflow=True)


def photos(entries):
    """The groups of images that are joined by their photo alone."""
    return [f"{entry.task}/{entry.photo}" for entry in entries]


def some(task, count, *, classes=("",), split="", start=0):
    """Return images whose classes alternate."""
    return [
        photo(f"{n:04}", task, split=split, traits=(classes[n % len(classes)],)) for n in range(start, start + count)
    ]


def given_set(task, sizes, classes=("",)):
    """Return images in the users' own splits, with the given number in each."""
    entries, start = [], 0
    for split, count in sizes.items():
        entries += some(task, count, split=split, classes=classes, start=start)
        start += count
    return entries


def names(entries):
    """Return each image's name: every image is a separate group."""
    return [entry.name for entry in entries]


def split(entries, groups=None, pins=None, **settings):
    """Split the images, each in a separate group unless `groups` is given."""
    return assign_splits(entries, groups or names(entries), SplitSettings(**settings), pins=pins or {})


def by_name(entries, splits):
    return dict(zip(names(entries), splits, strict=True))


def counts(entries, splits, task=None):
    return Counter(split for e, split in zip(entries, splits, strict=True) if task in (None, e.task))


def codes(assignment):
    return [found.code for found in assignment.problems]


def found_of(assignment, code):
    return [found for found in assignment.problems if found.code == code]


def sides(groups, splits):
    """The splits of each group."""
    found = defaultdict(set)
    for group, side in zip(groups, splits, strict=True):
        found[group].add(side)
    return found


def lacking(entries, groups, splits):
    """(task, class or "" for the set, number of groups, split) of every split that a class or set lacks."""
    groups_of, present = defaultdict(set), defaultdict(set)
    for entry, group, side in zip(entries, groups, splits, strict=True):
        for trait in {"", *entry.traits}:
            groups_of[entry.task, trait].add(group)
            present[entry.task, trait].add(side)
    return [(*key, len(groups_of[key]), side) for key in sorted(present) for side in SPLITS if side not in present[key]]


@st.composite
def three_sets(draw, fewest=10, most=60, most_classes=5):
    """Entries of three sets, many of them in groups that reach over sets."""
    entries, groups = [], []
    for task in TASKS:
        count = draw(st.integers(fewest, most))
        classes = draw(st.integers(1, most_classes))
        chance = np.random.default_rng(draw(st.integers(0, 10**6)))
        for number in range(count):
            traits = (f"class{chance.integers(classes)}",)
            entries.append(photo(f"{number:03}", task, traits=traits))
            groups.append(f"g{chance.integers(count)}")
    return entries, groups
