"""The threads that kernels run in: torch's, Python's, or one.

Where torch is loaded and its library has `GOMP_parallel`, kernels run in torch's own team, so that
no other threads compete with those that a backward pass leaves spinning. Elsewhere Python threads
call them, which releases the GIL. After a fork, one thread: the team is gone.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Team", "after_fork", "in_python_threads", "team"]


@dataclass(frozen=True)
class Team:
    """Who runs the chunks.

    name: in words. threads: how many there are now. parallel, number: the addresses of GOMP_parallel
    and of omp_get_thread_num, or 0 where Python threads are used (or a single thread).
    """

    name: str
    threads: Callable[[], int]
    parallel: int = 0
    number: int = 0


def team() -> Team:
    """The threads that a step would run in now: torch's, or Python's, or one after a fork."""
    if _forked:
        return _ONE
    torch = sys.modules.get("torch")
    if torch is None:
        return _PYTHONS
    return _teams.get("torch") or _torch_team(torch)


def _torch_team(torch: Any) -> Team:
    addresses = _openmp(str(Path(torch.__file__).parent))
    name = "torch's threads" if any(addresses) else "Python threads, as many as torch has"
    return _teams.setdefault("torch", Team(name, torch.get_num_threads, *addresses))


def _openmp(torch_folder: str) -> tuple[int, int]:
    """The addresses of GOMP_parallel and omp_get_thread_num in torch's OpenMP; zeros if it lacks them."""
    for name in ("libtorch_cpu.so", "libtorch_cpu.dylib"):
        try:
            library = ctypes.CDLL(str(Path(torch_folder, "lib", name)))
            functions = library.GOMP_parallel, library.omp_get_thread_num
        except (OSError, AttributeError):
            continue
        parallel, number = (ctypes.cast(f, ctypes.c_void_p).value or 0 for f in functions)
        return parallel, number
    return 0, 0


def _cores() -> int:
    """The cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


_ONE = Team("one thread, in a forked process", lambda: 1)
_PYTHONS = Team("Python threads", _cores)
_teams: dict[str, Team] = {}  # torch's, once it is found
_pools: dict[int, ThreadPoolExecutor] = {}
_lock = threading.Lock()  # held where a pool is made
_forked = False


def in_python_threads(function: Any, argument: int, threads: int) -> None:
    """Call it in several threads at once; calls not yet started when this thread is done are cancelled."""
    helpers = [_pool(threads - 1).submit(function, argument) for _ in range(threads - 1)]
    function(argument)
    for helper in helpers:
        if not helper.cancel():
            helper.result()


def _pool(helpers: int) -> ThreadPoolExecutor:
    with _lock:
        if helpers not in _pools:
            _pools[helpers] = ThreadPoolExecutor(helpers, "ravine")
        return _pools[helpers]


def after_fork(do: Callable[[], None]) -> None:
    """Have it called in each forked child: a lock that another thread held is never released there."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=do)


def _after_fork() -> None:
    global _forked, _lock
    _forked, _lock = True, threading.Lock()
    _pools.clear()


after_fork(_after_fork)
