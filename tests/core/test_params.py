import io
from typing import Annotated

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field
from ruamel.yaml import YAML

from panvision.config import Config
from panvision.core.params import SECTIONS, ParamsError, Settings, load_params, override, read_sections
from panvision.core.tasks import TASKS
from panvision.inference.settings import DetectionSettings
from panvision.model.settings import ModelSettings
from panvision.training.settings import LossSettings, TrackingSettings, TrainSettings
from panvision.validate.settings import SplitSettings


@pytest.fixture
def params(tmp_path):
    """Write a params file, get its path."""

    def write(text: str):
        path = tmp_path / "params.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def refusal(path, **schemas) -> list[str]:
    """Lines of the one error that reading these sections raises."""
    with pytest.raises(ParamsError) as error:
        read_sections(schemas, path)
    return str(error.value).splitlines()


def as_dvc_writes(value: object) -> str:
    """YAML as `dvc exp run -S` writes params.yaml: by ruamel.yaml, which speaks YAML 1.2."""
    text = io.StringIO()
    YAML().dump(value, text)
    return text.getvalue()


class TestYaml12:
    """DVC writes YAML 1.2; PyYAML alone reads YAML 1.1 and sees words where numbers are."""

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("1e-5", 1e-05),
            ("1e-05", 1e-05),
            ("1E5", 1e5),
            (".5", 0.5),
            ("5.", 5.0),
            ("-1.5e+3", -1500.0),
            ("010", 10),
            ("0o10", 8),
            ("0x1F", 31),
            ("+3", 3),
            ("on", "on"),
            ("off", "off"),
            ("yes", "yes"),
            ("No", "No"),
            ("y", "y"),
            ("true", True),
            ("False", False),
            ("null", None),
            ("~", None),
            ("", None),
            ("1_000", "1_000"),
            ("12:30", "12:30"),
            ("2001-01-01", "2001-01-01"),
            ("'1e-5'", "1e-5"),
            ("[8, 16]", [8, 16]),
        ],
    )
    def test_a_scalar_means_what_yaml_1_2_says(self, params, text, value):
        found = load_params(params(f"loss:\n  focal_gamma: {text}\n"))["loss"]["focal_gamma"]
        assert found == value
        assert type(found) is type(value)

    def test_a_learning_rate_in_the_form_that_dvc_writes_is_a_number(self, params):
        train = read_sections({"train": TrainSettings}, params("train:\n  phase2:\n    lr: 1e-05\n"))["train"]
        assert train.phase2.lr == 1e-05

    @given(st.floats(min_value=0.0, max_value=10.0))
    def test_every_float_that_dvc_writes_is_read_back_exactly(self, tmp_path_factory, value):
        path = tmp_path_factory.mktemp("params") / "params.yaml"
        path.write_text(as_dvc_writes({"loss": {"focal_gamma": value}}))
        assert read_sections({"loss": LossSettings}, path)["loss"].focal_gamma == value

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
    def test_every_value_that_dvc_writes_is_read_back_equal(self, tmp_path_factory, value):
        path = tmp_path_factory.mktemp("params") / "params.yaml"
        path.write_text(as_dvc_writes({"loss": value}))
        assert load_params(path) == {"loss": value}


class TestFile:
    def test_a_missing_file_names_the_remedy(self, tmp_path):
        with pytest.raises(ParamsError, match=r"no such file.*presets/laptop\.yaml"):
            load_params(tmp_path / "params.yaml")

    def test_broken_yaml_names_the_file_and_the_line(self, params):
        with pytest.raises(ParamsError, match=r"params\.yaml: not valid YAML.*(?s:.*)line 2"):
            load_params(params("seed: 1\nloss: [1, 2\n"))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("model: &a [*a]", "line 1: refers to itself"),
            ("model: &a {b: *a}", "line 1: refers to itself"),
            ("seed: 1\nmodel: " + "[" * 5000, "line 2: more than 32 levels of nesting"),
            ("".join(" " * level + "a:\n" for level in range(99)), "line 32: more than 32 levels of nesting"),
            ("seed: " + "9" * 5000, "line 1: a number of 5000 digits"),
            ("".join(f"k{number}: 1\n" for number in range(6000)), "more than 10000 values"),
            ("model: {[a]: 2}", "line 1: a key must be a word"),
            ("? {a: b}\n: 2", "line 1: a key must be a word"),
            ("seed: !!binary aGVsbG8=", "line 1: the tag .*binary' is not valid YAML here; write the value without it"),
            ("seed: !!timestamp 2020-01-01", "timestamp"),
            ("model: !!set {a, b}", "set"),
            ("model: !!omap [a: 1]", "omap"),
            ("model: !!map abc", "map"),
            ("seed: !!int abc", "int"),
            ("seed: !!bool abc", "bool"),
            ("seed: !!float abc", "float"),
            ("seed: 1\x00", "special characters are not allowed"),
            ("seed: 1\n---\nseed: 2", "another document"),
            ("model: *a", "undefined alias"),
            ("model:\n\tbackbone: resnet50", "line 2"),
            ('"a\\nb": 1', r"'a\\nb': unknown key"),
        ],
    )
    def test_what_is_not_plain_is_one_line(self, params, text, message):
        with pytest.raises(ParamsError, match=rf"params\.yaml: .*{message}") as error:
            load_params(params(text))
        assert len(str(error.value).splitlines()) == 1 and len(str(error.value)) < 400

    @pytest.mark.parametrize("nested", [False, True])
    def test_aliases_that_multiply_are_refused_before_they_do(self, params, nested):
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

    def test_an_alias_that_says_things_twice_is_read(self, params):
        path = params("loss: &a {seg: 2.0}\ntrain: {phase1: {epochs: &n 3}, phase2: {epochs: *n}}\n")
        assert load_params(path)["train"] == {"phase1": {"epochs": 3}, "phase2": {"epochs": 3}}

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"model:\n  weights: caf\xe9\n", "not valid YAML: line 2 is not UTF-8 text; save it as UTF-8"),
            ("seed: 3\n".encode("utf-16"), "not valid YAML: line 1 is not UTF-8 text"),
            (b"# " + b"x" * 2**20, "more than 1 MiB; not a file of settings"),
        ],
    )
    def test_what_is_no_text_is_refused(self, tmp_path, content, message):
        (tmp_path / "params.yaml").write_bytes(content)
        with pytest.raises(ParamsError, match=rf"params\.yaml: {message}"):
            load_params(tmp_path / "params.yaml")

    def test_a_byte_order_mark_is_no_part_of_the_first_key(self, tmp_path):
        (tmp_path / "params.yaml").write_bytes(b"\xef\xbb\xbfseed: 3\n")
        assert load_params(tmp_path / "params.yaml") == {"seed": 3}

    def test_a_folder_a_link_to_itself_an_endless_device_and_no_name_are_refused(self, tmp_path):
        (tmp_path / "loop").symlink_to("loop")
        for path, message in (
            (tmp_path, "cannot be read: Is a directory"),
            (tmp_path / "loop", "cannot be read: Too many levels of symbolic links"),
            ("/dev/zero", "more than 1 MiB"),
            ("a\0b", "not a file's name"),
        ):
            with pytest.raises(ParamsError, match=message):
                load_params(path)

    def test_a_long_value_is_shown_by_its_beginning(self, params):
        found = refusal(params("model: {backbone: " + "x" * 10**5 + "}"), model=ModelSettings)
        assert len(found) == 1 and "model.backbone: " in found[0] and len(found[0]) < 600

    @pytest.mark.parametrize("text", ["", "- seed", "seed", "42"])
    def test_what_is_not_sections_is_refused(self, params, text):
        with pytest.raises(ParamsError, match="expected sections"):
            load_params(params(text))

    @pytest.mark.parametrize("text", ["seed: 1\nseed: 2\n", "loss:\n  det: 1.0\n  det: 2.0\n"])
    def test_a_key_that_stands_twice_is_refused_with_its_line(self, params, text):
        with pytest.raises(ParamsError, match=r"params\.yaml: line [23]: the key '(seed|det)' stands twice"):
            load_params(params(text))

    def test_unknown_sections_are_refused_all_at_once_with_the_nearest_known(self, params):
        with pytest.raises(ParamsError) as error:
            load_params(params("los: {}\nmodle: {}\nzzz: 1\n"))
        first, second, third = str(error.value).splitlines()
        assert "los: unknown key; did you mean loss?" in first
        assert "modle: unknown key; did you mean model?" in second
        assert f"known here: {', '.join(SECTIONS)}" in third

    def test_python_objects_are_not_built(self, params):
        with pytest.raises(ParamsError, match="not valid YAML"):
            load_params(params("seed: !!python/object/apply:os.getcwd []\n"))


class TestSections:
    def test_a_missing_or_empty_section_is_its_defaults(self, params):
        sections = read_sections({"loss": LossSettings, "split": SplitSettings}, params("seed: 1\nloss:\n"))
        assert sections == {"loss": LossSettings(), "split": SplitSettings()}

    def test_sections_not_asked_for_are_not_judged(self, params):
        assert read_sections({"loss": LossSettings}, params("loss: {cls: 4.0}\nmodel: {dropout: 7}\n"))["loss"].cls == 4

    def test_every_fault_of_every_section_is_listed_at_once_with_key_and_value(self, params):
        path = params(
            "loss: {cls: -1, focal_alpha: 2.0, detx: 1.0}\n"
            "train: {batch_size: 0, phase2: {lr: fast, epoch: 3}}\n"
            "detection: 7\n"
            "seed: -1\n"
            "tasks: []\n"
            "modle: {}\n"
        )
        schemas = {"loss": LossSettings, "train": TrainSettings, "detection": DetectionSettings}
        with pytest.raises(ParamsError) as error:
            read_sections(schemas, path, top=["seed", "tasks"])
        lines = str(error.value).splitlines()
        assert len(lines) == 10
        assert all(line.startswith(f"{path}: ") for line in lines)
        text = "\n".join(line.removeprefix(f"{path}: ") for line in lines)
        assert "loss.cls: Input should be greater than or equal to 0, found -1" in text
        assert "loss.focal_alpha: Input should be less than or equal to 1, found 2.0" in text
        assert "loss.detx: unknown key; did you mean loss.det?" in text
        assert "train.batch_size: Input should be greater than or equal to 1, found 0" in text
        assert "train.phase2.lr: Input should be a valid number, found 'fast'" in text
        assert "train.phase2.epoch: unknown key; did you mean train.phase2.epochs?" in text
        assert "detection: expected keys below it, found 7" in text
        assert "seed: Input should be greater than or equal to 0, found -1" in text
        assert "tasks: " in text
        assert "modle: unknown key; did you mean model?" in text

    @pytest.mark.parametrize("value", ["true", "False", "'1.0'", "on", ".inf", ".nan", "[1.0]", "null"])
    def test_what_is_no_number_is_refused_where_a_number_is_meant(self, params, value):
        (line,) = refusal(params(f"loss: {{cls: {value}}}\n"), loss=LossSettings)
        assert "loss.cls: " in line

    @pytest.mark.parametrize("value", ["true", "4.5", "'4'", "null"])
    def test_what_is_no_whole_number_is_refused_where_one_is_meant(self, params, value):
        (line,) = refusal(params(f"train: {{batch_size: {value}}}\n"), train=TrainSettings)
        assert "train.batch_size: " in line

    @pytest.mark.parametrize("value", ["1", "0", "on", "'true'"])
    def test_what_is_no_switch_is_refused_where_one_is_meant(self, params, value):
        (line,) = refusal(params(f"tracking: {{wandb: {{enabled: {value}}}}}\n"), tracking=TrackingSettings)
        assert "tracking.wandb.enabled: " in line

    def test_a_whole_number_serves_where_a_fraction_is_meant(self, params):
        assert read_sections({"loss": LossSettings}, params("loss: {cls: 4}\n"))["loss"].cls == 4.0

    @pytest.mark.parametrize("strides", ["[]", "[8, 32]", "[16, 8]", "[7]", "8"])
    def test_strides_that_are_no_neighbouring_levels_are_refused(self, params, strides):
        (line,) = refusal(params(f"model: {{strides: {strides}}}\n"), model=ModelSettings)
        assert "model.strides: " in line

    def test_settings_that_contradict_each_other_are_refused(self, params):
        (line,) = refusal(params("split: {val: 0.5, test: 0.5}\n"), split=SplitSettings)
        assert line.endswith("split: val + test must be below 1, or nothing is left to train on")

    def test_settings_cannot_be_changed_after_reading(self):
        with pytest.raises(ValueError, match="frozen"):
            LossSettings().cls = 3.0

    def test_unknown_keys_with_nothing_near_list_what_is_known(self):
        class Small(Settings):
            first: Annotated[int, Field(ge=0)] = 1

        with pytest.raises(ParamsError, match=r"s\.zzzz: unknown key; known here: s\.first"):
            Small.parse({"zzzz": 1}, prefix="s")


class TestSeed:
    @pytest.mark.parametrize(("text", "seed"), [("seed: 7\n", 7), ("seed: 0\n", 0), ("loss: {}\n", 42)])
    def test_seed_is_read_or_42(self, params, text, seed):
        assert read_sections({}, params(text), top=["seed"]) == {"seed": seed}

    @pytest.mark.parametrize("text", ["true", "-1", "4294967296", "1.0", "'7'", "null", "[1]"])
    def test_what_is_no_seed_is_refused(self, params, text):
        path = params(f"seed: {text}\n")
        with pytest.raises(ParamsError) as error:
            read_sections({}, path, top=["seed"])
        assert str(error.value).startswith(f"{path}: seed: Input should be ")

    def test_the_largest_seed_is_one_that_numpy_takes(self, params):
        seed = read_sections({}, params("seed: 4294967295\n"), top=["seed"])["seed"]
        np.random.RandomState(seed)


class TestTasks:
    @pytest.mark.parametrize(
        ("text", "tasks"),
        [
            ("seed: 1\n", tuple(TASKS)),
            ("tasks: [detection]\n", ("detection",)),
            ("tasks: [classification, segmentation]\n", ("segmentation", "classification")),
            ("tasks:\n- classification\n- detection\n- segmentation\n", tuple(TASKS)),
        ],
    )
    def test_they_are_read_in_one_order_or_are_all_three(self, params, text, tasks):
        assert read_sections({}, params(text), top=["tasks"]) == {"tasks": tasks}

    @pytest.mark.parametrize(
        ("value", "said"),
        [
            ("[]", "tasks: .*at least 1 item"),
            ("[detection, segmentation, detection]", "tasks: each task at most once, but detection stands"),
            ("[boxes]", "tasks.0: Input should be 'segmentation', 'detection' or 'classification', found 'boxes'"),
            ("detection", "tasks: .*found 'detection'"),
            ("null", "tasks: .*found None"),
            ("[1]", "tasks.0: .*found 1"),
        ],
    )
    def test_what_is_no_set_of_tasks_is_refused_alike_by_both_readers(self, params, value, said):
        path = params(f"tasks: {value}\n")
        for read in (lambda path: read_sections({}, path, top=["tasks"]), Config.from_params):
            with pytest.raises(ParamsError, match=rf"params\.yaml: {said}"):
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
