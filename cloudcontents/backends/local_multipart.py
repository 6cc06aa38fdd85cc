"""Objects that arrive in parts on disk: one sparse file that parts are written into, and a small marker for each part that is whole.

Below the upload's place lie ``data``, ``lock`` and the markers, named by their numbers. A marker is written, durably, after the bytes that
it tells of, and emptied before they change: wherever that is cut off, it tells the truth. At the end ``data`` is renamed to its place and
no byte is copied. An upload whose ``data`` is gone, or has a second name, has become its object.
"""

from __future__ import annotations

import abc
import contextlib
import fcntl
import hashlib
import os
import re
import stat
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from cloudcontents.errors import InvalidContentError, NotFoundError, PartsChangedError, UnavailableError, UnsupportedError
from cloudcontents.keys import RESERVED, show

from .body import BodyCheck
from .interface import ALWAYS, Backend, ObjectInfo, When
from .local_files import Root, kernel_errors, segments
from .local_meta import Side
from .local_staging import Staged
from .multipart import Part, PartRules, Upload

T = TypeVar("T")

_DATA, _LOCK = "data", "lock"
_MARKER = re.compile(r"\d{7}\Z")
_TOLD = re.compile(rb"(\d{1,10}) (sha256:[0-9a-f]{64})\n\Z")
_FILE = os.O_NOFOLLOW | os.O_CLOEXEC
_STEP = 1 << 20
_TRIES = 5


class LocalMultipart(Backend):
    """The part of `LocalBackend` that knows parts: `Multipart` and `ReadParts`. Its sweep leaves uploads alone, however old they are."""

    #: See `Multipart.part_rules`.
    part_rules = PartRules(most=1_000_000)

    _root: Root

    @abc.abstractmethod
    async def _run(self, work: Callable[[], T]) -> T: ...

    @abc.abstractmethod
    def _publish(self, key: str, staged: Staged, when: When, side: Side) -> ObjectInfo: ...

    async def begin(
        self, key: str, *, place: str, part_size: int, content_type: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> Upload:
        """See `Multipart.begin`. Begun again at the same place, it is the same upload."""
        return await self._run(lambda: Upload(key, place, _begin(self._root, key, place), part_size))

    async def put_part(self, upload: Upload, number: int, data: bytes, *, checksum: str) -> Part:
        """See `Multipart.put_part`. Bytes that are there already are read back and not written again.

        Raises:
            InvalidContentError: More bytes than the upload's part size: they would be another part's.
            QuotaError: The disk is full; the upload is as it was, without this part.
        """
        return await self._run(lambda: _put(self._root, upload, number, data, checksum))

    async def list_parts(self, upload: Upload) -> Sequence[Part]:
        """See `Multipart.list_parts`."""
        return await self._run(lambda: _held(self._root, upload))

    async def complete(
        self,
        upload: Upload,
        parts: Sequence[Part],
        *,
        when: When = ALWAYS,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectInfo:
        """See `Multipart.complete`. Waits for parts that are being written. A replaced file's mode and owner are kept.

        Raises:
            InvalidContentError: The parts are not numbered from 1 on, or one before the last has not the upload's part size.
        """
        side = Side(content_type, dict(metadata or {}))
        return await self._run(lambda: self._complete(upload, parts, when, side))

    async def abort(self, upload: Upload) -> None:
        """See `Multipart.abort`. Waits for parts that are being written."""
        await self._run(lambda: _abort(self._root, upload))

    async def list_uploads(self, key: str) -> Sequence[Upload]:
        """See `Multipart.list_uploads`: none, since all that an upload is lies at its place, and `abort` finds it there without an id."""
        return ()

    async def read_part(self, upload: Upload, part: Part) -> AsyncGenerator[bytes, None]:
        """See `ReadParts.read_part`."""
        reader = _PartReader(self._root, upload, part)
        try:
            while piece := await self._run(reader.read):
                yield piece
        finally:
            await self._run(reader.close)

    def _complete(self, upload: Upload, parts: Sequence[Part], when: When, side: Side) -> ObjectInfo:
        with _opened(self._root, upload, fcntl.LOCK_EX) as directory:
            _check(upload, parts, directory)
            staged = _Whole(self._root, upload, parts)
            try:
                info = self._publish(upload.key, staged, when, side)
            finally:
                staged.discard()
            # Where it was linked or copied to its place.
            with contextlib.suppress(OSError):
                os.unlink(_DATA, dir_fd=directory)
        _clear(self._root, upload)
        return info


class _Whole(Staged):
    """An upload's file, on its way to its place; it stays where that fails.

    Args:
        root: The bucket.
        upload: The upload, locked for this one alone.
        parts: What it is made of; bytes and markers beyond them go once the condition holds.
    """

    def __init__(self, root: Root, upload: Upload, parts: Sequence[Part]) -> None:
        self._upload = upload
        self._size, self._count = sum(part.size for part in parts), len(parts)
        super().__init__(root, upload.key)

    def publish(self, when: When, side: Side) -> os.stat_result:
        """See `Staged.publish`. What was not published can again be read by nobody else."""
        file = os.dup(self._file)
        try:
            return super().publish(when, side)
        except BaseException:
            with contextlib.suppress(OSError), self._root.directory(self._staged_at) as directory:
                status = os.stat(_DATA, dir_fd=directory, follow_symlinks=False)
                if os.path.samestat(status, os.fstat(file)) and status.st_nlink == 1:
                    os.fchmod(file, 0o600)
            raise
        finally:
            os.close(file)

    def _open(self) -> None:
        self._staged_at = _place(self._upload)
        with self._root.directory(self._staged_at) as directory:
            # The lock was made with the mode that the umask gives.
            self._mode = stat.S_IMODE(os.stat(_LOCK, dir_fd=directory, follow_symlinks=False).st_mode)
            self._file = os.open(_DATA, os.O_RDWR | _FILE, dir_fd=directory)
            self._directory = os.dup(directory)
        self._name, self._place, self._own = _DATA, self._staged_at, False

    def _settle(self) -> None:
        if os.fstat(self._file).st_size == self._size:
            return
        with self._root.directory(self._staged_at) as directory:
            # First the markers: a part's bytes must not go before it.
            for name in os.listdir(directory):
                if _MARKER.match(name) and int(name) > self._count:
                    os.unlink(name, dir_fd=directory)
            os.fsync(directory)
        os.ftruncate(self._file, self._size)
        self._stamped = False


class _PartReader:
    """The bytes of one part, piece by piece, as long as they are the ones that its marker told of. Blocks: for a thread."""

    def __init__(self, root: Root, upload: Upload, part: Part) -> None:
        self._root, self._upload, self._part = root, upload, part
        self._at = (part.number - 1) * upload.part_size
        self._end = self._at + part.size
        self._lock = threading.Lock()
        self._files: list[int] = []
        self._closed = False
        self._written = 0

    def read(self) -> bytes:
        """The next piece; nothing at the end.

        Raises:
            PartsChangedError: The part is gone, or has other bytes by now.
        """
        with self._lock, kernel_errors(self._upload.key):
            if self._closed or self._at >= self._end:
                return b""
            if not self._files:
                self._open()
            data, marker = self._files
            piece = os.pread(data, min(_STEP, self._end - self._at), self._at)
            # A marker goes before its bytes do, and is written again after them.
            if not piece or _read(marker) != _told(self._part) or os.fstat(marker).st_mtime_ns != self._written:
                raise _changed(self._upload, self._part)
            self._at += len(piece)
            return piece

    def close(self) -> None:
        """Close the files. Safe to repeat."""
        with self._lock:
            self._closed = True
            while self._files:
                os.close(self._files.pop())

    def _open(self) -> None:
        try:
            with self._root.directory(_place(self._upload)) as directory:
                for name in (_DATA, _name(self._part.number)):
                    self._files.append(os.open(name, os.O_RDONLY | _FILE, dir_fd=directory))
        except FileNotFoundError as error:
            raise _changed(self._upload, self._part) from error
        self._written = os.fstat(self._files[1]).st_mtime_ns


# --- where an upload lies, and who may touch it -----------------------------------------------------------------------------------


def _place(upload: Upload, depth: int | None = None) -> tuple[str, ...]:
    """The directory of an upload; below the target's own where that lies on another device, at the depth that the upload's id says."""
    names = segments(upload.place)
    depth = int(upload.id or 0) if depth is None else depth
    if not depth:
        return tuple(names)
    first = names.index(RESERVED) if RESERVED in names else 0
    return (*segments(upload.key)[:depth], *names[first:])


@contextlib.contextmanager
def _opened(root: Root, upload: Upload, lock: int = fcntl.LOCK_SH) -> Iterator[int]:
    """The directory of an upload that lives, and goes on to live until this ends. `LOCK_EX`: with nobody else at it.

    Raises:
        NotFoundError: There is none, or it has become its object.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(kernel_errors(upload.key))
        try:
            directory = stack.enter_context(root.directory(_place(upload)))
            file = os.open(_LOCK, os.O_RDONLY | _FILE, dir_fd=directory)
            # Closing the file lets go of the lock.
            stack.callback(os.close, file)
            fcntl.flock(file, lock)
            status = os.stat(_DATA, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            status = None
        if status is None or status.st_nlink != 1:
            raise NotFoundError(f"The upload of {show(upload.key)} is no more: it was completed or aborted.")
        yield directory


def _begin(root: Root, key: str, place: str) -> str:
    if key.endswith("/"):
        raise UnsupportedError("A directory of a file:// bucket holds no content.")
    names = segments(key)
    with kernel_errors(key):
        with root.nearest(names[:-1]) as (near, depth), root.directory((RESERVED,), create=True) as ours:
            here = os.fstat(near).st_dev == os.fstat(ours).st_dev
        upload = Upload(key, place, "0" if here else str(depth), 0)
        for _ in range(_TRIES):
            with contextlib.suppress(FileNotFoundError), root.directory(_place(upload), create=True) as directory:
                os.close(os.open(_LOCK, os.O_RDONLY | os.O_CREAT | _FILE, 0o666, dir_fd=directory))
                os.close(os.open(_DATA, os.O_RDWR | os.O_CREAT | _FILE, 0o600, dir_fd=directory))
                os.fsync(directory)
                return upload.id
    raise UnavailableError(f"No upload of {show(key)} could be begun, since its directory keeps vanishing; try again.")


def _abort(root: Root, upload: Upload) -> None:
    with contextlib.suppress(NotFoundError), _opened(root, upload, fcntl.LOCK_EX) as directory:
        # Without it, nobody begins another part.
        os.unlink(_DATA, dir_fd=directory)
        os.fsync(directory)
    _clear(root, upload)


def _clear(root: Root, upload: Upload) -> None:
    """Remove what is left of an upload that is no more, wherever it may have been begun, and the directories that were made for it."""
    with kernel_errors(upload.key):
        for depth in range(len(segments(upload.key))):
            place = _place(upload, depth)
            try:
                with root.directory(place) as directory:
                    for name in sorted(os.listdir(directory), reverse=True):
                        os.unlink(name, dir_fd=directory)
                    os.fsync(directory)
            except FileNotFoundError:
                continue
            # In the bucket's own reserved directory what all uploads share stays.
            first = place.index(RESERVED) if RESERVED in place else 0
            for length in range(len(place), first if depth else first + 2, -1):
                try:
                    with root.directory(place[: length - 1]) as above:
                        os.rmdir(place[length - 1], dir_fd=above)
                except OSError:
                    break


# --- parts and their markers --------------------------------------------------------------------------------------------------------


def _put(root: Root, upload: Upload, number: int, data: bytes, checksum: str) -> Part:
    if not 0 < len(data) <= upload.part_size:
        raise InvalidContentError(f"Part {number} has {len(data)} bytes; a part of this upload has 1 to {upload.part_size}.")
    check = BodyCheck(len(data), checksum)
    check.update(data)
    part = _part(number, len(data), check.finish())
    with _opened(root, upload) as directory, contextlib.ExitStack() as stack:
        marker = os.open(_name(number), os.O_RDWR | os.O_CREAT | _FILE, 0o666, dir_fd=directory)
        stack.callback(os.close, marker)
        # One writer of a part at a time, in this process and in others.
        fcntl.flock(marker, fcntl.LOCK_EX)
        file = os.open(_DATA, os.O_RDWR | _FILE, dir_fd=directory)
        stack.callback(os.close, file)
        at = (number - 1) * upload.part_size
        if _read(marker) == _told(part) and _digest(file, at, part.size) == part.checksum:
            return part
        if os.fstat(marker).st_size:
            os.ftruncate(marker, 0)
            os.fsync(marker)
        rest = memoryview(data)
        while rest:
            count = os.pwrite(file, rest, at)
            rest, at = rest[count:], at + count
        os.fsync(file)
        os.pwrite(marker, _told(part), 0)
        os.fsync(marker)
        os.fsync(directory)
    return part


def _held(root: Root, upload: Upload) -> list[Part]:
    parts = []
    with _opened(root, upload) as directory:
        for name in sorted(os.listdir(directory)):
            if _MARKER.match(name) and (part := _look(directory, int(name))) is not None:
                parts.append(part)
        size = os.stat(_DATA, dir_fd=directory, follow_symlinks=False).st_size
    return [part for part in parts if (part.number - 1) * upload.part_size + part.size <= size]


def _check(upload: Upload, parts: Sequence[Part], directory: int) -> None:
    for part in parts:
        held = _look(directory, part.number)
        if held is None or (held.size, held.version) != (part.size, part.version):
            raise _changed(upload, part)
    if [part.number for part in parts] != list(range(1, len(parts) + 1)) or any(part.size != upload.part_size for part in parts[:-1]):
        # A shorter one would leave a hole.
        raise InvalidContentError(
            f"{show(upload.key)} cannot be made of these parts: they count from 1, and all but the last have {upload.part_size} bytes."
        )


def _look(directory: int, number: int) -> Part | None:
    """The part that a marker tells of; None where there is none, or its bytes are on their way."""
    try:
        marker = os.open(_name(number), os.O_RDONLY | _FILE, dir_fd=directory)
    except FileNotFoundError:
        return None
    try:
        told = _TOLD.match(_read(marker))
    finally:
        os.close(marker)
    return _part(number, int(told[1]), told[2].decode()) if told else None


def _name(number: int) -> str:
    return f"{number:07d}"


def _part(number: int, size: int, checksum: str) -> Part:
    return Part(number, size, checksum.partition(":")[2], checksum)


def _told(part: Part) -> bytes:
    """What a part's marker says once the part is whole."""
    return f"{part.size} sha256:{part.version}\n".encode()


def _read(marker: int) -> bytes:
    return os.pread(marker, 100, 0)


def _digest(file: int, at: int, size: int) -> str:
    digest, end = hashlib.sha256(), at + size
    while at < end and (piece := os.pread(file, min(_STEP, end - at), at)):
        digest.update(piece)
        at += len(piece)
    return f"sha256:{digest.hexdigest()}"


def _changed(upload: Upload, part: Part) -> PartsChangedError:
    return PartsChangedError(f"Part {part.number} of the upload of {show(upload.key)} is gone or has changed; ask which parts are held.")
