"""Samples loaded side by side in processes, in order; what becomes of their pixels is done where they were loaded."""

import multiprocessing
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeVar

from panvision.core.cores import count_cores
from panvision.photos.settings import DataSettings
from panvision.prepare.formats.layout import Sample
from panvision.prepare.load import Loaded, load_sample

Kept = TypeVar("Kept")
Keep = Callable[[int, Iterable[Loaded]], Sequence[Kept]]

# Samples handed to a process at once: handing over takes as long as loading a third of one. The last chunks are
# smaller, so that no process is left alone with much.
_CHUNK, _SMALLEST = 32, 4
# Chunks that each process has before it, so that it need not wait for this one to hand out more.
_QUEUED = 2
# Chunks of which the results wait for those before them: enough to go on alone while the others start.
_WAITING = 64
# Starting processes takes as long as loading so many samples.
_WORTH_IT = 96


class WorkerError(RuntimeError):
    """A process that loads images died, which says nothing of the set; the message has the causes and what to do."""


def load_samples(samples: Sequence[Sample], root: Path, settings: DataSettings, keep: Keep[Kept]) -> Iterator[Kept]:
    """Load samples in their order, each decoded once.

    This process loads some of them itself: all of a small set, and of a larger one what the others have not got round
    to, so that nothing waits while they start, and no more processes than cores have work.

    Args:
        samples: as a reader found them.
        root: the task's folder.
        settings: the `data` section.
        keep: what is kept of some samples, the first of which has the given number; they are loaded as it takes them.
            It is called in the process that loads them, and what it returns travels to this one: it should be small,
            and `keep` itself can be pickled.

    Raises:
        WorkerError: a process was killed, or crashed; the image is named that it had, or had soon before.
        Exception: what `keep` raises.
    """
    others = count_cores() - 1
    if others == 0 or len(samples) < _WORTH_IT:
        for first, chunk in _cut(samples, 1):
            yield from _load_chunk(first, chunk, root, settings, keep)
        return
    chunks = deque(_cut(samples, others + 1))
    waiting: deque[tuple[Sequence[Sample], Future[Sequence[Kept]]]] = deque()
    with ProcessPoolExecutor(others, mp_context=_context(), initializer=_die_with_parent) as pool:
        try:
            while chunks or waiting:
                away = sum(not future.done() for _, future in waiting)
                if chunks and away < _QUEUED * others and len(waiting) < _WAITING:
                    first, chunk = chunks.popleft()
                    waiting.append((chunk, pool.submit(_load_chunk, first, chunk, root, settings, keep)))
                elif chunks and not waiting[0][1].done() and len(waiting) < _WAITING:
                    first, chunk = chunks.popleft()
                    done = Future[Sequence[Kept]]()
                    done.set_result(_load_chunk(first, chunk, root, settings, keep))
                    waiting.append((chunk, done))
                else:
                    yield from waiting[0][1].result()
                    waiting.popleft()
        except BrokenProcessPool as error:
            chunk = waiting[0][0] if waiting else samples
            raise WorkerError(
                "a process that loads images was killed, most likely by the system for want of memory, or crashed over "
                f"a picture, {root / chunk[0].file} or one after it: end other programs, lower data.max_pixels, allow "
                "fewer cores (each has such a process; `taskset -c 0` allows one), or look at these pictures"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _cut(samples: Sequence[Sample], processes: int) -> Iterator[tuple[int, Sequence[Sample]]]:
    """Chunks of samples, each with the number of its first one."""
    first = 0
    while first < len(samples):
        count = min(max((len(samples) - first) // (4 * processes), _SMALLEST), _CHUNK)
        yield first, samples[first : first + count]
        first += count


def _load_chunk(
    first: int, samples: Sequence[Sample], root: Path, settings: DataSettings, keep: Keep[Kept]
) -> Sequence[Kept]:
    return keep(first, (load_sample(sample, root, settings) for sample in samples))


def _context() -> multiprocessing.context.BaseContext:
    """Processes by a fork, which is quick, if this one has no threads; else by a server, for a fork may hang then."""
    if sys.platform == "linux" and len(list(Path("/proc/self/task").iterdir())) == 1:
        return multiprocessing.get_context("fork")
    context = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
    if sys.platform != "win32":
        context.set_forkserver_preload(["panvision.prepare.load"])
    return context


def _die_with_parent() -> None:
    """A pool's processes outlive a parent that is killed, waiting for work for ever: end with it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
