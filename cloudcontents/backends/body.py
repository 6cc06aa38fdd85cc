"""A body on its way into a store: its size and its checksum hold, or nothing is stored."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TypeVar

from cloudcontents.errors import ChecksumError, TruncatedError, UnsupportedError

from .interface import Body

T = TypeVar("T")

#: Parts of one body on their way at once: with the one that is being filled, all that is in memory of it.
_WIDTH = 4

_HASH_INLINE = 1 << 16
_SHA256 = re.compile(r"sha256:([0-9a-fA-F]{64})")


def sha256_of(checksum: str) -> bytes:
    """The digest that a checksum tells.

    Raises:
        UnsupportedError: It is not ``sha256:<hex>``.
    """
    told = _SHA256.fullmatch(checksum)
    if told is None:
        raise UnsupportedError("A checksum of a body is written 'sha256:<64 hex digits>'.")
    return bytes.fromhex(told[1])


class BodyCheck:
    """Counts and hashes the pieces of one body. Hashing takes time: call `update` in a thread for large pieces.

    Args:
        expected_size: Bytes that must come.
        checksum: ``sha256:<hex>`` that they must have, or None.
        hashed: Whether to hash even without a `checksum` to compare with.

    Attributes:
        size: Bytes seen so far.

    Raises:
        UnsupportedError: The checksum is not ``sha256:<hex>``.
    """

    def __init__(self, expected_size: int, checksum: str | None = None, *, hashed: bool = True) -> None:
        self.size = 0
        self._expected_size = expected_size
        self._expected = sha256_of(checksum).hex() if checksum else ""
        self._hash = hashlib.sha256() if hashed or checksum else None

    def update(self, piece: bytes) -> None:
        """Take the next piece.

        Raises:
            TruncatedError: The body is longer than it said.
        """
        self.size += len(piece)
        if self.size > self._expected_size:
            raise TruncatedError(f"The body is longer than its declared size of {self._expected_size} bytes; send it again.")
        if self._hash is not None:
            self._hash.update(piece)

    def finish(self) -> str:
        """Return the checksum ``sha256:<hex>`` of the whole body ("" where it was not hashed).

        Raises:
            TruncatedError: The body ended early.
            ChecksumError: It is not what its checksum says.
        """
        if self.size != self._expected_size:
            raise TruncatedError(f"The body ended after {self.size} of {self._expected_size} bytes; send it again.")
        if self._hash is None:
            return ""
        value = self._hash.hexdigest()
        if self._expected and value != self._expected:
            raise ChecksumError("The bytes that arrived do not match their checksum; send them again.")
        return f"sha256:{value}"


async def read_whole(body: Body, checksum: str | None = None) -> tuple[bytes, str]:
    """Read a body into memory, for stores that take it whole. Does not block the event loop.

    Returns:
        The bytes and their checksum ``sha256:<hex>``.

    Raises:
        TruncatedError: The stream was shorter or longer than its size.
        ChecksumError: The bytes do not match `checksum`.
    """
    if isinstance(body, bytes):
        check = BodyCheck(len(body), checksum)
        await _update(check, body)
        return body, check.finish()
    check = BodyCheck(body.size, checksum)
    pieces: list[bytes] = []
    async for piece in body.chunks:
        await _update(check, piece)
        pieces.append(piece)
    return b"".join(pieces), check.finish()


async def send_parts(chunks: AsyncIterator[bytes], size: int, send: Callable[[int, bytes], Awaitable[T]]) -> list[T]:
    """Cut a stream into parts of one size, the last one shorter, and send a few at once; no more of it is in memory.

    Args:
        chunks: The stream.
        size: Bytes of a part.
        send: Sends a part, given its number from 1 and its bytes.

    Returns:
        What `send` returned, in no order.
    """
    done: list[T] = []
    under_way: set[asyncio.Future[T]] = set()
    number = 0
    try:
        async with contextlib.aclosing(_cut(chunks, size)) as parts:
            async for data in parts:
                number += 1
                under_way.add(asyncio.ensure_future(send(number, data)))
                del data
                if len(under_way) == _WIDTH:  # room for the next part, before it is read
                    finished, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                    done += [task.result() for task in finished]
        done += await asyncio.gather(*under_way)
    except BaseException:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        raise
    return done


async def _cut(chunks: AsyncIterator[bytes], size: int) -> AsyncGenerator[bytes, None]:
    held = bytearray()
    async for piece in chunks:
        held += piece
        while len(held) >= size:
            part = bytes(memoryview(held)[:size])
            del held[:size]
            yield part
            del part
    if held:
        yield bytes(held)


async def _update(check: BodyCheck, piece: bytes) -> None:
    if len(piece) > _HASH_INLINE:
        await asyncio.to_thread(check.update, piece)
    else:
        check.update(piece)
