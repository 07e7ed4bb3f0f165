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
# Chunks that each process has before it, so that it need not wait for this one to hand out more.
_QUEUED = 2
# Starting processes takes as long as loading so many samples.
_WORTH_IT = 96


def load_samples(samples: Sequence[Sample], root: Path, settings: DataSettings) -> Iterator[Loaded]:
    """Load samples in their order, each decoded once.

    This process loads some of them itself: all of a small set, and of a larger one what the others have not got round
    to, so that nothing waits while they start, and no more processes than cores have work.

    Args:
        samples: as a reader found them.
        root: the task's folder.
        settings: the `data` section.

    Raises:
        IngestError: a process died over one of some images, which are named.
    """
    others = _cores() - 1
    if others == 0 or len(samples) < _WORTH_IT:
        for sample in samples:
            yield load_sample(sample, root, settings)
        return
    chunks = deque(samples[start : start + _CHUNK] for start in range(0, len(samples), _CHUNK))
    waiting: deque[tuple[Sequence[Sample], Future[list[Loaded]]]] = deque()
    with ProcessPoolExecutor(others, mp_context=_context(), initializer=_die_with_parent) as pool:
        try:
            started = pool.submit(int)
            while chunks and not started.done():
                yield from _load_chunk(chunks.popleft(), root, settings)
            while chunks or waiting:
                away = sum(not future.done() for _, future in waiting)
                if chunks and away < _QUEUED * others and len(waiting) < 2 * _QUEUED * others:
                    chunk = chunks.popleft()
                    waiting.append((chunk, pool.submit(_load_chunk, chunk, root, settings)))
                elif chunks and not waiting[0][1].done() and len(waiting) < 2 * _QUEUED * others:
                    chunk, done = chunks.popleft(), Future[list[Loaded]]()
                    done.set_result(_load_chunk(chunk, root, settings))
                    waiting.append((chunk, done))
                else:
                    yield from waiting[0][1].result()
                    waiting.popleft()
        except BrokenProcessPool as error:
            chunk = waiting[0][0] if waiting else samples
            raise IngestError(
                "a process that loads images died, for want of memory or over a file that breaks the decoder; it was "
                f"one of those from {chunk[0].file} on: free memory, lower data.max_pixels, or look at these files"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _load_chunk(samples: Sequence[Sample], root: Path, settings: DataSettings) -> list[Loaded]:
    return [load_sample(sample, root, settings) for sample in samples]


def _context() -> multiprocessing.context.BaseContext:
    """Processes by a fork, which is quick, if this one has no threads; else by a server, for a fork may hang then."""
    if sys.platform == "linux" and len(list(Path("/proc/self/task").iterdir())) == 1:
        return multiprocessing.get_context("fork")
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
