"""A file being read: opened once, read in steps in the backend's threads, pinned to the version it was opened on."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace

from cloudcontents.errors import ConflictError, InvalidPathError, NotFoundError, TruncatedError
from cloudcontents.keys import show

from .interface import ObjectInfo, Reader
from .local_files import Root, kernel_errors, segments, version_of
from .local_listing import info_of
from .local_meta import read_side
from .ranges import resolve_range

STEP = 1 << 20
_TRIES = 3

Submit = Callable[[Callable[[], bytes]], "Future[bytes]"]


class OpenFile:
    """A plain file opened for reading. Blocks: used in threads. `close` may come from another one at any time."""

    def __init__(self, root: Root, key: str, names: Sequence[str]) -> None:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with root.directory(names[:-1]) as directory:
            number = os.open(names[-1], flags, dir_fd=directory)
        try:
            # A FileIO, so that a reader nobody closed is warned about and closed.
            self._file = os.fdopen(number, "rb", buffering=0)
        except IsADirectoryError:
            os.close(number)
            raise
        self._lock = threading.Lock()
        self.key = key
        self.status = os.fstat(self._file.fileno())
        self.version = version_of(self.status)
        side = read_side(root, names, self.version)
        self.info = replace(info_of(key, self.status), content_type=side.content_type, metadata=side.metadata)

    @property
    def number(self) -> int:
        """The kernel's number of the open file."""
        return self._file.fileno()

    def is_plain(self) -> bool:
        """Whether this is a regular file: no pipe, socket or device."""
        return os.path.isfile(self._file.fileno())

    def read(self, at: int, count: int) -> bytes:
        """Read bytes of the version that was opened.

        Raises:
            TruncatedError: The file has become shorter.
            ConflictError: The file was changed in place.
        """
        with self._lock, kernel_errors(self.key):
            if self._file.closed:
                raise ConflictError(f"{show(self.key)} was closed while it was read.")
            pieces = []
            while count:
                piece = os.pread(self._file.fileno(), count, at)
                if not piece:
                    break
                pieces.append(piece)
                at += len(piece)
                count -= len(piece)
            if count:
                raise TruncatedError(f"{show(self.key)} became shorter while it was read; read it again.")
            self.check()
            return b"".join(pieces)

    def check(self) -> None:
        """Raise `TruncatedError` or `ConflictError` if the file is no longer what was opened."""
        status = os.fstat(self._file.fileno())
        if status.st_size < self.status.st_size:
            raise TruncatedError(f"{show(self.key)} became shorter while it was read; read it again.")
        if version_of(status) != self.version:
            raise ConflictError(f"{show(self.key)} was changed while it was read; read it again.")

    def close(self) -> None:
        """Close the file once no read is under way. Safe to repeat."""
        with self._lock:
            self._file.close()

    def close_now(self) -> bool:
        """Close the file if no read is under way; returns whether it is closed."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            self._file.close()
        finally:
            self._lock.release()
        return True


def open_file(root: Root, key: str) -> OpenFile:
    """Open an object's file.

    Raises:
        NotFoundError: No plain file has that name.
    """
    try:
        names = segments(key)
    except InvalidPathError:
        raise NotFoundError(f"{show(key)} does not exist.") from None
    with kernel_errors(key, reading=True):
        try:
            file = OpenFile(root, key, names)
        except IsADirectoryError:
            raise NotFoundError(f"{show(key)} is a directory.") from None
        if not file.is_plain():
            file.close()
            raise NotFoundError(f"{show(key)} is no plain file.")
        return file


def open_reader(root: Root, key: str, start: int, length: int | None, if_version: str | None, submit: Submit) -> LocalReader:
    """Open a file, check its version and range, and read its first piece, all in one step in a thread."""
    for left in reversed(range(_TRIES)):
        file = open_file(root, key)
        try:
            if if_version is not None and file.version != if_version:
                raise ConflictError(f"{show(key)} has changed since it was listed; read it again.")
            first, count = resolve_range(file.status.st_size, start, length)
            piece = file.read(first, min(count, STEP))
        except (TruncatedError, ConflictError):
            file.close()
            # Something is writing to it just now. Whoever asked for no version in particular gets the next one.
            if left and if_version is None:
                continue
            raise
        except BaseException:
            file.close()
            raise
        if count <= STEP:
            file.close()
        return LocalReader(file, first, count, piece, submit)
    raise AssertionError("unreachable")  # pragma: no cover


class LocalReader(Reader):
    """The reader that `LocalBackend.get` returns. While one piece is used, the next one is read."""

    def __init__(self, file: OpenFile, first: int, length: int, piece: bytes, submit: Submit) -> None:
        self.info: ObjectInfo = file.info
        self.length = length
        self._file = file
        self._first = first
        self._piece = piece
        self._submit = submit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        end = self._first + self.length
        at = self._first + len(self._piece)
        ahead = self._ahead(at, end)
        if self._piece:
            yield self._piece
        while ahead is not None:
            piece = await asyncio.wrap_future(ahead)
            at += len(piece)
            ahead = self._ahead(at, end)
            yield piece

    async def aclose(self) -> None:
        """Close the file; one that is just being read is closed as soon as that step ends."""
        if not self._file.close_now():
            self._submit(self._close)

    def abandon(self) -> None:
        """Close the file of a reader that reached nobody; in a thread."""
        self._file.close()

    def _ahead(self, at: int, end: int) -> Future[bytes] | None:
        if at >= end:
            return None
        count = min(STEP, end - at)
        return self._submit(lambda: self._file.read(at, count))

    def _close(self) -> bytes:
        self._file.close()
        return b""


class EmptyReader(Reader):
    """What a directory's key reads as: nothing."""

    def __init__(self, info: ObjectInfo, start: int, if_version: str | None) -> None:
        if if_version is not None and info.version != if_version:
            raise ConflictError(f"{show(info.key)} has changed since it was listed; read it again.")
        resolve_range(0, start, None)
        self.info = info
        self.length = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        nothings: tuple[bytes, ...] = ()
        for nothing in nothings:
            yield nothing

    async def aclose(self) -> None:
        """Nothing is held open."""
