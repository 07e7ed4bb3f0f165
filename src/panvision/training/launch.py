"""Starts and ends the processes of a training: torchrun's launcher around them, and the exit of each one."""

import logging
import os
import signal
import socket
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panvision.core.cores import count_cores
from panvision.training.stopping import EXIT_INTERRUPTED, Interrupted

if TYPE_CHECKING:
    from panvision.training.ddp import Ranks

# Set for ranks that `launch` started: it reports their errors.
LAUNCHED = "PANVISION_LAUNCHED"
# Exit code of a rank that lost a peer; the rank that caused it reports the error.
EXIT_LOST = 76
# Words of gloo and NCCL where a peer has ended.
LOST = ("gloo", "NCCL", "Connection closed", "Connection reset")
RESUME = "the same command, or `dvc repro`, resumes from the last training checkpoint, if one was saved"


def is_rank() -> bool:
    """True if torchrun or `launch` started this process."""
    return {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys()


def launch(command: Sequence[str], devices: int) -> int:
    """Run a command once per device of this machine by torchrun's launcher, and wait for all of them.

    SIGTERM and SIGINT are passed on. If a rank fails, the others are ended, and one message says why.

    Args:
        command: program and arguments, the same for each rank.
        devices: number of ranks.

    Returns:
        0; 75 if the training was stopped by a signal; 1 after an error.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # On CPUs the ranks share the cores.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, count_cores() // devices)))
    # The ranks talk within this machine; its name need not resolve to an address.
    loopback = {name for _, name in socket.if_nameindex()} & {"lo", "lo0"}
    if loopback:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", min(loopback))
    os.environ[LAUNCHED] = "1"
    # The launcher's own log repeats in many lines what the one message says.
    logging.disable(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=devices,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        monitor_interval=0.1,
    )
    try:
        elastic_launch(config, command[0])(*command[1:])
    except SignalException:
        return EXIT_INTERRUPTED
    except ChildFailedError as error:
        return _explain(error.failures, devices)
    return 0


def _explain(failures: Mapping[int, Any], devices: int) -> int:
    """Print why ranks failed, and return the exit code of the whole training."""
    codes = {failure.exitcode for failure in failures.values()}
    if codes <= {EXIT_INTERRUPTED, EXIT_LOST} and EXIT_INTERRUPTED in codes:
        return EXIT_INTERRUPTED
    killed = [(rank, failure) for rank, failure in failures.items() if failure.exitcode < 0]
    recorded = [failure for failure in failures.values() if Path(failure.error_file).is_file()]
    if recorded:
        first = min(recorded, key=lambda failure: failure.timestamp)
        message = first.message if isinstance(first.message, str) else first.message["message"]
        print(message.partition(": ")[2], file=sys.stderr, flush=True)
    elif killed:
        rank, failure = killed[0]
        name = signal.Signals(-failure.exitcode).name
        hint = ", as the system does where memory runs out" if name == "SIGKILL" else ""
        print(
            f"process {failure.pid}, rank {rank} of {devices}, was ended by {name}{hint}, "
            f"so the others were ended too; {RESUME}",
            file=sys.stderr,
            flush=True,
        )
    elif codes <= {EXIT_LOST}:
        print(f"the training's processes lost each other; {RESUME}", file=sys.stderr, flush=True)
    return 1


def run_as_rank(
    work: Callable[["Ranks"], None], errors: tuple[type[Exception], ...], device: str | None = None
) -> str | int:
    """Train as the only process or as one of several, and return what to pass to `sys.exit`.

    A rank that torchrun started ends here if it fails. At a normal exit, PyTorch's destructors may meet connections to
    ranks that are gone, and print "terminate called without an active exception" beside the message.

    Args:
        work: receives the ranks.
        errors: what it may raise in addition to TrainingError, with a message for the user.
        device: name of the device; by default a GPU if there is one.
    """
    status = _run(work, errors, device)
    if status and "TORCHELASTIC_RUN_ID" in os.environ:
        if isinstance(status, str):
            print(status, file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1 if isinstance(status, str) else status)
    return status


def _run(work: Callable[["Ranks"], None], errors: tuple[type[Exception], ...], device: str | None) -> str | int:
    """Train, and return 0, an exit code, or the message of an error."""
    from panvision.training.ddp import Ranks
    from panvision.training.guards import TrainingError

    known: tuple[type[Exception], ...] = (TrainingError, *errors)
    leads, alone = os.environ.get("RANK", "0") == "0", os.environ.get("WORLD_SIZE", "1") == "1"
    try:
        ranks = Ranks(device)
        work(ranks)
        ranks.leave()
    except known as error:
        return str(error) if alone else _record(error, leads=leads)
    except Interrupted as stopped:
        if leads:
            print(stopped, file=sys.stderr)
        return EXIT_INTERRUPTED
    except KeyboardInterrupt:
        if alone:
            raise
        return 128 + signal.SIGINT  # one traceback for each rank would say nothing
    except RuntimeError as error:
        if alone or not any(word in str(error) for word in LOST):
            raise
        reason = str(error).splitlines()[0]
        if LAUNCHED not in os.environ:
            print(
                f"another process of this training has ended or does not answer ({reason}); {RESUME}", file=sys.stderr
            )
        return EXIT_LOST
    return 0


def _record(error: Exception, *, leads: bool) -> str | int:
    """Leave a rank's error for the launcher, and return what to pass to `sys.exit`."""
    from torch.distributed.elastic.multiprocessing.errors import get_error_handler

    if "TORCHELASTIC_ERROR_FILE" in os.environ:
        get_error_handler().record_exception(error)
    return str(error) if leads and LAUNCHED not in os.environ else 1
