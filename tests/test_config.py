import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panvision.config import Config
from panvision.core.params import SECTIONS, FrozenError, ParamsError, Settings, load_params
from tests.pipeline.scratch import leaves

ROOT = Path(__file__).parents[1]
PRESETS = ROOT / "presets"
NAMES = ("laptop", "resnet50", "edge", "scratch")


def test_presets_have_all_settings_and_are_valid():
    assert {path.stem for path in PRESETS.iterdir()} == set(NAMES)
    for name in NAMES:
        assert leaves(load_params(PRESETS / f"{name}.yaml")).keys() == leaves(Config().model_dump()).keys()
        assert Config.from_params(PRESETS / f"{name}.yaml").data.root == "data/demo"
    assert (ROOT / "params.yaml").read_bytes() == (PRESETS / "laptop.yaml").read_bytes()
    assert Config.from_params(PRESETS / "resnet50.yaml") == Config()
    assert tuple(Config.model_fields) == SECTIONS


def test_presets_for_training_on_a_gpu_load_beside_it():
    workers = {name: Config.from_params(PRESETS / f"{name}.yaml").train.workers for name in NAMES}
    assert workers["resnet50"] >= 2 and workers["edge"] >= 2 and workers["laptop"] == 0


def test_defaults_are_the_documented_numbers():
    config = Config()
    assert (config.seed, config.data.image_size) == (42, 256)
    assert (config.model.backbone, config.model.weights, config.model.fpn_channels) == ("resnet50", "imagenet", 256)
    assert config.model.strides == (8, 16, 32)
    assert (config.train.batch_size, config.train.grad_clip, config.train.patience) == (16, 1.0, 5)
    assert (config.train.phase1.epochs, config.train.phase1.lr) == (3, 1e-3)
    assert (config.train.phase2.epochs, config.train.phase2.lr) == (10, 1e-4)
    assert (config.loss.seg, config.loss.det, config.loss.cls) == (1.0, 1.0, 2.0)
    assert (config.loss.focal_gamma, config.loss.focal_alpha) == (2.0, 0.25)
    assert (config.detection.score_threshold, config.detection.nms_threshold) == (0.3, 0.5)
    assert config.augment.horizontal_flip == 0.5


def test_a_key_has_the_same_comment_in_every_preset():
    comments = [
        re.findall(r"^(?: *)(\w+):[^#\n]*#(.*)$", (PRESETS / f"{name}.yaml").read_text(), flags=re.MULTILINE)
        for name in NAMES
    ]
    assert comments[0] == comments[1] == comments[2] != []


def test_every_error_of_a_params_file_is_listed_once(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("seed: true\nloss: {cls: x}\nmodel: {backbon: resnet18}\n")
    with pytest.raises(ParamsError) as error:
        Config.from_params(path)
    lines = str(error.value).splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"{path}: ") and line.count(str(path)) == 1 for line in lines)
    assert any("model.backbon: unknown key; did you mean model.backbone?" in line for line in lines)


def changed(section: type[Settings]) -> st.SearchStrategy[dict]:
    """Return some numbers of a section, changed within what every number allows."""
    names = [name for name, field in section.model_fields.items() if field.annotation is float]
    return st.dictionaries(st.sampled_from(names), st.floats(0.01, 0.4), max_size=3)


@given(st.data())
def test_a_saved_configuration_is_loaded_equal(tmp_path_factory, data):
    names = ("augment", "loss", "split", "detection")
    values = {name: data.draw(changed(type(getattr(Config(), name)))) for name in names}
    path = tmp_path_factory.mktemp("config") / "config.json"
    config = Config.parse(values)
    config.save(path)
    assert Config.load(path) == Config.load(str(path)) == config
    content = path.read_bytes()
    config.save(path)
    assert path.read_bytes() == content


def test_save_on_the_class_writes_the_defaults_and_needs_a_path(tmp_path):
    Config.save(tmp_path / "config.json")
    assert Config.load(tmp_path / "config.json") == Config()
    with pytest.raises(TypeError, match="path"):
        Config().save()


def test_missing_sections_of_a_saved_file_are_defaults(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model": {"strides": [8, 16]}, "data": {"image_size": 128}}))
    config = Config.load(path)
    assert (config.model.strides, config.data.image_size) == ((8, 16), 128)
    assert config.loss == Config().loss


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such configuration file"),
        (b"{", "not a JSON configuration"),
        (b"\xff\xfe\x00", "not a JSON configuration"),
        (b"[]", "expected a JSON object"),
        (b'{"modle": {}}', "modle: unknown key; did you mean"),
        (b'{"loss": {"cls": "2"}}', r"config\.json: loss\.cls: "),
        (b'{"loss": {"cls": NaN}}', r"config\.json: loss\.cls: "),
        (b'{"seed": 1, "seed": 2}', r"config\.json: not a JSON configuration: duplicate key 'seed'; keep one"),
        (b"[" * 10**5, r"config\.json: not a JSON configuration"),
        (b'{"model": ' * 150 + b"1" + b"}" * 150, r"config\.json: model\.model: unknown key"),
        (b'{"model": ' * 400 + b"1" + b"}" * 400, r"config\.json: settings: Invalid JSON: recursion limit"),
        (b'{"seed": ' + b"9" * 5000 + b"}", r"config\.json: not a JSON configuration: Exceeds the limit"),
        (b'{"model": {"weights": "\\ud800"}}', r"config\.json: settings: Invalid JSON"),
        (b" " * 2**20 + b"{}", "more than 1 MiB"),
    ],
)
def test_load_refuses_other_files_with_one_error(tmp_path, content, message):
    path = tmp_path / "config.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ParamsError, match=message):
        Config.load(path)


def test_a_configuration_of_an_earlier_version_is_loaded(tmp_path):
    """`predict` reads one that is beside its model."""
    values = json.loads(json.dumps(Config().model_dump(mode="json")))
    del values["train"]["phase2"]["backbone_factor"]
    values["train"]["phase2"] |= {"lr": 0.002, "backbone_lr": 0.0005}
    values["evaluation"] |= {"resamples": 1000, "seed": 0}
    values["split"]["near_duplicate_bits"] = 4
    path = tmp_path / "config.json"
    path.write_text(json.dumps(values))
    found = Config.load(path)
    assert found == Config().changed("train.phase2.lr=0.002", "train.phase2.backbone_factor=0.25")
    values["train"]["phase2"]["backbone_lr"] = None
    path.write_text(json.dumps(values))
    assert Config.load(path).train.phase2.backbone_factor == 1.0
    values["evaluation"]["resample"] = 1
    path.write_text(json.dumps(values))
    with pytest.raises(ParamsError, match=r"evaluation\.resample: unknown key"):
        Config.load(path)


ORIGINAL = {
    "NUM_SEG_CLASSES": 1,
    "FPN_CHANNELS": 128,
    "FPN_STRIDES": [4, 8, 16],
    "DETECTION_SCORE_THRESHOLD": 0.4,
    "NMS_IOU_THRESHOLD": 0.6,
    "BATCH_SIZE": 8,
    "NUM_EPOCHS_PHASE1": 1,
    "NUM_EPOCHS_PHASE2": 2,
    "LR_PHASE1": 0.01,
    "LR_PHASE2": 0.02,
    "WEIGHT_SEG": 2.0,
    "WEIGHT_DET": 3.0,
    "WEIGHT_CLS": 4,
    "USE_FOCAL_LOSS": False,
    "FOCAL_GAMMA": 1.5,
    "FOCAL_ALPHA": 0.5,
    "USE_WANDB": True,
    "WANDB_PROJECT": "multi-task-cooking-pan",
    "WANDB_ENTITY": "kitchen",
}


def test_a_flat_configuration_of_the_original_system_is_loaded(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**ORIGINAL, "DEVICE": "cuda"}))
    config = Config.load(path)
    found = {name: getattr(config, name) for name in ORIGINAL}
    assert found == {**ORIGINAL, "FPN_STRIDES": (4, 8, 16)}
    assert (config.loss.state, config.train.phase2.lr, config.model.strides) == ("cross_entropy", 0.02, (4, 8, 16))
    path.write_text('{"USE_FOCAL_LOSS": true}')
    assert Config.load(path) == Config()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"BATCH_SZE": 8, "BATCH_SIZE": 8}',
            r"config\.json: BATCH_SZE: not a name of the original system; known",
        ),
        ('{"BATCH_SIZE": 8, "seed": 1}', r"BATCH_SIZE: unknown key; did you mean train\.batch_size or"),
        ('{"BATCH_SIZE": "8"}', r"config\.json: train\.batch_size: "),
        ('{"USE_FOCAL_LOSS": [1]}', r"config\.json: loss\.state: "),
    ],
)
def test_wrong_flat_configurations_are_refused(tmp_path, content, message):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ParamsError, match=message):
        Config.load(tmp_path / "config.json")


def test_the_page_on_migration_maps_every_original_name():
    page = (ROOT / "docs/migration.md").read_text(encoding="utf-8")
    keys = {name: getattr(vars(Config)[name], "key", "") for name in ORIGINAL}
    assert not [name for name in (*keys, *keys.values()) if name and f"`{name}`" not in page]
    assert keys["WEIGHT_CLS"] == "loss.cls"


def test_a_configuration_is_changed_in_a_copy():
    config = Config()
    with pytest.raises(FrozenError, match=r"config\.changed\('train\.batch_size=VALUE'\)"):
        config.BATCH_SIZE = 4
    with pytest.raises(FrozenError, match=r"seed cannot be set"):
        config.seed = 4
    assert config.changed("train.batch_size=4", "seed=4").BATCH_SIZE == 4 and config == Config()
    with pytest.raises(ParamsError, match=r"lr: unknown key; did you mean train\.phase1\.lr or train\.phase2\.lr\?"):
        config.changed("lr=4")


def test_unknown_params_are_matched_by_their_last_part(tmp_path):
    (tmp_path / "params.yaml").write_text("batch_size: 3\nloss: {clss: 1}\n")
    with pytest.raises(ParamsError) as error:
        Config.from_params(tmp_path / "params.yaml")
    assert "batch_size: unknown key; did you mean train.batch_size" in str(error.value)
    assert "loss.clss: unknown key; did you mean loss.cls?" in str(error.value)


def test_find_in_directory_returns_the_newest(tmp_path):
    for age, name in enumerate(["config_20260102.json", "config.json", "config_20260101.json"]):
        (tmp_path / name).write_text("{}")
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    assert Config.find_in_directory(tmp_path) == str(tmp_path / "config_20260102.json")
    for name in ("config.json", "config_20260101.json"):  # equally new: the last name
        os.utime(tmp_path / name, (2000, 2000))
    assert Config.find_in_directory(str(tmp_path)) == str(tmp_path / "config_20260101.json")


def test_find_in_directory_ignores_other_files(tmp_path):
    (tmp_path / "config_1.json").symlink_to("gone.json")
    (tmp_path / "config_2.json").mkdir()
    (tmp_path / "configuration.json").write_text("{}")
    (tmp_path / "config.yaml").write_text("")
    assert Config.find_in_directory(tmp_path) is None
    assert Config.find_in_directory(tmp_path / "missing") is None


def test_device_is_cuda_where_pytorch_sees_a_gpu(monkeypatch):
    import torch

    for available, device in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        assert device == Config().DEVICE


def test_device_is_cpu_without_pytorch():
    code = "import sys; sys.modules['torch'] = None; from panvision.config import Config; print(Config().DEVICE)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "cpu\n"
