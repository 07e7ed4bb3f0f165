"""Changing a key of params.yaml re-runs exactly the stages that read it.

What a stage reads was recorded while it ran (recorder/sitecustomize.py); what would re-run, DVC itself says.
"""

from pathlib import Path

import pytest
from dvc.repo import Repo

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


def changed_stages(scratch: Scratch) -> set[str]:
    """Stages that DVC would run over params.yaml; it is not asked about all other files anew for each key."""
    with Repo(str(scratch.folder)) as repo:
        deps = ((stage.name, dep) for stage in repo.index.stages for dep in stage.deps)
        return {stage for stage, dep in deps if Path(dep.fs_path).name == "params.yaml" and dep.workspace_status()}


def test_nothing_is_changed_before_a_key_is(scratch):
    with Repo(str(scratch.folder)) as repo:
        assert repo.status() == {}
    assert changed_stages(scratch) == set()


@pytest.mark.parametrize("key", KEYS)
def test_a_changed_key_reruns_exactly_its_readers(scratch, readers, key):
    path = scratch.folder / "params.yaml"
    before = path.read_text(encoding="utf-8")
    value = leaves(read_yaml(path))[key]
    try:
        path.write_text(with_values(before, {key: other_value(value)}), encoding="utf-8")
        changed = changed_stages(scratch)
    finally:
        path.write_text(before, encoding="utf-8")
    assert readers[key], f"no stage reads {key}: drop it from params.yaml, or add it to CONDITIONAL with its reason"
    assert changed == readers[key], (
        f"dvc.yaml's params must name {key} for {sorted(readers[key] - changed)}"
        f" and must not for {sorted(changed - readers[key])}"
    )


@pytest.mark.parametrize("script", sorted((ROOT / "stages").glob("*.py")), ids=lambda path: path.name)
def test_stage_scripts_read_params_only_where_the_recorder_sees_it(script):
    text = script.read_text(encoding="utf-8")
    assert not [word for word in ("load_params", "from_params", "import yaml", "dvc.api") if word in text]
