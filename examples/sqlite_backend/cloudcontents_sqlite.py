"""``sqlite:///file.db``: one SQLite file as a bucket. An example of a third-party backend for cloudcontents."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime, timezone
from typing import TypeVar
from urllib.parse import quote

from cloudcontents.backends import ALWAYS, Backend, Body, Capabilities, IfAbsent, IfVersion, ObjectInfo, Page, PrefixInfo, Reader, When
from cloudcontents.backends.body import read_whole
from cloudcontents.backends.ranges import resolve_range
from cloudcontents.config import StoreUrl
from cloudcontents.errors import (
    AlreadyExistsError,
    BucketNotFoundError,
    ConfigurationError,
    ConflictError,
    NotFoundError,
    UnavailableError,
    UnsupportedError,
)
from cloudcontents.keys import show

T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    key TEXT PRIMARY KEY, version INTEGER, size INTEGER, modified REAL, type TEXT, metadata TEXT, checksum TEXT, data BLOB
);
CREATE TABLE IF NOT EXISTS versions (last INTEGER);
INSERT INTO versions SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM versions);
"""
_INFO = "SELECT key, version, size, modified, type, metadata, checksum FROM objects"
_PIECE = 1 << 20


def open_sqlite(url: StoreUrl) -> Backend:
    """Open ``sqlite:///file.db[?create=true]``: what the entry point names. Touches no file yet."""
    url.check_options(("create",))
    if url.bucket or not url.path.startswith("/"):
        raise ConfigurationError("A SQLite URL names an absolute path: sqlite:///home/me/bucket.db")
    return SqliteBackend(url.path, create=url.flag("create"))


class SqliteBackend(Backend):
    """Each call is one transaction in a thread, so nothing blocks an event loop or is bound to one."""

    # What is not said here is true: conditional writes, metadata, any key, durable.
    capabilities = Capabilities(max_object_bytes=512 << 20)

    def __init__(self, path: str, *, create: bool = False) -> None:
        self._path = path
        self._create = create
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None

    @property
    def url(self) -> str:
        """``sqlite:///file.db``."""
        return f"sqlite://{quote(self._path)}"

    async def list(
        self,
        prefix: str,
        *,
        delimiter: str | None = None,
        page_token: str | None = None,
        page_size: int | None = None,
    ) -> Page:
        """See `Backend.list`. SQLite compares text by its UTF-8 bytes, which is the order that is wanted."""
        if delimiter not in (None, "/"):
            raise UnsupportedError("The delimiter of a listing is '/' or none.")
        size = max(1, min(page_size or 1000, 1000))
        return await self._run(lambda db: _page(db, prefix, delimiter, page_token, size))

    async def head(self, key: str) -> ObjectInfo:
        """See `Backend.head`."""
        return await self._run(lambda db: _find(db, key))

    async def get(self, key: str, *, start: int = 0, length: int | None = None, if_version: str | None = None) -> Reader:
        """See `Backend.get`."""

        def work(db: sqlite3.Connection) -> Reader:
            info = _find(db, key)
            if if_version is not None and info.version != if_version:
                raise ConflictError(f"{show(key)} has changed; read it again.")
            first, count = resolve_range(info.size or 0, start, length)
            (data,) = db.execute("SELECT substr(data, ?, ?) FROM objects WHERE key = ?", (first + 1, count, key)).fetchone()
            return SqliteReader(info, data or b"")  # SQLite has no empty part of an empty blob

        return await self._run(work)

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
        """See `Backend.put`. `read_whole` checks the body's size and checksum before anything is stored."""
        data, digest = await read_whole(body, checksum)
        row = (content_type, json.dumps(dict(metadata or {})), digest, data)
        return await self._run(lambda db: _write(db, key, when, row))

    async def delete(self, key: str, *, if_version: str | None = None) -> None:
        """See `Backend.delete`."""

        def work(db: sqlite3.Connection) -> None:
            if if_version is not None:
                _check(db, key, IfVersion(if_version))
            db.execute("DELETE FROM objects WHERE key = ?", (key,))

        await self._run(work)

    async def copy(self, src: str, dst: str, *, src_version: str | None = None, when: When = ALWAYS) -> ObjectInfo:
        """See `Backend.copy`."""

        def work(db: sqlite3.Connection) -> ObjectInfo:
            _find(db, src)
            if src_version is not None:
                _check(db, src, IfVersion(src_version))
            row = db.execute("SELECT type, metadata, checksum, data FROM objects WHERE key = ?", (src,)).fetchone()
            return _write(db, dst, when, row)

        return await self._run(work)

    async def close(self) -> None:
        """Close the file. The next call opens it again."""
        await asyncio.to_thread(self._close)

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.to_thread(self._transaction, work)

    def _transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            with self._lock:
                db = self._db = self._db or self._connect()
                db.execute("BEGIN IMMEDIATE")
                try:
                    result = work(db)
                except BaseException:
                    db.execute("ROLLBACK")
                    raise
                db.execute("COMMIT")
                return result
        except sqlite3.OperationalError as error:
            raise UnavailableError("The SQLite file is busy or cannot be used; try again.") from error

    def _connect(self) -> sqlite3.Connection:
        if not self._create and not os.path.exists(self._path):
            raise BucketNotFoundError("The bucket's SQLite file does not exist; add ?create=true to its URL.")
        # Used by one thread at a time, under the lock, but not always by the same one.
        db = sqlite3.connect(self._path, timeout=30, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA synchronous = FULL")
        db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        return db

    def _close(self) -> None:
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None


class SqliteReader(Reader):
    """Bytes that were read in one transaction: pinned by nature."""

    def __init__(self, info: ObjectInfo, data: bytes) -> None:
        self.info = info
        self.length = len(data)
        self._data = data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for at in range(0, self.length, _PIECE):
            yield self._data[at : at + _PIECE]

    async def aclose(self) -> None:
        """Nothing is held open."""


def _info(row: tuple[str, int, int, float, str | None, str, str], *, listed: bool = False) -> ObjectInfo:
    key, version, size, modified, content_type, metadata, checksum = row
    moment = datetime.fromtimestamp(modified, timezone.utc)
    if listed:
        return ObjectInfo(key, size, str(version), moment)
    return ObjectInfo(key, size, str(version), moment, content_type=content_type, metadata=json.loads(metadata), checksum=checksum)


def _find(db: sqlite3.Connection, key: str) -> ObjectInfo:
    row = db.execute(f"{_INFO} WHERE key = ?", (key,)).fetchone()
    if row is None:
        raise NotFoundError(f"{show(key)} does not exist.")
    return _info(row)


def _check(db: sqlite3.Connection, key: str, when: When) -> None:
    row = db.execute("SELECT version FROM objects WHERE key = ?", (key,)).fetchone()
    if isinstance(when, IfAbsent) and row is not None:
        raise AlreadyExistsError(f"{show(key)} exists already; use another name.")
    if isinstance(when, IfVersion) and (row is None or str(row[0]) != when.version):
        raise ConflictError(f"{show(key)} has changed since it was read; read it again.")


def _write(db: sqlite3.Connection, key: str, when: When, row: tuple[str | None, str, str, bytes]) -> ObjectInfo:
    _check(db, key, when)
    db.execute("UPDATE versions SET last = last + 1")
    db.execute(
        "INSERT OR REPLACE INTO objects SELECT ?, (SELECT last FROM versions), ?,"
        " max(?, coalesce((SELECT modified FROM objects WHERE key = ?), 0)), ?, ?, ?, ?",
        (key, len(row[3]), datetime.now(timezone.utc).timestamp(), key, *row),
    )
    return _find(db, key)


def _page(db: sqlite3.Connection, prefix: str, delimiter: str | None, token: str | None, size: int) -> Page:
    objects: list[ObjectInfo] = []
    prefixes: list[PrefixInfo] = []
    start = token or f">={prefix}"  # how to go on: ">=" or "> " and a key
    while True:
        row = db.execute(f"{_INFO} WHERE key {start[:2]} ? ORDER BY key LIMIT 1", (start[2:],)).fetchone()
        if row is None or not row[0].startswith(prefix):
            return Page(objects, prefixes)
        if len(objects) + len(prefixes) == size:
            return Page(objects, prefixes, start)
        cut = row[0].find("/", len(prefix)) if delimiter else -1
        if cut < 0:
            objects.append(_info(row, listed=True))
            start = f"> {row[0]}"
        else:
            prefixes.append(PrefixInfo(row[0][: cut + 1]))
            start = f">={row[0][:cut]}0"  # "0" follows "/": past everything below this prefix
