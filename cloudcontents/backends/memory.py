"""``memory://name``: objects in this process. The reference of how a backend behaves, and a double for tests.

Stores are found by name and shared by every backend of the process, so that a restarted server, or a second one, sees the same
objects. Nothing is on disk: a process that ends takes its stores with it.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone

from cloudcontents.config import StoreUrl
from cloudcontents.errors import (
    AlreadyExistsError,
    CloudContentsError,
    ConfigurationError,
    ConflictError,
    NotFoundError,
    UnsupportedError,
)
from cloudcontents.keys import show

from .body import read_whole
from .interface import (
    ALWAYS,
    Backend,
    Body,
    Capabilities,
    IfAbsent,
    IfVersion,
    ObjectInfo,
    Page,
    PrefixInfo,
    Reader,
    When,
)
from .prefix import PrefixBackend
from .ranges import resolve_range

_PIECE = 1 << 20
_versions = itertools.count(1)


@dataclass(frozen=True, slots=True)
class _Object:
    info: ObjectInfo
    data: bytes


@dataclass(slots=True)
class MemoryStore:
    """The objects of one name. Thread-safe. Tests may look at `snapshot`; everything else goes through a backend."""

    name: str
    lock: threading.Lock = field(default_factory=threading.Lock)
    _objects: dict[str, _Object] = field(default_factory=dict)
    #: Sorted by code point, which is the byte order of UTF-8.
    _keys: list[str] = field(default_factory=list)

    def snapshot(self) -> dict[str, bytes]:
        """Every key and its bytes, at one moment."""
        with self.lock:
            return {key: self._objects[key].data for key in self._keys}

    def clear(self) -> None:
        """Remove every object."""
        with self.lock:
            self._objects.clear()
            self._keys.clear()

    def find(self, key: str) -> _Object:
        """Return an object.

        Raises:
            NotFoundError: No such key.
        """
        with self.lock:
            return self._find(key)

    def write(self, key: str, data: bytes, draft: ObjectInfo, when: When) -> ObjectInfo:
        """Check the precondition and store, in one step."""
        with self.lock:
            return self._write(key, data, draft, when)

    def copy(self, src: str, dst: str, src_version: str | None, when: When) -> ObjectInfo:
        """Check both preconditions and copy, in one step."""
        with self.lock:
            source = self._find(src)
            if src_version is not None and source.info.version != src_version:
                raise ConflictError(f"{show(src)} has changed since it was read; read it again.")
            return self._write(dst, source.data, source.info, when)

    def remove(self, key: str, version: str | None) -> None:
        """Remove a key, if it has the version asked for."""
        with self.lock:
            found = self._objects.get(key)
            if version is not None and (found is None or found.info.version != version):
                raise ConflictError(f"{show(key)} has changed since it was read; it was not deleted.")
            if found is not None:
                del self._objects[key]
                del self._keys[bisect_left(self._keys, key)]

    def page(self, prefix: str, delimiter: str | None, token: str | None, size: int) -> Page:
        """One page of a listing. A common prefix is passed over in one step, however much lies below it."""
        objects: list[ObjectInfo] = []
        prefixes: list[PrefixInfo] = []
        last = ""
        with self.lock:
            at = self._after(token) if token else bisect_left(self._keys, prefix)
            while at < len(self._keys) and (key := self._keys[at]).startswith(prefix):
                if len(objects) + len(prefixes) >= size:
                    return Page(objects, prefixes, last)
                cut = key.find(delimiter, len(prefix)) if delimiter else -1
                if delimiter and cut >= 0:
                    common = key[: cut + len(delimiter)]
                    prefixes.append(PrefixInfo(common))
                    last = f"p{common}"
                    at = self._after(last)
                else:
                    # As most stores: a listing tells no metadata.
                    objects.append(replace(self._objects[key].info, content_type=None, metadata=None, checksum=None))
                    last = f"o{key}"
                    at += 1
        return Page(objects, prefixes)

    def _after(self, token: str) -> int:
        kind, name = token[0], token[1:]
        if kind == "p":
            return bisect_left(self._keys, f"{name[:-1]}{chr(ord(name[-1]) + 1)}")
        return bisect_right(self._keys, name)

    def _find(self, key: str) -> _Object:
        try:
            return self._objects[key]
        except KeyError:
            raise NotFoundError(f"{show(key)} does not exist.") from None

    def _write(self, key: str, data: bytes, draft: ObjectInfo, when: When) -> ObjectInfo:
        old = self._objects.get(key)
        if isinstance(when, IfAbsent) and old is not None:
            raise AlreadyExistsError(f"{show(key)} exists already; use another name.")
        if isinstance(when, IfVersion) and (old is None or old.info.version != when.version):
            raise ConflictError(f"{show(key)} has changed since it was read; read it again.")
        now = datetime.now(timezone.utc)
        # A clock that is set back must not make an overwrite look older than what it replaced.
        modified = max(now, old.info.modified) if old is not None else now
        info = replace(draft, key=key, version=f"{next(_versions):016x}", modified=modified)
        if old is None:
            insort(self._keys, key)
        self._objects[key] = _Object(info, data)
        return info


_stores: dict[str, MemoryStore] = {}
_stores_lock = threading.Lock()


def memory_store(name: str) -> MemoryStore:
    """The store of a name, made at its first use; for tests that look inside, clear or forget it (`drop_memory_store`)."""
    with _stores_lock:
        return _stores.setdefault(name, MemoryStore(name))


def drop_memory_store(name: str) -> None:
    """Forget a store. Backends opened before keep it to themselves. Safe to repeat."""
    with _stores_lock:
        _stores.pop(name, None)


def open_memory(url: StoreUrl) -> Backend:
    """Open ``memory://name[/prefix]``.

    Raises:
        ConfigurationError: No name, a bad prefix, or any option.
    """
    url.check_options(())
    if not url.bucket:
        raise ConfigurationError("A memory URL names its store: memory://name.")
    backend = MemoryBackend(url.bucket)
    return PrefixBackend(backend, url.prefix) if url.prefix else backend


class MemoryBackend(Backend):
    """One store of this process. Deliberately without `Rename`, as most object stores."""

    capabilities = Capabilities(durable=False)

    def __init__(self, name: str) -> None:
        self._store = memory_store(name)

    @property
    def url(self) -> str:
        """``memory://name``."""
        return str(StoreUrl("memory", self._store.name, ""))

    async def list(
        self,
        prefix: str,
        *,
        delimiter: str | None = None,
        page_token: str | None = None,
        page_size: int | None = None,
    ) -> Page:
        """See `Backend.list`. Pages hold at most 1,000 entries."""
        if delimiter not in (None, "/"):
            raise UnsupportedError("The delimiter of a listing is '/' or none.")
        await _turn()
        limit = self.capabilities.page_size
        return self._store.page(prefix, delimiter, page_token, max(1, min(page_size or limit, limit)))

    async def head(self, key: str) -> ObjectInfo:
        """See `Backend.head`."""
        await _turn()
        return self._store.find(key).info

    async def get(self, key: str, *, start: int = 0, length: int | None = None, if_version: str | None = None) -> Reader:
        """See `Backend.get`. The reader keeps the bytes it was opened on."""
        await _turn()
        found = self._store.find(key)
        if if_version is not None and found.info.version != if_version:
            raise ConflictError(f"{show(key)} has changed since it was listed; read it again.")
        first, count = resolve_range(len(found.data), start, length)
        return _MemoryReader(found, first, count)

    async def put(
        self,
        key: str,
        body: Body,
        *,
        when: When = ALWAYS,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        checksum: str | None = None,
    ) -> ObjectInfo:
        """See `Backend.put`. `checksum` of the result is always the content's SHA-256."""
        await _turn()
        data, digest = await read_whole(body, checksum)
        draft = ObjectInfo(
            key=key,
            size=len(data),
            version="",
            modified=datetime.min.replace(tzinfo=timezone.utc),
            content_type=content_type,
            metadata=dict(metadata or {}),
            checksum=digest,
        )
        return self._store.write(key, data, draft, when)

    async def delete(self, key: str, *, if_version: str | None = None) -> None:
        """See `Backend.delete`."""
        await _turn()
        self._store.remove(key, if_version)

    async def delete_many(self, items: Sequence[tuple[str, str | None]]) -> Sequence[tuple[str, Exception]]:
        """See `BulkDelete.delete_many`."""
        await _turn()
        failed: list[tuple[str, Exception]] = []
        for key, version in items:
            try:
                self._store.remove(key, version)
            except CloudContentsError as error:
                failed.append((key, error))
        return failed

    async def copy(self, src: str, dst: str, *, src_version: str | None = None, when: When = ALWAYS) -> ObjectInfo:
        """See `Backend.copy`."""
        await _turn()
        return self._store.copy(src, dst, src_version, when)

    async def close(self) -> None:
        """Nothing to free: the store outlives its backends."""


async def _turn() -> None:
    """Let others run, as a call to a real store does: without it tests would never see two calls interleave."""
    await asyncio.sleep(0)


class _MemoryReader(Reader):
    def __init__(self, found: _Object, first: int, count: int) -> None:
        self.info = found.info
        self.length = count
        self._data = found.data
        self._first = first

    async def __aiter__(self) -> AsyncIterator[bytes]:
        end = self._first + self.length
        for at in range(self._first, end, _PIECE):
            yield self._data[at : min(at + _PIECE, end)]

    async def aclose(self) -> None:
        """Nothing is held open."""
