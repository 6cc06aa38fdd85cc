"""Calls to a test's bucket behind the manager's back, from anywhere, also where a loop is running.

One loop, and one backend for each bucket: to make an SDK's client takes longer than most tests.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from cloudcontents.backends import Backend
from cloudcontents.registry import open_backend

T = TypeVar("T")


class Asking:
    """The loop, in a thread of its own, and the backends. It begins with the first call."""

    def __init__(self) -> None:
        self._backends: dict[str, Backend] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def ask(self, url: str, call: Callable[[Backend], Coroutine[Any, Any, T]]) -> T:
        """Make one call to the bucket of a URL."""
        if url not in self._backends:
            self._backends[url] = open_backend(url)
        return self._run(call(self._backends[url]))

    def close(self) -> None:
        """Close the backends and the loop. Safe to repeat."""
        while self._backends:
            self._run(self._backends.popitem()[1].close())
        if self._loop is not None and self._thread is not None:
            self._run(self._loop.shutdown_default_executor())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self._loop = self._thread = None

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="asking", daemon=True)
            self._thread.start()
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


_asking = Asking()
ask, close = _asking.ask, _asking.close
