"""What was deleted, kept for some days under the reserved prefix: list it, restore it, empty it.

Layout: ``.cloudcontents/trash/<id>/entry.json`` says what it was; ``…/content`` is the file, or ``…/content/`` the directory;
``…/<kind>/`` is what belonged to it, as its checkpoints. The id starts with the time of deletion, so that a sweep reads no entry.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Literal

from . import keys
from .errors import AlreadyExistsError, CloudContentsError, NotFoundError
from .parallel import for_each
from .tree import Tree

_PREFIX = keys.reserved_key("trash") + "/"


@dataclass(frozen=True, slots=True)
class Trashed:
    """One deleted file or directory. `deleted` is aware; `by` is None where nobody's name is known."""

    id: str
    path: str
    kind: Literal["file", "directory"]
    deleted: datetime
    by: str | None = None


class Trash:
    """The trash of one bucket.

    Args:
        tree: The tree that things are deleted from.
        companions: Kinds of our own objects that go along with a file (as ``checkpoints``).
    """

    def __init__(self, tree: Tree, *, companions: Sequence[str] = ()) -> None:
        self._tree = tree
        self._bucket = tree.bucket
        self.companions = tuple(companions)

    async def put(self, path: str, *, by: str | None = None) -> Trashed:
        """Move a file or directory to the trash; within the store, no byte passes through this process.

        Raises:
            NotFoundError: Nothing is there.
            ConflictError: It was saved at that moment; it stays.
        """
        entry = await self._tree.lookup(path)
        if entry is None or not path:
            raise NotFoundError(f"{keys.show(path)} does not exist.")
        now = time.time_ns()
        item = Trashed(f"{now:020d}-{secrets.token_hex(4)}", path, entry.kind, _time(now), by)
        place = f"{_PREFIX}{item.id}/"
        record = {"format": 1, **asdict(item), "deleted": item.deleted.isoformat()}
        # The entry first: content that nobody can find again would be lost.
        await self._bucket.put(f"{place}entry.json", json.dumps(record).encode(), content_type="application/json")
        try:
            if entry.info is not None:
                along = [(keys.companion_prefix(kind, path), f"{place}{kind}/") for kind in self.companions]
                await self._tree.move_file(entry.info, f"{place}content", also=along)
            else:
                along = [(keys.companion_tree(kind, path), f"{place}{kind}/") for kind in self.companions]
                await self._tree.move_dir(path, f"{place}content/", also=along)
        except CloudContentsError:
            with contextlib.suppress(CloudContentsError):
                if await self._kind(place) is None:
                    await self._bucket.delete(f"{place}entry.json")
            raise
        self._tree.wrote(path)
        await self._tree.keep_parent(path)
        return item

    async def list(self) -> Sequence[Trashed]:
        """Everything in the trash, the oldest first."""
        found: list[Trashed] = []

        async def one(id: str) -> None:
            with contextlib.suppress(NotFoundError, ValueError, KeyError):
                found.append(await self.get(id))

        await for_each(await self._ids(), one)
        return sorted(found, key=lambda item: item.id)

    async def get(self, id: str) -> Trashed:
        """One entry.

        Raises:
            NotFoundError: No such entry.
        """
        _, data = await self._bucket.read(f"{self._place(id)}entry.json", limit=1 << 20)
        record = json.loads(data)
        return Trashed(id, record["path"], record["kind"], datetime.fromisoformat(record["deleted"]), record.get("by"))

    async def restore(self, id: str, to: str | None = None) -> str:
        """Bring something back to where it was, or to another path.

        Returns:
            The path.

        Raises:
            NotFoundError: No such entry.
            AlreadyExistsError: Something is there now; nothing was changed.
        """
        item = await self.get(id)
        place = self._place(id)
        path = keys.clean(item.path if to is None else to)
        kind = await self._kind(place)
        if kind is None:
            raise NotFoundError(f"Trash entry {id} holds nothing any more.")
        if not path or await self._tree.lookup(path) is not None:
            raise AlreadyExistsError(f"{keys.show(path)} exists; restore to another path.")
        await self._tree.make_parents(path)
        if kind == "file":
            along = [(f"{place}{companion}/", keys.companion_prefix(companion, path)) for companion in self.companions]
            await self._tree.move_file(await self._bucket.head(f"{place}content"), path, also=along)
        else:
            along = [(f"{place}{companion}/", keys.companion_tree(companion, path)) for companion in self.companions]
            await self._tree.move_dir(f"{place}content", keys.as_prefix(path), also=along)
        await self._tree.delete_prefix(place)
        self._tree.wrote(path, kind)
        return path

    async def empty(self, ids: Iterable[str] | None = None, *, max_age_seconds: float | None = None) -> int:
        """Delete for good. Safe to repeat.

        Args:
            ids: These entries; None for all.
            max_age_seconds: Only what was deleted longer ago than this.

        Returns:
            The number of entries deleted.
        """
        chosen = [keys.check_id(id, "trash id") for id in ids] if ids is not None else await self._ids()
        if max_age_seconds is not None:
            limit = time.time_ns() - int(max_age_seconds * 1e9)
            chosen = [id for id in chosen if _stamp(id) < limit]
        count = 0
        for id in chosen:
            count += 1 if await self._tree.delete_prefix(self._place(id)) else 0
        return count

    async def _ids(self) -> Sequence[str]:
        found: list[str] = []
        async with contextlib.aclosing(self._bucket.pages(_PREFIX, delimiter="/")) as pages:
            async for page in pages:
                found += [prefix.key[len(_PREFIX) : -1] for prefix in page.prefixes]
        return [id for id in found if _stamp(id)]

    async def _kind(self, place: str) -> Literal["file", "directory"] | None:
        if await self._bucket.find(f"{place}content") is not None:
            return "file"
        return None if await self._bucket.is_empty(f"{place}content/") else "directory"

    def _place(self, id: str) -> str:
        return f"{_PREFIX}{keys.check_id(id, 'trash id')}/"


def _stamp(id: str) -> int:
    """Nanoseconds since the epoch when an entry was made; 0 for what is no entry of ours."""
    head = id.partition("-")[0]
    return int(head) if len(head) == 20 and head.isdecimal() else 0


def _time(stamp: int) -> datetime:
    return datetime.fromtimestamp(stamp // 10**9, timezone.utc)
