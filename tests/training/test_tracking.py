import json
import struct
import subprocess
import sys
import types

import pytest

from panvision.core.params import ParamsError
from panvision.training.settings import TrackingSettings, WandbSettings
from panvision.training.tracking import NoTracker, make_tracker

wandb = pytest.importorskip("wandb", reason="the wandb extra is not installed")

CONFIG = {"seed": 3, "loss": {"cls": 2.0}}
ROWS = [{"epoch": 1, "val_total": 2.5, "map50": None}, {"epoch": 2, "val_total": 1.5, "map50": 0.25}]

SCRIPT = f"""
from panvision.training.settings import TrackingSettings, WandbSettings
from panvision.training.tracking import make_tracker
settings = TrackingSettings(wandb=WandbSettings(enabled=True, project="pans", entity="kitchen"))
tracker = make_tracker(settings, "phase2", {CONFIG!r})
for row in {ROWS!r}:
    tracker.log(row)
tracker.finish()
"""


def offline_records(path):
    """The records of an offline run's file: LevelDB's log format behind a header of W&B's own, 7 bytes long.

    https://github.com/google/leveldb/blob/main/doc/log_format.md: blocks of 32 KiB; a chunk is a checksum (4 bytes),
    a length (2), a type (1: whole, 2: first, 3: middle, 4: last) and its data.
    """
    data, place, record = path.read_bytes(), 7, b""
    assert data.startswith(b":W&B")
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:  # too short for a chunk: padding
            place += 32768 - place % 32768
            continue
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield record
            record = b""


def read_offline_run(folder):
    """The one offline run below a folder: its run records and its history rows."""
    from wandb.proto import wandb_internal_pb2

    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    runs, history = [], []
    for data in offline_records(path):
        record = wandb_internal_pb2.Record.FromString(data)
        if record.HasField("run"):
            runs.append(record.run)
        if record.HasField("history"):
            items = record.history.item
            history.append({item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items})
    return runs, history


def test_offline_run_has_the_logged_values_and_configuration(tmp_path):
    env = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", SCRIPT], cwd=tmp_path, env=env, check=True, timeout=120)
    runs, history = read_offline_run(tmp_path)
    assert (runs[0].project, runs[0].entity, runs[0].display_name) == ("pans", "kitchen", "phase2")
    config = {item.key: json.loads(item.value_json) for run in runs for item in run.config.update}
    assert CONFIG.items() <= config.items()
    logged = [{key: value for key, value in row.items() if key.startswith("phase2/")} for row in history]
    assert logged == [
        {"phase2/epoch": 1, "phase2/val_total": 2.5},
        {"phase2/epoch": 2, "phase2/val_total": 1.5, "phase2/map50": 0.25},
    ]


def test_off_by_default_and_then_not_even_imported():
    assert isinstance(make_tracker(TrackingSettings(), "phase1", {}), NoTracker)
    code = "import sys, panvision.training.phases; sys.exit('wandb' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert WandbSettings().enabled is False


def test_without_a_login_the_error_says_how(tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # no .netrc
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParamsError, match=r"tracking\.wandb\.enabled: .*; run `wandb login`, set WANDB_MODE=offline"):
        make_tracker(TrackingSettings(wandb=WandbSettings(enabled=True)), "phase1", {})


class FakeWandb(types.ModuleType):
    """Takes what `wandb.init` is called with, and logs."""

    Error = wandb.Error

    def __init__(self):
        super().__init__("wandb")
        self.calls, self.logged, self.id = [], [], "run1"

    def init(self, **given):
        self.calls.append(given)
        self.id = given["id"] or self.id
        return self

    def log(self, figures, step):
        self.logged.append(step)

    def finish(self):
        pass


def test_an_interrupted_phase_resumes_its_run(monkeypatch):
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    settings = TrackingSettings(wandb=WandbSettings(enabled=True))
    first = make_tracker(settings, "phase1", {})
    assert first.run_id == "run1" and fake.calls[0]["id"] is None
    again = make_tracker(settings, "phase1", {}, run_id="run7")
    assert again.run_id == "run7"
    assert (fake.calls[1]["id"], fake.calls[1]["resume"]) == ("run7", "allow")
    for row in ROWS:
        again.log(row)
    assert fake.logged == [1, 2], "the epoch is the step, so that a repeated one is not logged twice"
