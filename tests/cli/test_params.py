from panvision.cli.main import main


def test_the_committed_presets_are_valid(capsys) -> None:
    for path in ("params.yaml", "presets/laptop.yaml", "presets/resnet50.yaml", "presets/edge.yaml"):
        assert main(["params", path]) == 0
        assert capsys.readouterr().out == f"{path}: all settings are valid\n"


def test_every_fault_is_listed(tmp_path, capsys) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("loss: {cls: -1}\nmodel: {bakbone: resnet18}\n")
    assert main(["params", str(path)]) == 1
    text = capsys.readouterr().err
    assert "loss.cls" in text
    assert "model.bakbone: unknown key" in text


def test_a_missing_file_is_an_error(tmp_path, capsys) -> None:
    assert main(["params", str(tmp_path / "none.yaml")]) == 1
    assert "no such file" in capsys.readouterr().err
