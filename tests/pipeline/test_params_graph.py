"""Changing a key of params.yaml re-runs exactly the stages that read it.

What a stage reads was recorded while it ran (recorder/sitecustomize.py); what would re-run, DVC itself says.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dvc.dependency import ParamsDependency
from dvc.repo import Repo
from dvc.utils.serialize import load_path

from tests.pipeline.scratch import ROOT, Scratch, leaves, read_yaml, with_values

pytestmark = [pytest.mark.pipeline, pytest.mark.xdist_group("pipeline")]

KEYS = leaves(read_yaml(ROOT / "params.yaml"))
# Keys that a stage reads only where another key says so, which the tiny settings do not: key → that other key.
CONDITIONAL = {
    "split.fold": "split.folds",
    "tracking.wandb.project": "tracking.wandb.enabled",
    "tracking.wandb.entity": "tracking.wandb.enabled",
}


@pytest.fixture(scope="module")
def readers(scratch: Scratch) -> dict[str, set[str]]:
    """Key → stages that read it. A matrix declares its keys once, so what one of its stages reads counts for all."""
    with Repo(str(scratch.folder)) as repo:
        commands = {stage.name: stage.cmd for stage in repo.index.stages}
    read: dict[str, set[str]] = {key: set() for key in KEYS}
    for stage, command in commands.items():
        recorded = scratch.recorded(command, "params")
        for key in recorded | {key for key, condition in CONDITIONAL.items() if condition in recorded}:
            read[key] |= {other for other in commands if other.split("@")[0] == stage.split("@")[0]}
    return read


def other_value(value):
    """A different value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, list):
        return [*value, 64]
    return {str: lambda: value + "x", int: lambda: value + 1, float: lambda: value + 0.5}.get(type(value), lambda: 1)()


@pytest.fixture(scope="module")
def deps(scratch: Scratch) -> Iterator[list[tuple[str, ParamsDependency]]]:
    """Each stage and what it depends on of params.yaml, as dvc.yaml and dvc.lock say.

    DVC reads these two once: for the keys, none of which changes them, it would take most of a second each. Nor does it
    read the same params.yaml again for each stage.
    """
    read: dict[str, Any] = {}

    def load_once(path: str, *args: Any, **named: Any) -> Any:
        text = Path(path).read_text(encoding="utf-8")
        if text not in read:
            read.clear()
            read[text] = load_path(path, *args, **named)
        return read[text]

    with pytest.MonkeyPatch.context() as patch, Repo(str(scratch.folder)) as repo:
        patch.setattr("dvc.dependency.param.load_path", load_once)
        deps = ((stage.name, dep) for stage in repo.index.stages for dep in stage.deps)
        yield [(stage, dep) for stage, dep in deps if isinstance(dep, ParamsDependency)]


@pytest.fixture(scope="module")
def values(scratch: Scratch) -> dict[str, Any]:
    """Key → its value in the scratch repository."""
    return leaves(read_yaml(scratch.folder / "params.yaml"))


def changed_stages(deps: list[tuple[str, ParamsDependency]]) -> set[str]:
    """Stages that DVC would run over params.yaml, which it reads again; it is not asked about all other files."""
    return {stage for stage, dep in deps if dep.workspace_status()}


def test_nothing_is_changed_before_a_key_is(scratch, deps):
    with Repo(str(scratch.folder)) as repo:
        assert repo.status() == {}
    assert changed_stages(deps) == set()


@pytest.mark.parametrize("key", KEYS)
def test_a_changed_key_reruns_exactly_its_readers(scratch, readers, deps, values, key):
    path = scratch.folder / "params.yaml"
    before = path.read_text(encoding="utf-8")
    try:
        path.write_text(with_values(before, {key: other_value(values[key])}), encoding="utf-8")
        changed = changed_stages(deps)
    finally:
        path.write_text(before, encoding="utf-8")
    assert readers[key], f"no stage reads {key}: drop it from params.yaml, or add it to CONDITIONAL with its reason"
    assert changed == readers[key], (
        f"dvc.yaml's params must name {key} for {sorted(readers[key] - changed)}"
        f" and must not for {sorted(changed - readers[key])}"
    )


@pytest.mark.parametrize("script", sorted((ROOT / "stages").glob("*.py")), ids=lambda path: path.name)
def test_stage_scripts_read_params_through_the_recorder(script):
    text = script.read_text(encoding="utf-8")
    assert not [word for word in ("load_params", "from_params", "import yaml", "dvc.api") if word in text]
