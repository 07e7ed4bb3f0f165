import re
import shutil
import subprocess
import sys

import pytest

from panvision.cli.completion import SHELLS
from panvision.cli.main import main
from panvision.cli.parser import COMMANDS
from tests.cli.shown import help_of

# Has bash complete a line as its Tab key does, by the function that the script has registered.
ASK = r"""
completed() {
  local line="$1" function
  function=$(complete -p panvision | sed 's/.* -F \([^ ]*\) .*/\1/')
  read -ra COMP_WORDS <<< "$line"
  [[ "$line" == *" " ]] && COMP_WORDS+=("")
  COMP_LINE="$line" COMP_POINT=${#line} COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
  "$function" panvision "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
  printf '%s\n' "${COMPREPLY[@]}"
}
source "$1"
completed "$2"
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """What the command prints for each shell, in a file."""
    folder = tmp_path_factory.mktemp("completion")
    command = [sys.executable, "-m", "panvision.cli.main", "completion"]
    for shell in SHELLS:
        text = subprocess.run([*command, shell], capture_output=True, text=True, check=True).stdout
        (folder / shell).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def complete(scripts, tmp_path):
    """Completes a line in a folder with a model, a picture and a folder."""
    (tmp_path / "models").mkdir()
    for name in ("model.onnx", "photo.jpg"):
        (tmp_path / name).touch()

    def completed(line: str) -> set[str]:
        command = [shutil.which("bash"), "--norc", "-c", ASK, "ask", str(scripts / "bash"), line]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert not done.stderr
        return set(done.stdout.split())

    return completed


bash = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")


@bash
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("panvision ", set(COMMANDS)),
        ("panvision pre", {"predict", "previous"}),
        ("panvision --ver", {"--version"}),
        ("panvision --debug wa", {"watch"}),
        ("panvision predict --ch", {"--checkpoint"}),
        ("panvision predict --checkpoint mo", {"model.onnx", "models"}),
        ("panvision predict --input_dir ", {"models"}),
        ("panvision predict --checkpoint model.onnx --nms", {"--nms_threshold"}),
        ("panvision validate ", {"models"}),
        ("panvision validate --data_root m", {"models"}),
        ("panvision validate models --html p", {"photo.jpg"}),
        ("panvision benchmark model.onnx mo", {"model.onnx", "models"}),
        ("panvision completion ", set(SHELLS)),
        ("panvision help val", {"validate"}),
        ("panvision compare HEAD --project ", {"models"}),
        ("panvision summary --pa", set()),
    ],
)
def test_bash_completes_commands_options_choices_files_and_folders(complete, line, expected):
    assert complete(line) == expected


@bash
def test_every_option_that_help_shows_is_completed(complete):
    for command in ("watch", "compare"):
        assert complete(f"panvision {command} --") == set(re.findall(r"^  (?:-\w, )?(--\w+)", help_of(command), re.M))


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_takes_its_script(scripts, shell):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    subprocess.run([shell, "-n", str(scripts / shell)], check=True)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_knows_every_command(capsys, shell):
    assert main(["completion", shell]) == 0
    said = capsys.readouterr()
    assert all(command in said.out for command in COMMANDS) and not said.err
