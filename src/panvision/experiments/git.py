"""Calls of git."""

import subprocess
from pathlib import Path


def git(folder: Path, *arguments: str, failure: type[Exception], remedy: str, given: str = "") -> str:
    """Run git in a folder.

    Args:
        folder: in the repository.
        arguments: of git.
        failure: the error to raise.
        remedy: what the user does if git fails.
        given: standard input.

    Returns:
        Standard output, without white space at both ends.

    Raises:
        failure: git fails or is not installed.
    """
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, input=given, capture_output=True, text=True, encoding="utf-8", check=False)
    except FileNotFoundError as error:
        raise failure("git is not installed; install it") from error
    if done.returncode:
        reason = " ".join(done.stderr.split())
        raise failure(f"`git {' '.join(arguments)}` failed: {reason} (in {folder}); {remedy}")
    return done.stdout.strip()


def commit_of(folder: Path, rev: str) -> str:
    """Return the commit of a git revision; another name, such as a DVC experiment's, is returned as it is.

    DVC itself takes HEAD for the commit of an interrupted experiment until the next one has finished.
    """
    try:
        return git(folder, "rev-parse", "--verify", f"{rev}^{{commit}}", failure=LookupError, remedy="")
    except LookupError:
        return rev
