import pytest

from tests.report.run import Run


@pytest.fixture
def run(tmp_path) -> Run:
    """A finished run of the pipeline."""
    return Run(tmp_path)
