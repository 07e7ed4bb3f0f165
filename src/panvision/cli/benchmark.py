"""`panvision benchmark`: latency, throughput, size, memory and share of the convolution limit of model files."""

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `panvision benchmark`."""
    parser.add_argument("models", nargs="+", metavar="MODEL", help="model files: .pth, .pt or .onnx, INT8 included")
    parser.add_argument(
        "--batch_size", type=_at_least(1), default=1, metavar="N", help="pictures in a batch (default: 1)"
    )
    parser.add_argument(
        "--threads", type=_at_least(0), default=0, metavar="N", help="0: the runtime's own choice (default: 0)"
    )
    parser.add_argument("--warmup", type=_at_least(0), default=5, metavar="N", help="rounds before (default: 5)")
    parser.add_argument(
        "--rounds", type=_at_least(1), default=50, metavar="N", help="each runs every model once (default: 50)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")


def run(args: argparse.Namespace) -> int:
    """Measure; returns 0, or 1 after an error."""
    from panvision.inference.backend import PredictorError

    try:
        rows = measure(args.models, batch=args.batch_size, threads=args.threads, warmup=args.warmup, rounds=args.rounds)
    except (PredictorError, OSError) as error:
        print(f"panvision benchmark: {error}", file=sys.stderr)
        return 1
    if args.json:
        settings = {name: getattr(args, name) for name in ("batch_size", "threads", "warmup", "rounds")}
        print(json.dumps({**settings, "models": [asdict(row) for row in rows]}, indent=2))
    else:
        print(f"{table(rows)}\n\n{NOTE}")
    return 0


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


class _at_least:  # noqa: N801 -- argparse shows its name
    """A whole number of at least `low`."""

    def __init__(self, low: int) -> None:
        self.low = low

    def __call__(self, text: str) -> int:
        try:
            value = int(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"not a whole number: {text!r}") from error
        if value < self.low:
            raise argparse.ArgumentTypeError(f"must be at least {self.low}, found {text}")
        return value
