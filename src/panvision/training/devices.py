"""The device of a training, and what makes a training repeat bit for bit on it."""

import contextlib
import ctypes
import os
import platform
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from panvision.training.guards import TrainingError

# cuBLAS sums in a fixed order with a separate workspace for each stream
# (https://docs.nvidia.com/cuda/cublas/index.html#results-reproducibility).
CUBLAS_WORKSPACE = ":4096:8"
# mallopt's parameters (https://man7.org/linux/man-pages/man3/mallopt.3.html), and PyTorch's switch for huge pages.
TRIM_THRESHOLD, MMAP_MAX = -1, -4
HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"


def pick_device(name: str | None = None) -> torch.device:
    """Return the device of that name; by default the GPU if there is one.

    Raises:
        TrainingError: the machine does not have the device.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        # Reserves nothing, but fails here and clearly where the device does not exist.
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise TrainingError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from error
    return device


def describe_machine(device: torch.device) -> str:
    """Return processor and number of threads: the last bits of a result depend on them, the fingerprint does not."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"


@contextlib.contextmanager
def algorithms(device: torch.device, *, deterministic: bool = True, tf32: bool = True) -> Iterator[None]:
    """Choose PyTorch's algorithms inside the block; they hold for the whole process.

    Args:
        device: what computes.
        deterministic: use deterministic algorithms. On a CPU an operation without one is an error. On other devices,
            where it depends on PyTorch's version which operations have one, PyTorch warns and names the operation, and
            training continues. False: cuDNN times its convolutions on the first batch of each shape and takes the
            fastest, and so does Inductor with its kernels, which deterministic algorithms keep it from.
        tf32: leave PyTorch's defaults, by which cuDNN computes float32 convolutions in TF32 (10 bits of mantissa
            instead of 23) on GPUs from compute capability 8.0 on, and cuBLAS no matrix product. False: neither does.
    """
    enabled = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    fills = memory.fill_uninitialized_memory
    if device.type == "cuda" and deterministic:
        # Before the first matrix product, at which cuBLAS reads it.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", CUBLAS_WORKSPACE)
    torch.use_deterministic_algorithms(deterministic, warn_only=deterministic and device.type != "cpu")
    # Nothing here reads memory before writing it: filling it first would only cost 5 to 10 % of the time.
    memory.fill_uninitialized_memory = False
    product, before = torch.backends.cuda.matmul, torch.backends.cuda.matmul.fp32_precision
    # `flags` sets the older `allow_tf32` along with `fp32_precision`; if they disagree, code that reads the
    # older one raises, such as Inductor (https://github.com/pytorch/pytorch/issues/179445).
    convolutions = torch.backends.cudnn.flags(
        enabled=True,
        benchmark=not deterministic,
        deterministic=deterministic,
        allow_tf32=tf32,
        fp32_precision="none" if tf32 else "ieee",
    )
    try:
        with convolutions:
            if not tf32:
                product.fp32_precision = "ieee"
            yield
    finally:
        product.fp32_precision = before
        torch.use_deterministic_algorithms(enabled, warn_only=warns)
        memory.fill_uninitialized_memory = fills


def random_state(device: torch.device) -> dict[str, Any]:
    """Return the state of every random generator that training may use, as tensors and plain values."""
    numbers = np.random.get_state(legacy=False)
    return {
        "python": random.getstate(),
        "numpy": {**numbers, "state": {**numbers["state"], "key": numbers["state"]["key"].tolist()}},
        "torch": torch.get_rng_state(),
        # Of this GPU only: another rank restores it on another one.
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def restore_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Restore every random generator, on this device or another of its kind."""
    random.setstate(state["python"])
    numbers = state["numpy"]
    keys = np.array(numbers["state"]["key"], np.uint32)
    np.random.set_state({**numbers, "state": {**numbers["state"], "key": keys}})
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)


def keep_freed_memory() -> None:
    """Keep freed memory, in huge pages where the system has them, until the process ends.

    By default the C library returns every large tensor to the system, which fills the next one with zeros page by page:
    thousands of page faults per step. Values do not depend on it. It has no effect outside Linux with glibc.
    `THP_MEM_ALLOC_ENABLE=0` in the environment keeps the pages small.
    """
    # PyTorch reads it when it first allocates a large block.
    os.environ.setdefault(HUGE_PAGES, "1")
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # macOS, Windows, musl
        return
    mallopt(MMAP_MAX, 0)
    mallopt(TRIM_THRESHOLD, -1)
