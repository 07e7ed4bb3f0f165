import io
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from panvision.inference.backend import PredictorError
from panvision.inference.onnx_file import OnnxFileError, read_onnx
from panvision.inference.predictor import Predictor
from tests.fuzz.fuzzing import damaged, fuzzed
from tests.tiny import write_onnx

pytest.importorskip("torch")

from panvision.model.checkpoint import pack_checkpoint
from tests.model.small import small_model

SCRATCH = tempfile.TemporaryDirectory(prefix="panvision-fuzz-")  # removed when the process ends
FOLDER = Path(SCRATCH.name)
ONNX = write_onnx(FOLDER / "whole.onnx").read_bytes()
CHECKPOINT = pack_checkpoint(small_model())
PICKLED = zipfile.ZipFile(io.BytesIO(CHECKPOINT)).read("archive/data.pkl")


def check(path: Path) -> None:
    """A model is refused with its file's name, or answers."""
    try:
        model = Predictor.load(path, "cpu")
    except PredictorError as error:
        words = str(error).removeprefix(f"{path}: ")
        assert len(words) < len(str(error)) and len(words) < 900 and words.isprintable(), error
        return
    try:
        result = model.predict(np.zeros((6, 5, 3), np.uint8))
    except PredictorError:
        return
    assert result["segmentation"]["mask"].shape == (6, 5)


@fuzzed(damaged(ONNX), examples=20)
def test_onnx_files_with_other_bytes(content):
    (FOLDER / "a.onnx").write_bytes(content)
    check(FOLDER / "a.onnx")


@fuzzed(st.binary(max_size=200), examples=50)
def test_any_bytes_as_onnx(content):
    (FOLDER / "b.onnx").write_bytes(content or b"\0")
    try:
        read_onnx(FOLDER / "b.onnx")
    except OnnxFileError as error:
        assert str(error).isprintable()


@fuzzed(damaged(PICKLED), examples=8)
def test_checkpoints_with_another_pickle(pickled):
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(CHECKPOINT)) as source, zipfile.ZipFile(packed, "w") as target:
        for name in source.namelist():
            target.writestr(name, pickled if name.endswith("data.pkl") else source.read(name))
    (FOLDER / "a.pth").write_bytes(packed.getvalue())
    check(FOLDER / "a.pth")


@fuzzed(damaged(CHECKPOINT), examples=8)
def test_checkpoints_with_other_bytes(content):
    (FOLDER / "b.pth").write_bytes(content)
    check(FOLDER / "b.pth")
