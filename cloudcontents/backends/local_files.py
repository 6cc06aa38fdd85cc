"""Files below a root, reached without following a link: descent, locks, and the kernel's errors in our words.

Every directory on the way to a key is opened relative to the one before it, so that a link put in place of an ancestor at any moment
leads nowhere. Only the root itself may be a link.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cloudcontents.errors import (
    AlreadyExistsError,
    BucketNotFoundError,
    CloudContentsError,
    ConfigurationError,
    InvalidPathError,
    NotFoundError,
    PermissionDeniedError,
    QuotaError,
    UnavailableError,
    WrongTypeError,
)
from cloudcontents.keys import RESERVED, show

if sys.platform == "win32":
    raise ConfigurationError("file:// buckets need Linux or macOS (or WSL on Windows); on Windows use a cloud bucket.")

import fcntl

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

#: What a name must not hold to be a key here: control characters, and bytes that are not UTF-8.
UNNAMEABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")

_STRIPES = 256
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}


@contextlib.contextmanager
def kernel_errors(key: str, *, reading: bool = False) -> Iterator[None]:
    """Turn the kernel's errors into ours, with the key and never with a path of this machine.

    Args:
        key: What the operation was about.
        reading: Whether a name that cannot exist is simply not found.
    """
    try:
        yield
    except CloudContentsError:
        raise
    except OSError as error:
        raise translate(error, key, reading=reading) from error


def translate(error: OSError, key: str, *, reading: bool = False) -> CloudContentsError:
    """The error of ours that says what the kernel said."""
    number = error.errno
    name = show(key)
    if number == errno.ENOENT or (reading and number in _ABSENT):
        return NotFoundError(f"{name} does not exist.")
    if number == errno.EEXIST:
        return AlreadyExistsError(f"{name} exists already; use another name.")
    if number in _DENIED:
        return PermissionDeniedError(f"The file system does not permit this on {name}; ask its owner for permission.")
    if number in _FULL:
        return QuotaError(f"No space is left to store {name}; free some and try again.")
    if number in (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL):
        return InvalidPathError(f"The file system cannot hold a file named {name}; use another name.")
    if number in (errno.ENOTDIR, errno.EISDIR, errno.ELOOP):
        return WrongTypeError(f"{name} is a directory, a link or no plain file, or lies below one; use another name.")
    return UnavailableError(f"The file system failed on {name} ({errno.errorcode.get(number or 0, 'unknown')}); try again.")


def segments(key: str) -> list[str]:
    """Take a key apart into names that a directory can hold.

    Raises:
        InvalidPathError: An empty, ``.`` or ``..`` segment, a control character, or text that is not UTF-8.
    """
    parts = key.removesuffix("/").split("/")
    if any(part in ("", ".", "..") for part in parts) or UNNAMEABLE.search(key):
        raise InvalidPathError(f"{show(key)} cannot be a file's name; use another one.")
    return parts


def version_of(status: os.stat_result) -> str:
    """The version of a file. A directory's does not move with what is put into it."""
    if stat.S_ISDIR(status.st_mode):
        return f"{status.st_ino:x}-d"
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"


def is_writable(status: os.stat_result) -> bool:
    """Whether the mode lets this process write; says nothing of access lists."""
    uid = os.geteuid()
    if uid == 0:
        return True
    if status.st_uid == uid:
        return bool(status.st_mode & stat.S_IWUSR)
    if status.st_gid == os.getegid() or status.st_gid in os.getgroups():
        return bool(status.st_mode & stat.S_IWGRP)
    return bool(status.st_mode & stat.S_IWOTH)


def look(name: str, directory: int) -> os.stat_result | None:
    """The status of an entry itself, or None where there is none."""
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


@dataclass(frozen=True)
class Root:
    """A directory that is a bucket.

    Attributes:
        path: Its absolute path.
        create: Whether to make it at its first use.
    """

    path: str
    create: bool = False

    @contextlib.contextmanager
    def directory(self, names: Sequence[str], *, create: bool = False) -> Iterator[int]:
        """Open a directory below the root.

        Args:
            names: The segments to it; none for the root.
            create: Whether to make what is missing on the way, durably.

        Raises:
            OSError: ENOENT, or ENOTDIR or ELOOP where a file or link stands in the way.
        """
        at = self._open()
        try:
            for name in names:
                below = self._enter(name, at, create)
                os.close(at)
                at = below
            yield at
        finally:
            os.close(at)

    @contextlib.contextmanager
    def nearest(self, names: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Open the deepest directory that exists on the way; yields it and how many segments lead to it."""
        at = self._open()
        depth = 0
        try:
            for name in names:
                try:
                    below = os.open(name, DIRECTORY, dir_fd=at)
                except FileNotFoundError:
                    break
                os.close(at)
                at = below
                depth += 1
            yield at, depth
        finally:
            os.close(at)

    @contextlib.contextmanager
    def locked(self, *keys: str) -> Iterator[None]:
        """Keep every other writer of these keys out, in this process and in others. Held by the calling thread, for moments."""
        stripes = sorted({zlib.crc32(key.removesuffix("/").encode()) % _STRIPES for key in keys})
        with contextlib.ExitStack() as stack, self.directory((RESERVED, "locks"), create=True) as directory:
            for stripe in stripes:
                file = _open_lock(f"{stripe:02x}", directory)
                # Closing the file lets go of the lock.
                stack.callback(os.close, file)
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _open(self) -> int:
        flags = DIRECTORY & ~os.O_NOFOLLOW
        try:
            return os.open(self.path, flags)
        except (FileNotFoundError, NotADirectoryError) as error:
            if not self.create or isinstance(error, NotADirectoryError):
                raise BucketNotFoundError(
                    "The bucket's directory does not exist on this machine; create it, or add ?create=true to its URL."
                ) from error
        os.makedirs(self.path, exist_ok=True)
        return os.open(self.path, flags)

    @staticmethod
    def _enter(name: str, at: int, create: bool) -> int:
        try:
            return os.open(name, DIRECTORY, dir_fd=at)
        except FileNotFoundError:
            if not create:
                raise
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, dir_fd=at)
            os.fsync(at)
        return os.open(name, DIRECTORY, dir_fd=at)


def _open_lock(name: str, directory: int) -> int:
    flags = os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags | os.O_RDWR, 0o666, dir_fd=directory)
    except PermissionError:
        # Made by another user: reading is enough to lock it.
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
