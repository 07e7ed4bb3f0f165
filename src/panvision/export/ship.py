"""A checkpoint made ready to leave: as ONNX, proven to be the same model, as INT8, judged, with a card that says so."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from panvision.core.files import remove_partials, replacing, write_json, write_text
from panvision.export.card import model_card, read_figures
from panvision.export.errors import INT8_REMEDY, ExportError
from panvision.export.images import calibration_images, parity_images
from panvision.export.int8 import write_int8
from panvision.export.onnx_file import write_onnx
from panvision.export.parity import compare
from panvision.export.scores import HeldOut, judge
from panvision.export.settings import ExportSettings
from panvision.inference.backend import ModelInfo, PredictorError
from panvision.inference.onnx_backend import OnnxBackend
from panvision.inference.origin import data_hash, params_hash
from panvision.inference.predictor import Predictor
from panvision.model.checkpoint import load_checkpoint

# Sections of the configuration that training writes into a checkpoint's metadata.
TRAINED_SECTIONS = ("seed", "augment", "loss", "train")


class Shipped(NamedTuple):
    """What export writes.

    Attributes:
        onnx: the float file.
        int8: the INT8 file; empty where `export.int8` is off, for DVC wants every output of a stage to be there.
        config: the configuration that ships.
        card: the model card.
        figures: what was measured.
    """

    onnx: Path
    int8: Path
    config: Path
    card: Path
    figures: Path

    @classmethod
    def below(cls, models: str | Path, metrics: str | Path) -> "Shipped":
        """The files by the names that the pipeline gives them."""
        models = Path(models)
        return cls(
            models / "panvision.onnx",
            models / "panvision.int8.onnx",
            models / "config.json",
            models / "MODEL_CARD.md",
            Path(metrics) / "export.json",
        )


def ship(
    checkpoint: str | Path,
    reference: Predictor,
    settings: ExportSettings,
    held_out: HeldOut,
    *,
    models: str | Path,
    metrics: str | Path,
    order: Sequence[str] = (),
) -> None:
    """Write the files of `Shipped`.

    What lies there from before belongs to other weights, so it is removed first: after an error none of them is left.

    Args:
        checkpoint: the model's file.
        reference: the same file loaded, on the CPU, with the thresholds that are to ship.
        settings: how to export, how close the two must be, and what INT8 may cost.
        held_out: the packed sets, the splits and the raw test pictures.
        models, metrics: folders to write into; the metrics that the card shows lie in the latter.
        order: the states from the first to the last, if they follow each other.

    Raises:
        ExportError: the order is of other states, the model cannot be exported or quantised, its export answers
            differently, or metrics that the card shows are missing or another model's.
        CheckpointError: the checkpoint cannot be used.
        PackedError, ImageError, EvaluationError: the packed sets, the splits or the raw test pictures cannot be used.
        PredictorError: ONNX Runtime cannot run the export.
    """
    checkpoint, shipped = Path(checkpoint), Shipped.below(models, metrics)
    for old in shipped:
        old.unlink(missing_ok=True)
        remove_partials(old)
    shown = read_figures(metrics, reference.tasks)
    model, metadata = load_checkpoint(checkpoint)
    prepared, splits = held_out.prepared, held_out.splits
    images = parity_images(prepared, splits, count=settings.parity_images, image_size=reference.image_size)
    info = replace(
        reference.info,
        params_sha256=params_hash(metadata),
        data_sha256=data_hash(prepared, splits),
        state_order=_order_of(reference.info.cls_class_names, order),
    )
    # All get their names together, once everything is proven.
    with ExitStack() as stack:
        scratch = Shipped(*(stack.enter_context(replacing(path)) for path in shipped))
        write_onnx(scratch.onnx, model, info, opset=settings.opset)
        exported = Predictor(OnnxBackend(scratch.onnx, "cpu"))
        parity = compare(Predictor(reference.backend, info), exported, images, checkpoint=checkpoint)
        parity.check(settings, checkpoint)
        figures = {"parity": parity.to_json(settings), **_measure(exported, settings, held_out, scratch)}
        figures["size_mb"] = _sizes({"checkpoint": checkpoint, "onnx": scratch.onnx, "int8": scratch.int8})
        write_json(scratch.config, shipped_config(metadata, info, settings))
        write_json(scratch.figures, figures)
        write_text(scratch.card, model_card(info, {**shown, "export": figures}, max_drop=settings.max_drop))


def _order_of(states: Sequence[str], order: Sequence[str]) -> tuple[str, ...]:
    """The order, of a model that has states."""
    if states and order and sorted(order) != sorted(states):
        raise ExportError(
            f"classification.order is {list(order)}, the model's states are {list(states)}; name each of them once, "
            "or set it to null"
        )
    return tuple(order) if states else ()


def _measure(exported: Predictor, settings: ExportSettings, held_out: HeldOut, scratch: Shipped) -> dict[str, Any]:
    """What both files score, and the verdict on INT8, whose file is written here."""
    scores = held_out.score(exported)
    if not settings.int8:
        return {"scores": {"onnx": scores, "int8": None}, "int8": None}
    images = calibration_images(
        held_out.prepared,
        held_out.splits,
        count=settings.calibration_images,
        image_size=exported.image_size,
        tasks=exported.tasks,
    )
    write_int8(scratch.int8, scratch.onnx, images)
    try:
        rounded = held_out.score(Predictor(OnnxBackend(scratch.int8, "cpu")))
    except PredictorError as error:
        raise ExportError(f"the INT8 model cannot be run: {error}; {INT8_REMEDY}") from error
    return {
        "scores": {"onnx": scores, "int8": rounded},
        "int8": judge(scores, rounded, settings.max_drop).to_json(),
    }


def shipped_config(metadata: Mapping[str, Any], info: ModelInfo, settings: ExportSettings) -> dict[str, Any]:
    """What was trained and ships, as the plain values that `panvision.config.Config` reads.

    Args:
        metadata: of the checkpoint; the sections under its key `config` (it may lack some, or the key) are those
            that it was trained with.
        info: what the ONNX file says about itself.
        settings: how it was exported.
    """
    trained = metadata.get("config") or {}
    return {
        **{name: trained[name] for name in TRAINED_SECTIONS if name in trained},
        "tasks": list(info.tasks),
        "model": metadata["model"],
        "data": {"image_size": info.image_size},
        "classification": {"order": list(info.state_order) or None},
        "detection": {
            "score_threshold": info.thresholds.score,
            "nms_threshold": info.thresholds.nms,
            "max_detections": info.thresholds.max_detections,
        },
        "export": settings.model_dump(mode="json"),
    }


def _sizes(files: Mapping[str, Path]) -> dict[str, float | None]:
    """Megabytes of files; None of an empty one, which is no model."""
    return {name: round(path.stat().st_size / 1e6, 3) or None for name, path in files.items()}
