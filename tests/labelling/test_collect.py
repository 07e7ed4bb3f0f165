import json

import numpy as np
import pytest

from panvision.decoding.answers import NO_PAN, UNLIKE
from panvision.labelling.collect import CHANGED, INDEX, UNCERTAIN, CollectOptions, Collector
from tests.labelling.test_voting import boxes, label

SURE = {"classification": label(raw=0.9, golden=0.1)}
UNSURE = {"classification": label(raw=0.55, golden=0.45)}
LEAST = {"pan": 0.5, "stirrer": 0.2}
FAST = CollectOptions(per_minute=60_000)


def scene(number):
    rng = np.random.default_rng(number)
    return rng.integers(0, 255, (6, 8, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)


def frames(folder):
    return sorted(path.name for path in folder.glob("*.jpg"))


def test_frames_are_kept_for_a_reason(tmp_path):
    collector = Collector(tmp_path / "kept", LEAST, FAST)
    unlike = {"classification": {**label(raw=0.9, golden=0.1), "answered": False, "reason": UNLIKE}}
    empty = {"classification": {**unlike["classification"], "reason": NO_PAN}}
    given = [
        (SURE, False, None),
        (SURE, True, CHANGED),
        (UNSURE, False, UNCERTAIN),
        (unlike, False, UNLIKE),
        (empty, False, NO_PAN),
        ({"detection": boxes(("pan", 0.52, (0, 0, 9, 9)))}, False, UNCERTAIN),
        ({"detection": boxes(("pan", 0.92, (0, 0, 9, 9)))}, False, None),
        ({"detection": boxes(("stirrer", 0.52, (0, 0, 9, 9)))}, False, None),
        ({"segmentation": {}}, False, None),
    ]
    for number, (result, changed, reason) in enumerate(given):
        assert collector.consider(scene(number), result, number, changed=changed) == reason
    lines = [json.loads(line) for line in (tmp_path / "kept" / INDEX).read_text(encoding="utf-8").splitlines()]
    assert [line["reason"] for line in lines] == [CHANGED, UNCERTAIN, UNLIKE, NO_PAN, UNCERTAIN]
    assert [line["file"] for line in lines] == frames(tmp_path / "kept") and len(collector) == collector.count == 5


def test_the_rate_is_limited(tmp_path):
    collector = Collector(tmp_path, LEAST, CollectOptions(per_minute=6))
    kept = [t for t in range(60) if collector.consider(scene(t), UNSURE, float(t), changed=False)]
    assert kept == [0, 10, 20, 30, 40, 50]


def test_a_change_is_not_lost_to_the_rate(tmp_path):
    collector = Collector(tmp_path, LEAST, CollectOptions(per_minute=6))
    reasons = [collector.consider(scene(t), UNSURE if t == 0 else SURE, float(t), changed=t == 4) for t in range(20)]
    assert [(t, reason) for t, reason in enumerate(reasons) if reason] == [(0, UNCERTAIN), (10, CHANGED)]


def test_a_still_scene_is_kept_once(tmp_path):
    collector = Collector(tmp_path, LEAST, FAST)
    reasons = [collector.consider(scene(t // 5), UNSURE, float(t), changed=t == 3) for t in range(10)]
    assert [(t, reason) for t, reason in enumerate(reasons) if reason] == [(0, UNCERTAIN), (3, CHANGED), (5, UNCERTAIN)]


def test_the_disk_budget_is_kept_and_rare_reasons_stay(tmp_path):
    (tmp_path / "mine.jpg").write_bytes(b"a person's")
    collector = Collector(tmp_path, LEAST, CollectOptions(budget_mb=0.02, per_minute=60_000))
    collector.consider(scene(0), SURE, 0.0, changed=True)
    for number in range(1, 30):
        assert collector.consider(scene(number), UNSURE, float(number), changed=False)
        assert sum(path.stat().st_size for path in tmp_path.glob("frame_*.jpg")) == collector.used <= 20_000
    assert 3 < len(collector) < 29 and "frame_0000000000000.jpg" in frames(tmp_path)
    assert "frame_0000000029000.jpg" in frames(tmp_path)
    assert (tmp_path / "mine.jpg").read_bytes() == b"a person's"


def test_frames_of_earlier_runs_count(tmp_path):
    options = CollectOptions(budget_mb=0.02, per_minute=60_000)
    for run in range(3):
        collector = Collector(tmp_path, LEAST, options)
        for number in range(10):
            collector.consider(scene(10 * run + number), UNSURE, float(number), changed=False)
    assert collector.used == sum(path.stat().st_size for path in tmp_path.glob("*.jpg")) <= 20_000
    assert collector.count == 10 < len(frames(tmp_path)) == len(collector) < 30


def test_a_damaged_index_is_read_as_far_as_it_can_be(tmp_path):
    Collector(tmp_path, LEAST, FAST).consider(scene(0), UNSURE, 0.0, changed=False)
    with (tmp_path / INDEX).open("a", encoding="utf-8") as file:
        file.write('{"file": "../../outside.jpg", "reason": "uncertain", "bytes": 1}\n[1]\n{"fi')
    assert len(Collector(tmp_path, LEAST, FAST)) == 1


def test_a_frame_larger_than_the_budget_is_not_kept(tmp_path):
    collector = Collector(tmp_path, LEAST, CollectOptions(budget_mb=0.001))
    assert collector.consider(scene(0), UNSURE, 0.0, changed=False) is None
    assert not frames(tmp_path)


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    collector = Collector(tmp_path / "kept", LEAST, FAST)
    (tmp_path / "kept").rmdir()
    (tmp_path / "kept").write_bytes(b"")
    with pytest.raises(OSError):
        collector.consider(scene(0), UNSURE, 0.0, changed=False)
