"""`stages/train.py` on two devices as users start it: by `train.devices`, and by torchrun."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from panvision.core.params import read_sections
from panvision.core.tasks import TASKS
from panvision.model.checkpoint import load_checkpoint
from panvision.model.settings import ModelSettings
from panvision.photos.settings import DataSettings
from panvision.prepare.pack import prepare
from panvision.scenes.demo import write_demo_sets
from panvision.scenes.settings import SceneSettings, SetSizes
from panvision.training.data.sets import open_sets
from panvision.training.data.settings import AugmentSettings
from panvision.training.phases import PhaseFiles, TrainingConfig, train_phase1
from panvision.training.settings import LossSettings, TrackingSettings, TrainSettings
from panvision.validate.settings import SplitSettings
from panvision.validate.verdict import judge, write_verdict

pytestmark = [pytest.mark.skipif(os.name != "posix", reason="no signals"), pytest.mark.xdist_group("devices")]

ROOT = Path(__file__).parents[2]
PARAMS = """\
model: {backbone: resnet10, weights: none, fpn_channels: 32, head_convs: 0, seg_channels: 8, cls_hidden: 8}
train: {devices: DEVICES, batch_size: 2, epoch_steps: 2, phase1: {epochs: 2, lr: 0.001}, schedule: constant, workers: 0}
"""
CHECKPOINT, CURVES = "build/phase1/best_model.pth", "reports/curves/phase1.csv"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Packed sets and splits, as the stages before leave them."""
    folder = tmp_path_factory.mktemp("prepared")
    sizes = SetSizes(segmentation=8, detection=8, classification=8)
    write_demo_sets(folder / "raw", SceneSettings(width=64, height=64, images=sizes, units=2))
    for task in TASKS:
        prepare(task, DataSettings(root=str(folder / "raw"), image_size=64), folder / "build/prepared" / task)
    settings = SplitSettings(val=0.25, test=0.25, method="balanced", copy_difference=0.0)
    verdict = judge(folder / "build/prepared", settings, {})
    write_verdict(verdict, folder / "build/splits.csv", folder / "problems.csv", folder / "data.json")
    return folder


def project(prepared, folder, devices):
    (folder / "build").mkdir(parents=True)
    (folder / "params.yaml").write_text(PARAMS.replace("DEVICES", str(devices)))
    for name in ("build/prepared", "build/splits.csv"):
        (folder / name).symlink_to(prepared / name)
    return folder


@pytest.fixture(scope="module")
def one(prepared, tmp_path_factory):
    """Phase 1 by one process: this one, which has imported what a stage needs seconds for."""
    folder = project(prepared, tmp_path_factory.mktemp("one") / "project", 1)
    schemas = {"augment": AugmentSettings, "loss": LossSettings, "train": TrainSettings, "tracking": TrackingSettings}
    settings = read_sections({**schemas, "model": ModelSettings}, folder / "params.yaml")
    model = settings.pop("model")
    sets = open_sets(folder / "build/prepared", folder / "build/splits.csv")
    train_phase1(sets, TrainingConfig(42, **settings), model, PhaseFiles(folder / CHECKPOINT, folder / CURVES))
    return folder


def stage(folder, *launcher):
    command = [sys.executable, *launcher, str(ROOT / "stages/train.py"), "phase1"]
    env = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def launched(prepared, tmp_path_factory):
    folder = project(prepared, tmp_path_factory.mktemp("launched") / "project", 2)
    return folder, stage(folder)


def weights(folder):
    state = load_checkpoint(folder / CHECKPOINT)[0].state_dict()
    return torch.cat([value.flatten().double() for name, value in state.items() if not name.startswith("backbone.")])


def test_two_devices_give_the_weights_and_the_best_epoch_of_one(one, launched):
    """AdamW makes a full step of what rounding left of a gradient near zero, so few single weights differ by one.

    How little differs without it, and that a wrong sum of gradients is noticed, tests/training/test_ranks.py shows.
    """
    there, here = weights(one), weights(launched[0])
    assert float((here - there).norm() / there.norm()) < 1e-3
    meta = [load_checkpoint(folder / CHECKPOINT)[1] for folder in (one, launched[0])]
    assert meta[0]["epoch"] == meta[1]["epoch"]
    assert meta[1]["validation"]["losses"] == pytest.approx(meta[0]["validation"]["losses"], rel=1e-3)


def test_one_of_them_writes_and_speaks(one, launched):
    folder, done = launched
    assert done.stdout.count("phase1   1/2 train ") == 1 and done.stdout.count("backbone weights") == 1
    assert "Traceback" not in done.stderr and "Warning" not in done.stderr
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert written == {"params.yaml", "build/splits.csv", CHECKPOINT, CURVES}


def test_torchrun_starts_the_same_training(prepared, launched, tmp_path):
    """torchrun's number of processes counts, with any train.devices."""
    folder = project(prepared, tmp_path / "project", 1)
    done = stage(folder, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    assert done.stdout.count("phase1   1/2 train ") == 1
    for name in (CHECKPOINT, CURVES):
        assert (folder / name).read_bytes() == (launched[0] / name).read_bytes()


def test_a_batch_that_cannot_be_shared_is_one_line(prepared, tmp_path):
    folder = project(prepared, tmp_path / "project", 3)
    command = [sys.executable, str(ROOT / "stages/train.py"), "phase1"]
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "train.batch_size: 3 devices (train.devices, or" in done.stderr and "set it to 3, or lower" in done.stderr
