import argparse
import ast
import importlib
import inspect
import pkgutil
import re
import shlex
import subprocess
import sys
from collections import defaultdict

import pytest

import panvision.cli
from panvision.cli.exits import ALWAYS, Exit
from panvision.cli.main import main, underscored
from panvision.cli.parser import COMMANDS, build_parser, command_parsers, full_parser, manual_of
from tests.cli.shown import help_of

CODES_OF_CALLED = {"train": {Exit.STOPPED}, "validate": {Exit.USAGE}}  # what modules that they call decide


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def said(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == Exit.USAGE
    return capsys.readouterr().err


def options_of(command: str) -> list[argparse.Action]:
    shown = [action for action in command_parsers()[command]._actions if action.help != argparse.SUPPRESS]
    return [action for action in shown if action.option_strings]


def test_every_module_with_arguments_is_a_command():
    modules = [f"panvision.cli.{module.name}" for module in pkgutil.iter_modules(panvision.cli.__path__)]
    fitting = {name.rpartition(".")[2] for name in modules if hasattr(importlib.import_module(name), "MANUAL")}
    assert fitting == set(COMMANDS)


@pytest.mark.parametrize("columns", ["80", "200"])
def test_help_of_all_fits_eighty_columns_and_lists_every_command_and_code(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    text = full_parser().format_help()
    assert max(map(len, text.splitlines())) <= 80
    assert all(
        re.search(rf"^  {name} +{re.escape(summary)}$", text, re.MULTILINE) for name, summary in COMMANDS.items()
    )
    assert all(re.search(rf"^  {code} +\w", text, re.MULTILINE) for code in Exit)


@pytest.mark.parametrize("columns", ["80", "200"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_commands_help_fits_and_has_its_parts(monkeypatch, command, columns):
    monkeypatch.setenv("COLUMNS", columns)
    text = help_of(command)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80 and not any(line != line.rstrip() for line in lines)
    assert lines[0].startswith(f"usage: panvision {command} ") and lines[0].endswith(" [options]")
    _, examples, codes = re.split(r"^(?:examples|exit codes):\n", text, flags=re.MULTILINE)
    assert len(re.findall(rf"panvision {command}\b", examples)) >= 2
    assert [int(line.split()[0]) for line in codes.splitlines() if not line.startswith(" " * 3)] == sorted(
        manual_of(command).codes
    )


@pytest.mark.parametrize(
    ("command", "example"),
    [(command, example) for command in COMMANDS for example in manual_of(command).examples.values()],
)
def test_examples_are_commands_that_the_parser_takes(command, example):
    (words,) = re.findall(r"panvision ([^|>)]+)", example)
    arguments = underscored(shlex.split(words.rstrip('"').strip()))
    assert arguments[0] == command
    args = build_parser(arguments).parse_args(arguments)
    assert args.command == command and args.run


@pytest.mark.parametrize("command", COMMANDS)
def test_usage_names_what_cannot_be_left_out(command):
    parser = command_parsers()[command]
    needed = [action for action in parser._actions if action.required and action.nargs != "?"]
    usage = parser.format_usage().split()
    for action in needed:
        assert (action.option_strings or [f"{action.metavar}{'…' if action.nargs == '+' else ''}"])[0] in usage


@pytest.mark.parametrize("command", COMMANDS)
def test_help_lists_every_exit_code_that_the_command_returns(command):
    tree = ast.parse(inspect.getsource(importlib.import_module(f"panvision.cli.{command}")))
    named = {
        Exit[node.attr]
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Exit"
    }
    known = set(manual_of(command).codes)
    assert named | set(ALWAYS) | CODES_OF_CALLED.get(command, set()) <= known
    assert known - set(ALWAYS) <= named
    returned = [node.value for node in ast.walk(tree) if isinstance(node, ast.Return)]
    assert not [value for value in returned if isinstance(value, ast.Constant) and isinstance(value.value, int)]


def test_the_code_of_a_training_that_was_stopped_is_the_trainings_own():
    from panvision.training.stopping import EXIT_INTERRUPTED

    assert Exit.STOPPED == EXIT_INTERRUPTED


def test_an_option_means_the_same_in_every_command():
    meanings = defaultdict(set)
    for command in COMMANDS:
        for action in options_of(command):
            text = re.split(r" \(default|: ", str(action.help))[0]
            words = "" if "--quiet" in action.option_strings else text
            meanings[tuple(action.option_strings)].add((action.metavar, action.nargs, action.const, words))
    assert {names: found for names, found in meanings.items() if len(found) > 1} == {}
    shorts = [name for names in meanings for name in names if not name.startswith("--")]
    assert len(shorts) == len(set(shorts))
    assert not [name for names in meanings for name in names if "-" in name.lstrip("-")]


@pytest.mark.parametrize("command", COMMANDS)
def test_shells_complete_every_file_and_folder(command):
    kinds = {"FILE": "file", "DIR": "directory", "DATA_ROOT": "directory", "MODEL": "file", "SOURCE": "file"}
    shown = [action for action in command_parsers()[command]._actions if action.help != argparse.SUPPRESS]
    found = {action.dest: getattr(action, "complete", None) for action in shown}
    assert found == {action.dest: kinds.get(str(action.metavar)) for action in shown}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["predct"], "no command 'predct'; did you mean predict? (see `panvision --help`)"),
        (["boil"], "no command 'boil' (see `panvision --help`)"),
        (["--verson"], "no option --verson; did you mean --version? (see `panvision --help`)"),
        (["predict", "--chekpoint", "m"], "no option --chekpoint; did you mean --checkpoint?"),
        (["watch", "0", "--score-treshold", "1"], "no option --score_treshold; did you mean --score_threshold?"),
        (["predict", "--input-dri=x"], "no option --input_dri; did you mean --input_dir?"),
        (["watch", "0", "--zzz"], "panvision watch: no option --zzz (see `panvision watch --help`)"),
        (["completion", "bsh"], "'bsh' is unknown; did you mean bash?"),
        (["completion", "ed"], "'ed' is unknown; choose from bash, zsh, tcsh"),
        (["params", "a.yaml", "b.yaml"], "panvision params: cannot be used here: b.yaml"),
        (["validate"], "one of the arguments DATA_ROOT --data_root is required"),
        (["validate", "a", "--data_root", "b"], "DATA_ROOT: not allowed with argument --data_root"),
    ],
)
def test_wrong_usage_says_what_was_probably_meant(capsys, arguments, expected):
    text = said(capsys, *arguments)
    assert expected in text
    assert len(text.splitlines()) == 2 and text.startswith("usage: panvision")


def test_without_a_command_help_is_shown(capsys):
    assert said(capsys) == full_parser().format_help()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["compare", "HEAD", "--json", "main"], {"one": "HEAD", "other": "main", "json": True}),
        (["compare", "--path", "there", "HEAD"], {"one": "HEAD", "other": "workspace", "project": "there"}),
        (["summary", "there"], {"project": "there"}),
        (["summary"], {"project": "."}),
        (["baselines", "--project", "there"], {"project": "there"}),
        (["previous", "--json", "--", "-h^"], {"rev": "-h^", "json": True}),
        (["benchmark", "a", "--threads", "2", "b", "--json"], {"models": ["a", "b"], "threads": 2}),
        (["validate", "--set", "a=b", "here", "--set=c=d"], {"data_root": "here", "set": ["a=b", "c=d"]}),
        (["train", "--data_root", "here"], {"data_root": "here"}),
        (["train", "here"], {"data_root": "here"}),
        (["watch", "--checkpoint", "m", "0"], {"checkpoint": "m", "source": "0"}),
        (["--debug", "params"], {"debug": True}),
        (["params", "--debug"], {"debug": True}),
    ],
)
def test_arguments_may_stand_in_any_order_and_under_earlier_names(arguments, expected):
    found = vars(build_parser(arguments).parse_args(arguments))
    assert {name: found[name] for name in expected} == expected


def test_no_commands_options_need_a_heavy_package():
    code = (
        "import sys; from panvision.cli.main import full_parser; full_parser().format_help()\n"
        "heavy = {'torch', 'onnxruntime', 'pydantic', 'numpy', 'yaml', 'PIL', 'dvc', 'shtab'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert not done.stderr
