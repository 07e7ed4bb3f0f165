"""`panvision benchmark`: latency, throughput, size, memory and share of the convolution limit of model files."""

import argparse
import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from panvision.cli.exits import Exit
from panvision.cli.flags import FILE, add_batch_size, add_output, completed, whole_number
from panvision.cli.manual import Manual

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

NOTE = (
    "ms: one batch through the network, uint8 pictures in, arrays out. limit: share\n"
    "of the speed of one big float32 convolution on the same runtime, timed in turns;\n"
    "INT8 can exceed 100 %. MB: the file, and the most memory of a process with it."
)


@dataclass(frozen=True)
class Row:
    """What was measured of one file.

    Attributes:
        model: the file as it was named.
        p50_ms, p95_ms: milliseconds per batch.
        images_per_s: at the median.
        size_mb: the file's.
        peak_mb: most resident memory of a process that does nothing else; None where the system does not tell.
        gmac: 10⁹ multiplications with addition per picture.
        limit_share: of the convolution limit, at both medians; 1 is the limit.
    """

    model: str
    p50_ms: float
    p95_ms: float
    images_per_s: float
    size_mb: float
    peak_mb: float | None
    gmac: float
    limit_share: float


MANUAL = Manual(
    usage="MODEL…",
    about="Times model files on the CPU, in turns, beside the fastest that their runtime convolves on this machine; "
    "says their size, memory and multiplications too.",
    examples={
        "two files of one model": "panvision benchmark models/panvision.onnx models/best_model.pth",
        "as on a device with one core, for programs": "panvision benchmark models/panvision.int8.onnx --threads 1 "
        "--json",
    },
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `panvision benchmark`."""
    arguments = parser.add_argument_group("arguments")
    text = "model files: .onnx, .pth or .pt, INT8 included"
    completed(arguments.add_argument("models", nargs="+", metavar="MODEL", help=text), FILE)
    timing = parser.add_argument_group("timing")
    add_batch_size(timing, 1)
    for name, low, default, text in (
        ("--threads", 0, 0, "of the runtime; 0: its own choice"),
        ("--warmup", 0, 5, "rounds before those that count"),
        ("--rounds", 1, 50, "each runs every model once"),
    ):
        timing.add_argument(
            name, type=whole_number(low), default=default, metavar="N", help=f"{text} (default: {default})"
        )
    add_output(parser, "batch_size, threads, warmup, rounds and models")


def run(args: argparse.Namespace) -> int:
    """Measure; returns 0."""
    rows = measure(args.models, batch=args.batch_size, threads=args.threads, warmup=args.warmup, rounds=args.rounds)
    if args.json:
        settings = {name: getattr(args, name) for name in ("batch_size", "threads", "warmup", "rounds")}
        print(json.dumps({**settings, "models": [asdict(row) for row in rows]}, indent=2))
    else:
        print(f"{table(rows)}\n\n{NOTE}")
    return Exit.DONE


def measure(models: list[str], *, batch: int, threads: int, warmup: int, rounds: int) -> list[Row]:
    """Time model files in turns, with the convolution limit of each runtime that they need.

    Raises:
        PredictorError: a file cannot be loaded or run.
    """
    from panvision.cli.timing import Run, count_macs, interleaved, limit_run, noise, open_model, peak_memory

    paths = {name: Path(name) for name in models}
    opened = {name: open_model(path, threads) for name, path in paths.items()}
    memory = {name: peak_memory(path, batch=batch, threads=threads) for name, path in paths.items()}
    macs = {name: count_macs(path, opened[name]) for name, path in paths.items()}
    runs: dict[str, Run] = {
        name: partial(predictor.raw, noise(batch, predictor.image_size)) for name, predictor in opened.items()
    }
    for suffix in {_runtime(path) for path in paths.values()}:
        runs[f"limit {suffix}"] = limit_run(suffix, threads)
    seconds = interleaved(runs, warmup=warmup, rounds=rounds)
    return [
        _row(name, seconds[name], seconds[f"limit {_runtime(path)}"], batch=batch, macs=macs[name], peak=memory[name])
        for name, path in paths.items()
    ]


def _runtime(path: Path) -> str:
    return ".onnx" if path.suffix.lower() == ".onnx" else ".pth"


def _row(
    name: str,
    seconds: "npt.NDArray[np.float64]",
    limit: "npt.NDArray[np.float64]",
    *,
    batch: int,
    macs: int,
    peak: float | None,
) -> Row:
    import numpy as np

    from panvision.cli.timing import LIMIT_MACS

    median, high = np.percentile(seconds, [50, 95])
    return Row(
        model=name,
        p50_ms=round(1e3 * float(median), 3),
        p95_ms=round(1e3 * float(high), 3),
        images_per_s=round(float(batch / median), 2),
        size_mb=round(Path(name).stat().st_size / 1e6, 3),
        peak_mb=None if peak is None else round(peak, 1),
        gmac=round(macs / 1e9, 3),
        limit_share=round(float(macs * batch / median / (LIMIT_MACS / np.median(limit))), 4),
    )


def table(rows: list[Row]) -> str:
    """At most 80 columns; of a long name the end is shown."""
    lines = [f"{'model':<24}{'p50 ms':>9}{'p95 ms':>9}{'images/s':>9}{'MB':>7}{'peak MB':>8}{'GMAC':>7}{'limit':>7}"]
    for row in rows:
        name = row.model if len(row.model) <= 23 else "…" + row.model[-22:]
        peak = "-" if row.peak_mb is None else f"{row.peak_mb:.0f}"
        lines.append(
            f"{name:<24}{row.p50_ms:>9.1f}{row.p95_ms:>9.1f}{row.images_per_s:>9.1f}{row.size_mb:>7.1f}{peak:>8}"
            f"{row.gmac:>7.2f}{row.limit_share:>7.0%}"
        )
    return "\n".join(lines)
