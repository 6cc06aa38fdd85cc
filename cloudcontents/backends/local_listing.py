"""Listing directories as an object store would list keys: in UTF-8 byte order, a directory sorting as ``name/``."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone

from .interface import ObjectInfo, Page, PrefixInfo
from .local_files import UNNAMEABLE, Root, is_writable, kernel_errors, version_of

_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}


def info_of(key: str, status: os.stat_result) -> ObjectInfo:
    """What an entry's status says of an object."""
    directory = stat.S_ISDIR(status.st_mode)
    return ObjectInfo(
        key=key,
        size=0 if directory else status.st_size,
        version=version_of(status),
        modified=moment(status),
        writable=is_writable(status),
    )


def moment(status: os.stat_result) -> datetime:
    """Time of the last write."""
    return datetime.fromtimestamp(status.st_mtime, timezone.utc)


def list_page(root: Root, prefix: str, delimited: bool, token: str | None, size: int) -> Page:
    """One page of a listing.

    Args:
        root: The bucket.
        prefix: Start of the keys.
        delimited: Whether what lies below a directory is rolled into it.
        token: The last key or common prefix of the page before.
        size: Most entries.

    Raises:
        PermissionDeniedError: A directory cannot be read: leaving it out would make what is in it look deleted.
    """
    parent = prefix.rpartition("/")[0]
    names = parent.split("/") if parent else []
    with root.directory(()):
        pass  # a missing bucket is an error, a missing directory an empty listing
    if any(name in ("", ".", "..") for name in names) or prefix.startswith("/") or UNNAMEABLE.search(prefix):
        return Page([])
    after = token or ""
    with kernel_errors(prefix), contextlib.closing(_Walk(root, prefix, names, not delimited, after)) as walk:
        return _collect(walk.entries(), delimited, size)


def _collect(entries: Iterator[tuple[str, os.stat_result, bool]], delimited: bool, size: int) -> Page:
    objects: list[ObjectInfo] = []
    prefixes: list[PrefixInfo] = []
    last = ""
    for key, status, itself in entries:
        if len(objects) + len(prefixes) >= size:
            return Page(objects, prefixes, last)
        if delimited and key.endswith("/") and not itself:
            prefixes.append(PrefixInfo(key, moment(status)))
        else:
            objects.append(info_of(key, status))
        last = key
    return Page(objects, prefixes)


@dataclass
class _Level:
    """A directory being walked: its keys still to come, and its file number while it is the deepest."""

    names: list[str]
    keys: list[str]
    file: int | None = None
    at: int = 0


@dataclass
class _Walk:
    """A walk in key order that holds one directory open at a time, however deep it goes."""

    root: Root
    prefix: str
    names: list[str]
    deep: bool
    after: str
    levels: list[_Level] = field(default_factory=list)

    def entries(self) -> Iterator[tuple[str, os.stat_result, bool]]:
        """Yield keys after the token, each with its status and whether it is the prefix itself."""
        if not self._push(self.names):
            return
        if self.prefix.endswith("/") and self.prefix > self.after:
            yield self.prefix, os.fstat(self._file()), True
        while self.levels:
            level = self.levels[-1]
            if level.at == len(level.keys):
                self._pop()
                continue
            key = level.keys[level.at]
            level.at += 1
            name = key.removesuffix("/").rpartition("/")[2]
            if key > self.after:
                try:
                    status = os.stat(name, dir_fd=self._file(), follow_symlinks=False)
                except OSError as error:
                    if error.errno in _GONE:
                        continue
                    raise
                if stat.S_ISDIR(status.st_mode) != key.endswith("/"):
                    continue  # it has become something else since the directory was read
                yield key, status, False
            if self.deep and key.endswith("/"):
                self._push([*level.names, name])

    def close(self) -> None:
        """Close what is open."""
        for level in self.levels:
            self._shut(level)

    def _push(self, names: list[str]) -> bool:
        if self.levels:
            self._shut(self.levels[-1])
        try:
            with self.root.directory(names) as directory:
                file = os.dup(directory)
        except OSError as error:
            if error.errno in _GONE:
                return False
            raise
        level = _Level(names, [], file)
        self.levels.append(level)
        level.keys = self._keys(file, "".join(f"{name}/" for name in names))
        return True

    def _pop(self) -> None:
        self._shut(self.levels.pop())

    def _keys(self, file: int, base: str) -> list[str]:
        """The keys of one directory that are wanted, sorted. No status is read for them yet."""
        found = []
        with os.scandir(file) as entries:
            for entry in entries:
                name = entry.name
                if UNNAMEABLE.search(name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    key = f"{base}{name}/"
                elif entry.is_file(follow_symlinks=False):
                    key = f"{base}{name}"
                else:
                    continue
                if not key.startswith(self.prefix):
                    continue
                if key > self.after or (self.deep and key.endswith("/") and self.after.startswith(key)):
                    found.append(key)
        # The order of code points is the order of UTF-8 bytes.
        found.sort()
        return found

    def _file(self) -> int:
        """The file number of the deepest directory, opened again by its path where the walk had gone below it."""
        level = self.levels[-1]
        if level.file is None:
            try:
                with self.root.directory(level.names) as directory:
                    level.file = os.dup(directory)
            except OSError as error:
                if error.errno in _GONE:
                    level.at = len(level.keys)
                raise
        return level.file

    @staticmethod
    def _shut(level: _Level) -> None:
        if level.file is not None:
            os.close(level.file)
            level.file = None
