"""A model as one ONNX file: the same weights give the same bytes on every machine."""

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

# Loggers of the exporter; its errors are exceptions.
_CHATTY = ("torch.onnx", "onnxscript", "onnx_ir")


def write_onnx(path: str | Path, model: MultiTaskModel, info: ModelInfo, *, opset: int) -> None:
    """Write a model as one ONNX file, whole or not at all.

    The graph is `FlatModel`'s: `images` (N, S, S, 3) uint8 RGB in, the outputs of the model's tasks out, for any
    N ≥ 1.

    Args:
        path: of the file.
        model: on the CPU; it is set to evaluation mode.
        info: description that the file contains under the key `panvision`.
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
    """Return an equivalent copy whose heads have the form that is fastest in runtimes."""
    model = copy.deepcopy(model)
    for task in model.tasks:
        if (convert := HEADS[task].for_runtimes) is not None:
            model.add_module(task, convert(getattr(model, task)))
    return model


def _to_proto(model: FlatModel, image_size: int, opset: int) -> onnx.ModelProto:
    """Convert the model with PyTorch's exporter, weights included."""
    # Two images: with an example of one, the exporter would fix the batch size at 1.
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
    # Only the TorchScript exporter returns None.
    proto = cast("torch.onnx.ONNXProgram", program).model_proto
    found = {entry.domain: entry.version for entry in proto.opset_import}
    # If a conversion between operator sets fails, the exporter only warns and keeps its own set.
    if found.get("") != opset:
        raise ExportError(f"the model cannot be exported: {_remedy(f'the exporter kept opset {found}', opset)}")
    # Nor does it fail if the model's code turns the batch size into a constant.
    if not proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise ExportError(
            "the model cannot be exported: its code fixes the batch size; "
            "take sizes from `tensor.shape`, not from `len(tensor)` or `int(…)`"
        )
    return proto


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings and log of the exporter, and restore the loggers."""
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
