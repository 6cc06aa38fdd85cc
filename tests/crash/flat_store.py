"""A durable flat store for the crash tests: keys and bytes in one SQLite file, shared by processes, without any native rename.

As S3 is: no directories, any key, metadata with the object, conditional writes, copies and deletes, and many deletes in one request. So the
journaled way of moving a directory, copy and then delete, is the only one, and can be killed for real.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import secrets
import sqlite3
from collections.abc import Iterator
from datetime import datetime, timezone

from cloudcontents.backends.body import read_whole
from cloudcontents.backends.interface import (
    ALWAYS,
    Backend,
    IfAbsent,
    IfVersion,
    ObjectInfo,
    Page,
    PrefixInfo,
    Reader,
)
from cloudcontents.backends.ranges import resolve_range
from cloudcontents.errors import AlreadyExistsError, CloudContentsError, ConflictError, NotFoundError, UnsupportedError

_COLUMNS = "key, length(data), version, modified, type, metadata, checksum"


class FlatBackend(Backend):
    """The objects in a SQLite file."""

    def __init__(self, path: str) -> None:
        self._path = path
        with self._transaction() as db:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute(
                "CREATE TABLE IF NOT EXISTS objects (key TEXT PRIMARY KEY, data BLOB NOT NULL, version TEXT NOT NULL, "
                "modified REAL NOT NULL, type TEXT, metadata TEXT NOT NULL, checksum TEXT NOT NULL) WITHOUT ROWID"
            )

    @property
    def url(self) -> str:
        return "flat:///store"

    @contextlib.contextmanager
    def _transaction(self, *, write: bool = False) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self._path, timeout=60, isolation_level=None)
        try:
            db.execute("PRAGMA synchronous=OFF")  # processes are killed here, not machines
            if write:
                db.execute("BEGIN IMMEDIATE")
            yield db
            if write:
                db.execute("COMMIT")
        finally:
            db.close()

    def snapshot(self) -> dict[str, bytes]:
        """Every key and its bytes, at one moment."""
        with self._transaction() as db:
            return dict(db.execute("SELECT key, data FROM objects ORDER BY key"))

    async def list(self, prefix, *, delimiter=None, page_token=None, page_size=None):
        if delimiter not in (None, "/"):
            raise UnsupportedError("The delimiter is '/' or none.")
        return await asyncio.to_thread(self._list, prefix, delimiter, page_token, max(1, min(page_size or 1000, 1000)))

    def _list(self, prefix, delimiter, token, size):
        objects, prefixes = [], []
        at, strictly = (token[1:], token[0] == "o") if token else (prefix, False)
        with self._transaction() as db:
            while True:
                how = ">" if strictly else ">="
                row = db.execute(f"SELECT {_COLUMNS} FROM objects WHERE key {how} ? ORDER BY key LIMIT 1", (at,)).fetchone()
                if row is None or not row[0].startswith(prefix):
                    return Page(objects, prefixes)
                if len(objects) + len(prefixes) == size:
                    return Page(objects, prefixes, ("o" if strictly else "p") + at)
                key = row[0]
                cut = key.find("/", len(prefix)) if delimiter else -1
                if cut >= 0:
                    common = key[: cut + 1]
                    prefixes.append(PrefixInfo(common))
                    at, strictly = common[:-1] + "0", False  # the character after "/"
                else:
                    info = _info(row)
                    objects.append(ObjectInfo(info.key, info.size, info.version, info.modified))
                    at, strictly = key, True

    async def head(self, key):
        return await asyncio.to_thread(self._head, key)

    def _head(self, key):
        with self._transaction() as db:
            return _info(_row(db, key))

    async def get(self, key, *, start=0, length=None, if_version=None):
        info, data = await asyncio.to_thread(self._read, key)
        if if_version is not None and info.version != if_version:
            raise ConflictError("changed")
        first, count = resolve_range(len(data), start, length)
        return _Reader(info, data[first : first + count])

    def _read(self, key):
        with self._transaction() as db:
            row = db.execute(f"SELECT {_COLUMNS}, data FROM objects WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise NotFoundError(f"{key!r} does not exist.")
        return _info(row[:-1]), row[-1]

    async def put(self, key, body, *, when=ALWAYS, content_type=None, metadata=None, checksum=None):
        data, _ = await read_whole(body, checksum)
        return await asyncio.to_thread(self._put, key, data, when, content_type, metadata)

    def _put(self, key, data, when, content_type, metadata):
        with self._transaction(write=True) as db:
            return _write(db, key, data, when, content_type, json.dumps(dict(metadata or {})))

    async def delete(self, key, *, if_version=None):
        await asyncio.to_thread(self._delete, key, if_version)

    def _delete(self, key, version):
        with self._transaction(write=True) as db:
            if version is None:
                db.execute("DELETE FROM objects WHERE key = ?", (key,))
            elif not db.execute("DELETE FROM objects WHERE key = ? AND version = ?", (key, version)).rowcount:
                raise ConflictError(f"{key!r} has changed.")

    async def delete_many(self, items):
        return await asyncio.to_thread(self._delete_many, items)

    def _delete_many(self, items):
        failed = []
        for key, version in items:
            try:
                self._delete(key, version)
            except CloudContentsError as error:
                failed.append((key, error))
        return failed

    async def copy(self, src, dst, *, src_version=None, when=ALWAYS):
        return await asyncio.to_thread(self._copy, src, dst, src_version, when)

    def _copy(self, src, dst, src_version, when):
        with self._transaction(write=True) as db:
            info = _info(_row(db, src))
            if src_version is not None and info.version != src_version:
                raise ConflictError(f"{src!r} has changed.")
            (data,) = db.execute("SELECT data FROM objects WHERE key = ?", (src,)).fetchone()
            return _write(db, dst, data, when, info.content_type, json.dumps(dict(info.metadata or {})))

    async def close(self):
        """Every call opens and closes its own connection."""


class _Reader(Reader):
    def __init__(self, info, data):
        self.info, self.length, self._data = info, len(data), data

    async def __aiter__(self):
        for at in range(0, self.length, 1 << 20):
            yield self._data[at : at + (1 << 20)]

    async def aclose(self):
        """Nothing is held open."""


def _row(db, key):
    row = db.execute(f"SELECT {_COLUMNS} FROM objects WHERE key = ?", (key,)).fetchone()
    if row is None:
        raise NotFoundError(f"{key!r} does not exist.")
    return row


def _write(db, key, data, when, content_type, metadata):
    old = db.execute("SELECT version FROM objects WHERE key = ?", (key,)).fetchone()
    if isinstance(when, IfAbsent) and old is not None:
        raise AlreadyExistsError(f"{key!r} exists.")
    if isinstance(when, IfVersion) and (old is None or old[0] != when.version):
        raise ConflictError(f"{key!r} has changed.")
    now = datetime.now(timezone.utc).timestamp()
    checksum = f"sha256:{hashlib.sha256(data).hexdigest()}"
    db.execute(
        "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?)",
        (key, data, secrets.token_hex(8), now, content_type, metadata, checksum),
    )
    return _info(_row(db, key))


def _info(row):
    key, size, version, modified, content_type, metadata, checksum = row
    when = datetime.fromtimestamp(modified, timezone.utc)
    return ObjectInfo(key, size, version, when, content_type=content_type, metadata=json.loads(metadata), checksum=checksum)
