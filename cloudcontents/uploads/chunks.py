"""JupyterLab's own chunk saves, through the engine: in order, published whole at the last one or not at all.

The protocol (`PUT /api/contents` with ``chunk`` 1, 2, …, -1) carries no upload id, size or checksum. Chunks of one client for one path are
one upload, which this process remembers. JupyterLab begins a failed one again by itself, so bytes short of a whole part wait in memory, and
the old file stays until the last chunk.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from .. import keys
from ..backends.interface import ALWAYS, ObjectInfo, When
from ..errors import ConflictError, NotFoundError, UploadGoneError
from .engine import Uploads
from .status import UploadStatus

#: The protocol's number of the last chunk.
LAST = -1

#: Uploads that are remembered; of more the oldest must begin again.
_MOST = 1000

#: Seconds after its last chunk for which the tab of an upload that was replaced is taken to be there still.
_ALIVE = 30.0


@dataclass(slots=True)
class _Under:
    id: str
    there: ObjectInfo | None
    offset: int = 0
    seen: list[bytes] = field(default_factory=list)
    touched: float = field(default_factory=time.monotonic)
    # The number that comes next from who sent to the upload which this one has replaced, and until when it may come.
    rival: int = 0
    rival_until: float = 0.0


class Chunks:
    """The chunk saves that this process is at.

    Args:
        uploads: The engine.
    """

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads
        self._under_way: OrderedDict[tuple[str, str], _Under] = OrderedDict()

    def is_under_way(self, path: str, client: str) -> bool:
        """Whether a client's chunks of a path are coming in."""
        return (path, client) in self._under_way

    def there(self, path: str, client: str) -> ObjectInfo | None:
        """The file that was there when the first chunk came: so that not each chunk has to ask."""
        upload = self._under_way.get((path, client))
        return upload.there if upload is not None else None

    async def add(
        self, path: str, client: str, number: int, data: bytes, digest: bytes, *, there: ObjectInfo | None, owner: str | None
    ) -> None:
        """Take one chunk. Number 1 begins anew; the same chunk again with the same bytes changes nothing.

        Args:
            path: The API path.
            client: Whose chunks these are.
            number: 1, 2, … and `LAST`.
            data: The bytes.
            digest: `digest_of` them.
            there: With number 1: the file that is there.
            owner: The user, where users have names.

        Raises:
            ConflictError: It is not the next one, or other bytes came under its number before; begin again with chunk 1.
        """
        key = (path, client)
        upload = self._under_way.get(key)
        if number == 1:
            if upload is not None and upload.seen == [digest]:
                return  # its reply was lost
            old = upload
            if old is not None:
                await self._forget(key, owner)
            begun = await self._uploads.start(path, when=ALWAYS, owner=owner, protocol="chunks")
            upload = self._under_way[key] = _Under(begun.id, there)
            if old is not None and old.seen[:1] != [digest]:
                upload.rival, upload.rival_until = len(old.seen) + 1, old.touched + _ALIVE
            if len(self._under_way) > _MOST:
                self._under_way.popitem(last=False)
        if upload is None:
            raise ConflictError(f"No upload of {keys.show(path)} is under way here; upload the file again.")
        last = number == LAST
        if not last and number <= len(upload.seen):
            if upload.seen[number - 1] == digest:
                return
            # Two tabs of one browser: whose the next chunk were, nobody could tell.
            await self._forget(key, owner)
            raise ConflictError(f"Chunk {number} of {keys.show(path)} came twice with different bytes; upload the file again.")
        if number == upload.rival and number != len(upload.seen) + 1:
            upload.rival = 0
            raise ConflictError(f"Another upload of {keys.show(path)} was begun since; upload the file again.")
        if not last and number != len(upload.seen) + 1:
            raise ConflictError(f"Chunk {number} of {keys.show(path)} came before chunk {number - 1}; upload the file again.")
        if (last or number == upload.rival) and upload.rival and time.monotonic() < upload.rival_until:
            # It may as well be the other file's.
            await self._forget(key, owner)
            raise ConflictError(f"Two uploads of {keys.show(path)} came in at once; upload one file at a time, and again.")
        try:
            upload.offset = await self._uploads.append(upload.id, upload.offset, data, final=last, owner=owner, durable_tail=False)
        except (ConflictError, NotFoundError, UploadGoneError) as error:
            self._under_way.pop(key, None)
            raise ConflictError(f"The upload of {keys.show(path)} was interrupted; upload the file again.") from error
        upload.seen.append(digest)
        upload.touched = time.monotonic()

    async def finish(self, path: str, client: str, when: When, *, owner: str | None) -> UploadStatus:
        """Publish what has arrived. Where the condition does not hold the upload is kept, as any other."""
        upload = self._under_way.pop((path, client))
        return await self._uploads.complete(upload.id, when=when, owner=owner)

    async def _forget(self, key: tuple[str, str], owner: str | None) -> None:
        upload = self._under_way.pop(key)
        with contextlib.suppress(NotFoundError, UploadGoneError):
            await self._uploads.cancel(upload.id, owner=owner)


def digest_of(data: bytes) -> bytes:
    """What tells a chunk from another one. Takes time: for a thread."""
    return hashlib.blake2b(data, digest_size=16).digest()
