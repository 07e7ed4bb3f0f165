"""Ship a checkpoint: as ONNX with proven parity, as INT8 with its loss, with a configuration and a model card."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from panvision.core.files import remove_partials, replacing, write_json, write_text
from panvision.core.order import find_order
from panvision.core.tasks import datasets_of
from panvision.evaluation.evaluate import HeldOut
from panvision.export.answers import Answerable, answerable_images, calibrate, count_rejected, fit_distance, fit_limits
from panvision.export.card import model_card, read_metrics
from panvision.export.errors import INT8_REMEDY, ExportError
from panvision.export.images import calibration_images, parity_images
from panvision.export.int8 import replace_metadata, write_int8
from panvision.export.onnx_file import write_onnx
from panvision.export.parity import compare
from panvision.export.scores import judge, measure
from panvision.export.settings import ExportSettings
from panvision.inference.backend import ModelInfo, PredictorError
from panvision.inference.onnx_backend import OnnxBackend
from panvision.inference.origin import data_hash, file_hash, pack_images
from panvision.inference.predictor import Predictor
from panvision.inference.settings import DecisionSettings
from panvision.inference.torch_backend import TorchBackend
from panvision.model.checkpoint import load_checkpoint, save_checkpoint
from panvision.model.multitask import MultiTaskModel
from panvision.validate.settings import SplitSettings

# Sections of the configuration that training writes into a checkpoint's metadata.
TRAINED_SECTIONS = ("seed", "augment", "loss", "train")
# Sections that inference reads; export writes them into the metadata itself.
SHIPPED_SECTIONS = ("detection", "decision", "classification")


class Shipped(NamedTuple):
    """Files that export writes.

    Attributes:
        checkpoint: the checkpoint with all that the ONNX file contains: thresholds, temperature, order, hashes.
        onnx: the float file.
        int8: the INT8 file; empty if `export.int8` is false, because DVC requires every output of a stage.
        config: the shipped configuration.
        card: the model card.
        metrics: parity, metrics of both files, sizes.
    """

    checkpoint: Path
    onnx: Path
    int8: Path
    config: Path
    card: Path
    metrics: Path

    @classmethod
    def below(cls, models: str | Path, metrics: str | Path) -> "Shipped":
        """Return the paths that the pipeline uses."""
        models = Path(models)
        return cls(
            models / "panvision.pth",
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
    split: SplitSettings | None = None,
) -> None:
    """Write the files of `Shipped`.

    Existing files belong to other weights, so they are removed first: after an error none of them remains.

    Args:
        checkpoint: file of the model.
        reference: the same file loaded, on the CPU, with the costs and the limits of boxes to ship. The score
            thresholds to ship are those that the metrics were measured with, `threshold` of detection.json.
        settings: how to export, limits of parity, and largest loss of INT8.
        held_out: the packed datasets, the splits, the raw test images, and how they are scored.
        models, metrics: folders to write into; the card shows metrics of the latter.
        split: how the images were split; None if it is unknown.

    Raises:
        ExportError: the order has other class labels, the model cannot be exported or quantised, its export answers
            differently, or metrics of the card are missing or of another model.
        CheckpointError: the checkpoint cannot be used.
        PackedError, ImageError, EvaluationError: the packed datasets, splits or raw test images cannot be used.
        PredictorError: ONNX Runtime cannot run the export.
    """
    checkpoint, shipped = Path(checkpoint), Shipped.below(models, metrics)
    for old in shipped:
        old.unlink(missing_ok=True)
        remove_partials(old)
    shown = read_metrics(metrics, reference.tasks)
    if "detection" in reference.tasks:
        reference = reference.with_thresholds(measured_thresholds(shown["detection"], reference.det_class_names))
    model, metadata = load_checkpoint(checkpoint)
    images = parity_images(
        held_out.prepared, held_out.splits, count=settings.parity_images, image_size=reference.image_size
    )
    info = _with_data(reference.info, held_out)
    config = shipped_config(metadata, info, settings, split, held_out.decision)
    origin = {name: getattr(info, name) for name in ("data_sha256", "training_images")}
    meta = {**metadata, **{name: config[name] for name in SHIPPED_SECTIONS}, **origin}
    meta.pop("answers", None)
    # All files get their final names together, after every check.
    with ExitStack() as stack:
        scratch = Shipped(*(stack.enter_context(replacing(path)) for path in shipped))
        good = _fit_answers(model, settings, held_out)
        if good is not None and model.distance is not None:
            limits = fit_limits(scratch.checkpoint, model, meta, good, settings.rejected or 0.0)
            meta["answers"] = limits._asdict()
            info = replace(info, limits=limits, features=model.distance.directions)
        save_checkpoint(scratch.checkpoint, model, meta=meta)
        write_onnx(scratch.onnx, model, info, opset=settings.opset)
        exported = Predictor(OnnxBackend(scratch.onnx, "cpu"))
        parity = compare(Predictor(TorchBackend(scratch.checkpoint, "cpu")), exported, images, checkpoint=checkpoint)
        parity.check(settings, checkpoint)
        found = {"parity": parity.to_json(settings), **_measure(exported, settings, held_out, scratch, good)}
        found["size_mb"] = _sizes({"checkpoint": checkpoint, "onnx": scratch.onnx, "int8": scratch.int8})
        found["sha256"] = {"params": info.params_sha256, "data": info.data_sha256, "onnx": file_hash(scratch.onnx)}
        write_json(scratch.config, config)
        write_json(scratch.metrics, found)
        write_text(scratch.card, model_card(info, {**shown, "export": found}, max_drop=settings.max_drop))


def _with_data(info: ModelInfo, held_out: HeldOut) -> ModelInfo:
    """Return the description with the hashes of the datasets and the order, without limits of answers."""
    prepared, splits = held_out.prepared, held_out.splits
    try:
        order = find_order(held_out.order, info.cls_class_names) or ()
    except ValueError as error:
        raise ExportError(str(error)) from error
    # The datasets may be others than those of the training: they shape thresholds, INT8 and the limits of answers.
    images = pack_images(prepared, splits, datasets_of(info.tasks), info.training_images)
    data = data_hash(prepared, splits)
    return replace(info, data_sha256=data, state_order=order, training_images=images, limits=None, features=0)


def _fit_answers(model: MultiTaskModel, settings: ExportSettings, held_out: HeldOut) -> Answerable | None:
    """Give the model its distance from the training images; return the images for the limits.

    None if every image is to be answered, or there are too few images to say which ones are not.
    """
    # A shipped checkpoint that is exported again has another one.
    model.distance = None
    if settings.rejected is None or "classification" not in model.tasks:
        return None
    good = answerable_images(held_out.prepared, held_out.splits)
    if good is None:
        return None
    model.distance = fit_distance(model, good.images, good.labels)
    return good


def _measure(
    exported: Predictor, settings: ExportSettings, held_out: HeldOut, scratch: Shipped, good: Answerable | None
) -> dict[str, Any]:
    """Write the INT8 file and return the metrics of both files, and the verdict on INT8."""
    measured = measure(exported, held_out)
    scores = measured.scores
    answers = {"onnx": _answers(exported, good), "int8": None}
    if not settings.int8:
        return {"scores": {"onnx": scores, "int8": None}, "int8": None, "answers": answers}
    images = calibration_images(
        held_out.prepared,
        held_out.splits,
        count=settings.calibration_images,
        image_size=exported.image_size,
        tasks=exported.tasks,
    )
    write_int8(scratch.int8, scratch.onnx, images)
    try:
        int8 = Predictor(OnnxBackend(scratch.int8, "cpu"))
        if good is not None:
            # Its rounding moves the features, so it needs other limits.
            limits = calibrate(int8, good, settings.rejected or 0.0)
            replace_metadata(scratch.int8, replace(int8.info, limits=limits))
            int8 = Predictor(OnnxBackend(scratch.int8, "cpu"))
        rounded, answers["int8"] = measure(int8, held_out), _answers(int8, good)
    except PredictorError as error:
        raise ExportError(f"the INT8 model cannot be run: {error}; {INT8_REMEDY}") from error
    return {
        "scores": {"onnx": scores, "int8": rounded.scores},
        "int8": judge(measured, rounded, settings.max_drop).to_json(),
        "answers": answers,
    }


def _answers(predictor: Predictor, good: Answerable | None) -> dict[str, Any] | None:
    """Return the limits of a file, and the counts of validation images and of those that they reject."""
    if good is None or predictor.info.limits is None:
        return None
    counts = {"images": len(good.files), "rejected": count_rejected(predictor, good.validation)}
    return {**predictor.info.limits._asdict(), **counts}


def shipped_config(
    metadata: Mapping[str, Any],
    info: ModelInfo,
    settings: ExportSettings,
    split: SplitSettings | None = None,
    decision: DecisionSettings | None = None,
) -> dict[str, Any]:
    """Return the configuration of the shipped model, as the plain values that `panvision.config.Config` reads.

    Args:
        metadata: of the checkpoint; its key `config`, if present, has sections that it was trained with.
        info: description in the ONNX file.
        settings: how it was exported.
        split: how the images of its training were split; None if it is unknown.
        decision: how its thresholds were chosen, and costs of boxes; costs of confusions are those of `info`.
    """
    trained = metadata.get("config") or {}
    chosen = (decision or DecisionSettings()).model_dump(mode="json")
    return {
        **{name: trained[name] for name in TRAINED_SECTIONS if name in trained},
        "tasks": list(info.tasks),
        "model": metadata["model"],
        "data": {"image_size": info.image_size},
        **({} if split is None else {"split": split.model_dump(mode="json")}),
        "classification": {"order": list(info.state_order) or None},
        "decision": {**chosen, "costs": {**chosen["costs"], "confusions": _confusions(info)}},
        "detection": {
            "score_threshold": info.score_threshold,
            "nms_threshold": info.thresholds.nms,
            "max_detections": info.thresholds.max_detections,
        },
        "export": settings.model_dump(mode="json"),
    }


def measured_thresholds(metrics: Mapping[str, Any], names: Sequence[str]) -> dict[str, float]:
    """Return the score threshold of each box class that the metrics of detection were measured with.

    Raises:
        ExportError: a class has none.
    """
    found = metrics.get("threshold") or {}
    if missing := [name for name in names if not isinstance(found.get(name), float)]:
        raise ExportError(
            f"metrics/detection.json: threshold: has no number for {missing[0]}; run `dvc repro evaluate`"
        )
    return {name: found[name] for name in names}


def _confusions(info: ModelInfo) -> dict[str, dict[str, float]]:
    """Return the costs as `CostSettings` has them."""
    names = info.cls_class_names
    return {
        true: {said: cost for said, cost in zip(names, row, strict=True) if said != true}
        for true, row in zip(names, info.costs, strict=False)
    }


def _sizes(files: Mapping[str, Path]) -> dict[str, float | None]:
    """Size of files in megabytes; None for an empty file."""
    return {name: round(path.stat().st_size / 1e6, 3) or None for name, path in files.items()}
