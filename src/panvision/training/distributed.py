"""The processes that train one phase together: one alone, or several ranks over torch.distributed.

Each rank computes its share of every batch. A batch's loss is a sum over samples, points or pixels divided by counts
of the whole batch, so gradients and losses of the shares add up to those of the whole batch. There is no wrapper
around the model: gradients are added up once per optimiser step, after all its batches.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from panvision.training.errors import TrainingError
from panvision.training.launch import EXIT_LOST, LAUNCHER, STORE, is_rank
from panvision.training.stopping import EXIT_INTERRUPTED, Interrupted

T = TypeVar("T")

# A rank that ends is noticed at once, by its closed connections. This is for one that hangs, or a machine that is gone.
PATIENCE = timedelta(minutes=30)


class RankLostError(TrainingError):
    """Another rank has ended, or does not answer."""


def pick_device(name: str | None = None, group: "Group | None" = None) -> torch.device:
    """The device of that name; by default the GPU if there is one.

    Args:
        name: for example `cpu` or `cuda`.
        group: the rank that it is for, which gets a GPU of its own.

    Raises:
        TrainingError: there is no such device, or none for this rank.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        if group is not None and device.type == "cuda":
            device = _own_gpu(device, group)
        # Reserves nothing, but fails here and clearly where the device is not there.
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        if isinstance(error, TrainingError):
            raise
        raise TrainingError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from error
    return device


def _own_gpu(device: torch.device, group: "Group") -> torch.device:
    """A rank's own GPU, from now on its process's current one.

    Raises:
        TrainingError: there is none for it.
    """
    if device.index is not None:
        raise TrainingError(
            f"device {str(device)!r} is one GPU, but {group.size} processes train (train.devices); name it 'cuda'"
        )
    count = torch.cuda.device_count()
    if group.local_rank >= count:
        raise TrainingError(
            f"train.devices: {group.local_size} processes train on this machine, which has GPUs for {count}; lower it"
        )
    own = torch.device("cuda", group.local_rank)
    torch.cuda.set_device(own)
    return own


class Ranks(Protocol):
    """The processes that train together, as one of them sees them. All must call the same methods in the same order.

    Attributes:
        rank: this process's number; 0 writes, prints and decides.
        size: how many there are.
        local_rank: its number on its own machine.
        local_size: how many there are on that machine.
        launcher: the process that started them, if panvision did.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    launcher: int | None

    @property
    def leads(self) -> bool:
        """Whether this is rank 0."""
        ...

    @property
    def device(self) -> torch.device:
        """Where this rank computes.

        Raises:
            TrainingError: the device cannot be used, or there is none for this rank.
        """
        ...

    def add_up(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Make each tensor the sum of all ranks'; does not wait for a GPU.

        Args:
            tensors: float32, all on one device, of the same shapes on every rank.

        Returns:
            Per rank () float32, 1 where one of its own tensors was not finite, else 0; empty if there is one rank only.
        """
        ...

    def copy_from_first(self, tensors: Sequence[Tensor]) -> None:
        """Make each tensor rank 0's."""
        ...

    def largest(self, number: int) -> int:
        """The largest of all ranks' numbers; a GPU goes on meanwhile."""
        ...

    def gather(self, value: T) -> list[T]:
        """All ranks' values, which must be on the CPU, in the order of the ranks."""
        ...

    def from_first(self, value: T) -> T:
        """Rank 0's value, which must be on the CPU."""
        ...

    def last_words(self, error: Exception) -> str | int:
        """What to hand to `sys.exit`: the error's text where no other rank has told of one, else an exit code."""
        ...

    def leave(self) -> None:
        """The training is over, and every rank knows."""
        ...


class Alone:
    """One process.

    Args:
        device: name of the device; by default the GPU if there is one.
    """

    rank, size, local_rank, local_size = 0, 1, 0, 1
    launcher: int | None = None
    leads = True

    def __init__(self, device: str | None = None) -> None:
        self._device = device

    @property
    def device(self) -> torch.device:
        """As for Ranks."""
        return pick_device(self._device)

    def add_up(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Do nothing."""
        return []

    def copy_from_first(self, tensors: Sequence[Tensor]) -> None:
        """Do nothing."""

    def largest(self, number: int) -> int:
        """The number."""
        return number

    def gather(self, value: T) -> list[T]:
        """The one value."""
        return [value]

    def from_first(self, value: T) -> T:
        """The value."""
        return value

    def last_words(self, error: Exception) -> str | int:
        """The error's text."""
        return str(error)

    def leave(self) -> None:
        """Do nothing."""


class Group:
    """One of several ranks; the connection is torch.distributed's default group.

    Gloo carries what is on the CPU, also beside a GPU, whose tensors NCCL carries: agreeing on a decision does not wait
    for the GPU.

    Args:
        store: where ranks that have no connection any more still find a word of each other.
        rank: of this process.
        size: number of ranks.
        local: number of this process on its machine, and how many there are.
        launcher: as for Ranks.
        device: kind of device, `cpu` or `cuda`; by default each rank has a GPU if there are any.
    """

    def __init__(
        self,
        store: Any,
        *,
        rank: int,
        size: int,
        local: tuple[int, int],
        launcher: int | None = None,
        device: str | None = None,
    ) -> None:
        self._store, self._device = store, device
        self.rank, self.size, self.launcher = rank, size, launcher
        self.local_rank, self.local_size = local

    @property
    def leads(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """As for Ranks."""
        return pick_device(self._device, self)

    def add_up(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """As for Ranks; one message for all tensors."""
        unsound = torch.zeros(self.size, device=tensors[0].device)
        flat = torch.cat([*(tensor.reshape(-1) for tensor in tensors), unsound])
        flat[self.rank - self.size] = (~flat.isfinite().all()).float()
        with noticing_loss():
            dist.all_reduce(flat)
        parts = flat.split([*(tensor.numel() for tensor in tensors), self.size])
        for tensor, part in zip(tensors, parts, strict=False):
            tensor.copy_(part.view(tensor.shape))
        return list(parts[-1])

    def copy_from_first(self, tensors: Sequence[Tensor]) -> None:
        """As for Ranks."""
        for tensor in tensors:
            whole = tensor.detach().contiguous()
            with noticing_loss():
                dist.broadcast(whole, 0)
            tensor.detach().copy_(whole)

    def largest(self, number: int) -> int:
        """As for Ranks."""
        found = torch.tensor(number)
        with noticing_loss():
            dist.all_reduce(found, dist.ReduceOp.MAX)
        return int(found)

    def gather(self, value: T) -> list[T]:
        """As for Ranks."""
        found: list[Any] = [None] * self.size
        with noticing_loss():
            dist.all_gather_object(found, value)
        return found

    def from_first(self, value: T) -> T:
        """As for Ranks."""
        found = [value if self.leads else None]
        with noticing_loss():
            dist.broadcast_object_list(found, 0)
        return found[0]  # type: ignore[return-value]

    def last_words(self, error: Exception) -> str | int:
        """As for Ranks; of a lost rank the launcher tells."""
        if isinstance(error, RankLostError) and self.launcher is not None:
            return EXIT_LOST
        try:
            first = self._store.add("errors", 1) == 1
        except RuntimeError:  # rank 0 had the store, and has ended
            return EXIT_LOST
        return str(error) if first else EXIT_LOST

    def leave(self) -> None:
        """Close the connection."""
        dist.destroy_process_group()


@contextlib.contextmanager
def noticing_loss() -> Iterator[None]:
    """Around a message between ranks: its failure means that another rank has ended.

    Raises:
        RankLostError: instead of torch.distributed's own errors.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise RankLostError(f"another process of this training has ended or does not answer ({reason})") from error


def join(environment: Mapping[str, str] = os.environ, device: str | None = None) -> Ranks:
    """What this process is by its environment: alone, or a rank of those that torchrun or `launch` started.

    Args:
        environment: of the process.
        device: name of the device; by default the GPU if there is one.

    Raises:
        TrainingError: PyTorch was built without torch.distributed.
        RankLostError: another rank does not come.
    """
    if not is_rank(environment) or environment["WORLD_SIZE"] == "1":
        return Alone(device)
    if not dist.is_available():
        raise TrainingError(f"this PyTorch has no torch.distributed (on {sys.platform}); set train.devices to 1")
    rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    where = f"file://{environment[STORE]}" if STORE in environment else "env://"
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    with noticing_loss():
        store, _, _ = next(dist.rendezvous(where, rank=rank, world_size=size, timeout=PATIENCE))
        dist.init_process_group(
            backend, store=dist.PrefixStore("group", store), rank=rank, world_size=size, timeout=PATIENCE
        )
    launcher = environment.get(LAUNCHER)
    return Group(
        store,
        rank=rank,
        size=size,
        local=(int(environment.get("LOCAL_RANK", rank)), int(environment.get("LOCAL_WORLD_SIZE", size))),
        launcher=None if launcher is None else int(launcher),
        device=device,
    )


def as_rank(work: Callable[[Ranks], None], errors: tuple[type[Exception], ...], device: str | None = None) -> str | int:
    """Do what a process does as one that trains → what to hand to `sys.exit`.

    Args:
        work: gets the ranks.
        errors: what it may raise besides TrainingError with a message for the user; of all ranks one tells it.
        device: as for `join`.
    """
    told: tuple[type[Exception], ...] = (TrainingError, *errors)
    try:
        ranks = join(device=device)
    except RankLostError as error:
        return EXIT_LOST if LAUNCHER in os.environ else str(error)
    except TrainingError as error:
        return str(error)
    try:
        work(ranks)
    except told as error:
        return ranks.last_words(error)
    except Interrupted as stopped:
        if ranks.leads:
            print(stopped, file=sys.stderr)
        return EXIT_INTERRUPTED
    except KeyboardInterrupt:
        if ranks.size == 1:
            raise
        return 128 + signal.SIGINT  # one traceback for each rank would tell nothing
    ranks.leave()
    return 0
