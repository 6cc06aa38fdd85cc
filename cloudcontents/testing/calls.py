"""How the suite calls a backend: whole reads, every page, streams that fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from cloudcontents.backends.interface import Backend, ObjectInfo, Page, PrefixInfo, SizedStream
from cloudcontents.keys import is_reserved


async def read(backend: Backend, key: str, *, start: int = 0, length: int | None = None) -> bytes:
    """The bytes of an object, or of a range of it."""
    async with await backend.get(key, start=start, length=length) as reader:
        data = b"".join([piece async for piece in reader])
        assert len(data) == reader.length, "a reader yields exactly `length` bytes"
        return data


async def put_all(backend: Backend, keys: Sequence[str], data: bytes = b"x") -> None:
    """Store something under each key."""
    for key in keys:
        await backend.put(key, b"" if key.endswith("/") else data)


async def pages(backend: Backend, prefix: str, *, delimiter: str | None = None, page_size: int | None = None) -> list[Page]:
    """Every page of a listing. A backend that never ends is stopped."""
    found = []
    token: str | None = None
    for _ in range(10_000):
        page = await backend.list(prefix, delimiter=delimiter, page_token=token, page_size=page_size)
        found.append(page)
        token = page.next_token
        if token is None:
            return found
    raise AssertionError("the listing does not end")


async def everything(
    backend: Backend, prefix: str = "", *, delimiter: str | None = None, page_size: int | None = None
) -> tuple[list[ObjectInfo], list[PrefixInfo]]:
    """All objects and common prefixes of a listing, but what a backend keeps for itself."""
    found = await pages(backend, prefix, delimiter=delimiter, page_size=page_size)
    objects = [info for page in found for info in page.objects if not is_reserved(info.key)]
    prefixes = [info for page in found for info in page.prefixes if not is_reserved(info.key)]
    return objects, prefixes


async def files(backend: Backend, prefix: str = "") -> list[str]:
    """All keys of a flat listing that are no directories."""
    objects, _ = await everything(backend, prefix)
    return [info.key for info in objects if not info.key.endswith("/")]


def stream(data: bytes, *, size: int | None = None, piece: int = 100_000) -> SizedStream:
    """A stream of these bytes that says it has `size`."""

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(data), piece):
            yield data[at : at + piece]

    return SizedStream(chunks(), len(data) if size is None else size)


def failing_stream(data: bytes, error: Exception) -> SizedStream:
    """A stream that gives some bytes, then fails."""

    async def chunks() -> AsyncIterator[bytes]:
        yield data
        raise error

    return SizedStream(chunks(), len(data) * 2)


def endless_stream(data: bytes, started: asyncio.Event) -> SizedStream:
    """A stream that gives some bytes, says so, and then waits for ever."""

    async def chunks() -> AsyncIterator[bytes]:
        yield data
        started.set()
        await asyncio.Event().wait()

    return SizedStream(chunks(), len(data) * 2)
