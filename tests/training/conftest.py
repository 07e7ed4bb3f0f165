import pytest

from tests.training.forks import Forks


@pytest.fixture(scope="session")
def forks():
    """One process that has imported PyTorch, for all tests of a worker that train in forks of it."""
    forks = Forks()
    yield forks
    forks.close()
