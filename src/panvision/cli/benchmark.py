"""`panvision benchmark`: runtimes and precisions of model files by latency, memory and what they lose in accuracy."""

import json
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from panvision.cli.exits import Exit
from panvision.cli.framework import Args, command
from panvision.cli.options import (
    FILE,
    FOLDER,
    Number,
    argument,
    batch_size,
    images,
    json_flag,
    option,
    runtimes,
    settings,
)
from panvision.cli.status import narrated_on_stderr

if TYPE_CHECKING:
    from panvision.export.scores import Verdict
    from panvision.inference.backend import Precision, Runtime

NOTE = """\
ms: one batch through the network, uint8 images in, arrays out.
MB: the file, and the peak memory of a process with it."""
DOUBT = "give --data DATA_ROOT to compare bfloat16 and INT8 as well, with what they lose"


@dataclass(frozen=True)
class Candidate:
    """A way to run a model file.

    Attributes:
        model: the file's name as given.
        runtime: `pytorch` for a checkpoint.
        precision: numbers of the computation.
    """

    model: str
    runtime: str
    precision: "Precision"

    @property
    def name(self) -> str:
        """Name for messages."""
        return f"{self.model} ({self.runtime}, {self.precision})"

    @property
    def asked(self) -> "tuple[Runtime | None, Precision | None]":
        """Runtime and precision as `Predictor.load` takes them."""
        runtime: Runtime | None = "openvino" if self.runtime == "openvino" else None
        return runtime, None if self.runtime == "pytorch" else self.precision


@dataclass(frozen=True)
class Row:
    """The measurements of one candidate.

    Attributes:
        model, runtime, precision: as of Candidate.
        p50_ms, p95_ms: milliseconds per batch.
        images_per_s: at the median.
        size_mb: the file's size.
        peak_mb: peak resident memory of its process; None where the system does not report it.
        drop: loss of each metric against the first float32 candidate, a fraction; None without data, and of that one.
        accepted: True if no loss is larger than `export.max_drop`; None where `drop` is.
    """

    model: str
    runtime: str
    precision: "Precision"
    p50_ms: float
    p95_ms: float
    images_per_s: float
    size_mb: float
    peak_mb: float | None
    drop: dict[str, float | None] | None = None
    accepted: bool | None = None


@command(
    about="Times model files on the CPU, alternately, on each installed runtime and in each precision that the "
    "processor has, each in its own process; and recommends the fastest. With labelled images it also says what each "
    "loses, and recommends only what loses no more than export.max_drop allows INT8.",
    examples={
        "files of one model": "panvision benchmark models/panvision.onnx models/panvision.int8.onnx "
        "models/best_model.pth",
        "what is lost, on the test images": "panvision benchmark models/panvision.onnx models/panvision.int8.onnx "
        "--data data/demo",
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
            ),
        ],
        "timing": [
            *runtimes("all that are installed", "all that the processor has"),
            batch_size(1),
            option("--threads", "Threads of the runtime; 0: its default.", type=Number(0), default=0),
            option("--warmup", "Rounds before the timed ones.", type=Number(0), default=5),
            option("--rounds", "Timed rounds; each runs every model.", type=Number(1), default=50),
        ],
        "accuracy": [
            option(
                "--data",
                "Folder with segmentation/, detection/ and classification/.",
                type=FOLDER,
                metavar="DATA_ROOT",
            ),
            images(),
            *settings("the newest JSON configuration beside the first model file, if any"),
        ],
        "output": [json_flag("batch_size, threads, warmup, rounds, models and recommended")],
    },
)
def run(args: Args) -> int:
    """Measure and print."""
    found = [each for name in args.models for each in candidates(name)]
    chosen = [
        each for each in found if args.runtime in (None, each.runtime) and args.precision in (None, each.precision)
    ]
    if not chosen:
        known = ", ".join(f"{each.runtime} in {each.precision}" for each in found)
        raise click.UsageError(f"No model file runs with this --runtime and --precision here; there are {known}.")
    if (args.config or args.set) and not args.data:
        raise click.UsageError("--config and --set say how images are scored; add --data, or leave them out.")
    with narrated_on_stderr() if args.json else nullcontext():
        verdicts = judged(args, chosen) if args.data else {}
    rows = measure(chosen, batch=args.batch_size, threads=args.threads, warmup=args.warmup, rounds=args.rounds)
    scored = zip(chosen, rows, strict=True)
    rows = [replace(row, **verdicts[each].to_json()) if each in verdicts else row for each, row in scored]
    best = recommended(rows)
    if args.json:
        timing = {name: getattr(args, name) for name in ("batch_size", "threads", "warmup", "rounds")}
        choice = None if best is None else {name: getattr(best, name) for name in ("model", "runtime", "precision")}
        print(json.dumps({**timing, "models": [asdict(row) for row in rows], "recommended": choice}, indent=2))
    else:
        print("\n\n".join(filter(None, [table(rows), NOTE, losses(rows), advice(rows, best)])))
    return Exit.DONE


def candidates(model: str) -> list[Candidate]:
    """Return the ways to run a model file here, those of its default runtime first.

    Raises:
        PredictorError: it is not a model file.
    """
    from panvision.inference.exported import read_exported
    from panvision.inference.predictor import check_file

    check_file(Path(model))
    if Path(model).suffix.lower() != ".onnx":
        return [Candidate(model, "pytorch", "float32")]
    _, precision = read_exported(Path(model))
    found = [Candidate(model, "onnxruntime", precision)]
    if find_spec("openvino"):
        from panvision.inference.openvino_backend import has_bfloat16

        found.append(Candidate(model, "openvino", precision))
        if precision == "float32" and has_bfloat16():
            found.append(Candidate(model, "openvino", "bfloat16"))
    return found


def measure(found: Sequence[Candidate], *, batch: int, threads: int, warmup: int, rounds: int) -> list[Row]:
    """Time candidates alternately.

    Raises:
        PredictorError: one cannot be loaded or run.
    """
    import numpy as np

    from panvision.cli.timing import alternately, make_run

    makers = {
        each.name: partial(make_run, Path(each.model), *each.asked, threads=threads, batch=batch) for each in found
    }
    timed = alternately(makers, warmup=warmup, rounds=rounds)
    rows = []
    for each in found:
        seconds, peak = timed[each.name]
        median, high = (float(value) for value in np.percentile(seconds, [50, 95]))
        rows.append(
            Row(
                **asdict(each),
                p50_ms=round(1e3 * median, 3),
                p95_ms=round(1e3 * high, 3),
                images_per_s=round(batch / median, 2),
                size_mb=round(Path(each.model).stat().st_size / 1e6, 3),
                peak_mb=None if peak is None else round(peak, 1),
            )
        )
    return rows


def judged(args: Args, found: Sequence[Candidate]) -> "dict[Candidate, Verdict]":
    """Score candidates on the test images, and return what each loses against the first one in float32.

    Raises:
        click.UsageError: none is in float32.
        IngestError, EvaluationError: as `panvision evaluate`.
    """
    from panvision.cli.packing import held_out, open_model, pack
    from panvision.export.scores import judge, measure
    from panvision.inference.predictor import Predictor

    if not (exact := [each for each in found if each.precision == "float32"]):
        raise click.UsageError("--data compares with a model in float32; name one as well.")
    reference = exact[0]
    runtime, precision = reference.asked
    known = Args(**{**vars(args), "model": reference.model, "data_root": args.data, "data_root_option": None})
    model = open_model(known, {"device": "cpu", "runtime": runtime, "precision": precision})
    verdicts: dict[Candidate, Verdict] = {}
    with tempfile.TemporaryDirectory(prefix="panvision-") as folder:
        packed = pack(model.config, model.pins, Path(folder), images="all" if args.images == "all" else "split")
        held = held_out(model.config, packed)
        expected = measure(model.predictor, held)
        for each in found:
            if each != reference:
                runtime, precision = each.asked
                other = Predictor.load(each.model, "cpu", runtime=runtime, precision=precision).with_thresholds(
                    model.predictor.score_threshold, model.predictor.nms_threshold, model.predictor.max_detections
                )
                verdicts[each] = judge(expected, measure(other, held), model.config.export.max_drop)
    return verdicts


def recommended(rows: Sequence[Row]) -> Row | None:
    """Return the fastest row that is accepted or, if it was not scored, in float32; None if there is none."""
    good = [row for row in rows if (row.precision == "float32" if row.accepted is None else row.accepted)]
    return min(good, key=lambda row: row.p50_ms, default=None)


def table(rows: Sequence[Row]) -> str:
    """Return the rows in at most 80 columns; of a long name the end is shown."""
    lines = [
        f"{'model':<21}{'runtime':<12}{'precision':<10}{'p50 ms':>8}{'p95 ms':>8}{'images/s':>9}{'MB':>6}{'peak':>6}"
    ]
    for row in rows:
        peak = "-" if row.peak_mb is None else f"{row.peak_mb:.0f}"
        speed = f"{_short(row.p50_ms):>8}{_short(row.p95_ms):>8}{_short(row.images_per_s):>9}"
        lines.append(f"{_named(row)}{speed}{row.size_mb:>6.1f}{peak:>6}")
    return "\n".join(lines)


def losses(rows: Sequence[Row]) -> str:
    """Return what each scored row loses, in points, in at most 80 columns; empty if none was scored."""
    scored = [row for row in rows if row.drop is not None]
    if not scored:
        return ""
    from panvision.export.scores import LIMITED

    keys = [each.key for _, each in LIMITED]
    lines = [f"{'loses, in points':<21}{'runtime':<12}{'precision':<10}{''.join(f'{key:>9}' for key in keys)}"]
    for row in scored:
        drop = row.drop or {}
        shown = "".join(
            f"{'-' if (lost := drop[key]) is None else f'{round(100 * lost, 2) + 0.0:.2f}':>9}" for key in keys
        )
        lines.append(f"{_named(row)}{shown}{'' if row.accepted else '*'}")
    if not all(row.accepted for row in scored):
        lines.append("* more than export.max_drop, or undefined")
    return "\n".join(lines)


def advice(rows: Sequence[Row], best: Row | None) -> str:
    """Return the recommendation, with the options that it takes."""
    doubt = any(row.accepted is None and row.precision != "float32" for row in rows)
    if best is None:
        return f"recommended: none; {DOUBT}" if doubt else "recommended: none; each loses too much"
    options = ["--runtime openvino"] if best.runtime == "openvino" else []
    options += ["--precision bfloat16"] if best.precision == "bfloat16" else []
    return "\n".join([f"recommended: {' '.join([best.model, *options])}", *([DOUBT] if doubt else [])])


def _named(row: Row) -> str:
    name = row.model if len(row.model) <= 20 else "…" + row.model[-19:]
    return f"{name:<21}{row.runtime:<12}{row.precision:<10}"


def _short(value: float) -> str:
    return f"{value:.1f}" if value < 100_000 else f"{value:.0f}"
