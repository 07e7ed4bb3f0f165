"""Training on several devices: torch's DistributedDataParallel, one process per device (launch.py starts them).

Each rank computes the gradients of its shard of every batch. Losses are sums divided by counts of the whole batch, so
the objective of a rank is scaled by the number of ranks: DistributedDataParallel averages gradients.
"""

import os
import sys
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812 -- PyTorch's own convention
from torch import Tensor, nn

from panvision.training.devices import pick_device
from panvision.training.guards import TrainingError

T = TypeVar("T")


class Ranks:
    """The processes that train together, as one of them sees them; a single process is one rank.

    All ranks must call the same methods in the same order.

    Args:
        device: name of the device; by default each rank has its own GPU if there are any.

    Attributes:
        rank, size: number of this process, and of all. Rank 0 writes and prints.
        device: the device of this rank.
    """

    def __init__(self, device: str | None = None) -> None:
        self.rank, self.size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        if self.size > 1:
            if not dist.is_available():
                raise TrainingError(
                    f"this PyTorch has no torch.distributed (on {sys.platform}); set train.devices to 1"
                )
            device = _own_device(device)
            # Gloo carries what is on the CPU: agreeing on a decision does not wait for a GPU.
            dist.init_process_group("cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo")
        self.device = pick_device(device)

    @property
    def leads(self) -> bool:
        """True for rank 0."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return the module whose backward pass averages gradients over the ranks."""
        return module if self.size == 1 else nn.parallel.DistributedDataParallel(module)

    def share_layers(self, model: nn.Module) -> None:
        """Replace the layers of a model that must see the whole batch: BatchNorm (on CUDA) and dropout."""
        if self.size == 1:
            return
        for module in model.modules():
            for name, layer in module.named_children():
                if type(layer) is nn.Dropout:
                    setattr(module, name, ShardedDropout(layer.p, self).train(layer.training))
        if self.device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(model)

    def share_buffers(self, model: nn.Module) -> None:
        """Give all ranks the buffers of rank 0, whose model is saved: on CPUs each BatchNorm saw its own images."""
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace each of some tensors of one shape by its sum over the ranks; does not wait for a GPU."""
        if self.size > 1:
            summed = torch.stack(list(tensors))
            dist.all_reduce(summed)
            for tensor, value in zip(tensors, summed, strict=True):
                tensor.copy_(value)

    def largest(self, number: int) -> int:
        """Return the largest of all ranks' numbers; a GPU continues meanwhile."""
        if self.size == 1:
            return number
        found = torch.tensor(number)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return int(found)

    def gather(self, value: T) -> list[T]:
        """Return all ranks' values, which must be on the CPU, in the order of the ranks."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def from_first(self, value: T) -> T:
        """Return rank 0's value, which must be on the CPU."""
        if self.size == 1:
            return value
        found = [value if self.leads else None]
        dist.broadcast_object_list(found, 0)
        return found[0]  # type: ignore[return-value]

    def leave(self) -> None:
        """Close the connection; the training is over, and every rank knows."""
        if self.size > 1:
            dist.destroy_process_group()


def _own_device(name: str | None) -> str:
    """Return the name of this rank's own device; a GPU becomes the process's current one."""
    if name not in (None, "cuda"):
        if str(name).startswith("cuda"):
            raise TrainingError(f"device {name!r} is one GPU, but several processes train (train.devices); use 'cuda'")
        return str(name)
    count, local = torch.cuda.device_count() if torch.cuda.is_available() else 0, int(os.environ["LOCAL_RANK"])
    if not count and name is None:
        return "cpu"
    if local >= count:
        size = os.environ.get("LOCAL_WORLD_SIZE", "?")
        raise TrainingError(f"train.devices: {size} processes on this machine, which has {count} GPUs; lower it")
    torch.cuda.set_device(local)
    return f"cuda:{local}"


class ShardedDropout(nn.Module):
    """Dropout that draws for the whole batch, like one process, and keeps the rows of its rank.

    So the random generators of all ranks stay the same.
    """

    def __init__(self, p: float, ranks: Ranks) -> None:
        super().__init__()
        self.p, self._rank, self._size = p, ranks.rank, ranks.size

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, …) → the same shape."""
        if not self.training:
            return inputs
        rows = len(inputs)
        whole = torch.ones((self._size * rows, *inputs.shape[1:]), dtype=inputs.dtype, device=inputs.device)
        return inputs * F.dropout(whole, self.p)[self._rank * rows : (self._rank + 1) * rows]
