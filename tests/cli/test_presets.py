import json

import pytest

from panvision.cli.configuration import load_configuration, presets
from panvision.cli.main import main
from panvision.config import Config
from panvision.core.params import ParamsError
from tests.cli.shown import json_keys


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_presets_are_listed_with_their_purpose(capsys):
    assert main(["presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line[0] != " "] == ["edge", "laptop", "resnet50", "scratch"]
    assert lines[0].startswith("edge      for a robot's own computer") and max(map(len, lines)) <= 80


def test_a_preset_is_written_once(folder, capsys):
    assert main(["presets", "edge"]) == 0
    assert (folder / "params.yaml").read_bytes() == presets()["edge"].read_bytes()
    assert main(["presets", "laptop"]) == 2
    assert "params.yaml: exists; name another file, or replace it with --force" in capsys.readouterr().err
    assert main(["presets", "laptop", "--force"]) == 0
    assert Config.from_params("params.yaml").model.backbone == "efficientnet_lite0"
    assert main(["presets", "large"]) == 2
    assert "No preset large; choose from edge, laptop, resnet50, scratch." in capsys.readouterr().err


def test_presets_as_json(capsys):
    assert main(["presets", "edge", "e.yaml", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["presets"]) == set(presets()) and found["written"] == "e.yaml"
    assert set(found) <= json_keys("presets")


def test_a_configuration_may_be_named_by_its_preset(folder):
    assert load_configuration("edge") == Config.from_params(presets()["edge"])
    assert load_configuration("resnet50") == Config()
    with pytest.raises(ParamsError, match="lapto: no such file or preset; presets: edge, laptop, resnet50, scratch"):
        load_configuration("lapto")
    (folder / "edge").write_text("seed: 7\n")  # a file comes first
    assert load_configuration("edge").seed == 7
