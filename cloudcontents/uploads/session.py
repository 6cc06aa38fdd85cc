"""One upload as this process knows it: where it goes on, bytes taken from a stream into parts, the whole verified and published.

What lies in the store is the truth. What is held here is dropped and asked for again whenever a call fails or another process was at the
upload, which the record's version tells.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from datetime import datetime, timezone

import anyio

from .. import keys
from ..backends.interface import ALWAYS, IfAbsent, IfVersion, ObjectInfo, SizedStream, When
from ..backends.multipart import Part
from ..bucket import WRITE_ID, Bucket
from ..errors import (
    ChecksumError,
    ConflictError,
    IncompleteError,
    InvalidContentError,
    NotFoundError,
    PartsChangedError,
    PermissionDeniedError,
    SupersededError,
    TooLargeError,
    UnsupportedError,
    UploadGoneError,
    UploadNotFoundError,
    WrongOffsetError,
)
from ..offload import Offload
from ..parts import Parts
from . import plan
from .pace import Pace, Speed
from .record import Record, Records, condition_text
from .tail import Tail

#: Seconds after which a record is told that its upload lives.
_TOUCH = 60.0

#: Times that a completion looks again after another server has changed the record.
_COMPLETIONS = 3


class Session:
    """An upload under way in this process. Bound to the event loop that it was made in.

    Args:
        bucket: Where the file goes.
        records: The bucket's records.
        record: This upload's.
        pace: How many parts may be on their way.
        offload: Threads for hashing.
        fresh: Whether this process has just begun it, so that the store holds nothing yet.
    """

    def __init__(self, bucket: Bucket, records: Records, record: Record, pace: Pace, offload: Offload, *, fresh: bool = False) -> None:
        self.record = record
        self.speed = Speed()
        self.parts: dict[int, Part] = {}
        self._confirmed: dict[int, Part] = {}
        self._bucket = bucket
        self._records = records
        self._store = Parts(bucket)
        self._pace = pace
        self._offload = offload
        self._tail = Tail(bucket, record.id)
        # Bytes after the last whole part, as far as this process has them; None: they are in the store.
        self._rest: list[bytes] | None = [] if fresh else None
        self._rest_size = 0
        self._rest_number = 1  # the part that they belong to
        # Number of the part that comes next, where earlier ones are still on their way.
        self._ahead: int | None = None
        # Whether the object was made already, so that the store lists no parts any more.
        self._whole = False
        self._loaded = fresh
        self._mine = fresh
        self._told = False
        # SHA-256 of everything so far: only while this process has seen each byte, in order.
        self._rolling = hashlib.sha256() if fresh and record.sha256 is not None else None
        self._under_way: set[asyncio.Task[None]] = set()
        self._failure: Exception | None = None
        self._lock = asyncio.Lock()
        self._ticket = 0
        self._running: anyio.CancelScope | None = None
        self._making = False

    # --- where it stands ----------------------------------------------------------------------------------------------------

    @property
    def offset(self) -> int:
        """Bytes that have arrived without a gap from the start, and are in safety (but those of a stream without a durable tail)."""
        if self._whole:
            return self.record.size or 0
        if self._ahead is not None:
            return (self._ahead - 1) * self.record.part_size + self._rest_size
        number = plan.run(self.parts)
        last = self.parts[number].size if number else 0
        return max(number - 1, 0) * self.record.part_size + last + self._held_size

    @property
    def _held_size(self) -> int:
        """Bytes of the tail, unless the part that holds them is there by now, while a request goes on."""
        return 0 if self._rest_number in self.parts else self._rest_size

    @property
    def received(self) -> int:
        """Bytes of all good parts, in whatever order they came, and of the tail."""
        return self.offset if self._whole else sum(part.size for part in self.parts.values()) + self._held_size

    @property
    def needed(self) -> list[int] | None:
        """Numbers of the parts that are still to come; None while the size is unknown."""
        if self._whole:
            return []
        return None if self.record.size is None else plan.needed(self.parts, self.record.part_size, self.record.size)

    @property
    def has_volatile_bytes(self) -> bool:
        """Whether bytes are held that the store has not: this session must not be forgotten."""
        return self._rest_size > self._tail.size or self._ahead is not None

    @property
    def is_busy(self) -> bool:
        """Whether a request is at work on it."""
        return self._lock.locked()

    async def refresh(self) -> None:
        """Make sure that this process knows what the store holds.

        Raises:
            UploadNotFoundError: The upload is gone.
            CloudContentsError: The store cannot be asked; nothing is taken for empty.
        """
        # A server that writes says so in the record once: only who did it last knows by itself what has come since.
        if self._loaded and self._mine and await self._records.is_current(self.record):
            return
        await self._load()

    async def _load(self) -> None:
        self._loaded = False
        record = await self._records.read(self.record.id)
        if record.version != self.record.version:
            self._mine = False
        self.record = record
        if self.record.token is None:
            await self.begin(again=True)
        self._confirmed = self._confirmed if self._mine else {}
        self._ahead = None
        self._whole = self.record.state == "completing" and await self._is_made()
        try:
            listed = () if self._whole else await self._store.list(self.record.upload)
        except NotFoundError as error:
            # Another server may have completed it since the record was read.
            self.record, self._mine = await self._records.read(self.record.id), False
            self._whole = await self._is_made()
            if not self._whole:
                raise UploadGoneError("The store has given this upload up; upload the file again.") from error
            listed = ()
        self.parts = plan.choose(listed, self._confirmed, self.record.part_size, self.record.size)
        self._rest_number = plan.run(self.parts) + 1
        self._rest, self._rest_size = None, await self._tail.load(self._rest_number)
        self._rolling = None
        self._loaded = True

    async def begin(self, *, again: bool = False) -> None:
        """Begin it in the store, and record how the store names it.

        Args:
            again: It may have been begun before, by a process that could not tell any more.
        """
        record = self.record
        begun, is_doubtful = await self._store.begin(
            record.key,
            place=record.place,
            part_size=record.part_size,
            content_type=record.content_type,
            metadata=record.object_metadata,
        )
        self.record = await self._records.change(record, token=begun.id, is_doubtful=is_doubtful or again)

    async def _take(self) -> None:
        """Make this process the one that writes. Two that fight over an upload are told apart by the record."""
        if not self._mine:
            self.record = await self._records.change(self.record, epoch=self.record.epoch + 1, touched=_now())
            self._mine = True
        elif (_now() - self.record.touched).total_seconds() > _TOUCH:
            self.record = await self._records.change(self.record, touched=_now())

    # --- bytes come in ------------------------------------------------------------------------------------------------------

    async def append(self, offset: int, stream: AsyncIterable[bytes], *, final: bool = False, durable_tail: bool = True) -> int:
        """Take bytes from a stream; returns the new offset, and everything before it is in safety.

        A newer call on the same upload stops this one. What had arrived when a stream broke is kept.

        Args:
            offset: Where the stream's first byte belongs.
            stream: The bytes; it may fail, and then its failure is raised once what came before is in safety.
            final: The stream's end is the file's.
            durable_tail: Whether all of it is in safety at the end. Without, bytes short of a whole part are kept in memory only, and
                parts may still be on their way; a failure of one is raised by the next call, and the upload goes on further back.

        Raises:
            WrongOffsetError: The upload goes on elsewhere.
            TooLargeError: More bytes than were declared.
            SupersededError: A newer request goes on with it.
        """
        async with self._turn():
            if durable_tail or not self._loaded:
                await self.refresh()
            if offset != self.offset:
                raise WrongOffsetError(self.offset)
            await self._take()
            rest = await self._held_rest()
            problem: Exception | None = None
            number = self._ahead or plan.run(self.parts) + 1
            held, at = sum(map(len, rest)), self.offset
            try:
                async for piece in stream:
                    at += len(piece)
                    if self.record.size is not None and at > self.record.size:
                        raise TooLargeError(f"This upload was declared to have {self.record.size} bytes, and more came.")
                    self.speed.add(len(piece))
                    await self._take()
                    view = memoryview(piece)
                    while held + len(view) >= self.record.part_size:
                        cut = self.record.part_size - held
                        rest.append(bytes(view[:cut]))
                        await self._send(number, rest)
                        rest, held, view, number = [], 0, view[cut:], number + 1
                    if view:
                        rest.append(bytes(view) if len(view) != len(piece) else piece)
                        held += len(view)
            except Exception as error:
                problem = error
            finally:
                with anyio.CancelScope(shield=True):
                    await self._settle(number, rest, final=final and problem is None, durable_tail=durable_tail)
                    if durable_tail or final:
                        await self._check_alive()
            if problem is not None:
                raise problem
            return self.offset

    async def _held_rest(self) -> list[bytes]:
        if self._rest is None:
            self._rest = [await self._tail.read()] if self._rest_size else []
        return list(self._rest)

    async def _settle(self, number: int, rest: list[bytes], *, final: bool, durable_tail: bool = True) -> None:
        """Wait for the parts on their way; then bring what is left into safety."""
        try:
            if not durable_tail and not final and self._failure is None:
                self._ahead, self._rest, self._rest_size, self._rest_number = number, rest, sum(map(len, rest)), number
                return
            await self._drain()
            self._ahead = None
            held = plan.run(self.parts)
            if held + 1 < number or (held >= number and final):
                raise PartsChangedError("Parts of this upload are out of order; ask for its offset again.")
            if held >= number:
                # The gap is filled that a failed part had left among others: what follows it is here already.
                number, rest = held + 1, []
            size = sum(map(len, rest))
            total = (number - 1) * self.record.part_size + size
            if final and self.record.size is None:
                self.record = await self._records.change(self.record, size=total)
            if size and (total == self.record.size or size == self.record.part_size):
                await self._send(number, rest)
                await self._drain()
                number, rest, size = number + 1, [], 0
            if self._tail.number <= plan.run(self.parts):
                await self._tail.drop()
            if durable_tail and size > self._tail.size:
                await self._tail.add(number, _from(rest, self._tail.size), self.record.epoch, rest)
            self._rest, self._rest_size, self._rest_number = rest, size, number
        except BaseException:
            self._loaded = False
            raise

    async def _check_alive(self) -> None:
        """Look whether the upload was ended elsewhere while bytes came in; then what they became goes, too.

        Raises:
            UploadGoneError: It was.
        """
        try:
            if not await self._records.is_current(self.record):
                self._loaded = False
        except UploadNotFoundError as error:
            self._loaded = False
            await self.discard()
            raise UploadGoneError("This upload was ended by another request; nothing of it is kept.") from error

    async def _send(self, number: int, pieces: list[bytes]) -> None:
        """Put one part on its way, and empty the list; waits while too many are. Where this is cut off the list holds all that it did."""
        if self._failure is not None:
            raise self._failure
        with anyio.CancelScope(shield=True):
            # Its thread goes on, and empties the list, whether anybody waits or not.
            data, checksum = await self._offload.run(self._join, pieces)
        pieces.append(data)
        try:
            await self._pace.enter()
        except BaseException:
            self._rolling = None  # these bytes will be told to it once more
            raise
        if self._failure is not None:
            self._pace.leave()
            raise self._failure
        pieces.clear()
        task = asyncio.create_task(self._put(number, data, checksum))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def _join(self, pieces: list[bytes]) -> tuple[bytes, str]:
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()  # not held twice while the part waits for its turn
        if self._rolling is not None:
            self._rolling.update(data)
        return data, f"sha256:{hashlib.sha256(data).hexdigest()}"

    async def _put(self, number: int, data: bytes, checksum: str) -> None:
        try:
            part = await self._store.put(self.record.upload, number, data, checksum=checksum)
            self._confirmed[number] = self.parts[number] = part
            self._pace.leave()
        except Exception as error:
            self._pace.leave(error)
            self._failure = self._failure or error

    async def _drain(self) -> None:
        while self._under_way:
            await asyncio.wait(self._under_way)
        failure, self._failure = self._failure, None
        if failure is not None:
            if isinstance(failure, NotFoundError):
                raise UploadGoneError("The store has given this upload up; upload the file again.") from failure
            raise failure

    async def put_part(self, number: int, data: bytes, checksum: str) -> Part:
        """Take one part by its number; parts may come in any order, and several at once. A repeat is safe.

        Raises:
            InvalidContentError: Not the number or the size of a part of this file.
            ChecksumError: Other bytes than the checksum's.
        """
        if not self._loaded:
            async with self._lock:
                await self.refresh()
        if self._whole:
            raise UploadGoneError("This upload is complete.")
        size = plan.expected_size(number, self.record.part_size, self.record.size)
        if number < 1 or not size:
            raise InvalidContentError(f"This file has no part {number}.")
        if len(data) != size:
            raise InvalidContentError(f"Part {number} of this file has {size} bytes, not {len(data)}.")
        self._rolling = None
        async with self._pace:
            part = await self._store.put(self.record.upload, number, data, checksum=checksum)
        await self._check_alive()
        if (_now() - self.record.touched).total_seconds() > _TOUCH or not (self._mine or self._told):
            # Parts may come to several servers at once, so that nobody takes the upload over; but all are to look anew.
            self._told = True
            with contextlib.suppress(ConflictError):
                self.record = await self._records.change(self.record, touched=_now())
        self.speed.add(len(data))
        self._confirmed[number] = self.parts[number] = part
        return part

    async def listed(self) -> Sequence[Part]:
        """The good parts that the store holds now."""
        await self._load()
        return [self.parts[number] for number in sorted(self.parts)]

    # --- the end ------------------------------------------------------------------------------------------------------------

    async def declare_size(self, size: int) -> None:
        """Say how many bytes the file has, where that was not known when it was begun.

        Raises:
            InvalidContentError: It was said otherwise before, or more bytes are here already.
        """
        async with self._turn():
            await self.refresh()
            if self.record.size == size:
                return
            if self.record.size is not None or size < self.offset:
                raise InvalidContentError(f"This upload cannot have {size} bytes.")
            self.record = await self._records.change(self.record, size=size)
            if size == self.offset and self._rest_size:
                await self._settle(plan.run(self.parts) + 1, await self._held_rest(), final=True)

    async def complete(self, when: When | None = None) -> ObjectInfo:
        """Make the file out of its parts, if the target is still what it was expected to be; all at once.

        Where the condition does not hold the upload stays, and may be completed under another one.

        Args:
            when: Another condition than the upload was begun under.

        Raises:
            IncompleteError: Bytes are missing.
            ChecksumError: The whole has another SHA-256 than was declared.
            AlreadyExistsError: A file of that name has appeared.
            ConflictError: The file that it should replace has changed.
        """
        async with self._turn():
            for attempt in range(_COMPLETIONS, 0, -1):
                await self.refresh()
                condition = self.record.condition if when is None else when
                found = await self._made_before(condition)
                if found is not None:
                    return found
                parts = await self._all_parts()
                if self._whole:
                    continue
                await self._verify(parts)
                try:
                    self.record = await self._records.change(
                        self.record, state="completing", touched=_now(), when=condition_text(condition)
                    )
                except ConflictError as error:
                    # Another server completes it, too. Who comes second finds what the first one made.
                    self._loaded = False
                    if attempt == 1:
                        raise SupersededError("Another server goes on with this upload.") from error
                else:
                    return await self._make_once(parts, condition)
            raise AssertionError("unreachable")  # pragma: no cover

    async def _all_parts(self) -> Sequence[Part]:
        """The parts of the whole file; none where it was made meanwhile.

        Raises:
            IncompleteError: Bytes are missing.
        """
        if self.record.size is None:
            await self._settle(plan.run(self.parts) + 1, await self._held_rest(), final=True)
        size = self.record.size or 0
        missing = plan.needed(self.parts, self.record.part_size, size)
        if missing:
            # They may have come to another server.
            await self._load()
            missing = self.needed or []
        if missing:
            raise IncompleteError(
                f"{len(missing)} parts of {keys.show(self.record.path)} are missing, the first is number {missing[0]}; send them first."
            )
        return [] if self._whole else [self.parts[number] for number in range(1, plan.count(size, self.record.part_size) + 1)]

    async def _make_once(self, parts: Sequence[Part], when: When) -> ObjectInfo:
        """Make the object; where another server was faster, its one is it."""
        self._making = True
        try:
            return await self._make(parts, when)
        except (PartsChangedError, NotFoundError) as error:
            self._loaded = False
            found = await self._made_before(when)
            if found is not None:
                return found
            if isinstance(error, PartsChangedError):
                raise
            raise UploadGoneError("The store has given this upload up; upload the file again.") from error
        finally:
            self._making = False

    async def made(self) -> ObjectInfo | None:
        """The file, if it was made though nobody was told; asks for the record anew.

        Raises:
            UploadNotFoundError: The upload is gone.
        """
        self.record = await self._records.read(self.record.id)
        if self.record.is_partial or self.record.state != "completing" or not await self._is_ours(self.record.path):
            return None
        return await self._bucket.head(self.record.path)

    async def _made_before(self, when: When) -> ObjectInfo | None:
        """The file, if an earlier attempt that lost its reply or its process has made it, or all but made it."""
        if self.record.state != "completing":
            return None
        made = self.record.key if self.record.is_partial else self.record.path
        if await self._is_ours(made):
            return await self._bucket.head(made)
        if self.record.is_staged and await self._is_ours(self.record.key):
            return await self._publish_staged(when)
        return None

    async def _is_made(self) -> bool:
        """Whether the object is there: in its place, or, where it is staged first, not yet."""
        if not self.record.is_partial and await self._is_ours(self.record.path):
            return True
        return self.record.is_staged and await self._is_ours(self.record.key)

    async def _is_ours(self, key: str) -> bool:
        found = await self._bucket.find(key)
        return found is not None and (found.metadata or {}).get(WRITE_ID) == self.record.object_metadata[WRITE_ID]

    async def _make(self, parts: Sequence[Part], when: When) -> ObjectInfo:
        record = self.record
        when_made: When = ALWAYS
        if not record.is_staged:
            when_made = await self._condition(when, possible=self._bucket.keeps(when))
        info = await self._store.complete(
            record.upload, parts, when=when_made, content_type=record.content_type, metadata=record.object_metadata
        )
        return await self._publish_staged(when) if record.is_staged and not record.is_partial else info

    async def _publish_staged(self, when: When) -> ObjectInfo:
        """Check the staged object and copy it to its place, within the store."""
        record = self.record
        if record.sha256 is not None and self._rolling is None:
            await self._compare(self._object_bytes(record.key), record.sha256)
        when = await self._condition(when, possible=self._bucket.capabilities.copy_if)
        await self._bucket.copy(record.key, record.path, when=when)
        await self._bucket.delete(record.key)
        return await self._bucket.head(record.path)

    async def compose(self, sources: Sequence[ObjectInfo]) -> ObjectInfo | None:
        """Make the file out of objects in the store instead of bytes; None where the store cannot."""
        async with self._turn():
            record = self.record
            when = await self._condition(record.condition, possible=self._bucket.keeps(record.condition))
            self.record = await self._records.change(record, state="completing", touched=_now())
            return await self._store.compose(
                sources, record.path, when=when, content_type=record.content_type, metadata=record.object_metadata
            )

    async def _condition(self, when: When, *, possible: bool) -> When:
        """The condition, where the store can keep it; else it is looked up a moment before, and said so in log, doctor and status (G9)."""
        if possible or when == ALWAYS:
            return when
        info = await self._bucket.find(self.record.path)
        if isinstance(when, IfAbsent) and info is not None:
            raise ConflictError(f"{keys.show(self.record.path)} exists already; nothing was replaced, and the upload is kept.")
        if isinstance(when, IfVersion) and (info is None or info.version != when.version):
            raise ConflictError(f"{keys.show(self.record.path)} has changed; nothing was replaced, and the upload is kept.")
        return ALWAYS

    async def _verify(self, parts: Sequence[Part]) -> None:
        """Compare the declared SHA-256 of the whole, where that can be done before the object is made."""
        wanted = self.record.sha256
        if wanted is None:
            return
        if self._rolling is not None:
            if self._rolling.hexdigest() != wanted:
                raise ChecksumError("The file that arrived has another SHA-256 than was declared; cancel the upload and send it again.")
        elif self._store.are_readable:
            await self._compare(self._part_bytes(parts), wanted)

    async def _part_bytes(self, parts: Sequence[Part]) -> AsyncIterator[bytes]:
        for part in parts:
            async for piece in self._store.read(self.record.upload, part):
                yield piece

    async def _object_bytes(self, key: str) -> AsyncIterator[bytes]:
        async with await self._bucket.get(key) as reader:
            async for piece in reader:
                yield piece

    async def _compare(self, pieces: AsyncIterator[bytes], wanted: str) -> None:
        digest = hashlib.sha256()
        async with contextlib.aclosing(pieces) as found:  # type: ignore[type-var]
            async for piece in found:
                await self._offload.run(digest.update, piece)
        if digest.hexdigest() != wanted:
            raise ChecksumError("The file that arrived has another SHA-256 than was declared; cancel the upload and send it again.")

    async def write_contiguous(self, key: str) -> None:
        """Make an object of its own out of what has arrived without a gap. The upload is good for nothing else afterwards.

        Raises:
            UnsupportedError: Parts of this store cannot be read, and this upload was not begun on a staging object.
        """
        async with self._turn():
            await self.refresh()
            number, size = plan.run(self.parts), self.offset
            parts = [self.parts[n] for n in range(1, number + 1)]
            rest = b"".join(await self._held_rest())
            if self._store.are_readable:
                await self._bucket.put(key, SizedStream(self._contiguous(parts, rest), size), content_type=self.record.content_type)
                return
            if not self.record.is_staged:
                raise UnsupportedError("What had arrived of this upload cannot be read on this store.")
            if rest:
                checksum = f"sha256:{(await self._offload.run(hashlib.sha256, rest)).hexdigest()}"
                parts.append(await self._store.put(self.record.upload, number + 1, rest, checksum=checksum))
            await self._store.complete(
                self.record.upload, parts, content_type=self.record.content_type, metadata=self.record.object_metadata
            )
            await self._bucket.copy(self.record.key, key)

    async def _contiguous(self, parts: Sequence[Part], rest: bytes) -> AsyncIterator[bytes]:
        async for piece in self._part_bytes(parts):
            yield piece
        if rest:
            yield rest

    async def discard(self) -> None:
        """Remove all that the store holds of this upload but its record. Safe to repeat."""
        record = self.record
        if record.token is not None:
            await self._store.abort(record.upload)
        if record.token is None or record.is_doubtful:
            await self._abort_nameless()
        if record.is_staged:
            await self._bucket.delete(record.key)
        await self._tail.clear()

    async def _abort_nameless(self) -> None:
        """End what was begun in the store by a request whose reply was lost: an upload of this key without parts that no record names."""
        key = self.record.key
        try:
            found = await self._store.list_uploads(key)
        except PermissionDeniedError:
            return  # it holds no bytes; the bucket's lifecycle rule takes it
        # Asked after the uploads: what was begun for a record is named by it, or its record says that it has no name yet.
        others = [record for record in await self._records.all() if record.key == key and record.id != self.record.id]
        if any(record.token is None for record in others):
            return
        named = {record.token for record in others}
        for upload in found:
            if upload.id in named:
                continue
            with contextlib.suppress(NotFoundError):
                if not await self._store.list(upload):
                    await self._store.abort(upload)

    async def stop(self, *, patient: bool = False) -> None:
        """Stop a request that is at work, and wait for its end.

        Args:
            patient: Let it finish where it is making the object: whether that was done would not be known.
        """
        self._ticket += 1
        if self._running is not None and not (patient and self._making):
            self._running.cancel()
        async with self._lock:
            pass

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One request at a time; the newest stops the one at work, which may hang."""
        self._ticket += 1
        ticket = self._ticket
        if self._running is not None:
            self._running.cancel()
        async with self._lock:
            if ticket != self._ticket:
                raise SupersededError("A newer request goes on with this upload.")
            with anyio.CancelScope() as scope:
                self._running = scope
                try:
                    yield
                finally:
                    self._running = None
            if scope.cancelled_caught:
                raise SupersededError("A newer request goes on with this upload.")


def _from(pieces: Sequence[bytes], start: int) -> bytes:
    return b"".join(pieces)[start:]


def _now() -> datetime:
    return datetime.now(timezone.utc)
