import json

import pytest

from panvision.cli.main import main
from tests.cli.shown import json_keys


def test_params_and_presets_are_valid(capsys):
    for path in (
        "params.yaml",
        "presets/laptop.yaml",
        "presets/resnet50.yaml",
        "presets/edge.yaml",
        "presets/scratch.yaml",
    ):
        assert main(["params", path]) == 0
        assert capsys.readouterr().out == f"{path}: all settings are valid\n"


def test_every_error_is_listed(tmp_path, capsys):
    path = tmp_path / "params.yaml"
    path.write_text("loss: {cls: -1}\nmodel: {bakbone: resnet18}\n")
    assert main(["params", str(path)]) == 1
    text = capsys.readouterr().err
    assert "loss.cls" in text and "model.bakbone: unknown key" in text
    assert main(["params", str(tmp_path / "none.yaml")]) == 1
    assert "no such file" in capsys.readouterr().err


def test_errors_as_json(tmp_path, capsys):
    path = tmp_path / "params.yaml"
    path.write_text("loss: {cls: 4.0}\n")
    assert main(["params", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": str(path), "valid": True, "faults": []}
    path.write_text("loss: {cls: -1}\nmodel: {bakbone: resnet18}\n")
    assert main(["params", str(path), "--json"]) == 1
    text = capsys.readouterr()
    found = json.loads(text.out)
    assert found["valid"] is False and len(found["faults"]) == 2 and not text.err
    assert all(fault.startswith(f"{path}: ") for fault in found["faults"])
    assert set(found) <= json_keys("params")


def test_home_folder_is_refused_with_its_path(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "params.yaml"
    path.write_text("data: {root: ~/photos}\n")
    assert main(["params", str(path)]) == 1
    assert f"data.root: DVC does not expand ~; write {tmp_path}/photos, found '~/photos'" in capsys.readouterr().err


@pytest.mark.parametrize("root", ["s3://bucket/photos", "gs://bucket/photos", "https://host/photos"])
def test_remote_data_is_refused_with_the_import(tmp_path, capsys, root):
    path = tmp_path / "params.yaml"
    path.write_text(f"data: {{root: '{root}'}}\n")
    assert main(["params", str(path)]) == 1
    assert f"data.root: expected a local folder; run `dvc import-url {root} data/photos`" in capsys.readouterr().err
