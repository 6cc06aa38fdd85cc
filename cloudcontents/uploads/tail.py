"""The tail of an upload: bytes that arrived after the last whole part, kept as pieces until the part that holds them is confirmed."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from .. import keys
from ..bucket import Bucket
from ..errors import NotFoundError, TruncatedError
from ..moves import delete_prefix

#: Pieces of one part beyond which they are written as one again: a client that sends single bytes must not make a million objects.
_MOST_PIECES = 16


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of a part: which part, from where in it, how many, and which process wrote them."""

    number: int
    start: int
    size: int
    epoch: int

    @property
    def name(self) -> str:
        """The last segment of its key."""
        return f"{self.number:07d}-{self.start:012d}-{self.size:012d}-{self.epoch:06d}"


class Tail:
    """The pieces of one upload.

    Args:
        bucket: Where they are.
        id: The upload's.
    """

    def __init__(self, bucket: Bucket, id: str) -> None:
        self._bucket = bucket
        self._prefix = keys.reserved_key("uploads", "tails", id) + "/"
        self._pieces: list[Piece] = []

    @property
    def number(self) -> int:
        """The part that the held bytes belong to; 0 where there are none."""
        return self._pieces[0].number if self._pieces else 0

    @property
    def size(self) -> int:
        """Bytes that are held."""
        return sum(piece.size for piece in self._pieces)

    async def load(self, number: int) -> int:
        """Look what is held of a part; returns how many bytes, from its start without a gap."""
        found: list[Piece] = []
        async with contextlib.aclosing(self._bucket.objects(self._prefix)) as objects:
            async for info in objects:
                piece = _parse(info.key.removeprefix(self._prefix))
                if piece is not None and piece.number == number and piece.size == info.size:
                    found.append(piece)
        self._pieces = _chain(found)
        return self.size

    async def read(self) -> bytes:
        """The bytes that are held.

        Raises:
            TruncatedError: A piece that was there a moment ago is gone: another process is at work on this upload.
        """
        data = []
        for piece in self._pieces:
            try:
                _, content = await self._bucket.read(self._prefix + piece.name)
            except NotFoundError:
                raise TruncatedError("Another server goes on with this upload; ask for its offset again.") from None
            data.append(content)
        return b"".join(data)

    async def add(self, number: int, data: bytes, epoch: int, whole: Sequence[bytes]) -> None:
        """Keep more bytes, behind those that are held.

        Args:
            number: The part that they belong to.
            data: The bytes.
            epoch: Of the process that writes.
            whole: All bytes of the tail, these included; used where there are so many pieces that they are written as one.
        """
        if len(self._pieces) < _MOST_PIECES:
            piece = Piece(number, self.size, len(data), epoch)
            await self._bucket.put(self._prefix + piece.name, data)
            self._pieces.append(piece)
            return
        old, content = self._pieces, b"".join(whole)
        piece = Piece(number, 0, len(content), epoch)
        await self._bucket.put(self._prefix + piece.name, content)
        self._pieces = [piece]
        await self._bucket.delete_many([(self._prefix + item.name, None) for item in old if item != piece])

    async def drop(self) -> None:
        """Delete the pieces: the part that holds their bytes is confirmed. Safe to repeat."""
        old, self._pieces = self._pieces, []
        if old:
            await self._bucket.delete_many([(self._prefix + piece.name, None) for piece in old])

    async def clear(self) -> None:
        """Delete whatever is there. Safe to repeat."""
        self._pieces = []
        await delete_prefix(self._bucket, self._prefix)


def _parse(name: str) -> Piece | None:
    fields = name.split("-")
    if len(fields) != 4 or not all(field.isdecimal() for field in fields):
        return None
    return Piece(*(int(field) for field in fields))


def _chain(pieces: list[Piece]) -> list[Piece]:
    """Pieces that follow one another from 0: the longest at each place, of the newest process."""
    chain: list[Piece] = []
    at = 0
    while True:
        here = [piece for piece in pieces if piece.start == at and piece.size]
        if not here:
            return chain
        best = max(here, key=lambda piece: (piece.epoch, piece.size))
        chain.append(best)
        at += best.size
