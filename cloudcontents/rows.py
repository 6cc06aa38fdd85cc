"""Rows of a CSV file in the bucket, some at a time, in bounded memory: pyarrow's incremental reader over a stream from the store.

    async for batch in iter_csv(manager.namespace, "data/big.csv", chunk_size=1000): …
    rows = await stream_csv(manager.namespace, "data/big.csv", lambda batch, rows: …)

Needs pyarrow (``pip install cloudcontents[rows]``). For more than one machine see `docs/rows.md`: Dask reads the same objects.
"""

from __future__ import annotations

import asyncio
import inspect
import io
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

from .backends.interface import ObjectInfo
from .bucket import Bucket
from .errors import InvalidContentError, TruncatedError, UnavailableError, UnsupportedError
from .keys import show
from .namespace import Namespace

#: Bytes that pyarrow parses at once.
_BLOCK = 4 << 20
#: Bytes that wait between the store and the parser.
_AHEAD = 16 << 20
#: How often a stream that breaks is opened again where it stopped.
_TRIES = 5


async def iter_csv(
    namespace: Namespace,
    path: str,
    *,
    chunk_size: int = 1000,
    read_options: Any = None,
    parse_options: Any = None,
    convert_options: Any = None,
) -> AsyncIterator[Any]:
    """The rows of a CSV file as `pyarrow.RecordBatch`es of `chunk_size` rows, the last one shorter.

    Types are inferred from the first block, or given by `convert_options`. The file is read at one version: who saves it meanwhile does not
    mix with what is read.

    Args:
        namespace: The buckets; a manager's, or one of your own.
        path: The API path.
        chunk_size: Rows of a batch.
        read_options: As `pyarrow.csv.open_csv` takes it, and so the two that follow.
        parse_options: See there.
        convert_options: See there.

    Raises:
        NotFoundError: No such file.
        ConflictError: The file was replaced before it was read to its end.
        InvalidContentError: It is no CSV, or a later row does not fit the types.
        UnsupportedError: pyarrow is not installed.
    """
    if isinstance(chunk_size, bool) or not isinstance(chunk_size, int) or chunk_size < 1:
        raise InvalidContentError("chunk_size is a number of rows.")
    csv, arrow = _pyarrow()
    location = namespace.resolve(path)
    info = await location.bucket.head(location.path)
    if not info.size:
        return
    source = _Stream(location.bucket, info, asyncio.get_running_loop())
    options = read_options or csv.ReadOptions(block_size=_BLOCK)
    task = asyncio.ensure_future(source.fill())
    try:
        try:
            reader = await asyncio.to_thread(csv.open_csv, source, options, parse_options, convert_options)
            chunks = _Chunks(reader, chunk_size)
            while (batch := await asyncio.to_thread(chunks.next)) is not None:
                yield batch
        except arrow.ArrowInvalid as error:
            if source.failure is not None:
                raise source.failure from None
            raise InvalidContentError(f"{show(path)} cannot be read as CSV: {error}") from error
        except OSError as error:
            raise source.failure or error from None
    finally:
        source.stop()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def stream_csv(
    namespace: Namespace,
    path: str,
    callback: Callable[[Any, int], Any],
    chunk_size: int = 1000,
    **options: Any,
) -> int:
    """Call `callback(batch, rows)` for each batch of a CSV file, with the number of rows so far; returns how many there were.

    The callback may be async. A plain one runs in a thread. An error of it ends the reading and is raised.

    Args:
        namespace: The buckets.
        path: The API path.
        callback: What is called.
        chunk_size: Rows of a batch.
        options: As for `iter_csv`.
    """
    rows = 0
    batches = iter_csv(namespace, path, chunk_size=chunk_size, **options)
    try:
        async for batch in batches:
            rows += batch.num_rows
            if inspect.iscoroutinefunction(callback):
                await callback(batch, rows)
            else:
                await asyncio.to_thread(callback, batch, rows)
    finally:
        await batches.aclose()  # type: ignore[attr-defined]
    return rows


class _Chunks:
    """Batches of an exact number of rows out of those that the parser makes. Runs in threads, one call at a time."""

    def __init__(self, reader: Any, size: int) -> None:
        self._reader = reader
        self._size = size
        self._held: list[Any] = []
        self._rows = 0
        self._ended = False

    def next(self) -> Any:
        while self._rows < self._size and not self._ended:
            try:
                batch = self._reader.read_next_batch()
            except StopIteration:
                self._ended = True
                break
            if batch.num_rows:
                self._held.append(batch)
                self._rows += batch.num_rows
        if not self._rows:
            return None
        return self._take(min(self._size, self._rows))

    def _take(self, count: int) -> Any:
        first = self._held[0]
        if first.num_rows >= count:
            taken = first.slice(0, count)
            if first.num_rows == count:
                self._held.pop(0)
            else:
                self._held[0] = first.slice(count)
        else:
            _, arrow = _pyarrow()
            pieces, left = [], count
            while left:
                head = self._held[0]
                pieces.append(head.slice(0, left))
                left -= pieces[-1].num_rows
                if pieces[-1].num_rows == head.num_rows:
                    self._held.pop(0)
                else:
                    self._held[0] = head.slice(pieces[-1].num_rows)
            taken = arrow.Table.from_batches(pieces).combine_chunks().to_batches()[0]
        self._rows -= count
        return taken


class _Stream(io.RawIOBase):
    """A file for the parser's thread, filled from the store by the event loop; it waits where it is too far ahead."""

    def __init__(self, bucket: Bucket, info: ObjectInfo, loop: asyncio.AbstractEventLoop) -> None:
        self.failure: Exception | None = None
        self._bucket = bucket
        self._info = info
        self._loop = loop
        self._pieces: list[bytes] = []
        self._size = 0
        self._ended = False
        self._changed = threading.Condition()
        self._room = asyncio.Event()
        self._room.set()

    async def fill(self) -> None:
        """Read the object to its end, one version of it, going on where a stream breaks."""
        at, tries, size = 0, 0, self._info.size or 0
        try:
            while at < size:
                try:
                    async with await self._bucket.get(self._info.key, start=at, if_version=self._info.version) as reader:
                        async for piece in reader:
                            await self._room.wait()
                            self._add(piece)
                            at += len(piece)
                            tries = 0
                except (TruncatedError, UnavailableError):
                    tries += 1
                    if tries == _TRIES:
                        raise
        except Exception as error:
            self.failure = error
        finally:
            self.stop()

    def stop(self) -> None:
        """Nothing more comes. Safe to repeat."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _add(self, piece: bytes) -> None:
        with self._changed:
            self._pieces.append(piece)
            self._size += len(piece)
            if self._size >= _AHEAD:
                self._room.clear()
            self._changed.notify_all()

    # --- for the parser's thread ----------------------------------------------------------------------------------------------

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int = -1) -> bytes:
        with self._changed:
            while not self._pieces and not self._ended:
                self._changed.wait()
            if not self._pieces:
                if self.failure is not None:
                    raise OSError("the file could not be read to its end")
                return b""
            taken, left = [], size if size >= 0 else self._size
            while left and self._pieces:
                piece = self._pieces[0]
                if len(piece) <= left:
                    taken.append(self._pieces.pop(0))
                else:
                    taken.append(piece[:left])
                    self._pieces[0] = piece[left:]
                left -= len(taken[-1])
                self._size -= len(taken[-1])
            if self._size < _AHEAD:
                self._loop.call_soon_threadsafe(self._room.set)
            return b"".join(taken)


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import csv
    except ImportError:
        raise UnsupportedError("Reading rows needs pyarrow: pip install 'cloudcontents[rows]'.") from None
    return csv, pyarrow
