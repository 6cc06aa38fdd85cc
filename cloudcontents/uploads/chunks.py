"""JupyterLab's own chunk saves: staged in the bucket, checked for order, published whole at the last one or not at all.

The protocol (`PUT /api/contents` with ``chunk`` 1, 2, …, -1) carries no upload id, size or checksum. Chunks of one client for one path
are one session; each is an object under the reserved prefix, so that any server process can go on with it. The old file stays until the
last chunk.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator
from datetime import datetime, timezone

from .. import keys
from ..backends.interface import ObjectInfo, SizedStream
from ..bucket import Bucket
from ..errors import AlreadyExistsError, ConflictError
from ..moves import delete_prefix

_PREFIX = keys.reserved_key("chunks") + "/"

#: The protocol's number of the last chunk.
LAST = -1


class Chunks:
    """The staged chunks of one bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    async def stage(self, path: str, client: str, number: int, data: bytes) -> None:
        """Keep one chunk. The same chunk again with the same bytes changes nothing; number 1 begins anew.

        Raises:
            ConflictError: It is not the next one, or other bytes came under its number before; begin again with chunk 1.
        """
        place = self._place(path, client)
        if number == 1:
            await delete_prefix(self._bucket, place)
        elif await self._bucket.find(_name(place, number - 1)) is None:
            raise ConflictError(f"Chunk {number} of {keys.show(path)} came before chunk {number - 1}; upload the file again.")
        try:
            await self._bucket.put(_name(place, number), data, when=self._bucket.if_absent)
        except AlreadyExistsError:
            _, there = await self._bucket.read(_name(place, number))
            if there != data:
                raise ConflictError(
                    f"Chunk {number} of {keys.show(path)} came twice with different bytes; upload the file again."
                ) from None

    async def stream(self, path: str, client: str, last: bytes) -> SizedStream:
        """The whole file: every staged chunk in order, then the last one. Read from the bucket, one chunk in memory at a time.

        Raises:
            ConflictError: No upload is under way, or a chunk is missing.
        """
        place = self._place(path, client)
        staged: list[ObjectInfo] = []
        async with contextlib.aclosing(self._bucket.objects(place)) as objects:
            async for info in objects:
                if not info.key.endswith("/"):
                    staged.append(info)
        if not staged:
            raise ConflictError(f"No upload of {keys.show(path)} is under way; upload the file again.")
        if [info.key for info in staged] != [_name(place, n + 1) for n in range(len(staged))]:
            raise ConflictError(f"Chunks of {keys.show(path)} are missing; upload the file again.")

        async def pieces() -> AsyncIterator[bytes]:
            for info in staged:
                async with await self._bucket.get(info.key, if_version=info.version) as reader:
                    async for piece in reader:
                        yield piece
            if last:
                yield last

        return SizedStream(pieces(), sum(info.size or 0 for info in staged) + len(last))

    async def discard(self, path: str, client: str) -> None:
        """Forget an upload. Safe to repeat."""
        await delete_prefix(self._bucket, self._place(path, client))

    async def sweep(self, max_age_seconds: float) -> int:
        """Delete uploads whose last chunk came longer ago than this; returns how many objects went."""
        now = datetime.now(timezone.utc)
        newest: dict[str, datetime] = {}
        async with contextlib.aclosing(self._bucket.objects(_PREFIX)) as objects:
            async for info in objects:
                place = _PREFIX + info.key.removeprefix(_PREFIX).partition("/")[0] + "/"
                newest[place] = max(newest.get(place, info.modified), info.modified)
        count = 0
        for place, time in newest.items():
            if place != _PREFIX + "/" and (now - time).total_seconds() > max_age_seconds:
                count += await delete_prefix(self._bucket, place)
        return count

    def _place(self, path: str, client: str) -> str:
        name = hashlib.sha256(f"{path}\0{client}".encode()).hexdigest()[:32]
        return f"{_PREFIX}{name}/"


def _name(place: str, number: int) -> str:
    return f"{place}{number:08d}"
