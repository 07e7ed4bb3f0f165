"""`panvision evaluate`: metrics of a model file on labelled images, with intervals, and gates for CI."""

import contextlib
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from panvision.cli.exits import Exit
from panvision.cli.framework import Args, command
from panvision.cli.lock import only_writer
from panvision.cli.options import (
    FILE,
    FOLDER,
    argument,
    data_root,
    engine,
    engine_of,
    html,
    images,
    json_flag,
    option,
    settings,
)
from panvision.cli.packing import open_model, score
from panvision.cli.status import narrated_on_stderr

if TYPE_CHECKING:
    from panvision.evaluation.evaluate import Evaluated

# Keys of a metrics file that are not metrics.
_NO_METRICS = ("images", "ci95", "ci95_null")


@dataclass(frozen=True)
class Gate:
    """A limit on a metric.

    Attributes:
        key: of the metric, as `miou` or `ap50.pan`; with the task before it where two tasks have it.
        limit: the value.
        least: True if smaller values do not pass, False if larger ones do not.
    """

    key: str
    limit: float
    least: bool

    @classmethod
    def parse(cls, text: str, *, least: bool) -> "Gate":
        """Parse `KEY=VALUE`.

        Raises:
            click.UsageError: it is something else.
        """
        key, _, value = text.partition("=")
        with contextlib.suppress(ValueError):
            if key and math.isfinite(float(value)):
                return cls(key, float(value), least)
        name = "--min" if least else "--max"
        raise click.UsageError(f"{name}: expected KEY=NUMBER, as miou=0.9, found {text!r}.")

    def check(self, values: Mapping[str, float | None]) -> dict[str, Any]:
        """Compare the metric; an undefined one does not pass.

        Args:
            values: all metrics by `task.key`.

        Raises:
            click.UsageError: no metric, or more than one, has the key.
        """
        found = [name for name in values if self.key in (name, name.partition(".")[2])]
        if len(found) != 1:
            known = ", ".join(found or (name.partition(".")[2] for name in values))
            problem = "several metrics have this key" if found else "no metric has this key"
            raise click.UsageError(f"{self.key}: {problem}; choose one of {known}.")
        value = values[found[0]]
        passed = value is not None and (value >= self.limit if self.least else value <= self.limit)
        return {"metric": found[0], "value": value, "min" if self.least else "max": self.limit, "passed": passed}


@command(
    about="Scores a model file on the raw images of three labelled datasets, as the pipeline's stage does: a "
    "checkpoint, an ONNX file or an INT8 one. The images are split as for the training if the configuration of the "
    "training is beside the model file; only the test split is scored.",
    examples={
        "the model of a training": "panvision evaluate checkpoints/best_model.pth data/demo",
        "every image of a folder that was not trained on": "panvision evaluate models/panvision.onnx photos "
        "--images all --html report.html",
        "in CI": "panvision evaluate models/panvision.onnx data/demo --min miou=0.9 --min map50=0.85 --max ece=0.1",
    },
    exits={Exit.GATE: "a metric does not pass its --min or --max"},
    sections={
        "arguments": [argument("model", "Model file: .pth, .pt or .onnx.", type=FILE, metavar="MODEL"), *data_root()],
        "settings": [
            images(),
            *settings("the newest JSON configuration beside the model file, if any"),
            *engine(),
        ],
        "output": [
            option("--min", "Lowest accepted value of a metric; may be repeated.", multiple=True, metavar="KEY=VALUE"),
            option("--max", "Highest accepted value of a metric; may be repeated.", multiple=True, metavar="KEY=VALUE"),
            json_flag("model, metrics, gates and passed; progress goes to standard error"),
            html(),
            option(
                "--results",
                "Keep metrics/, reports/ and the packed datasets there.",
                type=FOLDER,
                show_default="a temporary folder, which is removed",
            ),
        ],
    },
)
def run(args: Args) -> int:
    """Score and print; returns GATE if a metric does not pass."""
    from panvision.experiments.summary import metric_lines

    gates = [Gate.parse(text, least=True) for text in args.min] + [Gate.parse(text, least=False) for text in args.max]
    narration = narrated_on_stderr() if args.json else nullcontext()
    keep = nullcontext(args.results) if args.results else tempfile.TemporaryDirectory(prefix="panvision-")
    with keep as name, only_writer(Path(name), "--results"), narration:
        evaluated = _evaluate(args, gates, Path(name))
    checked = [gate.check(_flat(evaluated.metrics)) for gate in gates]
    passed = all(gate["passed"] for gate in checked)
    if args.json:
        values = {"model": args.model, "metrics": evaluated.metrics, "gates": checked, "passed": passed}
        print(json.dumps(values, indent=2, ensure_ascii=False))
    else:
        print("\n".join(["", *metric_lines(evaluated.metrics), *map(_gate_line, checked)]))
    return Exit.DONE if passed else Exit.GATE


def _evaluate(args: Args, gates: Sequence[Gate], folder: Path) -> "Evaluated":
    """Score the model, and write its files below a folder."""
    from panvision.core.files import write_text
    from panvision.evaluation.evaluate import undefined
    from panvision.report.page import RunFiles, build_report

    model = open_model(args, engine_of(args))
    for gate in gates:
        gate.check(_flat(undefined(model.predictor)))  # a wrong key ends the command before images are read
    packed, evaluated = score(args, model, folder, images=args.images, explain=bool(args.html or args.results))
    if args.html:
        files = RunFiles(packed.prepared, packed.splits, packed.problems, None, packed.metrics, folder / "reports")
        write_text(args.html, build_report(files=files, data=model.config.data, settings=model.config.report))
    return evaluated


def _flat(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    """Return every metric by `task.key`."""
    from panvision.report.inputs import leaves

    found = {}
    for task, values in metrics.items():
        own = {key: value for key, value in values.items() if key not in _NO_METRICS}
        for path, value in leaves(own, (task,)):
            if value is None or isinstance(value, (int, float)):
                found[".".join(path)] = value
    return found


def _gate_line(gate: Mapping[str, Any]) -> str:
    from panvision.experiments.tables import number

    sign, limit = ("at least", gate["min"]) if "min" in gate else ("at most", gate["max"])
    return f"{gate['metric']} {number(gate['value'])}, {sign} {limit:g}: {'passed' if gate['passed'] else 'NOT passed'}"
