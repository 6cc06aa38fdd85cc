"""Threads for what must not run on the event loop: nbformat, base64, hashing, and the signature database."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Offload:
    """A small pool of threads, started at first use, bound to no event loop.

    Args:
        name: Names the threads.
        threads: How many. One makes a queue: what runs in it never runs twice at once, and always in the same thread.
    """

    def __init__(self, name: str, threads: int) -> None:
        self._prefix = f"cloudcontents-{name}-{id(self)}"
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `work` in a thread and await its result."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor(), lambda: work(*args, **kwargs))

    def block(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `work` in a thread and wait for it, blocking the caller; for callers that are not async, a thread of this pool included."""
        if threading.current_thread().name.startswith(self._prefix):
            return work(*args, **kwargs)
        return self._executor().submit(work, *args, **kwargs).result()

    def close(self) -> None:
        """End the threads once they are idle. Safe to repeat; a later call starts new ones."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)

    def _executor(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix=self._prefix)
        return self._pool
