"""Samples loaded by several processes, in order; each process stores the pixels it loaded."""

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

# Samples sent to a process at once: sending takes as long as loading a third of one. The last chunks are smaller, so
# that all processes end at about the same time.
_CHUNK, _SMALLEST = 32, 4
# Chunks queued for each process, so that it need not wait for this one.
_QUEUED = 2
# Chunks whose results wait for earlier ones: enough to continue alone while the others start.
_WAITING = 64
# Starting processes takes as long as loading this many samples.
_WORTH_IT = 96


class WorkerError(RuntimeError):
    """A process that loads images died; the message names causes and remedies."""


def load_samples(samples: Sequence[Sample], root: Path, settings: DataSettings, keep: Keep[Kept]) -> Iterator[Kept]:
    """Load samples in their order, each decoded once.

    This process loads some of them itself: all of a small dataset, and of a larger one the samples that the others have
    not reached. So nothing waits while they start, and no more processes than cores have work.

    Args:
        samples: the result of a reader.
        root: the dataset's folder.
        settings: the `data` section.
        keep: takes the number of the first sample and an iterator of loaded samples, and returns what is kept of them.
            It is called in the process that loads them; it and its result must be picklable, and the result small.

    Raises:
        WorkerError: a process was killed, or crashed; the message names its image, or one shortly before.
        Exception: any error of `keep`.
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
                "a process that loads images was killed, most likely by the system when memory ran out, or crashed at "
                f"{root / chunk[0].file} or a later image: end other programs, lower data.max_pixels, use fewer cores "
                "(each has such a process; `taskset -c 0` allows one), or check these images"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _cut(samples: Sequence[Sample], processes: int) -> Iterator[tuple[int, Sequence[Sample]]]:
    """Cut samples into chunks, each with the number of its first one."""
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
    """Fork if this process has no threads, which is fast; else use a fork server, because a fork may hang then."""
    if sys.platform == "linux" and len(list(Path("/proc/self/task").iterdir())) == 1:
        return multiprocessing.get_context("fork")
    context = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
    if sys.platform != "win32":
        context.set_forkserver_preload(["panvision.prepare.load"])
    return context


def _die_with_parent() -> None:
    """End with the parent: a pool's processes would outlive a killed one and wait for work forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
