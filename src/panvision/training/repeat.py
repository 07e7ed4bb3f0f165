"""What makes a training repeat bit by bit: deterministic algorithms, and the random generators as values."""

import contextlib
import os
import platform
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

# cuBLAS adds up in a fixed order with a workspace of its own for each stream
# (https://docs.nvidia.com/cuda/cublas/index.html#results-reproducibility).
CUBLAS_WORKSPACE = ":4096:8"


@contextlib.contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """Inside, PyTorch uses deterministic algorithms.

    On a CPU an operation without one is an error; on other devices, where which operations have one depends on
    PyTorch's version, it is a warning of PyTorch's that names the operation, and the training goes on.
    """
    enabled = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    fills = memory.fill_uninitialized_memory
    if device.type == "cuda":
        # Before the first matrix product, at which cuBLAS reads it.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", CUBLAS_WORKSPACE)
    torch.use_deterministic_algorithms(True, warn_only=device.type != "cpu")
    # Nothing here reads memory before writing it: filling it first would only cost 5 to 10 % of the time.
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warns)
        memory.fill_uninitialized_memory = fills


def random_state(device: torch.device) -> dict[str, Any]:
    """The state of every random generator that training on a device may use, as tensors and plain values."""
    numbers = np.random.get_state(legacy=False)
    return {
        "python": random.getstate(),
        "numpy": {**numbers, "state": {**numbers["state"], "key": numbers["state"]["key"].tolist()}},
        "torch": torch.get_rng_state(),
        # Of this GPU only: another rank goes on from it on another one.
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def restore_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Bring every random generator to where it was, on this device or another of its kind."""
    random.setstate(state["python"])
    numbers = state["numpy"]
    keys = np.array(numbers["state"]["key"], np.uint32)
    np.random.set_state({**numbers, "state": {**numbers["state"], "key": keys}})
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)


def describe_machine(device: torch.device) -> str:
    """What the last bits of a result depend on besides the fingerprint: the processor and the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
