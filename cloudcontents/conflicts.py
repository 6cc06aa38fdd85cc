"""The texts of saves that were refused because somebody else had saved: kept, so that no one's work is lost (promise G2).

One object each under the reserved prefix: a line of JSON that says what it is, then the bytes as they would have been stored. Its id is
made from the path, the client and the base version, so that a client that tries again replaces its own text and no other one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone

from . import keys
from .bucket import Bucket
from .errors import NotFoundError
from .parallel import for_each

_PREFIX = keys.reserved_key("conflicts") + "/"

#: Bytes within which the line of JSON ends: a path takes at most six times its 1,024 bytes when escaped.
_HEAD = 16 * 1024


@dataclass(frozen=True, slots=True)
class Conflict:
    """A text that was kept.

    Attributes:
        id: Its name; a refused save tells it.
        path: Where it was to be saved.
        kept: When, aware, whole seconds.
        by: Whose it is, where the identity is a real one.
        base: The version that it was made from, or None for a new file.
        type: ``notebook`` or ``file``.
        format: ``json``, ``text`` or ``base64``: how the client sent it; what is kept are the plain bytes.
        size: Bytes of the text.
    """

    id: str
    path: str
    kept: datetime
    by: str | None
    base: str | None
    type: str
    format: str
    size: int


class Conflicts:
    """The kept texts of one bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    async def keep(
        self, path: str, data: bytes, *, client: str, base: str | None, type: str, format: str, by: str | None = None
    ) -> Conflict:
        """Keep a text. A repeat for the same path, client and base replaces it.

        Args:
            path: Where it was to be saved.
            data: The bytes that would have been stored.
            client: Names the client; only a digest of it is stored.
            base: The version that the text was made from.
            type: ``notebook`` or ``file``.
            format: How it was sent.
            by: Whose it is.
        """
        id = f"{_digest(path)}-{_digest(client, base or '')}"
        now = datetime.now(timezone.utc).replace(microsecond=0)
        conflict = Conflict(id, path, now, by, base, type, format, len(data))
        head = json.dumps({"format_version": 1, **asdict(conflict), "kept": now.isoformat()}).encode()
        await self._bucket.put(_PREFIX + id, head + b"\n" + data, content_type="application/octet-stream")
        return conflict

    async def list(self, path: str | None = None) -> Sequence[Conflict]:
        """The kept texts of a path, or all, the oldest first."""
        found: list[Conflict] = []

        async def one(key: str) -> None:
            with contextlib.suppress(NotFoundError, ValueError, KeyError):
                found.append(await self._head(key))

        prefix = _PREFIX if path is None else f"{_PREFIX}{_digest(path)}-"
        async with contextlib.aclosing(self._bucket.objects(prefix)) as objects:
            await for_each([info.key async for info in objects if not info.key.endswith("/")], one)
        return sorted(found, key=lambda conflict: (conflict.kept, conflict.id))

    async def get(self, id: str) -> tuple[Conflict, bytes]:
        """A kept text.

        Raises:
            NotFoundError: No such id.
        """
        key = _PREFIX + keys.check_id(id, "conflict id")
        try:
            _, data = await self._bucket.read(key)
        except NotFoundError:
            raise NotFoundError(f"No text is kept under the id {id}.") from None
        head, _, text = data.partition(b"\n")
        return _parse(head, id), text

    async def delete(self, id: str) -> None:
        """Forget a kept text. Safe to repeat."""
        await self._bucket.delete(_PREFIX + keys.check_id(id, "conflict id"))

    async def sweep(self, max_age_seconds: float) -> int:
        """Delete the texts kept longer than this; returns how many."""
        now = datetime.now(timezone.utc)
        async with contextlib.aclosing(self._bucket.objects(_PREFIX)) as objects:
            old = [
                info.key async for info in objects if not info.key.endswith("/") and (now - info.modified).total_seconds() > max_age_seconds
            ]
        await self._bucket.delete_many([(key, None) for key in old])
        return len(old)

    async def _head(self, key: str) -> Conflict:
        _, data = await self._bucket.read(key, length=_HEAD)
        return _parse(data.partition(b"\n")[0], key.removeprefix(_PREFIX))


def _parse(head: bytes, id: str) -> Conflict:
    record = json.loads(head)
    return Conflict(
        id,
        record["path"],
        datetime.fromisoformat(record["kept"]),
        record.get("by"),
        record.get("base"),
        record["type"],
        record["format"],
        record["size"],
    )


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:12]
