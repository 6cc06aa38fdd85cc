"""``file:///directory``: a local directory as a bucket, whose objects stay plain files that other programs see.

A key that ends in a slash is a directory. Links are never followed and never listed. Every write is durable when it returns, and
leaves the old content or the new one wherever it is cut off. Compare-and-swap holds between threads and between processes that come
through here; other programs' edits are seen, not stopped.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar
from urllib.parse import quote

from cloudcontents.config import StoreUrl
from cloudcontents.errors import (
    CloudContentsError,
    ConfigurationError,
    ConflictError,
    DirectoryNotEmptyError,
    InvalidPathError,
    NotFoundError,
    UnsupportedError,
)
from cloudcontents.keys import show

from .body import BodyCheck
from .interface import (
    ALWAYS,
    Backend,
    Body,
    Capabilities,
    IfAbsent,
    IfVersion,
    ObjectInfo,
    Page,
    Reader,
    SizedStream,
    When,
)
from .local_files import Root, kernel_errors, look, segments, version_of
from .local_listing import info_of, list_page
from .local_meta import Side, drop_side, guess_type, move_side, read_side, sweep_sides
from .local_multipart import LocalMultipart
from .local_reader import STEP, EmptyReader, LocalReader, open_file, open_reader
from .local_renames import rename_directory, rename_file
from .local_staging import Staged, sweep_staged

T = TypeVar("T")

_THREADS = 8
_DAY = 24 * 3600.0
#: Looks at a directory that others fill and empty at the same time.
_LOOKS = 20
_NOT_EMPTY = {errno.ENOTEMPTY, errno.EEXIST}
_NO_RENAME = {errno.EXDEV, errno.EBUSY}


def open_local(url: StoreUrl) -> Backend:
    """Open ``file:///directory[?create=true]``.

    Raises:
        ConfigurationError: Not an absolute path on this machine, or an unknown option.
    """
    url.check_options(("create",))
    if url.bucket not in ("", "localhost"):
        raise ConfigurationError(f"A file URL names a directory of this machine with three slashes: file:///{url.bucket}{url.path}")
    if not url.path.startswith("/") or "\0" in url.path:
        raise ConfigurationError("A file URL names an absolute directory: file:///home/me/bucket")
    return LocalBackend(url.path, create=url.flag("create"))


class LocalBackend(LocalMultipart):
    """A directory of this machine.

    Args:
        path: Its absolute path; may be a link itself.
        create: Make the directory at its first use.
    """

    capabilities = Capabilities(
        metadata=False,
        object_beside_prefix=False,
        any_key=False,
        keeps_directories=True,
        max_key_bytes=4000,
        max_segment_bytes=255,
    )

    def __init__(self, path: str, *, create: bool = False) -> None:
        self._root = Root(os.path.abspath(path), create)
        self._pool: ThreadPoolExecutor | None = None
        self._pool_lock = threading.Lock()

    @property
    def url(self) -> str:
        """``file:///directory``."""
        return f"file://{quote(self._root.path)}"

    def local_path(self, key: str) -> str | None:
        """See `LocalPath.local_path`. Asks nothing of the disk: the file need not exist."""
        try:
            names = segments(key) if key else []
        except InvalidPathError:
            return None
        return os.path.join(self._root.path, *names)

    # --- reading --------------------------------------------------------------------------------------------------------------

    async def list(
        self,
        prefix: str,
        *,
        delimiter: str | None = None,
        page_token: str | None = None,
        page_size: int | None = None,
    ) -> Page:
        """See `Backend.list`. Names that are not UTF-8, or hold control characters, links and special files are left out."""
        if delimiter not in (None, "/"):
            raise UnsupportedError("The delimiter of a listing is '/' or none.")
        limit = self.capabilities.page_size
        size = max(1, min(page_size or limit, limit))
        return await self._run(lambda: list_page(self._root, prefix, delimiter is not None, page_token, size))

    async def head(self, key: str) -> ObjectInfo:
        """See `Backend.head`. A directory answers to its key with a slash."""
        return await self._run(lambda: self._head(key))

    async def get(self, key: str, *, start: int = 0, length: int | None = None, if_version: str | None = None) -> Reader:
        """See `Backend.get`."""
        if key.endswith("/"):
            return await self._run(lambda: EmptyReader(self._head(key), start, if_version))
        opening = self._submit(lambda: open_reader(self._root, key, start, length, if_version, self._submit))
        try:
            return await asyncio.wrap_future(opening)
        except asyncio.CancelledError:
            # The thread may be about to open the file for nobody.
            opening.add_done_callback(_abandon)
            raise

    # --- writing --------------------------------------------------------------------------------------------------------------

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
        """See `Backend.put`. Missing directories are made; a replaced file's mode and owner are kept.

        Raises:
            WrongTypeError: The name is a directory's, or a file stands where a directory should.
            PermissionDeniedError: The file's mode, or the directory's, does not let it be written.
            QuotaError: The disk is full.
        """
        if key.endswith("/"):
            if metadata or (body if isinstance(body, bytes) else body.size):
                raise UnsupportedError("A directory of a file:// bucket holds no content and no metadata.")
            return await self._run(lambda: self._make_directory(key, when))
        side = Side(content_type, dict(metadata or {}))
        if isinstance(body, bytes):
            return await self._run(lambda: self._put_whole(key, body, when, side, checksum))
        return await self._put_stream(key, body, when, side, checksum)

    async def delete(self, key: str, *, if_version: str | None = None) -> None:
        """See `Backend.delete`. A directory goes only when it is empty; else nothing happens.

        Raises:
            DirectoryNotEmptyError: Nothing is left in the directory but what this bucket does not show.
        """
        await self._run(lambda: self._delete(key, if_version))

    async def delete_many(self, items: Sequence[tuple[str, str | None]]) -> Sequence[tuple[str, Exception]]:
        """See `BulkDelete.delete_many`. Directories go after what is in them, whatever the order asked for."""
        return await self._run(lambda: self._delete_many(items))

    async def copy(self, src: str, dst: str, *, src_version: str | None = None, when: When = ALWAYS) -> ObjectInfo:
        """See `Backend.copy`. Blocks are shared where the file system can."""
        if src.endswith("/") != dst.endswith("/"):
            raise UnsupportedError("A directory is copied to a directory, a file to a file.")
        if src.endswith("/"):
            return await self._run(lambda: self._copy_directory(src, dst, src_version, when))
        stop = threading.Event()
        try:
            return await self._run(lambda: self._copy(src, dst, src_version, when, stop))
        finally:
            stop.set()

    async def rename(self, src: str, dst: str) -> None:
        """See `Rename.rename`. Missing directories above the target are made."""
        if src.endswith("/") != dst.endswith("/"):
            raise UnsupportedError("A directory is renamed to a directory, a file to a file.")
        await self._run(lambda: self._rename(src, dst))

    async def sweep(self) -> int:
        """Remove what writes cut off more than a day ago have left. Returns how many files. Safe to repeat at any time."""
        return await self._run(lambda: sweep_staged(self._root, _DAY) + sweep_sides(self._root, _DAY))

    async def close(self) -> None:
        """End the threads once their work is done. Safe to repeat; a later call starts new ones."""
        with self._pool_lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            await asyncio.to_thread(pool.shutdown)

    # --- threads --------------------------------------------------------------------------------------------------------------

    async def _run(self, work: Callable[[], T]) -> T:
        """Do blocking work in the pool. Cancelling the caller leaves it to end by itself, whole."""
        return await asyncio.wrap_future(self._submit(work))

    def _submit(self, work: Callable[[], T]) -> Future[T]:
        with self._pool_lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="cloudcontents-file")
            return self._pool.submit(work)

    # --- the work, in a thread ------------------------------------------------------------------------------------------------

    def _head(self, key: str) -> ObjectInfo:
        if not key.endswith("/"):
            return self._head_file(key)
        names = self._known_names(key)
        with kernel_errors(key, reading=True), self._root.directory(names) as directory:
            return info_of(key, os.fstat(directory))

    def _head_file(self, key: str) -> ObjectInfo:
        names = self._known_names(key)
        with kernel_errors(key, reading=True):
            with self._root.directory(names[:-1]) as directory:
                status = os.stat(names[-1], dir_fd=directory, follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode):
                raise NotFoundError(f"{show(key)} is no plain file.")
            side = read_side(self._root, names, version_of(status))
        return replace(info_of(key, status), content_type=side.content_type, metadata=side.metadata)

    def _known_names(self, key: str) -> Sequence[str]:
        """The segments of a key that may exist; one that cannot is simply not found."""
        try:
            return segments(key)
        except InvalidPathError:
            raise NotFoundError(f"{show(key)} does not exist.") from None

    def _stage(self, key: str) -> Staged:
        with kernel_errors(key):
            return Staged(self._root, key)

    def _put_whole(self, key: str, body: bytes, when: When, side: Side, checksum: str | None) -> ObjectInfo:
        check = BodyCheck(len(body), checksum, hashed=False)
        check.update(body)
        check.finish()
        staged = self._stage(key)
        try:
            with kernel_errors(key):
                staged.write([body])
            return self._publish(key, staged, when, side)
        finally:
            staged.discard()

    async def _put_stream(self, key: str, body: SizedStream, when: When, side: Side, checksum: str | None) -> ObjectInfo:
        check = BodyCheck(body.size, checksum, hashed=False)
        opening = self._submit(lambda: self._stage(key))
        try:
            staged = await asyncio.wrap_future(opening)

            def write(pieces: Sequence[bytes]) -> None:
                with kernel_errors(key):
                    for piece in pieces:
                        check.update(piece)
                    staged.write(pieces)

            waiting: list[bytes] = []
            gathered = 0
            async for piece in body.chunks:
                waiting.append(piece)
                gathered += len(piece)
                if gathered >= STEP:
                    full, waiting, gathered = waiting, [], 0
                    await self._run(lambda full=full: write(full))  # type: ignore[misc]

            def finish() -> ObjectInfo:
                write(waiting)
                check.finish()
                return self._publish(key, staged, when, side)

            return await self._run(finish)
        finally:
            # Also when cancelled while a step is under way: it is undone behind that step.
            self._submit(lambda: _discard(opening))

    def _publish(self, key: str, staged: Staged, when: When, side: Side) -> ObjectInfo:
        with kernel_errors(key):
            status = staged.publish(when, side)
        content_type = side.content_type or guess_type(key.rpartition("/")[2])
        return replace(info_of(key, status), content_type=content_type, metadata=side.metadata)

    def _make_directory(self, key: str, when: When) -> ObjectInfo:
        names = segments(key)
        with kernel_errors(key), self._root.locked(key):
            with self._root.directory(names[:-1], create=not isinstance(when, IfVersion)) as parent:
                found = look(names[-1], parent)
                if isinstance(when, IfVersion) and (found is None or version_of(found) != when.version):
                    raise ConflictError(f"{show(key)} has changed since it was read; read it again.")
                if found is None or isinstance(when, IfAbsent):
                    os.mkdir(names[-1], dir_fd=parent)
                    os.fsync(parent)
            return self._head(key)

    def _delete(self, key: str, if_version: str | None) -> None:
        try:
            names = segments(key)
            with kernel_errors(key, reading=True), self._root.locked(key):
                with self._root.directory(names[:-1]) as parent:
                    self._remove(key, names, parent, if_version)
                drop_side(self._root, names)
        except (NotFoundError, InvalidPathError):
            if if_version is not None:
                raise ConflictError(f"{show(key)} is gone since it was read.") from None

    def _remove(self, key: str, names: Sequence[str], parent: int, if_version: str | None) -> None:
        directory = key.endswith("/")
        status = os.stat(names[-1], dir_fd=parent, follow_symlinks=False)
        if not (stat.S_ISDIR(status.st_mode) if directory else stat.S_ISREG(status.st_mode)):
            raise NotFoundError(f"{show(key)} does not exist.")
        if if_version is not None and version_of(status) != if_version:
            raise ConflictError(f"{show(key)} has changed since it was read; it was not deleted.")
        if not directory:
            os.unlink(names[-1], dir_fd=parent)
        else:
            if not self._remove_directory(key, names[-1], parent):
                return
        os.fsync(parent)

    def _remove_directory(self, key: str, name: str, parent: int) -> bool:
        """Remove a directory if it is empty; returns whether it was.

        Raises:
            DirectoryNotEmptyError: It cannot go, and looks empty to its user.
        """
        for _ in range(_LOOKS):
            try:
                os.rmdir(name, dir_fd=parent)
            except OSError as error:
                if error.errno not in _NOT_EMPTY:
                    raise
            else:
                return True
            # What was in the way may have gone since: only what stays in the way unseen is told.
            if list_page(self._root, key, False, key, 1).objects:
                return False
        raise DirectoryNotEmptyError(
            f"{show(key)} holds links or special files that this bucket does not show; remove them on the machine."
        )

    def _delete_many(self, items: Sequence[tuple[str, str | None]]) -> Sequence[tuple[str, Exception]]:
        failed: list[tuple[str, Exception]] = []
        files = [item for item in items if not item[0].endswith("/")]
        # The deepest first: in reverse order of keys, each directory comes before the one it is in.
        directories = sorted((item for item in items if item[0].endswith("/")), reverse=True)
        for key, version in [*files, *directories]:
            try:
                self._delete(key, version)
            except CloudContentsError as error:
                failed.append((key, error))
        return failed

    def _copy(self, src: str, dst: str, src_version: str | None, when: When, stop: threading.Event) -> ObjectInfo:
        source = open_file(self._root, src)
        try:
            if src_version is not None and source.version != src_version:
                raise ConflictError(f"{show(src)} has changed since it was read; read it again.")
            staged = self._stage(dst)
            try:
                with kernel_errors(dst):
                    staged.copy_from(source.number, source.status.st_size, stop.is_set)
                source.check()
                side = Side(source.info.content_type, source.info.metadata or {})
                return self._publish(dst, staged, when, side)
            finally:
                staged.discard()
        finally:
            source.close()

    def _copy_directory(self, src: str, dst: str, src_version: str | None, when: When) -> ObjectInfo:
        source = self._head(src)
        if src_version is not None and source.version != src_version:
            raise ConflictError(f"{show(src)} has changed since it was read; read it again.")
        return self._make_directory(dst, when)

    def _rename(self, src: str, dst: str) -> None:
        from_names, to_names = self._known_names(src), segments(dst)
        if src.endswith("/") and dst.startswith(src) and dst != src:
            raise InvalidPathError(f"{show(src)} cannot be moved into itself.")
        with self._root.locked(src, dst):
            self._head(src)
            with (
                kernel_errors(dst),
                self._root.directory(from_names[:-1]) as source,
                self._root.directory(to_names[:-1], create=True) as target,
            ):
                move = rename_directory if src.endswith("/") else rename_file
                try:
                    move(from_names[-1], source, to_names[-1], target)
                except OSError as error:
                    if error.errno in _NO_RENAME:
                        raise UnsupportedError(f"{show(src)} lies on another device than {show(dst)}.") from error
                    raise
                os.fsync(target)
                os.fsync(source)
            move_side(self._root, from_names, to_names)


def _discard(opening: Future[Staged]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().discard()


def _abandon(opening: Future[LocalReader]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().abandon()
