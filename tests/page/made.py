"""What several tests of the page need."""

from panvision.inference.backend import ModelInfo
from panvision.page.facts import Facts
from panvision.page.scores import Scores
from tests.tiny import INFO

# The tiny model takes the strongest colour for the state.
FROZEN, FRESH = (0, 0, 90), (0, 90, 0)


def facts_of(info: ModelInfo = INFO, **changes: object) -> Facts:
    """What is said of a model."""
    known = {"name": "m.onnx", "size": 1234, "sha256": "ab" * 32, "scores": Scores((), "No metrics found.")}
    return Facts(**{**known, "info": info, **changes})
