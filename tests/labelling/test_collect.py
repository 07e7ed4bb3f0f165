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


def listed(folder):
    return [json.loads(line) for line in (folder / INDEX).read_text(encoding="utf-8").splitlines()]


def size_of(folder):
    return sum(path.stat().st_size for path in (*folder.glob("frame_*.jpg"), folder / INDEX))


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
        ({"detection": boxes(("pan", 0.48, (0, 0, 9, 9)))}, False, UNCERTAIN),
        ({"detection": boxes(("pan", 0.40, (0, 0, 9, 9)))}, False, None),
        ({"detection": boxes(("pan", 0.92, (0, 0, 9, 9)))}, False, None),
        ({"detection": boxes(("stirrer", 0.52, (0, 0, 9, 9)))}, False, None),
        ({"segmentation": {}}, False, None),
    ]
    for number, (result, changed, reason) in enumerate(given):
        assert collector.consider(scene(number), result, number, changed=changed) == reason
    lines = listed(tmp_path / "kept")
    assert [line["reason"] for line in lines] == [CHANGED, UNCERTAIN, UNLIKE, NO_PAN, UNCERTAIN, UNCERTAIN]
    assert [line["state"] for line in lines] == ["raw"] * 4 + [None] * 2
    assert [line["file"] for line in lines] == frames(tmp_path / "kept") and len(collector) == collector.count == 6


def test_the_rate_is_limited(tmp_path):
    collector = Collector(tmp_path, LEAST, CollectOptions(per_minute=6))
    kept = [t for t in range(60) if collector.consider(scene(t), UNSURE, float(t), changed=False)]
    assert kept == [0, 10, 20, 30, 40, 50]


def test_a_change_is_not_lost_to_the_rate(tmp_path):
    collector = Collector(tmp_path, LEAST, CollectOptions(per_minute=6))
    reasons = [collector.consider(scene(t), UNSURE if t == 0 else SURE, float(t), changed=t == 4) for t in range(20)]
    assert [(t, reason) for t, reason in enumerate(reasons) if reason] == [(0, UNCERTAIN), (10, CHANGED)]


def test_a_late_change_is_that_of_its_own_state(tmp_path):
    collector = Collector(tmp_path, LEAST, CollectOptions(per_minute=6))
    golden = {"classification": label(raw=0.1, golden=0.9)}
    given = [(SURE, 0.0, True), (golden, 5.0, True), (SURE, 12.0, False), (golden, 30.0, False)]
    found = [collector.consider(scene(0), result, time, changed=changed) for result, time, changed in given]
    assert found == [CHANGED, None, CHANGED, None] and [line["state"] for line in listed(tmp_path)] == ["raw", "golden"]


def test_many_lines_of_removed_frames_cost_no_frame(tmp_path):
    collector = Collector(tmp_path, LEAST, FAST)
    for number in range(4):
        collector.consider(scene(number), UNSURE, float(number), changed=False)
    index = tmp_path / INDEX
    index.write_text(index.read_text().replace("frame", "gone") * 500 + index.read_text())
    budget = 1.5 * sum(path.stat().st_size for path in tmp_path.glob("frame_*.jpg")) / 1e6
    again = Collector(tmp_path, LEAST, CollectOptions(budget_mb=budget, per_minute=60_000))
    assert again.consider(scene(9), UNSURE, 9.0, changed=False) and len(again) == 5
    assert size_of(tmp_path) <= budget * 1e6


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
        assert size_of(tmp_path) == collector.used <= 20_000
    assert 3 < len(collector) < 29 and "frame_0000000000000.jpg" in frames(tmp_path)
    assert "frame_0000000029000.jpg" in frames(tmp_path)
    assert (tmp_path / "mine.jpg").read_bytes() == b"a person's"


def test_frames_of_earlier_runs_count(tmp_path):
    options = CollectOptions(budget_mb=0.02, per_minute=60_000)
    for run in range(3):
        collector = Collector(tmp_path, LEAST, options)
        for number in range(10):
            collector.consider(scene(10 * run + number), UNSURE, float(number), changed=False)
    assert collector.used == size_of(tmp_path) <= 20_000
    assert collector.count == 10 < len(frames(tmp_path)) == len(collector) < 30


def test_the_index_counts_and_stays_small(tmp_path):
    options = CollectOptions(budget_mb=0.02, per_minute=60_000)
    collector = Collector(tmp_path, LEAST, options)
    for number in range(150):
        assert collector.consider(scene(number), UNSURE, float(number), changed=False)
        assert size_of(tmp_path) == collector.used <= 20_000
    assert (tmp_path / INDEX).stat().st_size < 10_000
    assert [line["file"] for line in listed(tmp_path)][-len(collector) :] == frames(tmp_path)
    assert Collector(tmp_path, LEAST, options).used == collector.used


def test_a_frame_after_a_torn_line_counts(tmp_path):
    collector = Collector(tmp_path, LEAST, FAST)
    for number in range(2):
        collector.consider(scene(number), UNSURE, float(number), changed=False)
    content = (tmp_path / INDEX).read_bytes()
    (tmp_path / INDEX).write_bytes(content[:-20])
    for path in tmp_path.glob("frame_*1000.jpg"):
        path.unlink()  # it is written after its line
    for number in range(2, 4):
        Collector(tmp_path, LEAST, FAST).consider(scene(number), UNSURE, float(number), changed=False)
    again = Collector(tmp_path, LEAST, FAST)
    assert [line["file"] for line in listed(tmp_path)] == frames(tmp_path)
    assert len(again) == 3 and again.used == size_of(tmp_path)


def test_a_killed_write_leaves_no_image_that_does_not_count(tmp_path, monkeypatch):
    def kill(*_, **__):
        raise KeyboardInterrupt

    for name in ("os.fsync", "panvision.labelling.collect.replacing"):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(name, kill)
            Collector(tmp_path, LEAST, FAST).consider(scene(0), UNSURE, 0.0, changed=False)
        assert not frames(tmp_path)
    (tmp_path / ".frame_0000000000000.jpg.abcdefgh.partial").write_bytes(b"half")
    Collector(tmp_path, LEAST, FAST)
    assert [path.name for path in tmp_path.iterdir()] == [INDEX]


@pytest.mark.parametrize("result", [SURE, UNSURE])
def test_restarts_on_a_still_scene_keep_one_frame(tmp_path, result):
    for run in range(20):
        collector = Collector(tmp_path, LEAST, FAST)
        for frame in range(3):
            collector.consider(scene(0), result, run + frame / 10, changed=frame == 1 and result is SURE)
    assert len(frames(tmp_path)) == 1
    collector.consider(scene(0), {"classification": label(raw=0.1, golden=0.9)}, 30.0, changed=True)
    assert listed(tmp_path)[-1]["state"] == "golden" and len(frames(tmp_path)) == 2


def test_the_rate_holds_over_restarts(tmp_path):
    for second in range(20):
        Collector(tmp_path, LEAST, CollectOptions(per_minute=6)).consider(
            scene(second), UNSURE, 1000.0 + second, changed=False
        )
    assert [line["time"] for line in listed(tmp_path)] == [1000.0, 1010.0]


def test_a_recording_that_starts_again_has_its_own_clock(tmp_path):
    def keep(number, time):
        collector = Collector(tmp_path, LEAST, CollectOptions(per_minute=6))
        return collector.consider(scene(number), UNSURE, time, changed=False)

    assert keep(0, 50.0) and keep(1, 1000.0)
    (tmp_path / "frame_0000000050000.jpg").unlink()
    # Its line in the index is of the removed frame, too.
    assert keep(2, 50.0) and keep(3, 55.0) is None


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
