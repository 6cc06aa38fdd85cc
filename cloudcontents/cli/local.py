"""The local side of a copy: plain files, written whole or not at all, and never outside the directory that was named.

The path that a user typed is trusted; the names below it come from a bucket and are not. Each of them must be one plain name, and no
directory on the way to it may be a link.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import platform
import secrets
import stat
from collections.abc import AsyncIterator
from datetime import datetime, timezone
from pathlib import Path, PureWindowsPath
from typing import BinaryIO

from ..errors import AlreadyExistsError, ChecksumError, ConflictError, InvalidPathError, TruncatedError, WrongTypeError
from ..keys import is_reserved_segment, join, show
from .console import note
from .sides import Item, Kind, Side, Source, Standing

_PIECE = 1 << 20
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EACCES}
# EISDIR: a kernel that does not know the flag. The others: a file system that cannot.
_NO_TMPFILE = {errno.EISDIR, errno.ENOENT, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS}


class LocalSide(Side):
    """Files below a path that the user typed.

    Args:
        root: That path; it may be a link, and "" means itself.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def show(self, path: str) -> str:
        """The path as typed, and what is below it."""
        return str(self._root / path) if path else str(self._root)

    def whole_name(self, path: str) -> str:
        """This machine's name and the file's path without links."""
        return f"{platform.node()} {self.real_path(path)}"

    def real_path(self, path: str) -> str | None:
        """The path without links."""
        return os.path.realpath(self._root / path)

    async def kind(self, path: str) -> Kind | None:
        """What is there; a link counts as what it leads to."""

        def look() -> Kind | None:
            at = self._root / path
            if at.is_dir():
                return "directory"
            return "file" if os.path.lexists(at) else None

        return await asyncio.to_thread(look)

    async def find(self, path: str, *, follow: bool = True) -> Standing | None:
        """No byte is read. What is no plain file is like no other."""

        def look() -> Standing | None:
            try:
                status = (os.stat if follow else os.lstat)(self._root / path)
            except (FileNotFoundError, NotADirectoryError):
                return None
            if stat.S_ISDIR(status.st_mode):
                raise WrongTypeError(f"{self.show(path)} is a directory; a file cannot take its place.")
            size = status.st_size if stat.S_ISREG(status.st_mode) else -1
            return Standing(size, _version(status), modified=_modified(status))

        return await asyncio.to_thread(look)

    async def walk(self, path: str) -> AsyncIterator[Item]:
        """Files, links to files and directories; says on stderr what it leaves out."""
        waiting = [""]
        while waiting:
            at = waiting.pop()
            try:
                found = await asyncio.to_thread(_scan, self._root / path / at)
            except OSError as error:
                yield Item(at, "directory", problem=error)
                continue
            for name, kind, size in found:
                below = join(at, name)
                if is_reserved_segment(name):
                    note(f"{self.show(join(path, below))} left out: the name is reserved.")
                elif kind is None:
                    note(f"{self.show(join(path, below))} left out: a link to a directory, or no plain file.")
                else:
                    if kind == "directory":
                        waiting.append(below)
                    yield Item(below, kind, size)

    @contextlib.asynccontextmanager
    async def read(self, path: str) -> AsyncIterator[Source]:
        """A file that changes while it is read raises `ConflictError` before its last piece."""
        at = self._root / path
        # Not blocking: opening a pipe would wait for its other end.
        file = await asyncio.to_thread(lambda: os.fdopen(os.open(at, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb", buffering=0))
        with file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise WrongTypeError(f"{self.show(path)} is not a plain file.")

            async def chunks() -> AsyncIterator[bytes]:
                left = status.st_size
                while left:
                    piece = await asyncio.to_thread(file.read, min(_PIECE, left))
                    left -= len(piece)
                    if not piece or (not left and _version(os.fstat(file.fileno())) != _version(status)):
                        raise ConflictError(f"{self.show(path)} changed while it was copied; copy it again when it rests.")
                    yield piece

            yield Source(status.st_size, _version(status), None, chunks(), _modified(status))

    async def write(self, path: str, source: Source, *, over: str | None = None, origin: str | None = None) -> None:
        """Written without a name, checked, then put in its place in one step; what is cut short leaves nothing, not by a kill either.

        The file gets the time of its source. Where the file system knows no files without a name, a kill leaves a ``.….part``.
        """
        target = await asyncio.to_thread(self._target, path, over is not None)
        digest = hashlib.sha256() if (source.checksum or "").startswith("sha256:") else None
        size = 0

        def store(file: BinaryIO, piece: bytes) -> None:
            if digest is not None:
                digest.update(piece)
            file.write(piece)

        def finish(file: BinaryIO) -> None:
            file.flush()
            if source.modified is not None:
                seconds = int(source.modified.timestamp())
                os.utime(file.fileno() if os.utime in os.supports_fd else file.name, (seconds, seconds))
            os.fsync(file.fileno())

        part, descriptor = await asyncio.to_thread(_open_part, target)
        try:
            with os.fdopen(descriptor, "wb") as file:
                async for piece in source.chunks:
                    size += len(piece)
                    await asyncio.to_thread(store, file, piece)
                await asyncio.to_thread(finish, file)
                if size != source.size:
                    raise TruncatedError(f"{size} of {source.size} bytes of {show(path)} arrived; copy it again.")
                if digest is not None and f"sha256:{digest.hexdigest()}" != source.checksum:
                    raise ChecksumError(f"The bytes of {show(path)} do not match the store's checksum; copy it again.")
                await asyncio.to_thread(self._publish, part or descriptor, target, path, over)
        finally:
            if part is not None:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(part)

    async def make_directory(self, path: str) -> None:
        """Make a directory and those above it, none of them through a link."""
        await asyncio.to_thread(self._directory, path.split("/") if path else [])

    async def remove(self, path: str, version: str) -> None:
        """Delete a file that has not changed."""
        at = self._root / path

        def unlink() -> None:
            if _version(os.stat(at)) != version:
                raise ConflictError(f"{self.show(path)} changed while it was moved; both it and the copy are kept.")
            at.unlink()

        await asyncio.to_thread(unlink)

    async def remove_directories(self, path: str) -> bool:
        """Delete empty directories, the deepest first."""

        def prune() -> bool:
            top = self._root / path
            for directory, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(directory)
            return not top.exists()

        return await asyncio.to_thread(prune)

    def _target(self, path: str, replace: bool) -> Path:
        names = path.split("/") if path else []
        for name in names:
            _check_name(name)
        if names:
            target = self._directory(names[:-1]) / names[-1]
        else:
            target = self._root
            target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir() and not target.is_symlink():
            raise WrongTypeError(f"{self.show(path)} is a directory; a file cannot take its place.")
        if os.path.lexists(target) and not replace:
            raise self._taken(path)
        return target

    def _directory(self, names: list[str]) -> Path:
        at = self._root
        at.mkdir(parents=True, exist_ok=True)
        for name in names:
            _check_name(name)
            at = at / name
            with contextlib.suppress(FileExistsError):
                at.mkdir()
            if at.is_symlink() or not at.is_dir():
                raise WrongTypeError(f"{at} is a link or a file, not a directory: nothing is written through it.")
        return at

    def _publish(self, part: Path | int, target: Path, path: str, over: str | None) -> None:
        if over is not None:
            if not os.path.lexists(target) or _version(os.lstat(target)) != over:
                raise ConflictError(f"{self.show(path)} changed meanwhile; copy it again.")
            if isinstance(part, int):
                part, descriptor = _part_name(target), part
                _link(descriptor, part)
            try:
                os.replace(part, target)
            except OSError:
                part.unlink()
                raise
            return
        try:
            # A link, unlike a rename, never takes the place of another file.
            _link(part, target)
        except FileExistsError:
            raise self._taken(path) from None
        except OSError as error:
            if error.errno not in _NO_LINKS or isinstance(part, int):
                raise
            if os.path.lexists(target):
                raise self._taken(path) from None
            os.rename(part, target)

    async def begin(self, path: str, mark: str) -> None:
        """A hidden file in the new directory."""
        await asyncio.to_thread(lambda: self._directory(path.split("/") if path else []).joinpath(_record(mark)).touch())

    async def is_begun(self, path: str, mark: str) -> bool:
        """Whether that is there."""
        return await asyncio.to_thread((self._root / path / _record(mark)).exists)

    async def end(self, path: str, mark: str) -> None:
        """Remove it."""
        await asyncio.to_thread((self._root / path / _record(mark)).unlink, missing_ok=True)

    def _taken(self, path: str) -> AlreadyExistsError:
        return AlreadyExistsError(f"{self.show(path)} exists; choose another name, or add --force to overwrite it.")


def _check_name(name: str) -> None:
    """Refuse a key's segment that is anything but one plain name on this system."""
    other = os.sep == "\\" and PureWindowsPath(name).name != name
    if name in ("", ".", "..") or "/" in name or "\0" in name or other:
        raise InvalidPathError(f"{show(name)} cannot be a file's name here; nothing is written under it.")


def _scan(directory: Path) -> list[tuple[str, Kind | None, int | None]]:
    """Names with their kinds, None for what is not copied, and sizes."""
    found: list[tuple[str, Kind | None, int | None]] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    found.append((entry.name, "directory", None))
                else:
                    found.append((entry.name, "file", entry.stat().st_size) if entry.is_file() else (entry.name, None, None))
            except OSError:  # a link that leads to itself; what cannot be looked at cannot be read, and reading says why
                found.append((entry.name, None if entry.is_symlink() else "file", None))
    return sorted(found)


def _open_part(target: Path) -> tuple[Path | None, int]:
    """A file to write to: without a name where the file system can, else beside its place."""
    flags = os.O_WRONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
    if hasattr(os, "O_TMPFILE") and os.path.isdir("/proc/self/fd"):
        try:
            return None, os.open(target.parent, os.O_WRONLY | os.O_TMPFILE, 0o666)
        except OSError as error:
            if error.errno not in _NO_TMPFILE:
                raise
    part = _part_name(target)
    return part, os.open(part, flags | os.O_CREAT | os.O_EXCL, 0o666)


def _link(part: Path | int, target: Path) -> None:
    if not isinstance(part, int):
        os.link(part, target)
        return
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        # With a directory's descriptor Python uses linkat(), which follows the link to the file that has no name.
        os.link(f"/proc/self/fd/{part}", target.name, dst_dir_fd=directory, follow_symlinks=True)
    finally:
        os.close(directory)


def _part_name(target: Path) -> Path:
    return target.with_name(f".{secrets.token_hex(8)}.part")


def _record(mark: str) -> str:
    return f".{mark}.copying"


def _version(status: os.stat_result) -> str:
    return f"{status.st_ino}-{status.st_mtime_ns}-{status.st_size}"


def _modified(status: os.stat_result) -> datetime:
    return datetime.fromtimestamp(status.st_mtime, timezone.utc)
