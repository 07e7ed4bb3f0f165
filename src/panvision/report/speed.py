"""Latency and size of the exported files, as `panvision benchmark` measured them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from pydantic import BaseModel, ConfigDict, JsonValue

from panvision.report.inputs import Count, read_metrics

# File name → its key in `size_mb` of export.json.
EXPORTS = {"panvision.onnx": "onnx", "panvision.int8.onnx": "int8"}


class ModelSpeed(BaseModel):
    """Measured values of a model file: milliseconds per run, images per second, and megabytes.

    Runtime and precision are empty in measurements of earlier versions.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    model: str
    runtime: str = ""
    precision: str = ""
    p50_ms: float
    p95_ms: float
    images_per_s: float
    size_mb: float


class BenchmarkMetrics(BaseModel):
    """metrics/benchmark.json: the output of `panvision benchmark --json`; `{}` without one. 0 threads: the default."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    batch_size: Count = 1
    threads: Count = 0
    models: list[ModelSpeed] = []


@dataclass(frozen=True)
class Speed:
    """The measurement; `others` are files whose size differs from that of the present export."""

    benchmark: BenchmarkMetrics
    others: list[str]


def read_speed(path: Path, export: Mapping[str, JsonValue]) -> Speed | None:
    """Read metrics/benchmark.json; None if it is missing or empty.

    Args:
        path: the file.
        export: content of export.json, whose sizes show if the same files were measured.

    Raises:
        ReportError: it is damaged.
    """
    maker = "panvision benchmark models/panvision.onnx models/panvision.int8.onnx --json > metrics/benchmark.json"
    if not path.exists():
        return None
    benchmark = read_metrics(path, BenchmarkMetrics, maker=maker)
    sizes = export.get("size_mb")
    known = sizes if isinstance(sizes, dict) else {}
    others = {
        own.model: None  # once, also if it ran on several runtimes
        for own in benchmark.models
        if (key := EXPORTS.get(PurePath(own.model).name)) is not None and known.get(key) != own.size_mb
    }
    return Speed(benchmark, [*others]) if benchmark.models else None
