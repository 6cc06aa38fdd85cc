"""Digests that come with a request's body: nothing of it is passed on before all of it has them."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from ..errors import ChecksumError

#: Bytes of a body that are kept in memory until it is compared; more go to a temporary file.
_IN_MEMORY = 8 << 20


class Digest(Protocol):
    """As `hashlib` has them."""

    def update(self, data: bytes, /) -> None:
        """Go on with these bytes."""

    def digest(self) -> bytes:
        """The digest of all bytes so far."""


async def compared(
    body: AsyncIterator[bytes], digests: Sequence[tuple[Digest, bytes]], mismatch: type[ChecksumError]
) -> AsyncIterator[bytes]:
    """The same bytes, once all of them are here and are what their digests say: wrong ones must leave nothing.

    Args:
        body: The bytes.
        digests: What they are to be compared by, and what each must be.
        mismatch: Raised where one is another.
    """
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as held:

        def keep(piece: bytes) -> None:
            for digest, _ in digests:
                digest.update(piece)
            held.write(piece)

        async for piece in body:
            await asyncio.to_thread(keep, piece)
        if any(digest.digest() != expected for digest, expected in digests):
            raise mismatch("The bytes that arrived do not match their digest; send them again.")
        await asyncio.to_thread(held.seek, 0)
        while piece := await asyncio.to_thread(held.read, 1 << 20):
            yield piece
