"""The stages of a dvc.yaml and what follows from them, from the file alone: the oracle of the site."""

import functools
import re
from pathlib import Path

from panvision.core.params import load_params
from tests.pipeline.scratch import leaves, read_yaml


@functools.cache
def read(root: Path) -> tuple[dict, dict]:
    """Return the stages of dvc.yaml, and the keys of params.yaml with their values."""
    return read_yaml(root / "dvc.yaml")["stages"], leaves(load_params(root / "params.yaml"))


def reruns(root: Path, key: str) -> tuple[set[str], set[str]]:
    """Return the stages that read a key of params.yaml, and the stages after them that do not read it."""
    stages, values = read(root)
    readers = {
        name for name, stage in stages.items() if any(f"{key}.".startswith(f"{named}.") for named in stage["params"])
    }
    reached, before = set(readers), set()
    while reached != before:
        before = set(reached)
        made = [path for name in before for path in paths(stages[name], "outs", values)]
        for name, stage in stages.items():
            needed = paths(stage, "deps", values)
            if any(within(need, out) or within(out, need) for need in needed for out in made):
                reached.add(name)
    return readers, reached - readers


def paths(stage: dict, kind: str, values: dict) -> list[str]:
    """Return deps or outs of a stage; of a matrix, `${item.task}` is any."""
    listed = [next(iter(entry)) if isinstance(entry, dict) else str(entry) for entry in stage[kind]]
    filled = [re.sub(r"\$\{(.*?)\}", lambda name: str(values.get(name[1], "*")), path) for path in listed]
    return [path.removesuffix("/*") for path in filled]


def within(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder}/")
