import json
import shutil
import sys

import pytest

from panvision.cli.main import main
from panvision.config import Config
from panvision.inference import infer_image, load_model
from panvision.prepare import pack
from panvision.training import phases
from panvision.training.stopping import Interrupted
from tests.cli.holders import held
from tests.cli.shown import json_keys
from tests.cli.small import SMALL


def train(*arguments, settings=()):
    return main(["train", *map(str, arguments), *(word for setting in settings for word in ("--set", setting))])


def test_train_writes_a_model_and_its_configuration(raw, tmp_path, capsys):
    folder = tmp_path / "checkpoints"
    assert train("--data-root", raw, "--checkpoint-dir", folder, settings=SMALL) == 0
    said = capsys.readouterr().out
    assert str(folder / "best_model.pth") in said
    config = Config.load(Config.find_in_directory(folder))
    assert config.train.batch_size == 2 and config.data.root == str(raw) and config.loss.cls == 2.0
    model, info = load_model(folder / "best_model.pth", config)
    assert sorted(info["det_class_names"]) == ["inlet_pipe", "pan", "stirrer"]
    photo = next((raw / "detection/images").iterdir())
    assert set(infer_image(model, photo, info, config)) == {"segmentation", "detection", "classification"}
    assert (folder / "curves/phase2.csv").read_text().startswith("epoch,lr,")


def test_files_as_json(raw, tmp_path, capsys):
    folder = tmp_path / "out"
    settings = [*SMALL, "train.phase1.epochs=0"]
    assert train("--data_root", raw, "--checkpoint_dir", folder, "--json", settings=settings) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found == {"checkpoint": str(folder / "best_model.pth"), "config": Config.find_in_directory(folder)}
    assert set(found) <= json_keys("train") and "segmentation" in said.err


def test_one_task_alone(raw, tmp_path):
    folder = tmp_path / "out"
    assert train("--data_root", raw, "--checkpoint_dir", folder, settings=[*SMALL, "tasks=[detection]"]) == 0
    config = Config.load(Config.find_in_directory(folder))
    model, info = load_model(folder / "best_model.pth", config)
    assert config.tasks == model.tasks == ("detection",) and info["cls_idx_to_class"] == {}
    photo = next((raw / "detection/images").iterdir())
    assert set(infer_image(model, photo, info, config)) == {"detection"}


def test_a_run_stopped_in_phase_2_does_not_repeat_phase_1(raw, tmp_path, monkeypatch, capsys):
    def stopped(*arguments, **options):
        raise Interrupted("phase2: stopped")

    folder = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(phases, "train_phase2", stopped)
        assert train("--data_root", raw, "--checkpoint_dir", folder, settings=SMALL) == 75
    assert "phase1   1/1 train" in capsys.readouterr().out
    first = (folder / "build/phase1/best_model.pth").read_bytes()
    assert train("--data_root", raw, "--checkpoint_dir", folder, settings=SMALL) == 0
    said = capsys.readouterr().out
    assert "phase1: trained to the end at" in said and "phase1   1/1" not in said and "phase2   1/1 train" in said
    assert (folder / "build/phase1/best_model.pth").read_bytes() == first
    assert not list((folder / "build/scratch").iterdir())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["train.batchsize=3"], "train.batchsize: unknown key; did you mean train.batch_size?"),
        (["tasks=[boxes]"], "tasks.0: Input should be 'segmentation', 'detection' or 'classification', found 'boxes'"),
        (["loss.cls"], "loss.cls: expected section.key=value"),
        (
            ["loss.ordinal=0.2", "classification.order=null"],
            "loss.ordinal: spreads labels along classification.order, which is null",
        ),
        (["model.weights=/nowhere/weights.pth"], "/nowhere/weights.pth: no such file"),
    ],
)
def test_wrong_settings_stop_before_data_is_read(tmp_path, capsys, settings, message):
    assert train("--data_root", tmp_path / "none", "--checkpoint_dir", tmp_path / "out", settings=settings) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_errors_in_the_data_stop_before_training(raw, tmp_path, capsys):
    settings = [*SMALL, "data.max_pixels=4096"]
    assert train("--data_root", raw, "--checkpoint_dir", tmp_path / "out", settings=settings) == 1
    assert "raise data.max_pixels" in capsys.readouterr().err
    assert not (tmp_path / "out/best_model.pth").exists()


def test_a_locked_folder_is_refused(raw, tmp_path, capsys):
    with held(tmp_path / "out/build"):
        assert train("--data_root", raw, "--checkpoint_dir", tmp_path / "out", settings=SMALL) == 1
    error = capsys.readouterr().err
    assert "is writing there" in error and error.endswith("(--checkpoint_dir)\n")
    assert not (tmp_path / "out/build/prepared").exists()


def test_an_unknown_device_is_one_line(raw, tmp_path, capsys):
    assert train("--data_root", raw, "--checkpoint_dir", tmp_path, "--device", "toaster", settings=SMALL) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_several_devices_run_the_same_command(raw, tmp_path, monkeypatch, capsys):
    """The first process prepares; each process that it starts gets the whole configuration and trains."""
    commands = []

    def as_launched(command, devices):
        """Do here what each process does."""
        commands.append((command, devices))
        with monkeypatch.context() as context:
            context.setenv("PANVISION_LAUNCHED", "1")
            context.setattr("panvision.prepare.pack.prepare", lambda *given: pytest.fail("prepared again"))
            return main(command[3:])

    monkeypatch.setattr("panvision.training.launch.launch", as_launched)
    out = tmp_path / "out"
    settings = [*SMALL, "train.devices=2", "seed=5"]
    assert train("--data_root", raw, "--checkpoint_dir", out, "--device", "cpu", settings=settings) == 0
    ((command, devices),) = commands
    assert command[:3] == [sys.executable, "-m", "panvision.cli.main"] and devices == 2
    assert (out / "best_model.pth").is_file() and len(list(out.glob("config_*.json"))) == 1
    assert capsys.readouterr().out.count("best model: ") == 1
    config = Config.load(Config.find_in_directory(out))
    assert (config.train.devices, config.seed) == (2, 5)


def test_an_indivisible_batch_stops_before_data_is_read(tmp_path, capsys):
    settings = [*SMALL, "train.devices=3"]
    assert train("--data_root", tmp_path / "none", "--checkpoint_dir", tmp_path / "out", settings=settings) == 1
    error = capsys.readouterr().err
    assert "train.batch_size: 3 devices" in error and "set it to 3, or lower train.devices" in error


def test_torchrun_is_for_the_stages(raw, tmp_path, monkeypatch, capsys):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}.items():
        monkeypatch.setenv(name, value)
    assert train("--data_root", raw, "--checkpoint_dir", tmp_path, settings=SMALL) == 1
    assert "set train.devices" in capsys.readouterr().err


def test_untrainable_labels_stop_before_decoding(raw, tmp_path, monkeypatch, capsys):
    def decoded(*_):
        raise AssertionError("an image was decoded")

    monkeypatch.setattr(pack, "load_samples", decoded)
    other = tmp_path / "raw"
    shutil.copytree(raw, other)
    labels = other / "detection/_annotations.coco.json"
    labels.write_text(json.dumps({**json.loads(labels.read_text()), "annotations": []}))
    settings = [*SMALL, "classification.order=[raw,cooked]"]
    assert train("--data_root", other, "--checkpoint_dir", tmp_path / "out", settings=settings) == 1
    error = capsys.readouterr().err
    assert "none of its 10 images has a box [boxes_none]" in error and "[order_unfit]" in error
