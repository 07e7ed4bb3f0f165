"""Memory that a training step freed and the next one needs again stays with the process."""

import ctypes
import os

# mallopt's parameters (https://man7.org/linux/man-pages/man3/mallopt.3.html), and PyTorch's switch for huge pages.
TRIM_THRESHOLD, MMAP_MAX = -1, -4
HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"


def keep_freed_memory() -> None:
    """Keep freed memory, in huge pages where the system has them; for the rest of the process.

    By default the C library gives every large tensor back to the system, which fills the next one with zeros page by
    page: thousands of page faults a step, for nothing. Values do not depend on it. Without effect outside Linux with
    glibc. `THP_MEM_ALLOC_ENABLE=0` in the environment keeps the pages small.
    """
    # PyTorch reads it when it first asks for a large piece.
    os.environ.setdefault(HUGE_PAGES, "1")
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # macOS, Windows, musl
        return
    mallopt(MMAP_MAX, 0)
    mallopt(TRIM_THRESHOLD, -1)
