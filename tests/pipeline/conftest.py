import pytest

from tests.pipeline.scratch import Scratch


@pytest.fixture(scope="session")
def scratch(tmp_path_factory) -> Scratch:
    """A scratch repository in which the whole pipeline ran once and its lock and metrics are committed."""
    scratch = Scratch.create(tmp_path_factory.mktemp("scratch"))
    scratch.dvc("repro")
    scratch.commit("the pipeline's first run")
    return scratch
