"""A model as one ONNX file: the same weights give the same bytes, wherever and whenever they are written."""

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import onnx
import torch

from panvision.core.files import replacing
from panvision.export.errors import ExportError
from panvision.export.graph import finish
from panvision.inference.backend import METADATA_KEY, ModelInfo
from panvision.model.flat import INPUT_NAME, FlatModel
from panvision.model.heads import HEADS
from panvision.model.multitask import MultiTaskModel

# Loggers through which the exporter talks; its faults arrive as exceptions.
_CHATTY = ("torch.onnx", "onnxscript", "onnx_ir")


def write_onnx(path: str | Path, model: MultiTaskModel, info: ModelInfo, *, opset: int) -> None:
    """Write a model as one ONNX file, whole or not at all.

    The graph is `FlatModel`'s: `images` (N, S, S, 3) uint8 RGB in, the outputs of the model's tasks out, for any
    N ≥ 1.

    Args:
        path: where to.
        model: on the CPU; it is put into evaluation mode.
        info: names, sizes and thresholds that the file carries under the key `panvision`.
        opset: ONNX operator set.

    Raises:
        ExportError: PyTorch cannot express the model in this operator set.
    """
    proto = _to_proto(FlatModel(for_runtimes(model)).eval(), info.image_size, opset)
    finish(proto, [onnx.StringStringEntryProto(key=METADATA_KEY, value=info.to_metadata())])
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"{path}: PyTorch's exporter made an invalid graph: {_remedy(error, opset)}") from error
    with replacing(path) as scratch:
        scratch.write_bytes(proto.SerializeToString(deterministic=True))


def for_runtimes(model: MultiTaskModel) -> MultiTaskModel:
    """Return a copy that computes the same, its heads in the form that runtimes execute fastest."""
    model = copy.deepcopy(model)
    for task in model.tasks:
        if (convert := HEADS[task].for_runtimes) is not None:
            model.add_module(task, convert(getattr(model, task)))
    return model


def _to_proto(model: FlatModel, image_size: int, opset: int) -> onnx.ModelProto:
    """The model as PyTorch's exporter translates it, weights inside."""
    # Two pictures: an example of one would be taken for a model of one.
    example = torch.zeros(2, image_size, image_size, 3, dtype=torch.uint8)
    try:
        with _quiet():
            program = torch.onnx.export(
                model,
                (example,),
                dynamo=True,
                external_data=False,
                verbose=False,
                opset_version=opset,
                input_names=[INPUT_NAME],
                output_names=list(model.output_names),
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise ExportError(f"the model cannot be exported: {_remedy(error, opset)}") from error
    # None is what the TorchScript exporter gives.
    proto = cast("torch.onnx.ONNXProgram", program).model_proto
    found = {entry.domain: entry.version for entry in proto.opset_import}
    # Where a conversion between operator sets fails, the exporter only warns and keeps its own.
    if found.get("") != opset:
        raise ExportError(f"the model cannot be exported: {_remedy(f'the exporter kept opset {found}', opset)}")
    # Nor does it fail where the model's code turns the number of pictures into a constant.
    if not proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise ExportError(
            "the model cannot be exported: its code fixes the number of pictures in a batch; "
            "take sizes from `tensor.shape`, not from `len(tensor)` or `int(…)`"
        )
    return proto


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No warnings and no log of the exporter; the loggers are as they were afterwards."""
    loggers = [logging.getLogger(name) for name in _CHATTY]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _remedy(reason: object, opset: int) -> str:
    return f"{' '.join(str(reason).split())}; try another export.opset than {opset} in params.yaml"
