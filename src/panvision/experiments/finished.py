"""What `dvc exp show --json` says of finished experiments: the one reader of it."""

from collections.abc import Iterator, Mapping
from typing import Any


def finished(commit: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and data (params, metrics, deps, outs, timestamp) of each finished experiment of a commit.

    Queued, running and failed ones are left out: DVC shows the figures of the run before them as theirs.

    Args:
        commit: one entry of what DVC 3 prints.

    Raises:
        KeyError, IndexError, TypeError, AttributeError: it is something else.
    """
    for experiment in commit["experiments"] or ():
        newest = experiment["revs"][0]
        state = (experiment["executor"] or {}).get("state", "success")
        if state == "success" and not newest.get("error"):
            yield experiment.get("name") or newest.get("rev", "")[:7], newest["data"]
