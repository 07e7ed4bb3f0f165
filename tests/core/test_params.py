import io
from typing import Annotated

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field
from ruamel.yaml import YAML

from panvision.config import Config
from panvision.core.params import SECTIONS, FrozenError, ParamsError, Settings, load_params, override, read_sections
from panvision.core.tasks import TASKS
from panvision.inference.settings import DetectionSettings
from panvision.model.settings import ModelSettings
from panvision.training.settings import LossSettings, TrackingSettings, TrainSettings
from panvision.validate.settings import SplitSettings


@pytest.fixture
def params(tmp_path):
    """Writes a params file, returns its path."""

    def write(content: str | bytes):
        path = tmp_path / "params.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return write


def errors_of(path, schemas, **options) -> list[str]:
    """Return the lines of the one error that reading these sections raises, without the file's name."""
    with pytest.raises(ParamsError) as error:
        read_sections(schemas, path, **options)
    lines = str(error.value).splitlines()
    assert all(line.startswith(f"{path}: ") for line in lines)
    return [line.removeprefix(f"{path}: ") for line in lines]


def as_dvc_writes(value: object) -> str:
    """Return YAML as `dvc exp run -S` writes params.yaml: by ruamel.yaml, as YAML 1.2."""
    text = io.StringIO()
    YAML().dump(value, text)
    return text.getvalue()


def test_scalars_are_those_of_yaml_1_2(params):
    """PyYAML alone reads YAML 1.1, with words where DVC writes numbers."""
    scalars = {
        "1e-5": 1e-05, "1e-05": 1e-05, "1E5": 1e5, ".5": 0.5, "5.": 5.0, "-1.5e+3": -1500.0,
        "010": 10, "0o10": 8, "0x1F": 31, "+3": 3,
        "on": "on", "off": "off", "yes": "yes", "No": "No", "y": "y", "1_000": "1_000", "12:30": "12:30",
        "2001-01-01": "2001-01-01", "'1e-5'": "1e-5", "!!str 5": "5", "!!float 5": 5.0,
        "true": True, "False": False, "null": None, "~": None, "": None, "[8, 16]": [8, 16],
    }  # fmt: skip
    for text, value in scalars.items():
        found = load_params(params(f"loss:\n  focal_gamma: {text}\n"))["loss"]["focal_gamma"]
        assert found == value and type(found) is type(value), text
    train = read_sections({"train": TrainSettings}, params("train:\n  phase2:\n    lr: 1e-05\n"))["train"]
    assert train.phase2.lr == 1e-05


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.sampled_from(["on", "off", "yes", "1e-5", "null", "010", "0x1F", "~", "a: b", "true", "imagenet", ""]),
        lambda leaves: st.lists(leaves, max_size=3) | st.dictionaries(st.sampled_from("abcny"), leaves, max_size=3),
        max_leaves=6,
    )
)
def test_what_dvc_writes_is_read_back_equal(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("params") / "params.yaml"
    path.write_text(as_dvc_writes({"loss": value}))
    assert load_params(path) == {"loss": value}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("seed: 1\nloss: [1, 2\n", "not valid YAML: .*line 2"),
        ("model: &a [*a]", "line 1: refers to itself"),
        ("model: &a {b: *a}", "line 1: refers to itself"),
        ("seed: 1\nmodel: " + "[" * 5000, "more than 32 levels of nesting"),
        ("".join(" " * level + "a:\n" for level in range(99)), "line 32: more than 32 levels of nesting"),
        ("seed: " + "9" * 5000, "line 1: a number of 5000 digits"),
        ("".join(f"k{number}: 1\n" for number in range(6000)), "more than 10000 values"),
        ("model: {[a]: 2}", "line 1: a key must be a word"),
        ("? {a: b}\n: 2", "line 1: a key must be a word"),
        ("seed: !!binary aGVsbG8=", "not valid YAML: .*binary"),
        ("seed: !!timestamp 2020-01-01", "not valid YAML: .*timestamp"),
        ("model: !!set {a, b}", "not valid YAML: .*set"),
        ("model: !!map abc", "line 1: expected keys with values"),
        ("seed: !!int abc", "not valid YAML: .*abc"),
        ("seed: !!bool abc", "not valid YAML: .*abc"),
        ("seed: !!python/object/apply:os.getcwd []", "not valid YAML: .*python"),
        ("seed: 1\x00", "special characters are not allowed"),
        ("seed: 1\n---\nseed: 2", "another document"),
        ("model: *a", "undefined alias"),
        ("model:\n\tbackbone: resnet50", "line 2"),
        ("seed: 1\nseed: 2\n", "line 2: duplicate key 'seed'; keep one"),
        ("loss:\n  det: 1.0\n  det: 2.0\n", "line 3: duplicate key 'det'; keep one"),
        ('"a\\nb": 1', r"'a\\nb': unknown key"),
        (b"model:\n  weights: caf\xe9\n", "not valid YAML: line 2 is not UTF-8 text; save it as UTF-8"),
        ("seed: 3\n".encode("utf-16"), "not valid YAML: line 1 is not UTF-8 text"),
        (b"# " + b"x" * 2**20, "more than 1 MiB; not a file of settings"),
        ("", "expected sections"),
        ("- seed", "expected sections"),
        ("42", "expected sections"),
    ],
)
def test_files_that_are_not_plain_yaml_give_one_line(params, content, message):
    with pytest.raises(ParamsError, match=rf"params\.yaml: .*{message}") as error:
        load_params(params(content))
    assert len(str(error.value).splitlines()) == 1 and len(str(error.value)) < 400


@pytest.mark.parametrize("nested", [False, True])
def test_aliases_that_multiply_are_refused_before_they_do(params, nested):
    text = "model:\n  a: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    for level in range(30):
        text += f"  k{level}: &a{level + 1} [{', '.join([f'*a{level}'] * 9)}]\n"
    if nested:  # merges of merges, the innermost first
        text = "&a0 {k: 1}"
        for level in range(30):
            text = f"&a{level + 1} {{<<: [{text}, {', '.join([f'*a{level}'] * 9)}]}}"
        text = f"model: {text}\n"
    with pytest.raises(ParamsError, match=r"more than (10000 values|32 levels)"):
        read_sections({"model": ModelSettings}, params(text))


def test_an_alias_and_a_byte_order_mark_are_read(params):
    path = params("\ufeffloss: &a {seg: 2.0}\ntrain: {phase1: {epochs: &n 3}, phase2: {epochs: *n}}\n")
    assert load_params(path) == {"loss": {"seg": 2.0}, "train": {"phase1": {"epochs": 3}, "phase2": {"epochs": 3}}}


def test_unreadable_paths_are_refused(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    for path, message in (
        (tmp_path / "params.yaml", r"no such file.*panvision presets laptop"),
        (tmp_path, "cannot be read: Is a directory"),
        (tmp_path / "loop", "cannot be read: Too many levels of symbolic links"),
        ("/dev/zero", "more than 1 MiB"),
        ("a\0b", "not a file name"),
    ):
        with pytest.raises(ParamsError, match=message):
            load_params(path)


def test_unknown_sections_are_refused_with_the_nearest_known(params):
    with pytest.raises(ParamsError) as error:
        load_params(params("los: {}\nmodle: {}\nzzz: 1\n"))
    first, second, third = str(error.value).splitlines()
    assert "los: unknown key; did you mean loss?" in first
    assert "modle: unknown key; did you mean model?" in second
    assert f"known here: {', '.join(SECTIONS)}" in third


def test_missing_or_empty_sections_are_their_defaults(params):
    path = params("seed: 1\nloss:\nmodel: {dropout: 7}\n")
    sections = read_sections({"loss": LossSettings, "split": SplitSettings}, path)
    assert sections == {"loss": LossSettings(), "split": SplitSettings()}


def test_every_error_is_listed_with_key_and_value(params):
    path = params(
        "loss: {cls: -1, focal_alpha: 2.0, detx: 1.0}\n"
        "train: {batch_size: 0, phase2: {lr: fast, epoch: 3}}\n"
        "detection: 7\n"
        "seed: -1\n"
        "tasks: []\n"
        "modle: {}\n"
    )
    schemas = {"loss": LossSettings, "train": TrainSettings, "detection": DetectionSettings}
    lines = errors_of(path, schemas, top=["seed", "tasks"])
    assert len(lines) == 10
    text = "\n".join(lines)
    for line in (
        "loss.cls: Input should be greater than or equal to 0, found -1",
        "loss.focal_alpha: Input should be less than or equal to 1, found 2.0",
        "loss.detx: unknown key; did you mean loss.det?",
        "train.batch_size: Input should be greater than or equal to 1, found 0",
        "train.phase2.lr: Input should be a valid number, found 'fast'",
        "train.phase2.epoch: unknown key; did you mean train.phase2.epochs?",
        "detection: expected keys below it, found 7",
        "seed: Input should be greater than or equal to 0, found -1",
        "tasks: ",
        "modle: unknown key; did you mean model?",
    ):
        assert line in text


def test_values_of_another_type_are_refused(params):
    wrong = {
        "loss.cls": ["true", "False", "'1.0'", "on", ".inf", ".nan", "[1.0]", "null"],
        "train.batch_size": ["true", "4.5", "'4'", "null"],
        "tracking.wandb": ["{enabled: 1}", "{enabled: 0}", "{enabled: on}", "{enabled: 'true'}"],
        "model.cls_levels": ["[]", "[5, 4]", "[4, 4]", "[1]", "5"],
        "model.strides": ["[]", "[8, 32]", "[16, 8]", "[7]", "8"],
    }
    schemas = {"loss": LossSettings, "train": TrainSettings, "tracking": TrackingSettings, "model": ModelSettings}
    for key, values in wrong.items():
        section, name = key.split(".")
        for value in values:
            (line,) = errors_of(params(f"{section}: {{{name}: {value}}}\n"), schemas)
            assert line.startswith(f"{key}"), (key, value)
    assert read_sections({"loss": LossSettings}, params("loss: {cls: 4}\n"))["loss"].cls == 4.0
    (line,) = errors_of(params("model: {backbone: " + "x" * 10**5 + "}"), schemas)
    assert line.startswith("model.backbone: ") and len(line) < 600
    (line,) = errors_of(params("split: {val: 0.5, test: 0.5}\n"), {"split": SplitSettings})
    assert line.endswith("split: val + test must be below 1, or nothing is left to train on")


def test_settings_are_frozen_and_unknown_keys_list_the_known():
    with pytest.raises(FrozenError, match=r"cls cannot be set: settings are frozen; .*config\.changed\("):
        LossSettings().cls = 3.0

    class Small(Settings):
        first: Annotated[int, Field(ge=0)] = 1

    with pytest.raises(ParamsError, match=r"s\.zzzz: unknown key; known here: s\.first"):
        Small.parse({"zzzz": 1}, prefix="s")


def test_an_unknown_key_is_also_matched_by_its_last_part(params):
    def hint(text: str) -> str:
        (line,) = errors_of(params(text), {"train": TrainSettings, "loss": LossSettings})
        return line.partition("unknown key; ")[2]

    assert hint("train: {epochs: 3}") == "did you mean train.phase1.epochs or train.phase2.epochs?"
    assert hint("train: {LR: 3}") == "did you mean train.phase1.lr or train.phase2.lr?"
    assert hint("train: {phase1: {batch_size: 3}}") == "did you mean train.batch_size?"
    assert hint("loss: {clss: 3}") == "did you mean loss.cls?"


def test_seed_is_read_or_42(params):
    for text, seed in (("seed: 7\n", 7), ("seed: 0\n", 0), ("loss: {}\n", 42), ("seed: 4294967295\n", 2**32 - 1)):
        assert read_sections({}, params(text), top=["seed"]) == {"seed": seed}
        np.random.RandomState(seed)
    for text in ("true", "-1", "4294967296", "1.0", "'7'", "null", "[1]"):
        (line,) = errors_of(params(f"seed: {text}\n"), {}, top=["seed"])
        assert line.startswith("seed: Input should be ")


def test_tasks_are_read_in_one_order(params):
    for text, tasks in (
        ("seed: 1\n", tuple(TASKS)),
        ("tasks: [detection]\n", ("detection",)),
        ("tasks: [classification, segmentation]\n", ("segmentation", "classification")),
        ("tasks:\n- classification\n- detection\n- segmentation\n", tuple(TASKS)),
    ):
        assert read_sections({}, params(text), top=["tasks"]) == {"tasks": tasks}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[]", "tasks: .*at least 1 item"),
        ("[detection, segmentation, detection]", "tasks: each task at most once, found detection more than once"),
        ("[boxes]", "tasks.0: Input should be 'segmentation', 'detection' or 'classification', found 'boxes'"),
        ("detection", "tasks: .*found 'detection'"),
        ("null", "tasks: .*found None"),
        ("[1]", "tasks.0: .*found 1"),
    ],
)
def test_wrong_tasks_are_refused_by_both_readers(params, value, message):
    path = params(f"tasks: {value}\n")
    for read in (lambda path: read_sections({}, path, top=["tasks"]), Config.from_params):
        with pytest.raises(ParamsError, match=rf"params\.yaml: {message}"):
            read(path)


def test_override_changes_a_copy_by_yaml_1_2():
    params = {"loss": {"cls": 2.0}}
    changed = override(params, ["loss.cls=1e-05", "train.phase2.lr=0.5", "model.weights=none", "a.b=on"])
    assert changed == {
        "loss": {"cls": 1e-05},
        "train": {"phase2": {"lr": 0.5}},
        "model": {"weights": "none"},
        "a": {"b": "on"},
    }
    assert params == {"loss": {"cls": 2.0}}


@pytest.mark.parametrize("assignment", ["loss.cls", "=3", "loss.=3", ".cls=3", "seed.x=3", "loss=[1", ""])
def test_an_assignment_that_cannot_be_read_is_named(assignment):
    with pytest.raises(ParamsError, match=r"expected section\.key=value"):
        override({"seed": 42}, [assignment])
