"""`Bucket`, the portable type that everything above calls: one backend with validation, deadlines, retries and metrics around it.

In this order, from the outside in: validation of the key, write id, retry, deadline of one try, metrics, backend.
"""

from __future__ import annotations

import contextlib
import random
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import anyio

from . import metrics
from .backends.interface import (
    ALWAYS,
    IF_ABSENT,
    Backend,
    Body,
    Buckets,
    BulkDelete,
    Capabilities,
    IfVersion,
    LocalPath,
    ObjectInfo,
    Page,
    Reader,
    Rename,
    Sweep,
    When,
)
from .errors import (
    AlreadyExistsError,
    BucketNotFoundError,
    CloudContentsError,
    ConflictError,
    DeadlineError,
    InvalidPathError,
    NotFoundError,
    OutcomeUnknownError,
    RateLimitedError,
    TooLargeError,
    TruncatedError,
    UnavailableError,
    UnsupportedError,
)
from .keys import show
from .parallel import for_each

T = TypeVar("T")

#: Name of the metadata entry that tells whose write an object is.
WRITE_ID = "cc-write"

#: Bytes per second that a write is given time for, beyond the deadline of a call.
SLOWEST = 256 * 1024


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a call may take and how often it is tried again.

    Attributes:
        deadline: Seconds for one call with all its tries; a write, and a read into memory, gets more in proportion to its size.
        stall: Seconds that a read may stand still between two pieces.
        attempts: Tries in all: where three of ten replies fail, 7 leave two calls in ten thousand without success.
        first_pause: Seconds before the second try at most; doubled for each one after, up to `longest_pause`, full jitter.
        longest_pause: Seconds between two tries at most.
    """

    deadline: float = 60.0
    stall: float = 60.0
    attempts: int = 7
    first_pause: float = 0.1
    longest_pause: float = 15.0


class Bucket:
    """A backend made safe to call: what the tree, the manager, the checkpoints and the uploads use.

    Args:
        backend: The store.
        patience: How long calls may take.
        known: Whether the configuration names the bucket. One that a user's path named may be missing, which is a `NotFoundError` then and
            not the operator's failure.

    Bound to no event loop. A read is tried again after a passing failure. A conditional write is too: it carries a random write
    id in the object's metadata, so that a write whose reply was lost is recognised as our own and never reported as a conflict.
    """

    def __init__(self, backend: Backend, *, patience: Patience | None = None, known: bool = True) -> None:
        self.backend = backend
        self.known = known
        #: Whether the store has answered for this bucket, and not said since that there is none.
        self.reached = False
        self.patience = patience or Patience()
        self._scheme = backend.url.split(":", 1)[0]

    @property
    def url(self) -> str:
        """The bucket's URL, without any secret."""
        return self.backend.url

    @property
    def scheme(self) -> str:
        """The URL's scheme: the kind of the store."""
        return self._scheme

    @property
    def capabilities(self) -> Capabilities:
        """What holds for the store."""
        return self.backend.capabilities

    @property
    def if_absent(self) -> When:
        """`IfAbsent` where the store has it, else `Always`, the best there is there."""
        return IF_ABSENT if self.capabilities.put_if_absent else ALWAYS

    def keeps(self, when: When) -> bool:
        """Whether the store itself can keep this precondition of a write."""
        if when == ALWAYS:
            return True
        return self.capabilities.put_if_version if isinstance(when, IfVersion) else self.capabilities.put_if_absent

    def __repr__(self) -> str:
        return f"Bucket({self.url!r})"

    # --- reading -------------------------------------------------------------------------------------------------------

    async def list(self, prefix: str, *, delimiter: str | None = None, page_token: str | None = None, page_size: int | None = None) -> Page:
        """List one page; see `Backend.list`."""
        return await self.attempt(
            "list",
            lambda: self.backend.list(prefix, delimiter=delimiter, page_token=page_token, page_size=page_size),
        )

    async def pages(self, prefix: str, *, delimiter: str | None = None, page_size: int | None = None) -> AsyncGenerator[Page, None]:
        """Every page of a listing."""
        token: str | None = None
        while True:
            page = await self.list(prefix, delimiter=delimiter, page_token=token, page_size=page_size)
            yield page
            token = page.next_token
            if token is None:
                return

    async def objects(self, prefix: str) -> AsyncGenerator[ObjectInfo, None]:
        """Every object below a prefix."""
        async for page in self.pages(prefix):
            for info in page.objects:
                yield info

    async def is_empty(self, prefix: str) -> bool:
        """Whether no key starts with a prefix; a one-key LIST (more where a store sends empty pages)."""
        async with contextlib.aclosing(self.pages(prefix, page_size=1)) as pages:
            async for page in pages:
                if page.objects:
                    return False
        return True

    async def head(self, key: str) -> ObjectInfo:
        """Return an object's info; see `Backend.head`."""
        self._check(key)
        return await self.attempt("head", lambda: self.backend.head(key))

    async def find(self, key: str) -> ObjectInfo | None:
        """An object's info, or None where there is none."""
        try:
            return await self.head(key)
        except NotFoundError:
            return None

    async def get(self, key: str, *, start: int = 0, length: int | None = None, if_version: str | None = None) -> Reader:
        """Open an object for reading; see `Backend.get`. A body that ends early raises `TruncatedError`."""
        self._check(key)
        reader = await self.attempt("get", lambda: self.backend.get(key, start=start, length=length, if_version=if_version))
        return _CheckedReader(reader, stall=self.patience.stall, scheme=self._scheme)

    async def read(self, key: str, *, start: int = 0, length: int | None = None, limit: int | None = None) -> tuple[ObjectInfo, bytes]:
        """Read an object, or a range of it, into memory; tried again whole after a passing failure.

        Raises:
            NotFoundError: No such key.
            TooLargeError: More than `limit` bytes; nothing was read.
        """
        self._check(key)

        async def once(left: float) -> tuple[ObjectInfo, bytes]:
            inner = await self._timed("get", lambda: self.backend.get(key, start=start, length=length), left)
            reader = _CheckedReader(inner, stall=self.patience.stall, scheme=self._scheme)
            async with reader:
                if limit is not None and reader.length > limit:
                    raise TooLargeError(f"{show(key)} has {reader.length} bytes, more than the {limit} that are read at once.")
                with _limit(left + reader.length / SLOWEST):
                    return reader.info, b"".join([piece async for piece in reader])

        return await self._retry("read", once)

    # --- writing -------------------------------------------------------------------------------------------------------

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
        """Store an object whole, or not at all; see `Backend.put`.

        Safe against a lost reply: a body in memory is sent again, and a write of our own is recognised.

        Raises:
            OutcomeUnknownError: A stream's reply was lost on a store that cannot tell whose write it has.
        """
        self._check(key)
        size = len(body) if isinstance(body, bytes) else body.size
        limit = self.capabilities.max_object_bytes
        if limit is not None and size > limit:
            raise TooLargeError(f"{show(key)} would have {size} bytes; this store takes at most {limit} in one write.")
        if self.capabilities.metadata:
            metadata = {**(metadata or {}), WRITE_ID: secrets.token_hex(8)}

        async def write() -> ObjectInfo:
            return await self.backend.put(key, body, when=when, content_type=content_type, metadata=metadata, checksum=checksum)

        allowed = self.patience.deadline + size / SLOWEST
        info = await self._write("put", key, write, when, metadata, allowed, again=isinstance(body, bytes))
        metrics.WRITTEN_BYTES.labels(self._scheme).inc(size)
        return info

    async def copy(self, src: str, dst: str, *, src_version: str | None = None, when: When = ALWAYS) -> ObjectInfo:
        """Copy within the store; see `Backend.copy`.

        A lost reply is settled by reading back: a target with the source's content is taken for our own, since both texts are
        then the same; else it is copied again.
        """
        self._check(src)
        self._check(dst)

        async def write() -> ObjectInfo:
            return await self.backend.copy(src, dst, src_version=src_version, when=when)

        return await self._write("copy", dst, write, when, None, self.patience.deadline * 10, again=True, src=src)

    async def delete(self, key: str, *, if_version: str | None = None) -> None:
        """Delete an object; see `Backend.delete`. A repeat is safe: what is gone is gone."""
        self._check(key)
        lost = False

        async def once(left: float) -> None:
            nonlocal lost
            try:
                await self._timed("delete", lambda: self.backend.delete(key, if_version=if_version), left)
            except ConflictError:
                # After a lost reply the object may be gone by our own hand.
                if lost:
                    with _limit(left):
                        if await self.find(key) is None:
                            return
                raise
            except (UnavailableError, DeadlineError, TruncatedError):
                lost = True
                raise

        await self._retry("delete", once)

    async def delete_many(self, items: Sequence[tuple[str, str | None]]) -> Sequence[tuple[str, Exception]]:
        """Delete many objects, each only if it still has the version beside it (None: whatever version it has).

        Returns:
            What failed and why; the rest is gone. A repeat is safe.
        """
        for key, _ in items:
            self._check(key)
        backend = self.backend
        if isinstance(backend, BulkDelete):
            failed: Sequence[tuple[str, Exception]] = ()
            for start in range(0, len(items), 1000):
                batch = items[start : start + 1000]
                failed = (*failed, *await self.attempt("delete_many", lambda batch=batch: backend.delete_many(batch)))  # type: ignore[misc]
            return failed
        failures = []

        async def one(item: tuple[str, str | None]) -> None:
            try:
                await self.delete(item[0], if_version=item[1])
            except CloudContentsError as error:
                failures.append((item[0], error))

        await for_each(items, one)
        return failures

    async def rename(self, src: str, dst: str) -> bool:
        """Rename an object, or a directory (both end in ``/``), in one step of the store. Safe against a lost reply.

        Returns:
            False where the store cannot; the caller copies and deletes instead.

        Raises:
            NotFoundError: No such source.
            AlreadyExistsError: The target exists.
        """
        self._check(src)
        self._check(dst)
        backend = self.backend
        if not isinstance(backend, Rename):
            return False
        failed = False

        async def once(left: float) -> None:
            nonlocal failed
            ends = time.monotonic() + left
            try:
                await self._timed("rename", lambda: backend.rename(src, dst), left)
            except (UnavailableError, DeadlineError, TruncatedError):
                failed = True
                raise
            except (NotFoundError, AlreadyExistsError):
                # A try that failed may have been done all the same.
                with _limit(_until(ends)):
                    if not failed or await self._is_there(src) or not await self._is_there(dst):
                        raise

        try:
            await self._retry("rename", once)
        except UnsupportedError:
            return False
        return True

    async def _is_there(self, key: str) -> bool:
        return await self.find(key) is not None or (key.endswith("/") and not await self.is_empty(key))

    def open_bucket(self, name: str) -> Bucket:
        """Open one of the buckets that this is; see `Buckets.open_bucket`. It need not be there."""
        return Bucket(self._buckets().open_bucket(name), patience=self.patience, known=False)

    async def create_bucket(self, name: str) -> None:
        """Create a bucket beside others; see `Buckets.create_bucket`. Not tried again.

        Raises:
            UnsupportedError: This is no `Buckets`.
        """
        buckets = self._buckets()
        await self._timed("create_bucket", lambda: buckets.create_bucket(name), self.patience.deadline)

    async def delete_bucket(self, name: str) -> None:
        """Delete an empty bucket; see `Buckets.delete_bucket`. Not tried again."""
        buckets = self._buckets()
        await self._timed("delete_bucket", lambda: buckets.delete_bucket(name), self.patience.deadline)

    def _buckets(self) -> Buckets:
        if not isinstance(self.backend, Buckets):
            raise UnsupportedError("This is one bucket; it holds no others.")
        return self.backend

    def local_path(self, key: str) -> str | None:
        """The real file or directory behind a key, where the store has such."""
        backend = self.backend
        return backend.local_path(key) if isinstance(backend, LocalPath) else None

    async def sweep(self) -> int:
        """Remove what cut-off writes left in the store long ago. Returns how many. Safe to repeat."""
        backend = self.backend
        return await backend.sweep() if isinstance(backend, Sweep) else 0

    async def close(self) -> None:
        """Free clients and threads. Safe to repeat; a later call opens them again."""
        await self.backend.close()

    # --- how a call is made --------------------------------------------------------------------------------------------

    def _check(self, key: str) -> None:
        if not key:
            raise InvalidPathError("A bucket itself is no file; name something in it.")
        try:
            size = len(key.encode())
        except UnicodeEncodeError:
            raise InvalidPathError(f"{show(key)} is not valid Unicode text.") from None
        if size > self.capabilities.max_key_bytes:
            raise InvalidPathError(f"{show(key)} has {size} bytes; this bucket takes keys of at most {self.capabilities.max_key_bytes}.")

    async def attempt(self, operation: str, call: Callable[[], Awaitable[T]], *, deadline: float | None = None) -> T:
        """Make a call to the store that is safe to repeat, with deadline, retries and metrics.

        Args:
            operation: Names it in the metrics.
            call: The call; made anew for each try.
            deadline: Seconds for all tries, where the bucket's own are not enough.
        """
        return await self._retry(operation, lambda left: self._timed(operation, call, left), deadline=deadline)

    async def _write(
        self,
        operation: str,
        key: str,
        write: Callable[[], Awaitable[ObjectInfo]],
        when: When,
        metadata: Mapping[str, str] | None,
        allowed: float,
        *,
        again: bool,
        src: str | None = None,
    ) -> ObjectInfo:
        """Make a write, and settle what a lost reply leaves open."""
        failed = lost = False

        async def once(left: float) -> ObjectInfo:
            nonlocal failed, lost
            ends = time.monotonic() + left
            if lost:
                mine = await self._settle(key, metadata, src, when, left)
                if mine is not None:
                    return mine
                if not again:
                    raise OutcomeUnknownError(f"The reply to writing {show(key)} was lost; read it back before writing again.")
            try:
                return await self._timed(operation, write, _until(ends))
            except (UnavailableError, DeadlineError, TruncatedError) as error:
                # "Slow down" is said before anything is done, as a rule; all else may have been done.
                failed, lost = True, lost or not isinstance(error, RateLimitedError)
                raise
            except (AlreadyExistsError, ConflictError):
                # A try that failed may have been done all the same: in our way may be our own write.
                mine = await self._settle(key, metadata, src, when, _until(ends)) if failed else None
                if mine is None:
                    raise
                return mine

        # A stream is sent once; another try only settles what became of it.
        return await self._retry(operation, once, deadline=allowed, again=lambda: again or lost)

    async def _settle(self, key: str, metadata: Mapping[str, str] | None, src: str | None, when: When, left: float) -> ObjectInfo | None:
        """The object, if it is what our own lost write left; else None."""
        with _limit(left):
            found = await self.find(key)
            if found is None:
                return None
            if metadata is not None and WRITE_ID in metadata:
                return found if _write_id(found) == metadata[WRITE_ID] else None
            if src is not None and not isinstance(when, IfVersion):
                source = await self.find(src)
                if source is not None and _same_content(source, found):
                    return found
            return None

    async def _retry(
        self,
        operation: str,
        call: Callable[[float], Awaitable[T]],
        *,
        deadline: float | None = None,
        again: Callable[[], bool] = lambda: True,
    ) -> T:
        patience = self.patience
        ends = time.monotonic() + (patience.deadline if deadline is None else deadline)
        for attempt in range(1, patience.attempts + 1):
            try:
                return await call(_until(ends))
            except CloudContentsError as error:
                if not error.retryable or isinstance(error, OutcomeUnknownError) or attempt == patience.attempts or not again():
                    raise
                pause = min(patience.longest_pause, patience.first_pause * 2 ** (attempt - 1)) * random.random()  # noqa: S311
                if error.retry_after is not None:
                    pause = max(pause, error.retry_after)
                if time.monotonic() + pause >= ends:
                    raise
                metrics.RETRIES.labels(self._scheme, operation).inc()
                await anyio.sleep(pause)
        raise AssertionError("unreachable")  # pragma: no cover

    async def _timed(self, operation: str, call: Callable[[], Awaitable[T]], deadline: float) -> T:
        started = time.perf_counter()
        outcome = "cancelled"
        try:
            with _limit(deadline):
                result = await call()
        except BucketNotFoundError as error:
            outcome = error.code
            self.reached = False
            if self.known:
                raise
            raise NotFoundError("There is no such bucket, or this server may not see it.") from error
        except CloudContentsError as error:
            outcome = error.code
            raise
        except Exception:
            outcome = "error"
            raise
        else:
            outcome = "ok"
            self.reached = True
            return result
        finally:
            metrics.REQUESTS.labels(self._scheme, operation, outcome).inc()
            metrics.SECONDS.labels(self._scheme, operation).observe(time.perf_counter() - started)


def _until(ends: float) -> float:
    return max(ends - time.monotonic(), 0.001)


@contextlib.contextmanager
def _limit(seconds: float, what: str = "The store did not answer within") -> Iterator[None]:
    """End what takes longer.

    Raises:
        DeadlineError: It did.
    """
    try:
        with anyio.fail_after(seconds):
            yield
    except TimeoutError as error:
        if isinstance(error, CloudContentsError):
            raise
        raise DeadlineError(f"{what} {seconds:.0f} s; try again later.") from error


def _write_id(info: ObjectInfo) -> str | None:
    return (info.metadata or {}).get(WRITE_ID)


def _same_content(one: ObjectInfo, other: ObjectInfo) -> bool:
    """Whether two objects hold the same: by their checksums, or since both came of one write (a copy keeps the metadata)."""
    if one.checksum and one.checksum == other.checksum:
        return True
    return one.size == other.size and _write_id(one) is not None and _write_id(one) == _write_id(other)


class _CheckedReader(Reader):
    """A reader that knows when its store went quiet or stopped early."""

    def __init__(self, inner: Reader, *, stall: float, scheme: str) -> None:
        self._inner = inner
        self._stall = stall
        self._scheme = scheme
        self.info = inner.info
        self.length = inner.length

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = 0
        pieces = self._inner.__aiter__()
        try:
            while True:
                try:
                    with _limit(self._stall, "The store sent nothing for"):
                        piece = await anext(pieces)
                except StopAsyncIteration:
                    break
                read += len(piece)
                yield piece
        finally:
            metrics.READ_BYTES.labels(self._scheme).inc(read)
        if read != self.length:
            raise TruncatedError(f"The store sent {read} of {self.length} bytes of {show(self.info.key)}; try again.")

    async def aclose(self) -> None:
        await self._inner.aclose()
