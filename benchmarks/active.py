"""Simulate rounds of labelling: `python benchmarks/active.py DATA`, or `--stream` for rendered frames.

    python benchmarks/active.py --stream --seeds 1 2 3 4 5 --jobs 2
    python benchmarks/active.py data/demo --strategies select random head

The first model learns from a random tenth of the training images. Then a strategy chooses further images until 20, 35
and 60 % are labelled, each time with the model trained before:

- `select`: the ranking of `panvision select --labelled`; if only near-duplicates are left, it selects once more;
- `uncertainty`: its doubt alone, without distances and near-duplicates;
- `head`: `select` by the doubt of the head whose labels are added, for datasets with a pool of images each;
- `random`: by chance.

Validation and test split are the same for all. Every dataset of DATA is a separate pool. The frames of `--stream`
(`benchmarks/bursts.py`) have all labels and are one pool. `mean` is that of the four metrics. Differences are from
`random` with the same seed and number of labels, with 95 % intervals over seeds (Student's t). The last lines say with
what fraction of the labels a strategy reaches what `random` reaches with the most; the interval has the fractions where
the difference from it is not significant. There is one split, so intervals do not cover other test images. Models are
not exported, but have the thresholds, the temperature and the limits of known images that export would give them.
Finished trainings are kept in `--out`; the same command resumes.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from bursts import write_stream
from ladder import NO_PINS, ROOT, STAGES, TRAINING, Row, interval, read_scores, run_stages
from scipy import stats

from panvision.core.files import write_json
from panvision.core.params import load_params, override
from panvision.core.tasks import DATASETS
from panvision.dataset.packed import ARRAYS, read_index, read_table
from panvision.dataset.tables import write_table
from panvision.export.answers import answerable_images, fit_distance, fit_limits
from panvision.inference.predictor import Predictor
from panvision.labelling.answers import Panel
from panvision.labelling.prelabel import Photo
from panvision.labelling.select import Scan, rank, scan
from panvision.labelling.uncertainty import PARTS
from panvision.model.checkpoint import load_checkpoint, save_checkpoint
from panvision.photos.pixels import read_picture

FRACTIONS = (0.1, 0.2, 0.35, 0.6)
STRATEGIES = ("select", "random", "uncertainty", "head")
METRICS = ("mIoU", "mAP@0.5", "mAP", "accuracy", "mean")
SETTINGS = ["train.epoch_steps=50", "train.phase1.epochs=1", "train.phase2.epochs=3"]

Item = tuple[str, str]  # dataset and file
Pool = dict[str, tuple[Item, ...]]  # name of an image → where it is; labelled all together
Labelled = dict[str, list[str]]  # pool → names
Rng = np.random.Generator


def read_pools(splits: Path, *, joint: bool) -> dict[str, Pool]:
    """Return the training images: a pool for each dataset, or if `joint` one for all, by file name."""
    table = read_table(splits, ("task", "file", "split"))
    found: dict[str, dict[str, list[Item]]] = {}
    for task, file in table.loc[table["split"] == "train", ["task", "file"]].itertuples(index=False):
        pool, name = ("frames", PurePosixPath(file).stem) if joint else (task, file)
        found.setdefault(pool, {}).setdefault(name, []).append((task, file))
    return {pool: {name: tuple(found[pool][name]) for name in sorted(found[pool])} for pool in sorted(found)}


def draw(pools: Mapping[str, Pool], fraction: float, seed: int) -> Labelled:
    """Draw a fraction of each pool."""
    rng = np.random.default_rng([seed, 0])
    return {name: rng.permutation(list(pool))[: target(pool, fraction)].tolist() for name, pool in pools.items()}


def target(pool: Pool, fraction: float) -> int:
    """Return the number of labelled images in a pool."""
    return max(1, round(fraction * len(pool)))


def restrict(base: Path, folder: Path, kept: Collection[Item]) -> None:
    """Copy packed datasets and splits without the training images that have no labels yet."""
    splits = read_table(base / "build/splits.csv")
    items = zip(splits["task"], splits["file"], strict=True)
    stays = (splits["split"] != "train") | np.array([item in kept for item in items])
    shutil.rmtree(folder / "build", ignore_errors=True)
    for dataset in DATASETS:
        source, into = base / "build/prepared" / dataset, folder / "build/prepared" / dataset
        into.mkdir(parents=True)
        index = read_index(source, dataset)
        rows = np.flatnonzero(index["file"].isin(splits.loc[stays & (splits["task"] == dataset), "file"]))
        index.iloc[rows].to_csv(into / "index.csv", index=False)
        for path in source.iterdir():
            if path.name in ARRAYS.values():
                np.save(into / path.name, np.load(path, mmap_mode="r")[rows])
            elif path.name == "boxes.csv":
                boxes = read_table(path, None, {"row": np.int64})
                boxes = boxes[boxes["row"].isin(rows)]
                boxes.assign(row=np.searchsorted(rows, boxes["row"])).to_csv(into / path.name, index=False)
            elif path.name != "index.csv":
                (into / path.name).symlink_to(path.resolve())
    splits[stays].to_csv(folder / "build/splits.csv", index=False)


def choose(strategy: str, pool: str, found: Scan, labelled: Sequence[str], count: int) -> list[str]:
    """Choose the next images of a pool with the doubts and distances of a scan of all its images."""
    known, chosen = set(labelled), []
    if strategy == "head":
        own = np.array([part == pool for part in PARTS])
        found = replace(found, values=np.where(own, found.values, np.nan).astype(np.float16))
    while len(chosen) < count:
        rest = subset(found, lambda name: name not in known)
        rows = rank(rest, count - len(chosen), subset(found, known.__contains__)) if strategy != "uncertainty" else []
        # By doubt alone also where all that is left has the pixels of labelled images, which `rank` leaves out.
        doubtful = [rest.names[row] for row in np.argsort(-rest.doubt(), kind="stable")]
        chosen += [row.name for row in rows] or doubtful[: count - len(chosen)]
        known.update(chosen)
    return chosen


def subset(found: Scan, has: Callable[[str], bool]) -> Scan:
    """Return the part of a scan with some names."""
    rows = [row for row, name in enumerate(found.names) if has(name)]
    return Scan([found.names[row] for row in rows], found.values[rows], found.vectors[rows])


@dataclass(frozen=True)
class Simulation:
    """Settings of the trainings, the folder of all results (`base` in it has the prepared data), and the images."""

    params: dict[str, Any]
    out: Path
    pools: dict[str, Pool]

    def run(self, seed: int, strategy: str, fractions: Sequence[float] = FRACTIONS) -> list[Row]:
        """Train with each fraction and choose the next images; return a row for each training."""
        labelled, rows = draw(self.pools, fractions[0], seed), []
        folder = self.out / f"seed{seed}/first"
        for fraction in fractions:
            if fraction != fractions[0]:
                labelled = self.grow(strategy, labelled, fraction, np.random.default_rng([seed, len(rows)]), folder)
                folder = self.out / f"seed{seed}/{strategy}/{round(100 * fraction)}"
            rows.append(self.train(folder, seed, labelled))
            print(f"{folder}: {rows[-1]}", file=sys.stderr, flush=True)
        return rows

    def train(self, folder: Path, seed: int, labelled: Labelled) -> Row:
        """Train and score a model once, unless it was done before."""
        params, done = {**self.params, "seed": seed}, folder / "done.json"
        made = {"params": params, "labelled": labelled}
        kept = json.loads(done.read_text()) if done.exists() else {}
        if kept | made == kept:
            return dict(kept["row"])
        folder.mkdir(parents=True, exist_ok=True)
        restrict(self.out / "base", folder, self.items(labelled))
        minutes = run_stages(params, folder, TRAINING)
        if minutes is None:
            raise SystemExit(f"{folder}: a stage failed, see log.txt")
        for name in ("build", "reports"):
            shutil.rmtree(folder / name, ignore_errors=True)
        scores = read_scores(folder)
        row = {"labels": float(sum(map(len, labelled.values()))), "minutes": minutes, **scores}
        row["mean"] = statistics.fmean(scores[name] for name in METRICS if name in scores)
        write_json(done, {**made, "row": row})
        return row

    def grow(self, strategy: str, labelled: Labelled, fraction: float, rng: Rng, folder: Path) -> Labelled:
        """Add images to each pool up to a fraction, by the model in a folder."""
        grown = {}
        panel = None if strategy == "random" else self.load_panel(folder)
        for name, pool in self.pools.items():
            count = target(pool, fraction) - len(labelled[name])
            if panel is None:
                new = rng.permutation([each for each in pool if each not in labelled[name]])[:count].tolist()
            else:
                photos = read_photos(Path(self.params["data"]["root"]), pool)
                found = scan(photos, panel)
                found = replace(found, vectors=found.vectors[:])
                new = choose(strategy, name, found, labelled[name], count)
            grown[name] = labelled[name] + new
        return grown

    def load_panel(self, folder: Path) -> Panel:
        """Load the model that was trained in a folder as export ships it, in float32.

        It has the box thresholds of the validation split, and the distance from the training images with its limit.
        """
        labelled = json.loads((folder / "done.json").read_text())["labelled"]
        model, metadata = load_checkpoint(folder / "models/best_model.pth")
        with tempfile.TemporaryDirectory() as name:
            scratch, path = Path(name), Path(name) / "panvision.pth"
            restrict(self.out / "base", scratch, self.items(labelled))
            good = answerable_images(scratch / "build/prepared", scratch / "build/splits.csv")
            if good is not None:
                model.distance = fit_distance(model, good.images, good.labels)
                limits = fit_limits(path, model, metadata, good, self.params["export"]["rejected"])
                metadata = {**metadata, "answers": limits._asdict()}
            save_checkpoint(path, model, meta=metadata)
            predictor = Predictor.load(path)
        thresholds = json.loads((folder / "metrics/detection.json").read_text())["threshold"] or {}
        found = {name: value for name, value in thresholds.items() if value is not None}
        return Panel([predictor.with_thresholds(found or None)])

    def items(self, labelled: Labelled) -> set[Item]:
        """Return the images with labels in all datasets."""
        return {item for pool, names in labelled.items() for name in names for item in self.pools[pool][name]}


def read_photos(root: Path, pool: Pool) -> Iterator[Photo]:
    """Read the images of a pool one at a time."""
    for name, items in pool.items():
        yield Photo(name, b"", read_picture(root.joinpath(*items[0])).rgb)


def needed(curves: Sequence[Sequence[float]], goals: Sequence[float]) -> list[float | None]:
    """Return the fraction at which a strategy reaches its goal, and the ends of its interval; None if it does not.

    Args:
        curves: the metric of each seed at `FRACTIONS`; linear between them.
        goals: what each seed must reach.
    """
    grid = np.round(np.arange(FRACTIONS[0], FRACTIONS[-1] + 5e-4, 1e-3), 3)
    above = np.array([np.interp(grid, FRACTIONS, curve) - goal for curve, goal in zip(curves, goals, strict=True)])
    mean, half = above.mean(axis=0), np.full(len(grid), np.inf)
    if len(above) > 2:
        half = stats.t.ppf(0.975, len(above) - 1) * above.std(axis=0, ddof=1) / np.sqrt(len(above))
    reached = (mean >= 0, mean + half >= 0, mean - half >= 0)
    return [float(grid[each.argmax()]) if each.any() else None for each in reached]


def show(rows: Mapping[str, Sequence[Sequence[Row]]]) -> Iterator[str]:
    """Yield the lines of the table in Markdown, and the answers; `rows`: strategy → seed → fraction."""
    yield f"| labels | strategy | runs | {' | '.join(METRICS)} |"
    yield f"|{'---|' * (len(METRICS) + 3)}"
    for number, fraction in enumerate(FRACTIONS):
        for strategy, seeds in rows.items() if number else [("all", next(iter(rows.values())))]:
            cells = [f"{fraction:.0%}", strategy, str(len(seeds))]
            for name in METRICS:
                values = [row[number].get(name, np.nan) for row in seeds]
                cell = f"{statistics.fmean(values):.3f}"
                if number and strategy != "random" and "random" in rows:
                    pairs = zip(values, rows["random"], strict=True)
                    cell += f", {interval([value - other[number].get(name, np.nan) for value, other in pairs])}"
                cells.append(cell)
            yield f"| {' | '.join(cells)} |"
    for strategy in rows if "random" in rows else ():
        if strategy != "random":
            curves = [[row["mean"] for row in seed] for seed in rows[strategy]]
            found = needed(curves, [row[-1]["mean"] for row in rows["random"]])
            best, low, high = (f"more than {FRACTIONS[-1]:.0%}" if each is None else f"{each:.0%}" for each in found)
            aim = f"for what random reaches with {FRACTIONS[-1]:.0%}"
            yield f"{strategy} needs {best} of the labels ({low} to {high}) {aim}"


def prepare(root: Path, out: Path, params: dict[str, Any]) -> None:
    """Prepare, validate and split the datasets once; pins are read from `pins.csv` in their folder, if it has one."""
    base, pins = out / "base", root / "pins.csv"
    wanted = {name: params[name] for name in ("data", "split", "tasks", "classification")}
    if (base / "done.json").exists() and json.loads((base / "done.json").read_text()) == wanted:
        return
    base.mkdir(parents=True, exist_ok=True)
    (base / "pins.csv").write_text(pins.read_text() if pins.exists() else NO_PINS)
    if run_stages(params, base, STAGES) is None:
        raise SystemExit(f"{base}: a stage failed, see log.txt")
    write_json(base / "done.json", wanted)


def write_rows(path: Path, rows: Mapping[str, Iterable[Sequence[Row]]], seeds: Sequence[int]) -> None:
    """Write a line for each training of each strategy."""
    columns = ("labels", "minutes", *METRICS)
    table = [
        [strategy, seed, fraction, *map(row.get, columns)]
        for strategy, curves in rows.items()
        for seed, curve in zip(seeds, curves, strict=True)
        for fraction, row in zip(FRACTIONS, curve, strict=True)
    ]
    write_table(path, ("strategy", "seed", "fraction", *columns), table)


def main() -> None:
    """Train what is not done yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="folder of the three raw datasets")
    parser.add_argument("--stream", action="store_true", help="render frames instead")
    parser.add_argument("--frames", type=int, default=600, help="training images of --stream")
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=STRATEGIES[:3])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--preset", default="laptop")
    parser.add_argument("--set", nargs="+", default=[], help=f"settings, in addition to {' '.join(SETTINGS)}")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at the same time, one thread each")
    parser.add_argument("--out", type=Path, default=ROOT / "build/active")
    args = parser.parse_args()
    if args.stream == (args.data is not None) or (args.stream and "head" in args.strategies):
        parser.error("name DATA or --stream; the strategy `head` needs DATA")
    torch.set_num_threads(1)
    out = (args.out / (f"stream{args.frames}" if args.stream else args.data.name)).resolve()
    root = write_stream(out / "data", args.frames) if args.stream else args.data.resolve()
    params = override(load_params(ROOT / f"presets/{args.preset}.yaml"), [*SETTINGS, *args.set])
    params["data"]["root"], params["split"]["pins"] = str(root), "pins.csv"
    prepare(root, out, params)
    simulation = Simulation(params, out, read_pools(out / "base/build/splits.csv", joint=args.stream))
    with ThreadPoolExecutor(args.jobs) as pool:
        # The first model of a seed is the same for all strategies.
        list(pool.map(lambda seed: simulation.run(seed, "random", FRACTIONS[:1]), args.seeds))
        futures = {name: [pool.submit(simulation.run, seed, name) for seed in args.seeds] for name in args.strategies}
        rows = {name: [future.result() for future in own] for name, own in futures.items()}
    write_rows(out / "rows.csv", rows, args.seeds)
    print("\n".join(show(rows)))


if __name__ == "__main__":
    main()
