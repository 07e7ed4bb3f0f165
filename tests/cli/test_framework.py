import ast
import importlib
import inspect
import pkgutil
import re
import shlex
import subprocess
import sys
from collections import defaultdict

import click
import pytest

import panvision.cli
from panvision import __version__
from panvision.cli.exits import ALWAYS, Exit
from panvision.cli.framework import Command
from panvision.cli.main import cli, main
from tests.cli.shown import command_of, help_of, parsed

COMMANDS = cli.summaries
CODES_OF_CALLED = {"train": {Exit.STOPPED}, "validate": {Exit.USAGE}}  # decided by modules that they call


def test_commands_are_the_modules_with_a_command():
    modules = [module.name for module in pkgutil.iter_modules(panvision.cli.__path__)]
    runs = {name: getattr(importlib.import_module(f"panvision.cli.{name}"), "run", None) for name in modules}
    assert {name for name, run in runs.items() if isinstance(run, Command)} == set(COMMANDS)
    assert all(runs[name].name == name for name in COMMANDS)


@pytest.mark.parametrize("columns", ["80", "200"])
def test_help_fits_eighty_columns_and_has_its_parts(monkeypatch, capsys, columns):
    monkeypatch.setenv("COLUMNS", columns)
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    for name, summary in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(summary)}$", text, re.MULTILINE)
    assert all(re.search(rf"^  {code} +\w", text, re.MULTILINE) for code in Exit)
    for name in COMMANDS:
        text = help_of(name)
        lines = text.splitlines()
        assert max(map(len, lines)) <= 80 and not any(line != line.rstrip() for line in lines), name
        assert lines[0].startswith(f"Usage: panvision {name} ")
        _, examples, codes = re.split(r"^(?:examples|exit codes):\n", text, flags=re.MULTILINE)
        assert len(re.findall(rf"panvision {name}\b", examples)) >= 2, name
        assert [int(code) for code in re.findall(r"^  (\d+)", codes, re.MULTILINE)] == sorted(command_of(name).codes)


def test_help_names_required_options_and_defaults():
    text = help_of("predict")
    assert text.startswith("Usage: panvision predict --input_dir DIR --checkpoint FILE [options]\n")
    assert "[default: 8; x>=1]" in text and "[default: (one for each core);" in text


@pytest.mark.parametrize(("arguments", "code"), [(["help", "predict"], 0), (["predict", "-h"], 0), (["help"], 0)])
def test_help_is_the_same_however_it_is_asked_for(capsys, monkeypatch, arguments, code):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(arguments) == code
    text = capsys.readouterr().out
    if "predict" in arguments:
        assert text == help_of("predict") + "\n"
    else:
        assert main(["--help"]) == 0 and capsys.readouterr().out == text


def test_version_and_no_command(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"panvision {__version__}\n"
    assert main([]) == Exit.USAGE
    assert capsys.readouterr().err.startswith("Usage: panvision [OPTIONS] COMMAND")


def test_examples_are_commands_that_can_be_parsed():
    for name in COMMANDS:
        text = help_of(name).partition("\nexamples:\n")[2].partition("\nexit codes:")[0]
        lines = re.findall(r"panvision ([^|>\n]+)", re.sub(r"\s*\\\n\s*", " ", text))
        assert len(lines) >= 2
        for line in lines:
            words = shlex.split(line.rstrip('")'))
            assert words[0] == name
            parsed(words)


def test_help_lists_every_exit_code_that_the_command_returns():
    for name in COMMANDS:
        tree = ast.parse(inspect.getsource(importlib.import_module(f"panvision.cli.{name}")))
        named = {
            Exit[node.attr]
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Exit"
        }
        known = set(command_of(name).codes)
        assert named | CODES_OF_CALLED.get(name, set()) <= known, name
        assert known - set(ALWAYS) <= named, name


def test_the_code_of_a_stopped_training_is_the_trainings_own():
    from panvision.training.stopping import EXIT_INTERRUPTED

    assert Exit.STOPPED == EXIT_INTERRUPTED


def test_an_option_means_the_same_in_every_command():
    meanings = defaultdict(set)
    for name in COMMANDS:
        for param in command_of(name).params:
            if isinstance(param, click.Option):
                text = "" if "--quiet" in param.opts else re.split(r": ", str(param.help))[0]
                meanings[tuple(param.opts)].add((param.metavar, str(param.type), param.is_flag, text))
    assert {names: found for names, found in meanings.items() if len(found) > 1} == {}
    assert not [name for names in meanings for name in names if "-" in name.lstrip("-")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predikt"], "panvision: No such command 'predikt'. Did you mean 'predict'? See `panvision --help`."),
        (["help", "predikt"], "panvision: No such command 'predikt'. Did you mean 'predict'?"),
        (["boil"], "panvision: No such command 'boil'. See `panvision --help`."),
        (["--verson"], "panvision: No such option '--verson'. Did you mean '--version'?"),
        (["predict", "--chckpoint", "m"], "No such option '--chckpoint'. Did you mean '--checkpoint'?"),
        (["watch", "0", "--score-treshold", "1"], "(Did you mean one of: '--nms_threshold', '--score_threshold'?)"),
        (["predict", "--input-dri=x"], "(Did you mean one of: '--input_dir', '--output_dir'?)"),
        (["predict", "--check", "m.onnx"], "No such option '--check'. (Did you mean one of: '--checkpoint',"),
        (["train", "a", "--weight-decay=1"], "Settings go through --set: --set train.weight_decay=VALUE."),
        (
            ["train", "a", "--lr", "1"],
            "--set train.phase1.lr=VALUE or --set train.phase2.lr=VALUE. See `panvision train",
        ),
        (["validate", "a", "--htm"], "No such option '--htm'. (Did you mean one of: '--html', '--set'?)"),
        (["predict", "--lr", "1"], "No such option '--lr'."),
        (["predict"], "panvision predict: Missing option '--input_dir'. See `panvision predict --help`."),
        (["completion", "ed"], "'ed' is not one of 'bash', 'zsh', 'fish'."),
        (["params", "a.yaml", "b.yaml"], "panvision params: Got unexpected extra argument (b.yaml)"),
        (["validate"], "panvision validate: Give DATA_ROOT once, as an argument or as --data_root."),
        (["train", "a", "--data_root", "b"], "panvision train: Give DATA_ROOT once"),
        (["compare", "HEAD", "--json", "--markdown"], "panvision compare: --json and --markdown exclude each other."),
        (["benchmark", "m.onnx", "--rounds=0"], "Invalid value for '--rounds': 0 is not in the range x>=1."),
        (["benchmark", "m.onnx", "--threads", "x"], "'x' is not a valid integer"),
        (["page", "--port", "65536"], "is not in the range 1<=x<=65535."),
        (["watch", "0", "--checkpoint", "m", "--order", "a", "--unordered"], "--order and --unordered exclude"),
    ],
)
def test_wrong_usage_is_one_line_with_a_suggestion(capsys, arguments, message):
    assert main(arguments) == Exit.USAGE
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize("value", ["1.5", "-0.1", "nan", "inf", "high"])
def test_a_fraction_is_a_number_from_0_to_1(capsys, value):
    assert main(["watch", "0", "--checkpoint", "m", f"--margin={value}"]) == Exit.USAGE
    assert "Invalid value for '--margin': " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("compare HEAD --json main", {"one": "HEAD", "other": "main", "json": True}),
        ("compare --path there HEAD", {"one": "HEAD", "other": "workspace", "project": "there"}),
        ("summary there", {"folder": "there"}),
        ("summary", {"project": "."}),
        ("baselines --project there", {"project": "there"}),
        ("previous --json -- -h^", {"rev": "-h^", "json": True}),
        ("benchmark a --threads 2 b --json", {"models": ("a", "b"), "threads": 2}),
        ("validate --set a=b here --set=c=d", {"data_root": "here", "set": ("a=b", "c=d")}),
        ("train --data-root here", {"data_root_option": "here"}),
        ("watch --checkpoint m 0", {"checkpoint": "m", "source": "0"}),
        ("predict --input-dir my-data --checkpoint a-b/--c-d --score-threshold=1e-3", {"input_dir": "my-data",
         "checkpoint": "a-b/--c-d", "score_threshold": 1e-3}),
        ("params --debug", {"debug": True}),
    ],
)  # fmt: skip
def test_arguments_in_any_order_with_dashes_or_earlier_names(line, expected):
    found = parsed(line.split())
    assert {name: found[name] for name in expected} == expected


def test_help_imports_no_heavy_package():
    code = (
        "import sys; from tests.cli.shown import help_of; from panvision.cli.main import cli\n"
        "for name in cli.summaries: help_of(name)\n"
        "heavy = {'torch', 'onnxruntime', 'pydantic', 'numpy', 'yaml', 'PIL', 'dvc', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
