"""A wrapper that counts calls and makes them fail on a plan: errors, delays, lost replies, a killed process. For tests."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from .interface import ALWAYS, Backend, Body, BulkDelete, LocalPath, ObjectInfo, Page, Reader, Rename, Sweep, When
from .multipart import Multipart, Part, ReadParts, Upload

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong, and when.

    Attributes:
        error: Makes the error to raise; None to raise none.
        after: Do the call first, so that only its reply is lost.
        kill: End this process with SIGKILL instead.
        delay: Seconds to wait first.
        operation: Only calls of this name (``put``, ``list`` …); None for all.
        key: Only calls whose key holds this text.
        nth: Only the n-th of those calls, from 1; None for each of them.
        probability: How often each of those calls is struck, from the plan's seed.
    """

    error: Callable[[], Exception] | None = None
    after: bool = False
    kill: bool = False
    delay: float = 0.0
    operation: str | None = None
    key: str = ""
    nth: int | None = None
    probability: float = 1.0


class FaultBackend(Backend):
    """Another backend, with faults. Implements the optional protocols that the other one does.

    Attributes:
        calls: Every call so far, as operation and key. Of a copy or rename it is the target's key, of `delete_many` the first one.

    Args:
        inner: The backend that does the work.
        plan: What goes wrong. Each fault counts the calls that it could strike by itself.
        seed: Of the probabilities; a test prints it.
    """

    def __init__(self, inner: Backend, plan: Sequence[Fault] = (), *, seed: int = 0) -> None:
        self._inner = inner
        self._plan = list(plan)
        self._seen = [0] * len(self._plan)
        self._random = random.Random(seed)  # noqa: S311
        self.capabilities = inner.capabilities
        self.calls: list[tuple[str, str]] = []
        if isinstance(inner, BulkDelete):
            self._bulk: BulkDelete = inner
            self.delete_many = self._delete_many
        if isinstance(inner, Rename):
            self._renamer: Rename = inner
            self.rename = self._rename
        if isinstance(inner, LocalPath):
            self.local_path = inner.local_path
        if isinstance(inner, Sweep):
            self.sweep = inner.sweep
        if isinstance(inner, Multipart):
            self._parts: Multipart = inner
            self.part_rules = inner.part_rules
            self.begin, self.put_part, self.list_parts = self._begin, self._put_part, self._list_parts
            self.complete, self.abort, self.list_uploads = self._complete, self._abort, self._list_uploads
        if isinstance(inner, ReadParts):
            self.read_part = inner.read_part

    @property
    def url(self) -> str:
        """The inner URL."""
        return self._inner.url

    def count(self, operation: str | None = None) -> int:
        """How many calls there were, of one operation or of all."""
        return sum(1 for name, _ in self.calls if operation in (None, name))

    def forget(self) -> None:
        """Start counting `calls` anew; the plan goes on."""
        self.calls.clear()

    async def list(
        self,
        prefix: str,
        *,
        delimiter: str | None = None,
        page_token: str | None = None,
        page_size: int | None = None,
    ) -> Page:
        """See `Backend.list`."""
        return await self._call(
            "list",
            prefix,
            lambda: self._inner.list(prefix, delimiter=delimiter, page_token=page_token, page_size=page_size),
        )

    async def head(self, key: str) -> ObjectInfo:
        """See `Backend.head`."""
        return await self._call("head", key, lambda: self._inner.head(key))

    async def get(self, key: str, *, start: int = 0, length: int | None = None, if_version: str | None = None) -> Reader:
        """See `Backend.get`. A fault strikes the opening, not the bytes."""
        return await self._call("get", key, lambda: self._inner.get(key, start=start, length=length, if_version=if_version), _close)

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
        """See `Backend.put`."""
        return await self._call(
            "put",
            key,
            lambda: self._inner.put(key, body, when=when, content_type=content_type, metadata=metadata, checksum=checksum),
        )

    async def delete(self, key: str, *, if_version: str | None = None) -> None:
        """See `Backend.delete`."""
        await self._call("delete", key, lambda: self._inner.delete(key, if_version=if_version))

    async def copy(self, src: str, dst: str, *, src_version: str | None = None, when: When = ALWAYS) -> ObjectInfo:
        """See `Backend.copy`."""
        return await self._call("copy", dst, lambda: self._inner.copy(src, dst, src_version=src_version, when=when))

    async def close(self) -> None:
        """Close the inner backend; neither counted nor struck."""
        await self._inner.close()

    async def _delete_many(self, items: Sequence[tuple[str, str | None]]) -> Sequence[tuple[str, Exception]]:
        return await self._call("delete_many", items[0][0] if items else "", lambda: self._bulk.delete_many(items))

    async def _rename(self, src: str, dst: str) -> None:
        await self._call("rename", dst, lambda: self._renamer.rename(src, dst))

    async def _begin(
        self, key: str, *, place: str, part_size: int, content_type: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> Upload:
        return await self._call(
            "begin",
            key,
            lambda: self._parts.begin(key, place=place, part_size=part_size, content_type=content_type, metadata=metadata),
        )

    async def _put_part(self, upload: Upload, number: int, data: bytes, *, checksum: str) -> Part:
        return await self._call("put_part", upload.key, lambda: self._parts.put_part(upload, number, data, checksum=checksum))

    async def _list_parts(self, upload: Upload) -> Sequence[Part]:
        return await self._call("list_parts", upload.key, lambda: self._parts.list_parts(upload))

    async def _complete(
        self,
        upload: Upload,
        parts: Sequence[Part],
        *,
        when: When = ALWAYS,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectInfo:
        return await self._call(
            "complete",
            upload.key,
            lambda: self._parts.complete(upload, parts, when=when, content_type=content_type, metadata=metadata),
        )

    async def _abort(self, upload: Upload) -> None:
        await self._call("abort", upload.key, lambda: self._parts.abort(upload))

    async def _list_uploads(self, key: str) -> Sequence[Upload]:
        return await self._call("list_uploads", key, lambda: self._parts.list_uploads(key))

    async def _call(
        self,
        operation: str,
        key: str,
        call: Callable[[], Awaitable[T]],
        undo: Callable[[T], Awaitable[None]] | None = None,
    ) -> T:
        self.calls.append((operation, key))
        struck = self._struck(operation, key)
        await self._strike([fault for fault in struck if not fault.after])
        result = await call()
        try:
            await self._strike([fault for fault in struck if fault.after])
        except BaseException:
            if undo is not None:
                await undo(result)
            raise
        return result

    def _struck(self, operation: str, key: str) -> Sequence[Fault]:
        struck = []
        for at, fault in enumerate(self._plan):
            if fault.operation not in (None, operation) or fault.key not in key:
                continue
            self._seen[at] += 1
            if fault.nth not in (None, self._seen[at]):
                continue
            if fault.probability >= 1 or self._random.random() < fault.probability:
                struck.append(fault)
        return struck

    @staticmethod
    async def _strike(faults: Sequence[Fault]) -> None:
        for fault in faults:
            if fault.delay:
                await asyncio.sleep(fault.delay)
            if fault.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            if fault.error is not None:
                raise fault.error()


async def _close(reader: Reader) -> None:
    await reader.aclose()
