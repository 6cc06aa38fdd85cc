"""What had arrived of uploads that were given up: kept for some days as files under the reserved prefix, to be listed and restored."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from .. import keys
from ..backends.interface import ObjectInfo
from ..bucket import Bucket
from ..errors import NotFoundError, UnsupportedError
from .session import Session

_PREFIX = keys.reserved_key("uploads", "recovered") + "/"


@dataclass(frozen=True, slots=True)
class Recovered:
    """The beginning of a file whose upload was given up: `path` is where it was to go."""

    id: str
    path: str
    size: int
    kept: datetime


async def keep(session: Session) -> bool:
    """Keep the bytes of an upload that follow one another from the start, up to the first gap; returns whether anything was kept.

    Nothing can be on a store whose parts cannot be read, where the upload was begun by a server that does not keep abandoned ones.
    """
    await session.refresh()
    if not session.offset:
        return False
    try:
        await session.write_contiguous(f"{_PREFIX}{session.record.id}/{session.record.path}")
    except UnsupportedError:
        return False
    return True


class RecoveredFiles:
    """The recovered files of one bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    async def list(self) -> Sequence[Recovered]:
        """All of them, the oldest first."""
        found: list[Recovered] = []
        async with contextlib.aclosing(self._bucket.objects(_PREFIX)) as objects:
            async for info in objects:
                id, slash, path = info.key.removeprefix(_PREFIX).partition("/")
                if slash and path and not path.endswith("/"):
                    found.append(Recovered(id, path, info.size or 0, info.modified))
        return sorted(found, key=lambda item: item.kept)

    async def restore(self, id: str, path: str) -> ObjectInfo:
        """Make one a file again, under a name that is free; the recovered one stays until its time.

        Raises:
            NotFoundError: There is none of this id.
            AlreadyExistsError: The name is taken.
        """
        return await self._bucket.copy(await self._key(id), path, when=self._bucket.if_absent)

    async def delete(self, id: str) -> None:
        """Forget one."""
        await self._bucket.delete(await self._key(id))

    async def sweep(self, days: float) -> int:
        """Delete what was kept longer ago; returns how many."""
        before = datetime.now(timezone.utc) - timedelta(days=days)
        old = [item for item in await self.list() if item.kept < before]
        await self._bucket.delete_many([(f"{_PREFIX}{item.id}/{item.path}", None) for item in old])
        return len(old)

    async def _key(self, id: str) -> str:
        prefix = f"{_PREFIX}{keys.check_id(id, 'upload id')}/"
        page = await self._bucket.list(prefix, page_size=5)
        for info in page.objects:
            if not info.key.endswith("/"):
                return info.key
        raise NotFoundError(f"Nothing was recovered under {id}.")
