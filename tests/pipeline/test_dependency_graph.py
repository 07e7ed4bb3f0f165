"""dvc.yaml lists the code that each stage's script reaches.

The two training stages list exactly what they reach. The others are cheap and byte-identical, so they list whole rooms:
a file too many runs one stage again and no stage behind it.
"""

import re
from pathlib import Path

import pytest
from dvc.repo import Repo

from tests.pipeline.imports import reached_files
from tests.pipeline.scratch import ROOT

CODE = (ROOT / "src", ROOT / "stages")
LEFT_OUT = {".pyc"}


def stages() -> dict:
    with Repo(str(ROOT)) as repo:
        return {stage.name: stage for stage in repo.index.stages}


STAGES = stages()


def script(stage):
    python, path, *_ = stage.cmd.split()
    assert python == "python"
    return ROOT / path


def code_deps(stage) -> list[Path]:
    paths = [ROOT / dep.def_path for dep in stage.deps]
    return [path for path in paths if any(path.is_relative_to(folder) for folder in CODE)]


def listed_files(stage) -> set:
    """Files of ours below the stage's deps, directories expanded."""
    found = (file for path in code_deps(stage) for file in (path.rglob("*") if path.is_dir() else [path]))
    return {file for file in found if file.suffix not in LEFT_OUT and not file.is_dir()}


def names(files) -> list[str]:
    return sorted(file.relative_to(ROOT).as_posix() for file in files)


@pytest.mark.parametrize("name", STAGES)
def test_deps_hold_the_code_that_the_script_reaches(name):
    stage = STAGES[name]
    missing = names(reached_files(script(stage), ROOT / "src") - listed_files(stage))
    assert not missing, f"dvc.yaml: {name} must list what its script reaches: {missing}"


@pytest.mark.parametrize("name", STAGES)
def test_deps_hold_no_room_that_the_script_does_not_enter(name):
    reached = reached_files(script(STAGES[name]), ROOT / "src")
    unused = [path for path in code_deps(STAGES[name]) if not any(file.is_relative_to(path) for file in reached)]
    assert not unused, f"dvc.yaml: {name} lists what its script cannot reach: {names(unused)}"


@pytest.mark.parametrize("name", ["train_phase1", "train_phase2"])
def test_training_lists_no_file_that_it_does_not_reach(name):
    superfluous = names(listed_files(STAGES[name]) - reached_files(script(STAGES[name]), ROOT / "src"))
    assert not superfluous, f"dvc.yaml: {name} would train again for {superfluous}"


def test_deps_are_few_because_they_are_rooms():
    prepared_once = {stage.cmd.split()[1]: stage for name, stage in STAGES.items() if not name.startswith("train")}
    stages = [*prepared_once.values(), STAGES["train_phase1"], STAGES["train_phase2"]]
    assert sum(len(code_deps(stage)) for stage in stages) <= 70


def test_every_stage_script_belongs_to_a_stage():
    shared = ROOT / "stages/source.py"
    assert set((ROOT / "stages").glob("*.py")) == {shared, *map(script, STAGES.values())}


def test_only_training_depends_on_the_training_lock():
    lock = "requirements-train.lock"
    locked = {name for name, stage in STAGES.items() if lock in {dep.def_path for dep in stage.deps}}
    assert locked == {"train_phase1", "train_phase2"}


@pytest.mark.parametrize("name", ["train_phase1", "train_phase2"])
def test_training_lists_no_evaluation_code(name):
    assert not [file for file in listed_files(STAGES[name]) if "evaluation" in file.parts]


def test_every_stage_has_a_description_and_no_persist():
    for name, stage in STAGES.items():
        assert stage.desc, name
        assert not any(out.persist for out in stage.outs), name


def test_metrics_are_in_git_and_everything_else_is_in_the_cache():
    for stage in STAGES.values():
        for out in stage.outs:
            assert out.use_cache is not out.def_path.startswith("metrics/"), out.def_path


def test_no_stage_needs_dvc_to_run():
    for stage in STAGES.values():
        for path in reached_files(script(stage), ROOT / "src"):
            if path.suffix == ".py":
                assert not re.search(r"^\s*(import|from) dvc\b", path.read_text(encoding="utf-8"), re.MULTILINE), path
