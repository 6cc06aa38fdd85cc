"""`Uploads`: durable uploads that resume, on every store; no HTTP in it.

    uploads = Uploads(Namespace(open_backend("s3://team")))
    status = await uploads.start("data/big.bin", size=7 * 2**30)
    await uploads.append(status.id, 0, stream)      # or put_part(id, number, data), in any order
    await uploads.complete(status.id)

What has arrived is in the store, so that any process that uses the same bucket goes on with it. Nothing is to be seen at the path before
`complete`. Bad arguments raise errors that are `ValueError`, failures of the system such that are `RuntimeError`; each has a ``code`` and
an ``http_status``.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import inspect
import logging
import mimetypes
import re
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

import anyio

from .. import keys, metrics
from ..backends.interface import ALWAYS, IF_ABSENT, IfAbsent, IfVersion, ObjectInfo, When
from ..errors import (
    AlreadyExistsError,
    ChecksumError,
    CloudContentsError,
    ConflictError,
    InvalidContentError,
    NotFoundError,
    PermissionDeniedError,
    UnsupportedError,
    UploadGoneError,
    UploadNotFoundError,
    UploadRefusedError,
    WrongTypeError,
)
from ..namespace import Location, Mount, Namespace
from ..offload import Offload
from ..parts import Parts
from . import plan
from .history import History, Note
from .limits import Limits, check_metadata, check_room, checked_stream
from .pace import Pace
from .record import Record, Records, condition_text, record_key
from .recovered import keep
from .session import Session
from .status import PartsStatus, Statistics, UploadStatus, of_note, of_session
from .strays import WHOLE, find_strays, remove_strays

T = TypeVar("T")

#: Sessions that are kept in memory though nobody is at work on them.
_IDLE_SESSIONS = 32

#: Bytes that an upload of unknown size is planned for where nothing limits it.
_UNKNOWN = 2**40

#: Seconds that an upload waits at the most, whatever is configured.
LONGEST = 7 * 86400.0

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


#: Is told of an upload before it begins, and may refuse it by raising.
PreHook = Callable[..., Any]


class Uploads:
    """The uploads of all buckets of one namespace. Bound to the event loop in which it is used.

    Args:
        namespace: The buckets, or what gives them when they are first needed.
        limits: What is allowed.
        expire_seconds: After so long without a byte an upload is given up; at most seven days.
        keep_abandoned: Keep what had arrived of such an upload as a recovered file.
        pre_hook: Called with ``path, size, content_type, metadata, owner`` before an upload begins; refuses it by raising.
        post_hook: Called with ``path, size, version, metadata, owner`` in the background once a file is there.
        locate: Tells where a new path lies, and refuses names; the namespace's own way by default.
        publish: Awaited with the API path and the object's info when a file is there: what ends a write.
        log: Where failures in the background are told.
    """

    def __init__(
        self,
        namespace: Namespace | Callable[[], Namespace],
        *,
        limits: Limits | None = None,
        expire_seconds: float = 86400.0,
        keep_abandoned: bool = False,
        pre_hook: PreHook | None = None,
        post_hook: PreHook | None = None,
        locate: Callable[[str], Location] | None = None,
        publish: Callable[[str, ObjectInfo], Awaitable[object]] | None = None,
        log: Any = None,
    ) -> None:
        self._namespace = namespace
        self.limits = limits or Limits()
        self.expire_seconds = min(expire_seconds, LONGEST)
        self.keep_abandoned = keep_abandoned
        self._pre_hook = pre_hook
        self._post_hook = post_hook
        self._publish = publish
        self._locate = locate or self._locate_new
        self._log = log or logging.getLogger(__name__)
        self._offload = Offload("uploads", 2)
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._records: dict[str, Records] = {}
        self._paces: dict[str, Pace] = {}
        self._post: dict[str, str] = {}
        self._background: set[asyncio.Task[None]] = set()

    # --- begin --------------------------------------------------------------------------------------------------------------

    async def start(
        self,
        path: str,
        size: int | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
        part_size: int | None = None,
        sha256: str | None = None,
        when: When = IF_ABSENT,
        owner: str | None = None,
        fingerprint: str | None = None,
        protocol: str = "api",
        is_partial: bool = False,
        pieces: str | None = None,
    ) -> UploadStatus:
        """Begin an upload. Its repeat begins another one.

        Args:
            path: The API path that the file will have.
            size: Its bytes, where known.
            metadata: Text by name, kept for the client.
            content_type: MIME type; guessed by the name where it is not told.
            part_size: Bytes of a part, for those who send parts by number; grown where the store asks for it.
            sha256: Of the whole file, in hex: compared before the file appears.
            when: What must hold of the target at the end: `IF_ABSENT`, `IfVersion` of the file that the client saw, or `ALWAYS`.
            owner: Whose upload it is; nobody else sees it. None: whoever knows its id.
            fingerprint: By which the client finds it again.
            protocol: What the client speaks; told in the status.
            is_partial: It is to become a piece of another upload (`concatenate`), and no file.
            pieces: What it is put together from, in the client's words; told in the status.

        Raises:
            InvalidContentError, InvalidPathError, TooLargeError, TooManyUploadsError, UploadRefusedError: Not like this.
            AlreadyExistsError, ConflictError, WrongTypeError: The target is not as `when` wants it now already.
            QuotaError: The disk is full.
        """
        metadata = dict(metadata or {})
        self.limits.check_size(size)
        check_metadata(metadata)
        if sha256 is not None and not _SHA256.match(sha256):
            raise InvalidContentError("A SHA-256 is written as 64 hex digits in lower case.")
        if part_size is not None and (isinstance(part_size, bool) or not isinstance(part_size, int) or part_size < 1):
            raise InvalidContentError("The size of a part is its number of bytes.")
        location = self._target(path)
        if not is_partial:
            await self._check_target(location, when)
        bucket = location.bucket
        active = [record for record in await self._records_of(location.mount).all() if record.owner == owner]
        self.limits.check_more(size, active)
        await check_room(bucket, size)
        content_type = content_type or mimetypes.guess_type(location.path)[0]
        await self._ask_hook(path=location.api, size=size, content_type=content_type, metadata=metadata, owner=owner)
        parts = Parts(bucket)
        each = plan.part_size(parts.rules, size, most=self.limits.max_bytes or _UNKNOWN, wanted=part_size)
        id = f"{_mount_tag(location.mount)}{secrets.token_hex(16)}"
        place = keys.reserved_key("uploads", "parts", id)
        unreadable = not parts.are_readable and (sha256 is not None or self.keep_abandoned)
        now = datetime.now(timezone.utc)
        record = Record(
            id=id,
            path=location.path,
            size=size,
            part_size=each,
            created=now,
            touched=now,
            key=f"{place}{WHOLE}" if unreadable or is_partial else location.path,
            place=place,
            when=condition_text(when),
            content_type=content_type,
            metadata=metadata,
            sha256=sha256,
            owner=owner,
            fingerprint=fingerprint,
            protocol=protocol,
            is_partial=is_partial,
            pieces=pieces,
        )
        # The record comes first: what is begun in the store can always be found.
        record = await self._records_of(location.mount).create(record)
        session = self._keep(location.mount, record, fresh=True)
        try:
            await session.begin()
        except Exception:
            # Nobody is told its id. What cannot be removed now is, once it has expired.
            with contextlib.suppress(CloudContentsError):
                await self._remove(location.mount, session)
            raise
        metrics.UPLOADS.labels(bucket.scheme, "started").inc()
        return self._status(location.mount, session)

    def _target(self, path: str) -> Location:
        location = self._locate(path)
        if self.namespace.is_fixed(location):
            raise WrongTypeError(f"{keys.show(location.api)} is a directory; name a file.")
        if location.mount.read_only:
            raise PermissionDeniedError(f"{keys.show(location.api)} cannot be written: this mount is read-only.")
        return location

    def _locate_new(self, path: str) -> Location:
        location = self.namespace.resolve(path)
        capabilities = location.bucket.capabilities
        keys.check_new(location.path, max_bytes=capabilities.max_key_bytes, max_segment_bytes=capabilities.max_segment_bytes)
        return location

    async def _check_target(self, location: Location, when: When) -> None:
        entry = await location.tree.lookup(location.path)
        if entry is not None and entry.info is None:
            raise WrongTypeError(f"{keys.show(location.api)} is a directory; choose another name.")
        parent, _ = keys.split(location.path)
        if entry is None and parent and await location.tree.file_exists(parent):
            raise WrongTypeError(f"{keys.show(keys.join(location.mount.name, parent))} is a file; nothing can be put into it.")
        if isinstance(when, IfAbsent) and entry is not None:
            raise AlreadyExistsError(f"{keys.show(location.api)} exists already; say that it is to be replaced, or choose another name.")
        if isinstance(when, IfVersion) and (entry is None or entry.info is None or entry.info.version != when.version):
            raise ConflictError(f"{keys.show(location.api)} has changed since it was seen; look at it again before it is replaced.")

    async def _ask_hook(self, **known: Any) -> None:
        if self._pre_hook is None:
            return
        try:
            answer = self._pre_hook(**known)
            if inspect.isawaitable(answer):
                await answer
        except CloudContentsError:
            raise
        except Exception as error:
            raise UploadRefusedError(f"This upload is refused: {error}") from error

    # --- bytes --------------------------------------------------------------------------------------------------------------

    async def append(
        self,
        id: str,
        offset: int,
        stream: AsyncIterable[bytes] | bytes,
        *,
        final: bool = False,
        owner: str | None = None,
        durable_tail: bool = True,
    ) -> int:
        """Take bytes that follow one another; returns the new offset, and everything before it is in safety.

        A newer call on the same upload stops this one, which may hang. What had come when a stream broke is kept.

        Args:
            id: The upload.
            offset: Where the first byte belongs.
            stream: The bytes.
            final: They are the last ones; the size is known with them.
            owner: Who asks.
            durable_tail: See `Session.append`.

        Raises:
            WrongOffsetError: The upload goes on elsewhere (its `offset` tells where).
            TooLargeError: More than was declared, or is allowed.
            UploadNotFoundError, UploadGoneError: There is no such upload, or no more.
        """
        if isinstance(offset, bool) or not isinstance(offset, int) or offset < 0:
            raise InvalidContentError("An offset is a number of bytes.")
        mount, session = await self._find(id, owner)
        pieces = _once(stream) if isinstance(stream, bytes) else stream
        if self.limits.has_types and offset == 0:
            pieces = checked_stream(pieces, self.limits, session.record.path)
        pieces = _limited(pieces, self.limits, offset)
        before = session.speed.total
        try:
            return await session.append(offset, pieces, final=final, durable_tail=durable_tail)
        except UploadRefusedError:
            await self.cancel(id, owner=owner)
            raise
        finally:
            metrics.UPLOADED_BYTES.labels(mount.bucket.scheme).inc(session.speed.total - before)
            self._settle()

    async def put_part(
        self, id: str, number: int, body: bytes, sha256: str | None = None, *, owner: str | None = None
    ) -> Mapping[str, Any]:
        """Take one part by its number, from 1; in any order, several at once. A repeat is safe, and replaces.

        Args:
            id: The upload.
            number: The part's.
            body: All its bytes: `part_size`, or what is left for the last one.
            sha256: Of the part, in hex; compared before it is kept.
            owner: Who asks.

        Raises:
            InvalidContentError: Not a part of this file, or not its size.
            ChecksumError: Other bytes than the SHA-256's; nothing was kept.
        """
        if isinstance(number, bool) or not isinstance(number, int):
            raise InvalidContentError("A part is numbered 1, 2, ….")
        mount, session = await self._find(id, owner)
        checksum = await self._offload.run(_checked, body, sha256)
        if number == 1 and self.limits.has_types:
            await self._offload.run(self.limits.check_type, body[:8192], session.record.path)
        part = await session.put_part(number, body, checksum)
        metrics.UPLOADED_BYTES.labels(mount.bucket.scheme).inc(len(body))
        return {"number": part.number, "size": part.size, "checksum": part.checksum}

    async def declare_size(self, id: str, size: int, *, owner: str | None = None) -> None:
        """Say how many bytes the file has, where that was not known at the start."""
        self.limits.check_size(size)
        _, session = await self._find(id, owner)
        await session.declare_size(size)

    # --- what is there ------------------------------------------------------------------------------------------------------

    async def resume(self, id: str, *, owner: str | None = None) -> PartsStatus:
        """Which parts the store holds and which are needed: all that a client must know to go on, from wherever."""
        _, session = await self._find(id, owner)
        parts = await session.listed()
        record = session.record
        needed = session.needed
        held = [{"number": part.number, "size": part.size, "checksum": part.checksum} for part in parts]
        progress = None if record.size is None else session.received / record.size if record.size else 1.0
        return PartsStatus(id, record.part_size, held, needed, session.offset, progress)

    async def status(self, id: str, *, owner: str | None = None) -> UploadStatus:
        """How an upload stands, or what became of it (known for eight days).

        Raises:
            UploadNotFoundError: There was none, or it is not this user's.
            CloudContentsError: The store cannot be asked.
        """
        mount = self._mount_of(id)
        try:
            mount, session = await self._find(id, owner)
            await session.refresh()
        except (UploadGoneError, UploadNotFoundError) as error:
            self._sessions.pop(id, None)
            found = await History(mount.bucket).find(id)
            if found is not None and found[1].get("owner") in (None, owner):
                return self._ended(mount, *found)
            if isinstance(error, UploadGoneError):
                raise
            raise UploadNotFoundError(f"There is no upload {id}.") from None
        return self._status(mount, session)

    async def verify_part(self, id: str, number: int, expected: str, *, owner: str | None = None) -> bool:
        """Whether the store holds a part with this SHA-256 (hex).

        Raises:
            UnsupportedError: The store does not tell, and cannot be read before the end.
        """
        mount, session = await self._find(id, owner)
        for part in await session.listed():
            if part.number == number:
                if part.checksum is not None:
                    return part.checksum == f"sha256:{expected.lower()}"
                parts = Parts(mount.bucket)
                if not parts.are_readable:
                    raise UnsupportedError("This store does not tell checksums of parts; compare the whole at the end.")
                digest = hashlib.sha256()
                async for piece in parts.read(session.record.upload, part):
                    await self._offload.run(digest.update, piece)
                return digest.hexdigest() == expected.lower()
        return False

    async def list(self, *, owner: str | None = None) -> Sequence[UploadStatus]:
        """A user's uploads under way, the oldest first."""

        async def of(mount: Mount) -> list[UploadStatus]:
            found: list[UploadStatus] = []
            for record in await self._records_of(mount).all():
                if record.owner in (None, owner) and not record.is_partial:
                    with contextlib.suppress(NotFoundError, UploadGoneError):
                        found.append(await self.status(record.id, owner=owner))
            return found

        return sorted((status for found in await self._ask(of) for status in found), key=lambda status: status.created or _NEVER)

    async def statistics(self) -> Statistics:
        """How uploads go, over all servers; a few listings."""
        now = datetime.now(timezone.utc)
        records: list[Record] = []
        notes: list[Note] = []

        async def of(mount: Mount) -> None:
            records.extend(await self._records_of(mount).all())
            notes.extend(note for note in await History(mount.bucket).all() if now - note.ended <= timedelta(days=7))

        await self._ask(of)
        week = [note.size for note in notes if note.outcome == "complete"]
        today = [note.size for note in notes if note.outcome == "complete" and note.ended.date() == now.date()]
        failures = sum(note.outcome not in ("complete", "cancelled") for note in notes)
        speed = sum(session.speed.bytes_per_second for session in self._sessions.values())
        pending = sum(record.size or 0 for record in records)
        return Statistics(len(records), pending, speed, len(today), sum(today), len(week), sum(week), failures)

    async def _ask(self, ask: Callable[[Mount], Awaitable[T]]) -> Sequence[T]:
        """Ask each bucket that may be written; one that is away is told in the log and hinders no other.

        Raises:
            CloudContentsError: None of them could be asked.
        """
        answers: list[T] = []
        failures: list[CloudContentsError] = []
        for mount in self.namespace.mounts:
            if not mount.read_only:
                try:
                    answers.append(await ask(mount))
                except CloudContentsError as error:
                    failures.append(error)
                    self._log.warning("Uploads to %s could not be asked for: %s", mount.bucket.url, error.message)
        if failures and not answers:
            raise failures[0]
        return answers

    async def watch(self, id: str, *, owner: str | None = None, every: float = 0.5) -> AsyncIterator[UploadStatus]:
        """The status again and again, whenever it has changed, until the upload has ended."""
        last: UploadStatus | None = None
        while True:
            session = self._sessions.get(id)
            if session is not None and session.is_busy and session.record.owner in (None, owner):
                status = self._status(self._mount_of(id), session)
            else:
                status = await self.status(id, owner=owner)
            if status != last:
                yield status
            last = status
            if status.state not in ("active", "completing") and status.post != "running":
                return
            await asyncio.sleep(every)

    # --- the end ------------------------------------------------------------------------------------------------------------

    async def complete(self, id: str, *, when: When | None = None, owner: str | None = None) -> UploadStatus:
        """Make the file, all at once, if its target is still as it was expected to be. A repeat after success is success.

        Args:
            id: The upload.
            when: Another condition than it was begun under, as after a user was asked whether to replace.
            owner: Who asks.

        Raises:
            IncompleteError: Bytes are missing.
            ChecksumError: The whole is not what its SHA-256 says.
            AlreadyExistsError, ConflictError: The target has appeared or changed; nothing was replaced, and the upload is kept.
        """
        try:
            mount, session = await self._find(id, owner)
            if not session.record.is_partial:
                await self._check_directory(mount, session.record.path)
            info = await session.complete(when)
        except (UploadNotFoundError, UploadGoneError):
            # Ended before, or just now by another server.
            found = await self.status(id, owner=owner)
            if found.state == "complete":
                return found
            raise UploadGoneError(f"This upload was {found.state}; upload the file again.") from None
        if not session.record.is_partial:
            await self._end(mount, session, "complete", info)
        return replace(self._status(mount, session), state="complete", version=info.version, post=self._post.get(id))

    async def _check_directory(self, mount: Mount, path: str) -> None:
        if await mount.tree.dir_exists(path):
            raise WrongTypeError(f"{keys.show(path)} has become a directory; the upload is kept, complete it under another name.")

    async def _end(self, mount: Mount, session: Session, outcome: str, info: ObjectInfo | None = None) -> None:
        record = session.record
        path = keys.join(mount.name, record.path)
        details = {
            "path": record.path,
            "owner": record.owner,
            "size": record.size,
            "created": record.created.isoformat(),
            "part_size": record.part_size,
            "metadata": dict(record.metadata),
            "fingerprint": record.fingerprint,
            "protocol": record.protocol,
            "pieces": record.pieces,
            "version": info.version if info is not None else None,
        }
        history = History(mount.bucket)
        size = (record.size or 0) if info is not None else session.received
        await history.note(record.id, outcome, size, details)
        await self._remove(mount, session)
        metrics.UPLOADS.labels(mount.bucket.scheme, outcome).inc()
        if info is not None:
            if self._publish is not None:
                await self._publish(path, info)
            else:
                mount.tree.wrote(record.path, "file")
            self._run_post_hook(mount, record, info, details)

    async def _remove(self, mount: Mount, session: Session) -> None:
        """Remove all that is kept of an upload; its record last, by which the rest is found. Safe to repeat."""
        await session.discard()
        await self._records_of(mount).delete(session.record)
        self._sessions.pop(session.record.id, None)

    def _run_post_hook(self, mount: Mount, record: Record, info: ObjectInfo, details: dict[str, Any]) -> None:
        hook = self._post_hook
        if hook is None:
            return
        self._post[record.id] = "running"

        async def work() -> None:
            try:
                answer = hook(
                    path=keys.join(mount.name, record.path),
                    size=record.size,
                    version=info.version,
                    metadata=dict(record.metadata),
                    owner=record.owner,
                )
                if inspect.isawaitable(answer):
                    await answer
                state = "done"
            except Exception as error:
                self._log.warning("post_upload_hook failed for %s: %s", keys.show(record.path), error)
                state = "failed"
            self._post[record.id] = state
            try:
                await History(mount.bucket).note(record.id, "complete", record.size or 0, {**details, "post": state})
            except CloudContentsError as error:
                self._log.warning("The state of post_upload_hook could not be kept: %s", error.message)

        task = asyncio.get_running_loop().create_task(work())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def interrupt(self, id: str, *, owner: str | None = None) -> None:
        """Stop a request that is at work on an upload here: its client has come again. What it brought is kept."""
        session = self._sessions.get(id)
        if session is not None and session.is_busy and session.record.owner in (None, owner):
            await session.stop()

    async def cancel(self, id: str, *, owner: str | None = None) -> None:
        """Give an upload up: all that had arrived is removed. A repeat is success, and so is one that comes when the file is made already.

        Raises:
            UploadNotFoundError: There was none, or it is not this user's.
        """
        try:
            mount, session = await self._find(id, owner)
        except UploadNotFoundError:
            await self.status(id, owner=owner)
            return
        await session.stop(patient=True)
        try:
            info = await session.made()
        except UploadNotFoundError:
            self._sessions.pop(id, None)
            await self.status(id, owner=owner)
            return
        await self._end(mount, session, "cancelled" if info is None else "complete", info)

    async def concatenate(
        self,
        path: str,
        ids: Sequence[str],
        *,
        metadata: Mapping[str, str] | None = None,
        when: When = IF_ABSENT,
        owner: str | None = None,
        pieces: str | None = None,
    ) -> UploadStatus:
        """Make one file out of partial uploads, in the order given; they are gone afterwards. A repeat after success is success.

        Args:
            path: The API path that the file will have.
            ids: The partial uploads; one may come several times.
            metadata: Text by name, kept for the client.
            when: What must hold of the target.
            owner: Who asks.
            pieces: The partial uploads in the client's words; told in the status.

        Raises:
            IncompleteError: One of them has not arrived whole.
        """
        before = await self._joined_before(ids, owner)
        if before is not None:
            return before
        parts: list[tuple[Mount, Session, ObjectInfo]] = []
        for id in ids:
            mount, session = await self._find(id, owner)
            if not session.record.is_partial:
                raise InvalidContentError("Only partial uploads can be put together.")
            parts.append((mount, session, await session.complete()))
        if len({mount.name for mount, _, _ in parts}) > 1:
            raise InvalidContentError("Partial uploads of different mounts cannot be put together.")
        size = sum(info.size or 0 for _, _, info in parts)
        begun = await self.start(path, size, metadata=metadata, when=when, owner=owner, protocol="tus", pieces=pieces)

        try:
            await self._join(begun.id, [(mount, info) for mount, _, info in parts], owner)
        except BaseException:
            with anyio.CancelScope(shield=True), contextlib.suppress(CloudContentsError):
                await self.cancel(begun.id, owner=owner)
            raise
        for mount, session, _ in parts:
            record = session.record
            details = {"owner": record.owner, "size": record.size, "created": record.created.isoformat(), "joined": begun.id}
            await History(mount.bucket).note(record.id, "complete", record.size or 0, details)
            await self._remove(mount, session)
        return await self.status(begun.id, owner=owner)

    async def _joined_before(self, ids: Sequence[str], owner: str | None) -> UploadStatus | None:
        """The file that these were put together to, where the answer to that was lost."""
        joined: set[str] = set()
        for id in ids:
            mount = self._mount_of(id)
            if await mount.bucket.find(record_key(id)) is not None:
                return None
            found = await History(mount.bucket).find(id)
            if found is None or found[1].get("owner") not in (None, owner) or not found[1].get("joined"):
                return None
            joined.add(found[1]["joined"])
        return await self.status(joined.pop(), owner=owner) if len(joined) == 1 else None

    async def _join(self, id: str, pieces: Sequence[tuple[Mount, ObjectInfo]], owner: str | None) -> None:
        """Make a file out of objects: within the store where it can, else through this process."""
        target, session = await self._find(id, owner)
        if all(mount is target for mount, _ in pieces):
            made = await session.compose([info for _, info in pieces])
            if made is not None:
                await self._end(target, session, "complete", made)
                return

        async def whole() -> AsyncIterator[bytes]:
            for mount, info in pieces:
                async with await mount.bucket.get(info.key, if_version=info.version) as reader:
                    async for piece in reader:
                        yield piece

        await self.append(id, 0, whole(), owner=owner)
        await self.complete(id, owner=owner)

    async def sweep(self) -> int:
        """Give up what nobody goes on with, and forget old notes; returns how many uploads went. Any server may do it, at any time.

        What fails is told in the log and is done by the next sweep.
        """
        count = 0
        for mount in self.namespace.mounts:
            if mount.read_only:
                continue
            try:
                strays = await find_strays(mount.bucket)
                records = await self._records_of(mount).all()
                await remove_strays(mount.bucket, strays - {record.id for record in records})
                for record in records:
                    count += await self._give_up(mount, record)
                await History(mount.bucket).sweep()
            except CloudContentsError as error:
                self._log.warning("Abandoned uploads of %s could not be swept: %s", mount.bucket.url, error.message)
        return count

    async def _give_up(self, mount: Mount, record: Record) -> bool:
        """End an upload that has expired; returns whether it had."""
        if (datetime.now(timezone.utc) - record.touched).total_seconds() < self.expire_seconds:
            return False
        session = self._keep(mount, record)
        if session.is_busy:
            return False
        try:
            # Whoever writes to it has touched it: then the record has changed, and this raises.
            session.record = await self._records_of(mount).change(record, touched=record.touched, epoch=record.epoch + 1)
            info = await session.made()
            if info is not None:
                await self._end(mount, session, "complete", info)
            else:
                await self._end(mount, session, "recovered" if self.keep_abandoned and await keep(session) else "expired")
        except (ConflictError, NotFoundError):
            return False
        except CloudContentsError as error:
            self._log.warning("The abandoned upload of %s could not be removed: %s", keys.show(record.path), error.message)
            return False
        return True

    async def close(self) -> None:
        """End the work in the background. Uploads go on whenever somebody goes on with them."""
        for task in tuple(self._background):
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        self._offload.close()

    # --- sessions -----------------------------------------------------------------------------------------------------------

    @property
    def namespace(self) -> Namespace:
        """The buckets."""
        return self._namespace if isinstance(self._namespace, Namespace) else self._namespace()

    def _records_of(self, mount: Mount) -> Records:
        return self._records.setdefault(mount.name, Records(mount.bucket))

    def _mount_of(self, id: str) -> Mount:
        keys.check_id(id, "upload id")
        for mount in self.namespace.mounts:
            if id.startswith(_mount_tag(mount)):
                return mount
        raise UploadNotFoundError(f"There is no upload {id}.")

    async def _find(self, id: str, owner: str | None) -> tuple[Mount, Session]:
        mount = self._mount_of(id)
        session = self._sessions.get(id)
        if session is None:
            session = self._keep(mount, await self._records_of(mount).read(id))
        if session.record.owner not in (None, owner):
            raise UploadNotFoundError(f"There is no upload {id}.")
        if mount.read_only:
            raise PermissionDeniedError(f"{keys.show(session.record.path)} cannot be written: this mount is read-only by now.")
        self._sessions.move_to_end(id)
        return mount, session

    def _keep(self, mount: Mount, record: Record, *, fresh: bool = False) -> Session:
        session = self._sessions.get(record.id)
        if session is None:
            pace = self._paces.setdefault(mount.name, Pace())
            session = Session(mount.bucket, self._records_of(mount), record, pace, self._offload, fresh=fresh)
            self._sessions[record.id] = session
            self._settle()
        return session

    def _settle(self) -> None:
        """Forget sessions that nobody is at work on, beyond some; the store knows all that they knew."""
        idle = [id for id, session in self._sessions.items() if not session.is_busy and not session.has_volatile_bytes]
        for id in idle[: max(len(idle) - _IDLE_SESSIONS, 0)]:
            del self._sessions[id]

    def _status(self, mount: Mount, session: Session) -> UploadStatus:
        return of_session(mount.name, session, self.expire_seconds)

    def _ended(self, mount: Mount, note: Note, details: dict[str, Any]) -> UploadStatus:
        return of_note(mount.name, note, details, self._post.get(note.id))


_NEVER = datetime.min.replace(tzinfo=timezone.utc)


def _mount_tag(mount: Mount) -> str:
    """What the ids of a bucket's uploads begin with: the same in every process that uses it."""
    return hashlib.sha256(mount.bucket.url.encode()).hexdigest()[:8]


def _checked(body: bytes, sha256: str | None) -> str:
    digest = hashlib.sha256(body).hexdigest()
    if sha256 is not None and sha256.lower() != digest:
        raise ChecksumError("The bytes that arrived do not match their checksum; send them again.")
    return f"sha256:{digest}"


async def _once(data: bytes) -> AsyncIterator[bytes]:
    if data:
        yield data


async def _limited(stream: AsyncIterable[bytes], limits: Limits, offset: int) -> AsyncIterator[bytes]:
    """The same bytes, up to the most that a file may have here."""
    at = offset
    async for piece in stream:
        at += len(piece)
        if limits.max_bytes and at > limits.max_bytes:
            limits.check_size(at)
        yield piece


__all__ = ["ALWAYS", "IF_ABSENT", "IfVersion", "PartsStatus", "Statistics", "UploadStatus", "Uploads"]
