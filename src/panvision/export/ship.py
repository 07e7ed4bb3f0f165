"""A checkpoint made ready to leave: as ONNX, proven to be the same model, with what it was trained with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from panvision.export.onnx_file import write_onnx
from panvision.export.parity import Parity, compare, parity_images
from panvision.export.settings import ExportSettings
from panvision.files import replacing, write_json
from panvision.inference.backend import ModelInfo
from panvision.inference.onnx_backend import OnnxBackend
from panvision.inference.predictor import Predictor
from panvision.model.checkpoint import load_checkpoint

# Sections of the configuration that training writes into a checkpoint's metadata.
TRAINED_SECTIONS = ("seed", "augment", "loss", "train")


def ship(
    checkpoint: str | Path,
    reference: Predictor,
    settings: ExportSettings,
    *,
    prepared: str | Path,
    splits: str | Path,
    models: str | Path,
    metrics: str | Path,
) -> Parity:
    """Write `<models>/panvision.onnx`, `<models>/config.json` and `<metrics>/export.json`.

    What lies there from before belongs to other weights, so it is removed first: after an error none of them is left.

    Args:
        checkpoint: the model's file.
        reference: the same file loaded, on the CPU, with the thresholds that are to ship.
        settings: how to export, and how close the two must be.
        prepared: folder of `prepare`'s outputs, one subfolder per task.
        splits: the splits.csv that `validate` wrote.
        models, metrics: folders to write into.

    Returns:
        The differences that were found, all within their limits.

    Raises:
        ExportError: the model cannot be exported, or its export answers differently.
        CheckpointError: the checkpoint cannot be used.
        PackedError: the test pictures cannot be used.
        PredictorError: ONNX Runtime cannot run the export.
    """
    checkpoint, onnx = Path(checkpoint), Path(models) / "panvision.onnx"
    config_file, metrics_file = Path(models) / "config.json", Path(metrics) / "export.json"
    for old in (onnx, config_file, metrics_file):
        old.unlink(missing_ok=True)
    model, metadata = load_checkpoint(checkpoint)
    info = reference.info
    images = parity_images(prepared, splits, count=settings.parity_images, image_size=info.image_size)
    # The file gets its name only once parity is proven.
    with replacing(onnx) as scratch:
        write_onnx(scratch, model, info, opset=settings.opset)
        parity = compare(reference, Predictor(OnnxBackend(scratch, "cpu")), images, checkpoint=checkpoint)
        parity.check(settings, checkpoint)
    sizes = {"checkpoint": _megabytes(checkpoint), "onnx": _megabytes(onnx)}
    write_json(config_file, shipped_config(metadata, info, settings))
    write_json(metrics_file, {"parity": parity.to_json(settings), "size_mb": sizes})
    return parity


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
        "detection": {
            "score_threshold": info.thresholds.score,
            "nms_threshold": info.thresholds.nms,
            "max_detections": info.thresholds.max_detections,
        },
        "export": settings.model_dump(mode="json"),
    }


def _megabytes(path: Path) -> float:
    return round(path.stat().st_size / 1e6, 3)
