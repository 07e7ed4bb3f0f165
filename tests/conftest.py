"""Two tiers of tests: `make quick` leaves out those marked `process` and `slow`, and draws fewer examples.

`process` is found here: a test whose code, or the code of its helpers and fixtures in the tests, names what starts one.
Where only the tested code starts a process, the quick tier fails the test until it has the mark.
"""

import functools
import gc
import inspect
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from panvision.cli.main import main
from panvision.scenes.demo import write_demo_sets
from panvision.scenes.settings import SceneSettings, SetSizes
from tests.cli.small import SMALL

TESTS = Path(__file__).parent
# Names in the code of a test that starts a process, DVC or a browser.
STARTERS = frozenset(
    {"subprocess", "Popen", "multiprocessing", "fork", "playwright", "sync_playwright", "dvc", "forks"}
)
# Folders and files below tests/ whose tests all start processes, or take many seconds together.
PROCESS = (
    "pipeline",
    "page/test_browser.py",
    "report/test_browser.py",
    # Their processes are forks of one that the first test starts.
    "training/test_interrupted.py",
    "training/test_ranks.py",
)
SLOW = (
    "benchmarks",
    "fuzz",
    "toy",
    "export",
    "cli/test_evaluate.py",
    "cli/test_export.py",
    "cli/test_promote.py",
    "cli/test_train.py",
    "docs/test_commands.py",
    "evaluation/test_intervals.py",
    "model/backbones",
    "model/test_weights.py",
    "scenes/test_demo.py",
    "training/test_by_heart.py",
    "training/test_phases.py",
    "validate/copies/test_search.py",
)
STARTS = ("subprocess.Popen", "os.fork", "os.posix_spawn")
EXAMPLES = 8

hypothesis.settings.register_profile("quick", max_examples=EXAMPLES, deadline=None, database=None)
_started: list[str] = []


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import what the quick tier leaves out by its path."""
    path = collection_path.relative_to(TESTS).as_posix()
    return True if _is_quick(config) and path.startswith((*PROCESS, *SLOW)) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests by path and by what their code names; cap their examples in the quick tier."""
    for item in items:
        path = item.path.relative_to(TESTS).as_posix()
        if path.startswith(PROCESS) or (isinstance(item, pytest.Function) and _names_starter(item)):
            item.add_marker("process")
        if path.startswith(SLOW):
            item.add_marker("slow")
        if _is_quick(config) and hasattr(getattr(item, "obj", None), "hypothesis"):
            # Its public function refuses a test that has its own settings.
            test = item.obj
            own = test._hypothesis_internal_use_settings
            few = hypothesis.settings(own, max_examples=min(EXAMPLES, own.max_examples), deadline=None)
            getattr(test, "__func__", test)._hypothesis_internal_use_settings = few


def pytest_collection_finish() -> None:
    """Freeze the objects that imports and collection made: garbage collection then skips them."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Schedule the tests of an `xdist_group` on one worker, which makes the group's fixtures once.

    A file is in the group that its text names. pytest-xdist 3.8 passes the groups on by an attribute of the tests that
    pytest 9.2 no longer reads, so that with them every worker makes every fixture.
    """
    from xdist.scheduler import LoadGroupScheduling

    class ByFile(LoadGroupScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(config.rootpath / nodeid.partition("::")[0]) or nodeid

    return ByFile(config, log) if config.getvalue("dist") == "loadgroup" else None


def pytest_configure(config: pytest.Config) -> None:
    """Watch for processes in the quick tier."""
    if _is_quick(config):
        sys.addaudithook(lambda event, _: _started.append(event) if event in STARTS else None)


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three raw datasets of ten images each."""
    root = tmp_path_factory.mktemp("raw") / "demo"
    sizes = SetSizes(segmentation=10, detection=10, classification=10)
    write_demo_sets(root, SceneSettings(width=96, height=96, images=sizes, units=2))
    return root


@pytest.fixture(scope="session")
def trained(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `panvision train` filled from `raw`."""
    folder = tmp_path_factory.mktemp("trained") / "checkpoints"
    settings = [word for setting in SMALL for word in ("--set", setting)]
    assert main(["train", str(raw), "--checkpoint_dir", str(folder), *settings]) == 0
    return folder


@pytest.fixture(autouse=True)
def _no_process(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test of the quick tier that starts a process."""
    _started.clear()
    yield
    if _is_quick(request.config):
        assert not _started, "mark it with `pytest.mark.process`: it starts a process"


@functools.cache
def _group(path: Path) -> str | None:
    """Return the `xdist_group` that a test file names."""
    found = re.search(r'xdist_group\("(\w+)"\)', path.read_text(encoding="utf-8"))
    return found and found[1]


def _is_quick(config: pytest.Config) -> bool:
    return config.getoption("--hypothesis-profile", default=None) == "quick"


def _names_starter(item: pytest.Function) -> bool:
    """Return True if the code of a test, or of its helpers or fixtures in the tests, names a starter."""
    fixtures = [each.func for each in item._fixtureinfo.name2fixturedefs.values() for each in each]
    ahead = [item.function, *fixtures]
    known: set[int] = set()
    while ahead:
        function = ahead.pop()
        inner = inspect.unwrap(getattr(getattr(function, "hypothesis", None), "inner_test", function))
        code = getattr(inner, "__code__", None)
        if code is None or id(code) in known or not code.co_filename.startswith(str(TESTS)):
            continue
        known.add(id(code))
        names = _names(code)
        if names & STARTERS:
            return True
        ahead += [value for name in names if callable(value := inner.__globals__.get(name))]
    return False


def _names(code: types.CodeType) -> set[str]:
    """Return the names in a function's code and in the functions inside it."""
    inner = (each for each in code.co_consts if isinstance(each, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))
