"""Parallel work on many images: results in order, and errors that name the image."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

FEW = 500  # items; one process finishes fewer before others have started
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class WorkerError(RuntimeError):
    """A worker process was killed; the message says near which item, and what to do."""


def available_cores() -> int:
    """Count the cores that this process may use: its CPU affinity, within Slurm's allocation."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores or 1, int(os.environ.get("SLURM_CPUS_PER_TASK", cores or 1)))


def processes_for(items: int, most: int = 0) -> int:
    """Choose the number of processes: one for few items, else `most`, where 0 is every core."""
    return 1 if items < FEW else most


def ordered_map(
    work: Callable[[Item], Result], items: Iterable[tuple[str, Item]], processes: int
) -> Iterator[Result]:
    """Yield `work(item)` for every (name, item), in order.

    Only a few items are in flight at a time, so memory does not grow with their number. The first
    error ends the iteration and carries a note with the item's name. A single process works
    without a pool.

    Args:
        work: A function that can be imported by name; it runs in fresh processes (spawn).
        items: Pairs of a name, for messages, and the argument of `work`, generated as needed.
        processes: The number of worker processes; 0 takes every core.

    Raises:
        WorkerError: A worker was killed.
    """
    processes = processes or available_cores()
    if processes == 1:
        for name, item in items:
            with _naming(name):
                result = work(item)
            yield result
    else:
        yield from _pooled_map(work, items, processes)


def _pooled_map(
    work: Callable[[Item], Result], items: Iterable[tuple[str, Item]], processes: int
) -> Iterator[Result]:
    pool = ProcessPoolExecutor(
        processes, mp_context=multiprocessing.get_context("spawn"), initializer=_prepare_worker
    )
    pending: deque[tuple[str, Future[Result]]] = deque()
    try:
        for name, item in items:
            with _naming(name):
                pending.append((name, pool.submit(work, item)))
            if len(pending) > 2 * processes:
                yield _result(*pending.popleft())
        while pending:
            yield _result(*pending.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _result(name: str, future: Future[Result]) -> Result:
    with _naming(name):
        return future.result()


@contextmanager
def _naming(name: str) -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool:
        raise WorkerError(
            f"a worker process was killed at {name} or soon after it, most likely because "
            "memory ran out; lower the section's `processes`"
        ) from None
    except Exception as error:
        error.add_note(f"while working on {name}")
        raise


def _prepare_worker() -> None:
    # Runs before the first item is unpickled, hence before numpy and torch are imported here.
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    # The parent handles Ctrl-C, and then lets the workers finish.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # Without this, workers whose parent was killed would wait for items for ever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
