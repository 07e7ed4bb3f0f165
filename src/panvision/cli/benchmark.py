"""`panvision benchmark`: latency, throughput, size and memory of model files."""

import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from panvision.cli.exits import Exit
from panvision.cli.framework import Args, command
from panvision.cli.options import FILE, Number, argument, batch_size, json_flag, option

NOTE = """\
ms: one batch through the network, uint8 images in, arrays out.
MB: the file, and the peak memory of a process with it."""


@dataclass(frozen=True)
class Row:
    """The measurements of one file.

    Attributes:
        model: the file's name as given.
        p50_ms, p95_ms: milliseconds per batch.
        images_per_s: at the median.
        size_mb: the file's size.
        peak_mb: peak resident memory of a separate process with it; None where the system does not report it.
    """

    model: str
    p50_ms: float
    p95_ms: float
    images_per_s: float
    size_mb: float
    peak_mb: float | None


@command(
    about="Times model files on the CPU alternately, and reports their latency, throughput, size and memory.",
    examples={
        "two files of one model": "panvision benchmark models/panvision.onnx models/best_model.pth",
        "as on a device with one core, for programs": "panvision benchmark models/panvision.int8.onnx --threads 1 "
        "--json",
    },
    sections={
        "arguments": [
            argument(
                "models",
                "Model files: .onnx, .pth or .pt, INT8 included.",
                nargs=-1,
                required=True,
                type=FILE,
                metavar="MODEL...",
            )
        ],
        "timing": [
            batch_size(1),
            option("--threads", "Threads of the runtime; 0: its default.", type=Number(0), default=0),
            option("--warmup", "Rounds before the timed ones.", type=Number(0), default=5),
            option("--rounds", "Timed rounds; each runs every model once.", type=Number(1), default=50),
        ],
        "output": [json_flag("batch_size, threads, warmup, rounds and models")],
    },
)
def run(args: Args) -> int:
    """Measure and print."""
    rows = measure(args.models, batch=args.batch_size, threads=args.threads, warmup=args.warmup, rounds=args.rounds)
    if args.json:
        settings = {name: getattr(args, name) for name in ("batch_size", "threads", "warmup", "rounds")}
        print(json.dumps({**settings, "models": [asdict(row) for row in rows]}, indent=2))
    else:
        print(f"{table(rows)}\n\n{NOTE}")
    return Exit.DONE


def measure(models: list[str], *, batch: int, threads: int, warmup: int, rounds: int) -> list[Row]:
    """Time model files alternately.

    Raises:
        PredictorError: a file cannot be loaded or run.
    """
    import numpy as np

    from panvision.cli.timing import interleaved, noise, open_model, peak_memory

    opened = {name: open_model(Path(name), threads) for name in models}
    memory = {name: peak_memory(Path(name), batch=batch, threads=threads) for name in models}
    runs = {name: partial(model.raw, noise(batch, model.image_size)) for name, model in opened.items()}
    rows = []
    for name, seconds in interleaved(runs, warmup=warmup, rounds=rounds).items():
        median, high = (float(value) for value in np.percentile(seconds, [50, 95]))
        peak = memory[name]
        rows.append(
            Row(
                model=name,
                p50_ms=round(1e3 * median, 3),
                p95_ms=round(1e3 * high, 3),
                images_per_s=round(batch / median, 2),
                size_mb=round(Path(name).stat().st_size / 1e6, 3),
                peak_mb=None if peak is None else round(peak, 1),
            )
        )
    return rows


def table(rows: list[Row]) -> str:
    """Return the rows in at most 80 columns; of a long name the end is shown."""
    lines = [f"{'model':<36}{'p50 ms':>9}{'p95 ms':>9}{'images/s':>10}{'MB':>8}{'peak MB':>8}"]
    for row in rows:
        name = row.model if len(row.model) <= 35 else "…" + row.model[-34:]
        peak = "-" if row.peak_mb is None else f"{row.peak_mb:.0f}"
        lines.append(
            f"{name:<36}{row.p50_ms:>9.1f}{row.p95_ms:>9.1f}{row.images_per_s:>10.1f}{row.size_mb:>8.1f}{peak:>8}"
        )
    return "\n".join(lines)
