"""Which model is speaking."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from panvision.inference.backend import ModelInfo
from panvision.page.scores import Scores, find_scores


@dataclass(frozen=True)
class Facts:
    """What the page says of its model.

    Attributes:
        name: the file's, without its folder.
        size: bytes.
        sha256: of the file, 64 hex digits.
        info: what the file says about itself.
        scores: what is known of its quality.
    """

    name: str
    size: int
    sha256: str
    info: ModelInfo
    scores: Scores


def read_facts(path: str | Path, info: ModelInfo, metrics: str | Path | None = None) -> Facts:
    """The facts of a model file; `metrics` as for `find_scores`."""
    path = Path(path)
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Facts(path.name, path.stat().st_size, digest, info, find_scores(path, info.tasks, metrics))
