"""Run many coroutines, a bounded number at once, and stop all at the first failure."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import TypeVar

import anyio

T = TypeVar("T")
U = TypeVar("U")

#: Requests that one operation on a directory keeps under way. Four to eight threads saturate an SDK; the rest waits in its pool.
WIDTH = 16


async def for_each(items: Iterable[T] | AsyncGenerator[T, None], work: Callable[[T], Awaitable[object]], *, width: int = WIDTH) -> None:
    """Await `work(item)` for every item, at most `width` at once.

    Items are drawn only as places become free, so an endless iterable takes bounded memory.

    After a failure nothing more is begun, and what is under way runs to its end: a write that was cancelled may still be done by its
    thread, after its caller has cleaned up.

    Raises:
        Exception: The first failure, after the others have ended.
    """
    free = anyio.Semaphore(width)
    failures: list[Exception] = []

    async with anyio.create_task_group() as group:

        async def run(item: T) -> None:
            try:
                await work(item)
            except Exception as error:  # one plain exception, not a group of them, reaches the caller
                failures.append(error)
            finally:
                free.release()

        async def start(item: T) -> bool:
            await free.acquire()
            if failures:
                return False
            group.start_soon(run, item)
            return True

        if isinstance(items, AsyncGenerator):
            try:
                async with aclosing(items) as drawn:
                    async for item in drawn:
                        if not await start(item):
                            break
            except Exception as error:
                failures.append(error)
        else:
            for item in items:
                if not await start(item):
                    break
    if failures:
        raise failures[0]


async def both(one: Awaitable[T], other: Awaitable[U]) -> tuple[T, U]:
    """Await two at once and return both results.

    Raises:
        Exception: The first failure, after the other one has ended.
    """
    first: list[T] = []
    second: list[U] = []

    async def side(work: Awaitable[object]) -> None:
        if work is one:
            first.append(await one)
        else:
            second.append(await other)

    try:
        await for_each((one, other), side, width=2)
    finally:
        # A failure of one at its first step comes before the other one was begun.
        for work in (one, other):
            if inspect.iscoroutine(work):
                work.close()
    return first[0], second[0]
