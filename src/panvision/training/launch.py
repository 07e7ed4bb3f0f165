"""Starts a training on several devices of this machine: one process for each, the ranks, and rank 0 in charge.

The processes get the environment that torchrun would give them; with torchrun itself this module has nothing to do.
It imports no torch: what starts the ranks only waits for them.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

from panvision.core.cores import count_cores
from panvision.training.stopping import EXIT_INTERRUPTED, taken_signals

# Names the file through which the ranks of one machine find each other.
STORE = "PANVISION_RANKS"
# The process that started them, whose end they notice.
LAUNCHER = "PANVISION_LAUNCHER"
# How a rank leaves that lost another one: it has nothing to tell, whoever caused it has.
EXIT_LOST = 76
# Seconds that ranks have to leave by themselves after one of them failed, and between two looks at them.
GRACE, PERIOD = 10.0, 0.05


def is_rank(environment: Mapping[str, str]) -> bool:
    """Whether this process was started as one of several that train together."""
    return {"RANK", "WORLD_SIZE"} <= environment.keys() and bool({"MASTER_ADDR", STORE} & environment.keys())


def launch(command: Sequence[str], devices: int) -> int:
    """Run a command once per device and wait for all of them; what they print is rank 0's.

    SIGTERM and SIGINT are handed on. If a rank fails, the others are ended.

    Args:
        command: program and arguments, the same for each rank.
        devices: how many.

    Returns:
        0, 75 where the training was stopped by a signal, 1 after an error that a rank or this function has told, or
        128 and the signal's number where a signal came before the training could save anything.
    """
    ranks: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(prefix="panvision-") as folder, _handing_on(ranks) as received:
        try:
            for rank in range(devices):
                environment = _environment(rank, devices, Path(folder) / "ranks")
                ranks.append(subprocess.Popen(command, env=environment))
            if received:  # while the ranks were started
                _send(ranks, signal.SIGTERM)
            failed = _wait(ranks)
        finally:
            _send(ranks, signal.SIGKILL)
            for process in ranks:
                process.wait()
    return _outcome(ranks, failed, received)


def _environment(rank: int, devices: int, store: Path) -> dict[str, str]:
    """The variables of one rank."""
    own = {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(devices),
        "LOCAL_WORLD_SIZE": str(devices),
        STORE: str(store),
        LAUNCHER: str(os.getpid()),
    }
    # On CPUs the ranks share the cores.
    shared = {"OMP_NUM_THREADS": str(max(1, count_cores() // devices))}
    # They talk within this machine; the way by its name works only where that can be resolved.
    loopback = {name for _, name in socket.if_nameindex()} & {"lo", "lo0"}
    if loopback:
        shared["GLOO_SOCKET_IFNAME"] = min(loopback)
    return {**shared, **os.environ, **own}


@contextlib.contextmanager
def _handing_on(ranks: Sequence[subprocess.Popen[bytes]]) -> Iterator[list[int]]:
    """Inside, signals to stop are handed on to the ranks → those that came.

    As SIGTERM, whatever it was: a terminal sends SIGINT to the ranks as well, and a second one would end them at once.
    """
    received: list[int] = []

    def hand_on(number: int, frame: FrameType | None) -> None:
        received.append(number)
        _send(ranks, signal.SIGTERM)

    before = {number: signal.signal(number, hand_on) for number in taken_signals()}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _send(ranks: Sequence[subprocess.Popen[bytes]], number: int) -> None:
    for process in ranks:
        process.send_signal(number)  # nothing happens where it has ended


def _wait(ranks: Sequence[subprocess.Popen[bytes]]) -> list[int]:
    """Wait until all have ended, or for some seconds after the first failure → the ranks that failed of themselves."""
    end = None
    while None in (codes := [process.poll() for process in ranks]):
        if end is None and not {None, 0, EXIT_INTERRUPTED}.issuperset(codes):
            end = time.monotonic() + GRACE
        if end is not None and time.monotonic() > end:
            break
        time.sleep(PERIOD)
    return [rank for rank, code in enumerate(codes) if code not in (None, 0, EXIT_INTERRUPTED, EXIT_LOST)]


def _outcome(ranks: Sequence[subprocess.Popen[bytes]], failed: Sequence[int], received: Sequence[int]) -> int:
    """The exit code of all; an end by a signal, of which a rank cannot tell, is told here."""
    codes = [process.returncode for process in ranks]
    if not failed and EXIT_LOST in codes:
        _tell("the training's processes lost each other")
        return 1
    if not failed:
        return EXIT_INTERRUPTED if EXIT_INTERRUPTED in codes else int(any(codes))
    if received:
        return 128 + received[0]
    killed = [rank for rank in failed if codes[rank] < 0]
    if len(killed) == len(failed):
        first, name = killed[0], signal.Signals(-codes[killed[0]]).name
        hint = ", as the system does where memory runs out" if name == "SIGKILL" else ""
        _tell(
            f"process {ranks[first].pid}, rank {first} of {len(ranks)}, was ended by {name}{hint}, so the others were "
            "ended, too"
        )
    return 1


def _tell(what: str) -> None:
    print(
        f"{what}; the same command, or `dvc repro`, goes on from the last state, if one was saved",
        file=sys.stderr,
        flush=True,
    )
