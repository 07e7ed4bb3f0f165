"""Samples loaded side by side in processes, in order, with few of them waiting at a time."""

import multiprocessing
import os
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from panvision.ingest.layout import Sample
from panvision.ingest.load import Loaded, load_sample
from panvision.ingest.problems import IngestError
from panvision.ingest.settings import DataSettings

# Samples handed to a process at once: what they weigh (a few hundred kB each) outweighs the handing over.
_CHUNK = 8
# Starting processes takes as long as loading so many samples.
_WORTH_IT = 96


def load_samples(samples: Sequence[Sample], root: Path, settings: DataSettings) -> Iterator[Loaded]:
    """Load samples in their order, each decoded once.

    Args:
        samples: as a reader found them.
        root: the task's folder.
        settings: the `data` section.

    Raises:
        IngestError: a process died over one of some images, which are named.
    """
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if workers == 1 or len(samples) < _WORTH_IT:
        for sample in samples:
            yield load_sample(sample, root, settings)
        return
    chunks = [samples[start : start + _CHUNK] for start in range(0, len(samples), _CHUNK)]
    waiting: deque[tuple[Sequence[Sample], Future[list[Loaded]]]] = deque()
    with ProcessPoolExecutor(workers, mp_context=_context(), initializer=_die_with_parent) as pool:
        try:
            for chunk in chunks:
                waiting.append((chunk, pool.submit(_load_chunk, chunk, root, settings)))
                if len(waiting) >= 3 * workers:
                    yield from _result(*waiting.popleft())
            while waiting:
                yield from _result(*waiting.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _result(chunk: Sequence[Sample], future: "Future[list[Loaded]]") -> list[Loaded]:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise IngestError(
            f"a process that loads images died, for want of memory or over a file that breaks the decoder; it was one "
            f"of those from {chunk[0].file} on: free memory, lower data.max_pixels, or look at these files"
        ) from error


def _load_chunk(samples: Sequence[Sample], root: Path, settings: DataSettings) -> list[Loaded]:
    return [load_sample(sample, root, settings) for sample in samples]


def _context() -> multiprocessing.context.BaseContext:
    """Processes that inherit no threads and no open files: a fork of a process that has threads may hang."""
    context = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
    if sys.platform != "win32":
        context.set_forkserver_preload(["panvision.ingest.load"])
    return context


def _die_with_parent() -> None:
    """A pool's processes outlive a parent that is killed, waiting for work for ever: end with it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
