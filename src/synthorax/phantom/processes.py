"""Work spread over processes, in order."""

import ctypes
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
Item = TypeVar("Item")
T = TypeVar("T")


def in_processes(function: Callable[[Item], T], items: Sequence[Item], workers: int) -> Iterator[T]:
    """The function of each item, in order."""
    if workers == 1 or len(items) < 2:
        yield from map(function, items)
        return
    with ProcessPoolExecutor(
        min(workers, len(items)), mp_context=get_context("spawn"), initializer=_take_a_core
    ) as pool:
        yield from pool.map(function, items)


def _take_a_core() -> None:
    """One thread a process: more would only wait for one another. Freed arrays stay with the process (glibc):
    given back and asked for anew, their pages cost a tenth of the time.
    """
    import numpy  # noqa: F401 - only what is loaded can be limited
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(M_MMAP_THRESHOLD, 32 << 20)  # the largest it takes; all maps of 512 px are smaller
        mallopt(M_TRIM_THRESHOLD, 256 << 20)
