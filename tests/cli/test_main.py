import subprocess
import sys

import pytest

from panvision import __version__
from panvision.cli.main import COMMANDS, main, underscored


def exit_code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    return int(stop.value.code or 0)


def test_version(capsys) -> None:
    assert exit_code("--version") == 0
    assert capsys.readouterr().out == f"panvision {__version__}\n"


def test_help_lists_every_command_in_eighty_columns(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert exit_code("--help") == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in COMMANDS)
    assert max(len(line) for line in text.splitlines()) <= 80


@pytest.mark.parametrize("command", COMMANDS)
def test_a_commands_help_fits_eighty_columns(capsys, monkeypatch, command) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert exit_code(command, "--help") == 0
    assert max(len(line) for line in capsys.readouterr().out.splitlines()) <= 80


@pytest.mark.parametrize(
    "arguments", [(), ("fry",), ("validate",), ("predict",), ("predict", "--checkpoint", "m.onnx")]
)
def test_wrong_usage_exits_with_two(capsys, arguments) -> None:
    assert exit_code(*arguments) == 2
    assert "usage: panvision" in capsys.readouterr().err


def test_dashes_and_underscores_mean_the_same() -> None:
    assert underscored(["predict", "--input-dir", "my-data", "--score-threshold=1e-3", "-h", "--", "-"]) == [
        "predict",
        "--input_dir",
        "my-data",
        "--score_threshold=1e-3",
        "-h",
        "--",
        "-",
    ]
    assert underscored(["--config=a-b/--c-d"]) == ["--config=a-b/--c-d"]


def test_flags_are_not_guessed_from_their_beginning(capsys) -> None:
    assert exit_code("predict", "--check", "m.onnx", "--input_dir", "x") == 2
    assert "--checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["predict", "validate"])
def test_help_loads_no_heavy_package(command) -> None:
    code = (
        "import sys; from panvision.cli.main import main\n"
        f"try: main(['{command}', '--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'onnxruntime', 'pydantic', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
