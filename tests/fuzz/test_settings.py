import json
import tempfile
from pathlib import Path

import yaml

from panvision.config import Config
from panvision.core.params import ParamsError, read_sections
from panvision.inference.backend import ModelInfo, PredictorError
from panvision.training.settings import TrainSettings
from tests.fuzz.fuzzing import damaged, fuzzed, mutated
from tests.tiny import INFO

PRESET = (Path(__file__).parents[2] / "presets" / "laptop.yaml").read_bytes()
SCRATCH = tempfile.TemporaryDirectory(prefix="panvision-fuzz-")  # removed when the process ends
FILE = Path(SCRATCH.name) / "params.yaml"


def check(content: bytes, read) -> None:
    """Settings are read, or refused with the file's name in every line."""
    FILE.write_bytes(content)
    try:
        read(FILE)
    except ParamsError as error:
        lines = str(error).split("\n")
        assert all(line.startswith(f"{FILE}: ") and line.isprintable() and len(line) < 2000 for line in lines), lines


def every_reader(path):
    Config.from_params(path)
    read_sections({"train": TrainSettings}, path, top=("seed", "tasks"))


@fuzzed(damaged(PRESET), examples=20)
def test_params_with_other_bytes(content):
    check(content, every_reader)


@fuzzed(mutated(yaml.safe_load(PRESET)), examples=15)
def test_params_with_other_values(values):
    check(yaml.safe_dump(values, allow_unicode=True).encode("utf-8", "surrogatepass"), every_reader)


@fuzzed(mutated(Config().model_dump(mode="json")), examples=15)
def test_configurations_with_other_values(values):
    check(json.dumps(values).encode("utf-8", "surrogatepass"), Config.load)


@fuzzed(damaged(json.dumps(Config().model_dump(mode="json")).encode()), examples=15)
def test_configurations_with_other_bytes(content):
    check(content, Config.load)


@fuzzed(mutated(json.loads(INFO.to_metadata())), examples=40)
def test_metadata_of_models(values):
    try:
        info = ModelInfo.from_metadata(json.dumps(values), "m.onnx")
    except PredictorError as error:
        assert str(error).startswith("m.onnx: ") and str(error).isprintable() and len(str(error)) < 600
    else:
        assert ModelInfo.from_metadata(info.to_metadata(), "m.onnx") == info
