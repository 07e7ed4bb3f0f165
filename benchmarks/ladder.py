"""Compare training settings on a dataset over seeds and splits: `python benchmarks/ladder.py DATA`.

    python benchmarks/ladder.py data/demo --rungs benchmarks/ladder.yaml --seeds 1 2 3 --splits 1 2 --jobs 2

Each rung of the file adds settings to an earlier rung. Every rung is trained with every seed and split seed, by the
stage scripts, and scored on the test split. The table has the mean of each metric over these runs, the standard
deviation over the seeds of one split, and the 95 % interval of the difference from the rung that it adds to, from
pairs of runs with the same seed and split (Student's t). It needs no attendance: finished runs are kept in `--out` and
an interrupted one resumes, so the same command continues. Do not choose settings by the test metrics of one dataset.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from scipy import stats

from panvision.core.files import write_json
from panvision.core.params import load_params, override
from panvision.core.tasks import DATASETS, TASKS

ROOT = Path(__file__).resolve().parents[1]
METRICS = {"mIoU": ("segmentation", "miou"), "mAP@0.5": ("detection", "map50"), "mAP": ("detection", "map50_95")}
METRICS |= {"accuracy": ("classification", "accuracy"), "ECE": ("classification", "ece")}
STAGES = (*(["prepare.py", dataset] for dataset in DATASETS), ["validate.py"])
TRAINING = (["train.py", "phase1"], ["train.py", "phase2"], ["evaluate.py"])
NO_PINS = "task,file,split\n"

Row = dict[str, float]


@dataclass(frozen=True)
class Rung:
    """One row of the table.

    Attributes:
        name: its name.
        parent: the rung that it adds settings to and is compared with; None for the first.
        params: all settings.
        single: train one model for each task instead of one for all.
    """

    name: str
    parent: str | None
    params: dict[str, Any]
    single: bool = False


def read_rungs(path: Path, root: Path) -> list[Rung]:
    """Read the file of rungs: `preset`, `set` for all, and `rungs` with `name`, `set`, `add_to` and `single`."""
    described = yaml.safe_load(path.read_text())
    first = override(load_params(ROOT / f"presets/{described['preset']}.yaml"), described.get("set", []))
    first["data"]["root"] = str(root.resolve())
    found: dict[str, Rung] = {}
    for each in described["rungs"]:
        parent = each.get("add_to", next(reversed(found), None))
        params = override(found[parent].params if parent else first, each.get("set", []))
        found[each["name"]] = Rung(each["name"], parent, params, bool(each.get("single", False)))
    return [*found.values()]


def train(rung: Rung, seed: int, split: int, folder: Path) -> Row | None:
    """Train and score one rung once, unless it was done before; None if a stage fails."""
    parts = {folder / task: [task] for task in TASKS} if rung.single else {folder: [*TASKS]}
    rows = [_run(run_params(rung, seed, split, tasks), own) for own, tasks in parts.items()]
    if None in rows:
        return None
    merged: Row = {"minutes": 0.0}
    for row in rows:
        merged |= {name: value for name, value in (row or {}).items() if name != "minutes"}
        merged["minutes"] += (row or {})["minutes"]
    return merged


def run_params(rung: Rung, seed: int, split: int, tasks: Sequence[str] = tuple(TASKS)) -> dict[str, Any]:
    """Return the settings of one run of a rung."""
    split_params = {**rung.params["split"], "seed": split, "pins": "pins.csv"}
    return {**rung.params, "seed": seed, "split": split_params, "tasks": list(tasks)}


def finished_row(params: dict[str, Any], folder: Path) -> Row | None:
    """Return the row of a finished run; None if there is none with these settings."""
    done = folder / "done.json"
    if not done.exists():
        return None
    kept = json.loads(done.read_text())
    return dict(kept["row"]) if kept["params"] == params else None


def _run(params: dict[str, Any], folder: Path) -> Row | None:
    if row := finished_row(params, folder):
        return row
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pins.csv").write_text(NO_PINS)
    minutes = run_stages(params, folder, (*STAGES, *TRAINING))
    if minutes is None:
        return None
    row = {"minutes": minutes, **read_scores(folder)}
    write_json(folder / "done.json", {"params": params, "row": row})
    return row


def run_stages(params: dict[str, Any], folder: Path, stages: Iterable[list[str]]) -> float | None:
    """Run stage scripts in a folder with these params; return the minutes of the training, None if a stage fails."""
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    minutes = 0.0
    with (folder / "log.txt").open("a") as log:
        for script, *arguments in stages:
            command, began = [sys.executable, str(ROOT / "stages" / script), *arguments], time.monotonic()
            if subprocess.run(command, cwd=folder, env=environment, stdout=log, stderr=log, check=False).returncode:
                print(f"{folder}: {script} failed, see log.txt", file=sys.stderr, flush=True)
                return None
            minutes += (time.monotonic() - began) / 60 if [script, *arguments] in TRAINING else 0.0
    return minutes


def read_scores(folder: Path) -> Row:
    """Return the test metrics that the evaluation in a folder wrote, without undefined ones."""
    found = {
        name: json.loads((folder / f"metrics/{task}.json").read_text()).get(key)
        for name, (task, key) in METRICS.items()
    }
    return {name: value for name, value in found.items() if value is not None}


def interval(differences: Sequence[float]) -> str:
    """Return the 95 % interval of the mean of paired differences, and a star if it does not contain 0."""
    if len(differences) < 3:
        return "few runs"
    half = stats.t.ppf(0.975, len(differences) - 1) * statistics.stdev(differences) / math.sqrt(len(differences))
    mean = statistics.fmean(differences)
    return f"{mean - half:+.3f} to {mean + half:+.3f}{' *' if abs(mean) > half else ''}"


def spread(rows: dict[tuple[int, int], Row], name: str) -> float:
    """Return the standard deviation over the seeds of one split, averaged over splits as variances."""
    variances = []
    for split in {split for split, _ in rows}:
        values = [row[name] for (own, _), row in rows.items() if own == split and name in row]
        if len(values) > 1:
            variances.append(statistics.variance(values))
    return math.sqrt(statistics.fmean(variances)) if variances else math.nan


def show(rungs: Sequence[Rung], rows: dict[str, dict[tuple[int, int], Row]]) -> None:
    """Print the table in Markdown."""
    print(f"| rung | runs | {' | '.join(f'{name}, difference' for name in METRICS)} | minutes |")
    print(f"|{'---|' * (len(METRICS) + 3)}")
    for rung in rungs:
        own, before = rows[rung.name], rows.get(rung.parent or "", {})
        cells = [rung.name, str(len(own))]
        for name in METRICS:
            values = [row[name] for row in own.values() if name in row]
            shared = [key for key in own if name in own[key] and name in before.get(key, {})]
            pairs = [own[key][name] - before[key][name] for key in shared]
            shown = f"{statistics.fmean(values):.3f} ± {spread(own, name):.3f}" if values else ""
            cells.append(f"{shown}, {interval(pairs)}" if rung.parent and values else shown)
        minutes = [row["minutes"] for row in own.values()]
        print(f"| {' | '.join(cells)} | {statistics.fmean(minutes) if minutes else math.nan:.1f} |")


def main() -> None:
    """Train what is not done yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the three raw datasets")
    parser.add_argument("--rungs", type=Path, default=ROOT / "benchmarks/ladder.yaml")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--splits", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at the same time, one thread each")
    parser.add_argument("--out", type=Path, default=ROOT / "build/ladder")
    args = parser.parse_args()
    rungs = read_rungs(args.rungs, args.data)
    rows: dict[str, dict[tuple[int, int], Row]] = {rung.name: {} for rung in rungs}
    with ThreadPoolExecutor(args.jobs) as pool:
        futures = {
            (rung.name, split, seed): pool.submit(
                train, rung, seed, split, args.out / args.data.name / rung.name / f"split{split}-seed{seed}"
            )
            for seed in args.seeds
            for split in args.splits
            for rung in rungs
        }
        for (name, split, seed), future in futures.items():
            if row := future.result():
                rows[name][split, seed] = row
                print(f"{name}, split {split}, seed {seed}: {row}", file=sys.stderr, flush=True)
    show(rungs, rows)


if __name__ == "__main__":
    main()
