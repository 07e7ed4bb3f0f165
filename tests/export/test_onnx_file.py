import copy
import logging
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from panvision.export.errors import ExportError
from panvision.inference.predictor import Predictor
from tests.export.conftest import save_model
from tests.tiny import SIZE

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

from panvision.export import onnx_file  # noqa: E402 -- needs both
from panvision.export.onnx_file import write_onnx  # noqa: E402
from panvision.model.checkpoint import load_checkpoint  # noqa: E402
from panvision.model.flat import FlatModel  # noqa: E402

pytestmark = pytest.mark.xdist_group("export")  # which share an export, seconds of work for each worker

ROOT = Path(__file__).parents[2]


def described(message) -> list[str]:
    """Every doc string and piece of metadata at any depth."""
    found = [getattr(message, "doc_string", "")] + [entry.key for entry in getattr(message, "metadata_props", [])]
    for field, value in message.ListFields():
        parts = [value] if hasattr(value, "ListFields") else value if field.message_type is not None else []
        found += [text for part in parts for text in described(part)]
    return [text for text in found if text]


def test_write_onnx_one_valid_file(exported) -> None:
    assert [path.name for path in exported.parent.iterdir()] == ["panvision.onnx"]
    onnx.checker.check_model(str(exported), full_check=True)
    proto = onnx.load(exported)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 18)]
    assert not [tensor.name for tensor in proto.graph.initializer if tensor.external_data]


@pytest.mark.parametrize("count", [1, 3, 16])
def test_write_onnx_any_batch_size(exported, trained, count) -> None:
    images = np.random.default_rng(count).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = FlatModel(trained.model)(torch.tensor(images))
    for output, tensor in zip(Predictor.load(exported).raw(images).values(), expected, strict=True):
        np.testing.assert_allclose(output, tensor.numpy(), atol=1e-4, rtol=1e-4)


def test_it_says_what_it_is(exported, trained) -> None:
    assert Predictor.load(exported).info == trained.predictor.info
    assert Predictor.load(exported).info.thresholds == (0.25, 0.4, 50)


def test_nothing_inside_describes_the_machine(exported) -> None:
    assert described(onnx.load(exported)) == ["panvision"]
    content = exported.read_bytes()
    for text in (str(ROOT), str(exported.parent), str(Path.home()) + "/", "site-packages", ".py", "line ", "stack"):
        assert text.encode() not in content


def test_write_onnx_is_silent_and_repeatable(exported, trained, tmp_path, monkeypatch, capfd) -> None:
    monkeypatch.chdir(tmp_path)
    write_onnx("other/name.onnx", copy.deepcopy(trained.model).train(), trained.predictor.info, opset=18)
    assert Path("other/name.onnx").read_bytes() == exported.read_bytes()
    assert capfd.readouterr() == ("", "")


def test_a_talkative_exporter_is_silenced(exported, trained, tmp_path, monkeypatch, caplog, recwarn) -> None:
    logger = logging.getLogger("torch.onnx._internal.exporter")

    def talk(*args, **named):
        logger.warning("converting")
        warnings.warn("deprecated", DeprecationWarning, stacklevel=1)
        return SimpleNamespace(model_proto=onnx.load(exported))

    monkeypatch.setattr(torch.onnx, "export", talk)
    write_onnx(tmp_path / "a.onnx", trained.model, trained.predictor.info, opset=18)
    assert caplog.messages == []
    assert not recwarn.list
    logger.warning("afterwards")
    assert caplog.messages == ["afterwards"]


def test_write_onnx_failure_keeps_the_old_file(exported, trained, tmp_path, monkeypatch) -> None:
    def no_export(*args, **named):
        raise torch.onnx.errors.OnnxExporterError("no such\noperator")

    def no_checker(*args, **named):
        raise onnx.checker.ValidationError("no such\noperator")

    def other_set(*args, **named):
        return SimpleNamespace(model_proto=onnx.load(exported))

    faults = [
        (torch.onnx, "export", no_export, 18, "no such operator"),
        (torch.onnx, "export", other_set, 21, r"kept opset \{'': 18\}"),
        (onnx.checker, "check_model", no_checker, 18, "an invalid graph: no such operator"),
    ]
    (tmp_path / "a.onnx").write_text("old")
    for module, name, replacement, opset, message in faults:
        with monkeypatch.context() as patched:
            patched.setattr(torch.onnx, "export", other_set)
            patched.setattr(module, name, replacement)
            with pytest.raises(ExportError, match=rf"{message}; try another export\.opset than {opset}"):
                write_onnx(tmp_path / "a.onnx", trained.model, trained.predictor.info, opset=opset)
        assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_a_model_for_one_size_of_batch_is_refused(trained, monkeypatch, tmp_path) -> None:
    save_model(tmp_path / "m.pth", ("classification",))  # the shortest export

    class Fixed(FlatModel):
        def forward(self, images):
            return super().forward(images + len(images))

    monkeypatch.setattr(onnx_file, "FlatModel", Fixed)
    with pytest.raises(ExportError, match="fixes the batch size"):
        write_onnx(tmp_path / "a.onnx", load_checkpoint(tmp_path / "m.pth")[0], trained.predictor.info, opset=21)
