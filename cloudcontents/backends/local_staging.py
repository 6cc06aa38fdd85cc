"""A file on its way: written beside the bucket's own, made durable, then put in its place in one step.

Killed at any point, the old content stands or the new one does; what is left of the attempt lies under ``.cloudcontents/tmp/``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from cloudcontents.errors import AlreadyExistsError, ConflictError, PermissionDeniedError, UnavailableError, WrongTypeError
from cloudcontents.keys import RESERVED, show

from .interface import IfAbsent, IfVersion, When
from .local_files import Root, is_writable, look, segments, version_of
from .local_meta import Side, write_side

_PLACE = (RESERVED, "tmp")
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_NO_RANGE_COPY = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF}
_COPY_STEP = 64 << 20
#: Tries where another one makes and removes the same directory at that moment; each takes microseconds.
_TRIES = 100


class Staged:
    """One file being written. Blocks: used in the backend's threads only.

    `discard` may come from another thread at any time; it waits until a step under way has ended, so that no file number is used
    after it was closed.

    Args:
        root: The bucket.
        key: The key that it will be published under.
    """

    def __init__(self, root: Root, key: str) -> None:
        self._root = root
        self._key = key
        self._names = segments(key)
        self._lock = threading.Lock()
        self._given_up = False
        self._closed = False
        self._stamped = False
        # Whether the file goes where it was not published.
        self._own = True
        self._open()

    def write(self, pieces: Sequence[bytes]) -> None:
        """Append pieces."""
        with self._step():
            for piece in pieces:
                rest = memoryview(piece)
                while rest:
                    rest = rest[os.write(self._file, rest) :]

    def copy_from(self, source: int, size: int, stop: Callable[[], bool]) -> None:
        """Take the whole of an open file, sharing its blocks where the file system can.

        Raises:
            UnavailableError: `stop` said so.
        """
        with self._step():
            _copy(source, self._file, size, stop)
        if stop():
            raise UnavailableError(f"Copying to {show(self._key)} was given up.")

    def publish(self, when: When, side: Side) -> os.stat_result:
        """Make the file durable and put it in its place, if the precondition holds; then this object is spent.

        Raises:
            AlreadyExistsError: `IfAbsent`, and the name is taken.
            ConflictError: `IfVersion`, and the file has moved on or is gone.
            WrongTypeError: A directory, link or special file has that name.
            PermissionDeniedError: The file's mode does not let it be written.
        """
        with self._step():
            # The long part of making it durable comes before the lock.
            with contextlib.suppress(FileNotFoundError), self._root.directory(self._names[:-1]) as target:
                self._adopt(target, look(self._names[-1], target))
            os.fsync(self._file)
            with self._root.locked(self._key):
                status = self._publish(when, side)
        self.discard()
        return status

    def discard(self) -> None:
        """Remove what was not published and close everything. Safe to repeat."""
        self._given_up = True
        with self._lock:
            if not self._closed:
                self._closed = True
                self._close()

    def _settle(self) -> None:
        """Is called once the precondition holds, before the file takes its place."""

    @contextlib.contextmanager
    def _step(self) -> Iterator[None]:
        with self._lock:
            if self._closed or self._given_up:
                raise UnavailableError(f"Writing {show(self._key)} was given up.")
            yield

    # --- where it is staged -------------------------------------------------------------------------------------------------

    def _choose_place(self) -> tuple[str, ...]:
        """The bucket's own staging directory, or one beside the target where that lies on another device."""
        with self._root.nearest(self._names[:-1]) as (near, depth), self._root.directory(_PLACE, create=True) as ours:
            if os.fstat(near).st_dev == os.fstat(ours).st_dev:
                return _PLACE
            return (*self._names[:depth], *_PLACE)

    def _open(self) -> None:
        self._create(self._choose_place())

    def _create(self, place: tuple[str, ...]) -> None:
        name = f"{os.getpid()}-{secrets.token_hex(8)}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        for _ in range(_TRIES):
            with self._root.directory(place, create=True) as directory:
                try:
                    self._file = os.open(name, flags, 0o666, dir_fd=directory)
                except FileNotFoundError:
                    continue  # another writer has just removed the empty directory
                self._directory = os.dup(directory)
                break
        else:
            raise UnavailableError(f"No file could be staged for {show(self._key)}; try again.")
        self._name, self._place, self._own = name, place, True
        # The file was made empty with the mode that the umask gives; until it is published nobody else may read it.
        self._mode = stat.S_IMODE(os.fstat(self._file).st_mode)
        os.fchmod(self._file, 0o600)

    def _close(self) -> None:
        if self._own:
            with contextlib.suppress(OSError):
                os.unlink(self._name, dir_fd=self._directory)
        os.close(self._file)
        os.close(self._directory)
        if self._own and self._place != _PLACE:
            for depth in (len(self._place), len(self._place) - 1):
                with contextlib.suppress(OSError), self._root.directory(self._place[: depth - 1]) as directory:
                    os.rmdir(self._place[depth - 1], dir_fd=directory)

    def _stage_beside(self, target_names: Sequence[str]) -> None:
        """Go on in the target's own directory, after the kernel called it another device."""
        old_file, old_directory, old_name, own = self._file, self._directory, self._name, self._own
        mode = self._mode
        self._create((*target_names, *_PLACE))
        self._mode = mode
        _copy(old_file, self._file, os.fstat(old_file).st_size, lambda: False)
        os.close(old_file)
        if own:
            with contextlib.suppress(OSError):
                os.unlink(old_name, dir_fd=old_directory)
        os.close(old_directory)

    # --- how it is published ------------------------------------------------------------------------------------------------

    def _publish(self, when: When, side: Side) -> os.stat_result:
        for _ in range(_TRIES):
            try:
                with self._root.directory(self._names[:-1], create=True) as target:
                    return self._publish_into(target, when, side)
            except FileNotFoundError:
                continue  # the directory was removed meanwhile: make it again
            except OSError as error:
                if error.errno != errno.EXDEV or (*self._names[:-1], *_PLACE) == self._place:
                    raise
                self._stage_beside(self._names[:-1])
        raise UnavailableError(f"The directory of {show(self._key)} keeps vanishing; try again.")

    def _publish_into(self, target: int, when: When, side: Side) -> os.stat_result:
        name = self._names[-1]
        old = look(name, target)
        _check(self._key, old, when)
        self._settle()
        if self._adopt(target, old):
            os.fsync(self._file)
        status = os.fstat(self._file)
        current = None if old is None else version_of(old)
        write_side(self._root, self._names, current, version_of(status), side)
        if isinstance(when, IfAbsent):
            self._link(target, name)
        else:
            os.replace(self._name, name, src_dir_fd=self._directory, dst_dir_fd=target)
        os.fsync(target)
        return status

    def _link(self, target: int, name: str) -> None:
        """Take a free name in one step."""
        try:
            os.link(self._name, name, src_dir_fd=self._directory, dst_dir_fd=target, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # No hard links here: the lock still holds among all who go through us.
            if look(name, target) is not None:
                raise AlreadyExistsError(f"{show(self._key)} exists already; use another name.") from error
            os.replace(self._name, name, src_dir_fd=self._directory, dst_dir_fd=target)

    def _adopt(self, target: int, old: os.stat_result | None) -> bool:
        """Take over the mode and owner of the file that goes, and a time after its own. Returns whether anything changed."""
        mine = os.fstat(self._file)
        changed = False
        uid, gid, mode = mine.st_uid, mine.st_gid, self._mode
        if old is not None and stat.S_ISREG(old.st_mode):
            uid, gid, mode = old.st_uid, old.st_gid, stat.S_IMODE(old.st_mode)
        else:
            parent = os.fstat(target)
            gid = parent.st_gid if parent.st_mode & stat.S_ISGID else gid
        if (uid, gid) != (mine.st_uid, mine.st_gid):
            try:
                os.fchown(self._file, uid, gid)
                changed = True
            except PermissionError:
                # Never hand on "run as owner" to another owner.
                mode &= ~(stat.S_ISUID | stat.S_ISGID)
        if mode != stat.S_IMODE(mine.st_mode):
            os.fchmod(self._file, mode)
            changed = True
        # The kernel's clock ticks every few milliseconds and inode numbers come back: set by us, no two versions are alike.
        floor = old.st_mtime_ns + 1 if old is not None else 0
        if not changed and self._stamped and mine.st_mtime_ns >= floor:
            return False
        now = time.time_ns()
        os.utime(self._file, ns=(now, max(now, floor)))
        self._stamped = True
        return True


def sweep_staged(root: Root, older_than: float) -> int:
    """Remove what attempts that never ended have left, if it is older than so many seconds. Returns how many files."""
    removed = 0
    try:
        with root.directory(_PLACE) as directory:
            for name in os.listdir(directory):
                with contextlib.suppress(OSError):
                    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                    if time.time() - status.st_ctime > older_than:
                        os.unlink(name, dir_fd=directory)
                        removed += 1
    except FileNotFoundError:
        pass
    return removed


def _check(key: str, old: os.stat_result | None, when: When) -> None:
    plain = old is not None and stat.S_ISREG(old.st_mode)
    if isinstance(when, IfAbsent) and old is not None:
        raise AlreadyExistsError(f"{show(key)} exists already; use another name.")
    if isinstance(when, IfVersion) and (old is None or not plain or version_of(old) != when.version):
        raise ConflictError(f"{show(key)} has changed since it was read; read it again.")
    if old is not None and not plain:
        raise WrongTypeError(f"{show(key)} is a directory, a link or no plain file; use another name.")
    if old is not None and not is_writable(old):
        raise PermissionDeniedError(f"{show(key)} is read-only; change its mode or save under another name.")


def _copy(source: int, target: int, size: int, stop: Callable[[], bool]) -> None:
    done = 0
    ranged = hasattr(os, "copy_file_range")
    while done < size and not stop():
        count = 0
        if ranged:
            try:
                count = os.copy_file_range(source, target, min(_COPY_STEP, size - done), done, done)
            except OSError as error:
                if error.errno not in _NO_RANGE_COPY:
                    raise
                ranged = False
        if not ranged or count == 0:
            piece = os.pread(source, min(1 << 20, size - done), done)
            count = os.pwrite(target, piece, done) if piece else 0
        if count == 0:
            return
        done += count
