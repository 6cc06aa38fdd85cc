"""What the backends on official SDKs share: a bounded pool of threads for blocking calls, and a reader over a blocking stream."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from cloudcontents.errors import CloudContentsError, ConflictError, RangeError, TruncatedError
from cloudcontents.keys import show

from .interface import ObjectInfo, Reader

T = TypeVar("T")

#: Threads of one backend: more do not move bytes faster, since the SDKs' own code holds the interpreter.
THREADS = 8

#: Bytes read from a stream at once: few at first, more while they come fast. A read ends when it has them all, and a slow line must show
#: that it is alive.
FIRST_PIECE, PIECE = 1 << 16, 1 << 20
_FAST, _SLOW = 0.1, 1.0

#: What a user is told whose clock makes signatures void.
CLOCK = "This machine's clock differs from the store's by more than the store allows; set it by the network (NTP)."

#: Tries of one request among many, and seconds before the second one at most; doubled for each one after.
_TRIES, _PAUSE = 5, 0.1


class SdkThreads:
    """The threads in which one backend's SDK runs. Started at first use; bound to no event loop.

    Args:
        name: Names the threads.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    async def run(self, work: Callable[[], T], *, dispose: Callable[[T], object] | None = None) -> T:
        """Call `work` in a thread and await its result. A caller that is cancelled leaves it running to its end.

        Args:
            work: What to call.
            dispose: Is given, in the thread, a result that nobody waits for any more (to close a connection, say).
        """
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix=f"cloudcontents-{self._name}")
            future = self._pool.submit(work)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if dispose is not None:
                future.add_done_callback(lambda done: None if done.cancelled() or done.exception() else dispose(done.result()))
            raise

    async def close(self) -> None:
        """End the threads once their work is done. Safe to repeat; a later call starts new ones."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            await asyncio.to_thread(pool.shutdown)


async def persist(step: Callable[[], Awaitable[T]]) -> T:
    """Make one of the many requests that make one call, again after a passing failure; it must be safe to repeat.

    A call as a whole is tried again by `Bucket`, and a stream's cannot be: where each of a hundred parts fails now and then, all of them
    would seldom arrive.
    """
    for attempt in range(1, _TRIES):
        try:
            return await step()
        except CloudContentsError as error:
            if not error.retryable:
                raise
            pause = max(_PAUSE * 2 ** (attempt - 1) * random.random(), error.retry_after or 0.0)  # noqa: S311
        await asyncio.sleep(pause)
    return await step()


class BlockingStream(Protocol):
    """What an SDK gives for the bytes of an object."""

    def read(self, size: int, /) -> bytes:
        """Block for the next piece; empty at the end."""

    def close(self) -> None:
        """Give the connection back."""


class SdkReader(Reader):
    """A reader over an SDK's blocking stream, one piece in memory.

    Args:
        threads: Where the stream is read.
        stream: The stream, open.
        info: The object's info.
        length: Bytes that it yields.
        translate: Turns an SDK's failure into one of ours.
    """

    def __init__(
        self,
        threads: SdkThreads,
        stream: BlockingStream,
        info: ObjectInfo,
        length: int,
        translate: Callable[[Exception], Exception],
    ) -> None:
        self.info = info
        self.length = length
        self._threads = threads
        self._stream = stream
        self._translate = translate
        self._lock = threading.Lock()
        self._reading = self._closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left, size = self.length, FIRST_PIECE
        while left:
            started = time.monotonic()
            try:
                piece = await self._threads.run(lambda: self._read(min(size, left)))  # noqa: B023 - awaited at once
            except Exception as error:
                raise self._translate(error) from error
            if not piece:
                raise TruncatedError(f"The store sent {self.length - left} of {self.length} bytes of {show(self.info.key)}; try again.")
            left -= len(piece)
            took = time.monotonic() - started
            size = min(size * 2, PIECE) if took < _FAST else max(size // 2, FIRST_PIECE // 4) if took > _SLOW else size
            yield piece

    async def aclose(self) -> None:
        """Give the connection back. Does not wait for a read that its caller gave up: that one closes when it comes back."""
        with self._lock:
            was_closed, self._closed = self._closed, True
            if was_closed or self._reading:
                return
        await self._threads.run(self._stream.close)

    def _read(self, size: int) -> bytes:
        with self._lock:
            if self._closed:
                return b""
            self._reading = True
        try:
            return self._stream.read(size)
        finally:
            with self._lock:
                self._reading = False
                given_up = self._closed
            if given_up:
                self._stream.close()


class HeldReader(Reader):
    """A reader of bytes that came with the reply: small ones do, and reading them costs no further turn of a thread.

    Args:
        info: The object's info.
        data: What it yields.
    """

    def __init__(self, info: ObjectInfo, data: bytes) -> None:
        self.info = info
        self.length = len(data)
        self._data = data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._data:
            yield self._data

    async def aclose(self) -> None:
        """Nothing to give back."""


class EmptyStream:
    """The bytes of an empty object, or of an empty range."""

    def read(self, size: int, /) -> bytes:
        """Nothing."""
        return b""

    def close(self) -> None:
        """Nothing to give back."""


def empty_reader(threads: SdkThreads, info: ObjectInfo) -> SdkReader:
    """A reader of no bytes: of an empty object, or of a range of length zero, which stores cannot be asked for."""
    return SdkReader(threads, EmptyStream(), info, 0, lambda error: error)


def checked(info: ObjectInfo, start: int, if_version: str | None) -> ObjectInfo:
    """The info, if it has the version asked for and the range begins within the object.

    Raises:
        ConflictError: It has another version.
        RangeError: `start` is at or past the end.
    """
    if if_version is not None and info.version != if_version:
        raise ConflictError(f"{show(info.key)} has changed since it was read; read it again.")
    if start > 0 and start >= (info.size or 0):
        raise RangeError(f"The range starts at byte {start}, and the object has {info.size} bytes.")
    return info
