import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.ingest.fingerprint import NO_HASH
from panvision.ingest.groups import Entry, join_groups, near_pairs


def entry(file, task="detection", *, photo="", roboflow=False, pixels=None, phash=NO_HASH, split="", traits=()):
    identity = hashlib.sha256(f"{task}/{file}".encode()).hexdigest()
    return Entry(task, file, photo or file, roboflow, identity, pixels or identity, phash, split, traits)


def hexed(value):
    return f"{value:016x}"


FAR = 0x123456789ABCDEF0


def test_roboflow_copies_are_one_photo_also_across_tasks():
    entries = [
        entry("a.rf.1.jpg", photo="a", roboflow=True),
        entry("a.rf.2.jpg", photo="a", roboflow=True),
        entry("a.rf.3.jpg", "segmentation", photo="a", roboflow=True),
        entry("b.rf.1.jpg", photo="b", roboflow=True),
    ]
    groups = join_groups(entries, 3)
    assert groups == ["detection/a.rf.1.jpg"] * 3 + ["detection/b.rf.1.jpg"]


def test_plain_names_mean_nothing():
    entries = [
        entry("x/0001.jpg", photo="0001"),
        entry("y/0001.jpg", photo="0001"),
        entry("0001.jpg", "segmentation", photo="0001"),
        entry("0001.rf.7.jpg", photo="0001", roboflow=True),
    ]
    assert len(set(join_groups(entries, 3))) == 4


def test_equal_pixels_join_across_tasks():
    entries = [entry("a.jpg", pixels="same"), entry("b.png", "classification", pixels="same"), entry("c.jpg")]
    assert join_groups(entries, 0) == ["classification/b.png"] * 2 + ["detection/c.jpg"]


@pytest.mark.parametrize(("bits", "groups"), [(0, 3), (1, 3), (2, 2), (3, 2), (16, 2)])
def test_near_copies_join_up_to_the_bits(bits, groups):
    entries = [entry("a", phash=hexed(FAR)), entry("b", phash=hexed(FAR ^ 0b11)), entry("c", phash=hexed(~FAR % 2**64))]
    assert len(set(join_groups(entries, bits))) == groups


def test_equal_hashes_join_with_zero_bits():
    entries = [entry("a", phash=hexed(FAR)), entry("b", phash=hexed(FAR)), entry("c", phash=hexed(FAR ^ 1))]
    assert join_groups(entries, 0) == ["detection/a", "detection/a", "detection/c"]


def test_plain_pictures_are_not_chained():
    entries = [entry(name, phash=NO_HASH) for name in "abc"]
    assert len(set(join_groups(entries, 16))) == 3


def test_links_chain():
    entries = [
        entry("a", pixels="p"),
        entry("b", pixels="p", phash=hexed(FAR)),
        entry("c", phash=hexed(FAR ^ 1), photo="x", roboflow=True),
        entry("d", "segmentation", photo="x", roboflow=True),
    ]
    assert join_groups(entries, 3) == ["detection/a"] * 4


@given(seed=st.integers(0, 10**6), bits=st.integers(0, 16), count=st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_near_pairs_are_all_pairs_within_the_bits(seed, bits, count):
    chance = np.random.default_rng(seed)
    base = chance.integers(0, 2**63, max(count // 4, 1), dtype=np.uint64)
    flips = np.array([sum(1 << int(b) for b in set(chance.integers(0, 64, 5))) for _ in range(count)], np.uint64)
    hashes = np.unique(chance.choice(base, count) ^ flips) if count else np.array([], np.uint64)
    expected = {
        (i, j)
        for i in range(len(hashes))
        for j in range(i + 1, len(hashes))
        if bits and int(hashes[i] ^ hashes[j]).bit_count() <= bits
    }
    assert set(near_pairs(hashes, bits)) == expected


def test_blocks_see_pairs_across_their_edges(monkeypatch):
    monkeypatch.setattr("panvision.ingest.groups._BLOCK", 3)
    hashes = np.arange(16, dtype=np.uint64)
    found = set(near_pairs(hashes, 1))
    assert found == {(i, j) for i in range(16) for j in range(i + 1, 16) if (i ^ j).bit_count() == 1}


@given(st.permutations(list(range(8))))
@settings(max_examples=20)
def test_groups_do_not_depend_on_the_order(order):
    entries = [entry(str(n), pixels=f"p{n // 3}", phash=hexed(FAR ^ (1 << 8 * n))) for n in range(8)]
    straight = dict(zip((e.file for e in entries), join_groups(entries, 2), strict=True))
    shuffled = [entries[n] for n in order]
    assert dict(zip((e.file for e in shuffled), join_groups(shuffled, 2), strict=True)) == straight
