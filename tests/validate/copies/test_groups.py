import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.dataset.descriptors import LookStack, make_look
from panvision.validate.copies.groups import Entry, join_groups
from panvision.validate.settings import SplitSettings
from tests.prepare.raw_sets import picture

NO_LOOKS = SplitSettings(copy_difference=0.0)


def entry(file, task="detection", *, photo="", roboflow=False, pixels=None, split="", traits=(), taken=None, camera=""):
    identity = hashlib.sha256(f"{task}/{file}".encode()).hexdigest()
    pixels = pixels or identity
    return Entry(task, file, photo or file, roboflow, identity, pixels, split, traits, taken, camera)


def plain(count):
    return LookStack([np.zeros((count, 64, 64), np.uint8)])


def joined(entries, looks=None, **changes):
    """The groups by name, and the reasons of the links."""
    chosen = NO_LOOKS.model_copy(update=changes)
    groups = join_groups(entries, looks or plain(len(entries)), chosen)
    return groups.names, [link.reason for link in groups.links]


def test_roboflow_copies_are_one_photo_also_across_tasks():
    entries = [
        entry("a.rf.1.jpg", photo="a", roboflow=True),
        entry("a.rf.2.jpg", photo="a", roboflow=True),
        entry("a.rf.3.jpg", "segmentation", photo="a", roboflow=True),
        entry("b.rf.1.jpg", photo="b", roboflow=True),
    ]
    names, reasons = joined(entries)
    assert names == ["detection/a.rf.1.jpg"] * 3 + ["detection/b.rf.1.jpg"]
    assert reasons == ["name", "name"]


def test_plain_names_mean_nothing():
    entries = [
        entry("x/0001.jpg", photo="0001"),
        entry("y/0001.jpg", photo="0001"),
        entry("0001.jpg", "segmentation", photo="0001"),
        entry("0001.rf.7.jpg", photo="0001", roboflow=True),
    ]
    assert len(set(joined(entries)[0])) == 4


def test_equal_pixels_join_across_tasks_at_any_setting():
    entries = [entry("a.jpg", pixels="same"), entry("b.png", "classification", pixels="same"), entry("c.jpg")]
    names, reasons = joined(entries, burst_seconds=0.0)
    assert names == ["classification/b.png"] * 2 + ["detection/c.jpg"] and reasons == ["pixels"]


@pytest.mark.parametrize(("seconds", "groups"), [(0.0, 4), (1.0, 4), (2.0, 3), (5.0, 2), (3600.0, 2)])
def test_bursts_are_chained_up_to_the_seconds(seconds, groups):
    times = [100.0, 102.0, 107.0]
    entries = [entry(f"{n}", taken=time, camera="PXL") for n, time in enumerate(times)]
    names, reasons = joined([*entries, entry("other", taken=102.0, camera="IMG")], burst_seconds=seconds)
    assert len(set(names)) == groups and set(reasons) <= {"burst"}


def test_bursts_reach_over_tasks_and_leave_out_what_has_no_time():
    entries = [
        entry("a", taken=50.0, camera="PXL"),
        entry("b", "classification", taken=53.0, camera="PXL"),
        entry("c", camera="PXL"),
        entry("d", camera="PXL"),
    ]
    assert joined(entries)[0] == ["classification/b", "classification/b", "detection/c", "detection/d"]


def test_copies_by_look_join_and_say_so():
    images = [picture(1, 160, 120), picture(1, 160, 120).crop((8, 6, 152, 114)), picture(2, 160, 120)]
    looks = LookStack([np.stack([make_look(image) for image in images])])
    entries = [entry(name) for name in "abc"]
    assert joined(entries, looks, copy_difference=0.35) == (
        ["detection/a", "detection/a", "detection/c"],
        ["look"],
    )
    assert len(set(joined(entries, looks)[0])) == 3


def test_plain_pictures_are_not_chained():
    entries = [entry(name) for name in "abc"]
    assert len(set(joined(entries, copy_difference=0.9)[0])) == 3


def test_links_chain_over_reasons():
    entries = [
        entry("a", pixels="p"),
        entry("b", pixels="p", taken=1.0),
        entry("c", taken=2.0, photo="x", roboflow=True),
        entry("d", "segmentation", photo="x", roboflow=True),
    ]
    names, reasons = joined(entries)
    assert names == ["detection/a"] * 4 and sorted(reasons) == ["burst", "name", "pixels"]


@given(st.permutations(list(range(12))))
@settings(max_examples=20)
def test_groups_do_not_depend_on_the_order(order):
    entries = [entry(str(n), pixels=f"p{n // 3}", taken=float(n // 5 * 100 + n % 5)) for n in range(12)]
    straight = dict(zip((e.file for e in entries), joined(entries)[0], strict=True))
    shuffled = [entries[n] for n in order]
    assert dict(zip((e.file for e in shuffled), joined(shuffled)[0], strict=True)) == straight


def test_no_entries_are_no_groups():
    assert joined([]) == ([], [])
