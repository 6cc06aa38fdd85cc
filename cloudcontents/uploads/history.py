"""What became of uploads: a small note each, kept for some days, so that a lost last reply can be answered and uploads can be counted."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from .. import keys
from ..bucket import Bucket
from ..errors import NotFoundError

_PREFIX = keys.reserved_key("uploads", "finished") + "/"

#: Days for which it is known what became of an upload; a little more than the week that is counted.
_KEEP = timedelta(days=8)


@dataclass(frozen=True, slots=True)
class Note:
    """What became of one upload.

    Attributes:
        id: The upload's.
        outcome: ``complete``, ``cancelled``, ``failed``, ``expired`` or ``recovered``.
        size: Bytes that had arrived.
        ended: When.
    """

    id: str
    outcome: str
    size: int
    ended: datetime

    @property
    def key(self) -> str:
        """The key of its object: whoever lists knows all."""
        return f"{_PREFIX}{self.id}-{self.outcome}-{self.size}"


class History:
    """The notes of one bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    async def note(self, id: str, outcome: str, size: int, details: dict[str, Any]) -> None:
        """Write what became of an upload; again with other details, where the outcome is the same. Safe to repeat."""
        note = Note(id, outcome, size, datetime.now(timezone.utc))
        await self._bucket.put(note.key, json.dumps(details).encode(), content_type="application/json")

    async def find(self, id: str) -> tuple[Note, dict[str, Any]] | None:
        """What became of an upload, or None where nothing is known; a LIST and a GET."""
        prefix = f"{_PREFIX}{keys.check_id(id, 'upload id')}-"
        page = await self._bucket.list(prefix, page_size=10)
        notes = [note for info in page.objects if (note := _parse(info.key, info.modified)) is not None]
        # Of two that ended it at once, the one that made the file is right.
        for note in sorted(notes, key=lambda note: note.outcome != "complete"):
            with contextlib.suppress(NotFoundError, ValueError):
                _, data = await self._bucket.read(note.key, limit=1 << 20)
                return note, dict(json.loads(data))
        return None

    async def all(self) -> list[Note]:
        """Every note; one LIST per 1,000."""
        async with contextlib.aclosing(self._bucket.objects(_PREFIX)) as objects:
            found = [_parse(info.key, info.modified) async for info in objects]
        return [note for note in found if note is not None]

    async def sweep(self) -> int:
        """Forget what is older than eight days; returns how many."""
        now = datetime.now(timezone.utc)
        old = [note.key for note in await self.all() if now - note.ended > _KEEP]
        await self._bucket.delete_many([(key, None) for key in old])
        return len(old)


def _parse(key: str, modified: datetime) -> Note | None:
    fields = key.removeprefix(_PREFIX).rsplit("-", 2)
    if len(fields) != 3 or not fields[2].isdecimal():
        return None
    return Note(fields[0], fields[1], int(fields[2]), modified)
