import os
import shutil
import subprocess
import sys

import pytest
from click.shell_completion import BashComplete

from panvision.cli.completion import SHELLS
from panvision.cli.main import cli, main
from tests.cli.shown import command_of


def completed(line: str) -> set[str]:
    """Return the shell's completions of the last word: values, or `file` or `dir`."""
    *words, last = line.split(" ")
    items = BashComplete(cli, {}, "panvision", "_PANVISION_COMPLETE").get_completions(words[1:], last)
    return {item.value if item.type == "plain" else item.type for item in items}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("panvision ", set(cli.summaries)),
        ("panvision pre", {"predict", "prelabel", "presets", "previous"}),
        ("panvision --ver", {"--version"}),
        ("panvision --debug wa", {"watch"}),
        ("panvision predict --ch", {"--checkpoint"}),
        ("panvision predict --ex", {"--explain"}),
        ("panvision predict --checkpoint mo", {"file"}),
        ("panvision predict --input_dir ", {"dir"}),
        ("panvision validate ", {"dir"}),
        ("panvision validate models --html p", {"file"}),
        ("panvision benchmark model.onnx mo", {"file"}),
        ("panvision completion ", set(SHELLS)),
        ("panvision help val", {"validate"}),
        ("panvision compare HEAD --project ", {"dir"}),
        ("panvision summary --pa", set()),
    ],
)
def test_commands_options_choices_and_paths_are_completed(line, expected):
    assert completed(line) == expected


def test_every_path_is_completed_as_a_file_or_a_folder():
    kinds = {"FILE": "file", "DIR": "dir", "DATA_ROOT": "dir", "MODEL...": "file", "SOURCE": "file"}
    kinds |= {"MODEL": "file", "CHECKPOINT": "file", "IMAGES": "dir", "NEW": "file", "EARLIER": "file"}
    for name in cli.summaries:
        for param in command_of(name).params:
            metavar = (param.metavar or param.type.name.upper()).strip("[]")
            offered = param.shell_complete(None, "")
            assert [item.type for item in offered if item.type != "plain"] == [
                kinds[each] for each in (metavar,) if each in kinds
            ], (name, param.name)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_takes_its_script(capsys, tmp_path, shell):
    assert main(["completion", shell]) == 0
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)
    assert "_PANVISION_COMPLETE" in script.read_text()
    if shutil.which(shell) is not None:
        subprocess.run([shell, "-n", str(script)], check=True)


def test_the_program_answers_the_shell():
    asked = {"_PANVISION_COMPLETE": "bash_complete", "COMP_WORDS": "panvision predict --ch", "COMP_CWORD": "2"}
    command = [sys.executable, "-m", "panvision.cli.main"]
    done = subprocess.run(command, env=os.environ | asked, capture_output=True, text=True, check=True)
    assert done.stdout == "plain,--checkpoint\n"
