"""What a backend implements: seven coroutines, a few optional protocols and a `Capabilities` value.

A backend knows one store and nothing of Jupyter. It is given keys that `cloudcontents.keys` has checked, raises only errors of
`cloudcontents.errors`, and is bound to no event loop: each call may come from another one. No call may block the loop it runs on.
`cloudcontents.bucket.Bucket` adds validation, deadlines, retries and metrics around it; `cloudcontents.testing.BackendConformance`
says whether it behaves.
"""

from __future__ import annotations

import abc
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias, runtime_checkable


@dataclass(frozen=True, slots=True)
class Always:
    """Write whatever is there."""


@dataclass(frozen=True, slots=True)
class IfAbsent:
    """Write only where nothing is; else `AlreadyExistsError`."""


@dataclass(frozen=True, slots=True)
class IfVersion:
    """Compare-and-swap: write only if the object still has this version; else (also if it is gone) `ConflictError`."""

    version: str


When: TypeAlias = Always | IfAbsent | IfVersion

ALWAYS = Always()
IF_ABSENT = IfAbsent()


@dataclass(frozen=True, slots=True)
class SizedStream:
    """A body that is not in memory: an async iterator of bytes of a known total size.

    A backend that receives fewer or more bytes than `size` raises `TruncatedError` and stores nothing.
    """

    chunks: AsyncIterator[bytes]
    size: int


Body: TypeAlias = bytes | SizedStream


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What is known of one object without reading it.

    Attributes:
        key: The key in the store.
        size: Bytes that a reader gets; None where that is unknown until the object is opened.
        version: Opaque token for compare-and-swap; each write makes a new one.
        modified: Time of the last write, time-zone aware.
        stored_size: Bytes that the store holds, where it differs from `size`.
        revision: Names one version in a versioned bucket, else None.
        content_type: As stored, or None.
        metadata: User metadata; keys are lower-case ASCII, values ASCII. None where a listing does not tell it.
        checksum: ``algorithm:value`` of the content as the store knows it, or None. Equal checksums of one algorithm mean equal content.
        writable: False where this object in particular cannot be written (a file's mode).
    """

    key: str
    size: int | None
    version: str
    modified: datetime
    stored_size: int | None = None
    revision: str | None = None
    content_type: str | None = None
    metadata: Mapping[str, str] | None = None
    checksum: str | None = None
    writable: bool = True


@dataclass(frozen=True, slots=True)
class PrefixInfo:
    """A common prefix of a delimited listing; `key` ends with the delimiter. `modified` where the store knows one."""

    key: str
    modified: datetime | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing, of any length, even empty, in UTF-8 byte order of keys. `next_token` is None on the last one."""

    objects: Sequence[ObjectInfo]
    prefixes: Sequence[PrefixInfo] = ()
    next_token: str | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What holds for a backend. What it denies must raise `UnsupportedError`, never be ignored.

    Attributes:
        put_if_absent: `put(when=IfAbsent())` is atomic among all clients of the store.
        put_if_version: `put(when=IfVersion(v))` is atomic among all clients of the store.
        delete_if_version: the same for `delete(if_version=v)`.
        copy_if: `copy(when=…)` honours `IfAbsent` and `IfVersion` atomically.
        distinct_versions: Each write makes a version that never was before; else equal bytes may share one (harmless: nothing is lost).
        metadata: User metadata is kept with the object (else in a side file, at the price of a second write).
        object_beside_prefix: An object ``d`` and an object ``d/f`` can both exist.
        any_key: Keys that no path can name (``a//b``, ``x/../y``) can exist in the store.
        durable: What was acknowledged survives a crash of the machine.
        keeps_directories: A directory stays when its last object goes, without a marker being written.
        directory_marker: How an empty directory is stored: the key's ending.
        max_key_bytes: Longest key, UTF-8.
        max_segment_bytes: Longest part of a key between two slashes, UTF-8, or None.
        refused_characters: Characters that no key of this store can hold. A key with one is refused, never altered.
        max_object_bytes: Largest object that one `put` takes, or None.
        page_size: Most entries that one page of a listing holds.
    """

    put_if_absent: bool = True
    put_if_version: bool = True
    delete_if_version: bool = True
    copy_if: bool = True
    distinct_versions: bool = True
    metadata: bool = True
    object_beside_prefix: bool = True
    any_key: bool = True
    durable: bool = True
    keeps_directories: bool = False
    directory_marker: str = "/"
    max_key_bytes: int = 1024
    max_segment_bytes: int | None = None
    refused_characters: str = ""
    max_object_bytes: int | None = None
    page_size: int = 1000


class Reader(abc.ABC):
    """An object being read: `info`, then its bytes by `async for`. Pinned to one version: never a mix of two.

    A body that ends before its declared length raises `TruncatedError`. Use as an async context manager, or call `aclose`.
    """

    #: The object's info; `size` is the whole object's, not the range's.
    info: ObjectInfo
    #: Bytes that iterating yields.
    length: int

    @abc.abstractmethod
    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the bytes in order, in pieces of at most a few MiB."""

    @abc.abstractmethod
    async def aclose(self) -> None:
        """Free what the reader holds. Safe to repeat."""

    async def __aenter__(self) -> Reader:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()


class Backend(abc.ABC):
    """One store. Subclass it, implement the abstract methods, and run `cloudcontents.testing.BackendConformance`."""

    #: What holds for this store.
    capabilities: Capabilities = Capabilities()

    @property
    @abc.abstractmethod
    def url(self) -> str:
        """The URL this backend was opened with, without any secret."""

    @abc.abstractmethod
    async def list(
        self,
        prefix: str,
        *,
        delimiter: str | None = None,
        page_token: str | None = None,
        page_size: int | None = None,
    ) -> Page:
        """List one page of the keys that start with a prefix.

        With a delimiter, keys that hold it after the prefix are rolled into `Page.prefixes`, each once over all pages.
        A key equal to the prefix itself (a directory's marker) is an object of the page. No request per entry.

        Args:
            prefix: Start of the keys, "" for all.
            delimiter: ``"/"`` or None.
            page_token: `Page.next_token` of the page before.
            page_size: Entries wanted; the backend may return fewer or, where its store cannot page, all.
        """

    @abc.abstractmethod
    async def head(self, key: str) -> ObjectInfo:
        """Return an object's info.

        Raises:
            NotFoundError: No such key.
        """

    @abc.abstractmethod
    async def get(self, key: str, *, start: int = 0, length: int | None = None, if_version: str | None = None) -> Reader:
        """Open an object, or a range of it, for reading.

        Args:
            key: The key.
            start: First byte; negative counts from the end (``-5``: the last five bytes, or all of a shorter object).
            length: Bytes wanted; None, or more than there are, means up to the end.
            if_version: Read this version or fail.

        Raises:
            NotFoundError: No such key.
            RangeError: `start` is at or past the end (reading an empty object from 0 is fine).
            ConflictError: The object has another version.
        """

    @abc.abstractmethod
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
        """Store an object whole, or not at all.

        Readers see the old object or the new one, never a part. Repeating the call is safe only with a precondition.

        Args:
            key: The key.
            body: Bytes, or a stream of a known size.
            when: Precondition; `IfVersion` is compare-and-swap.
            content_type: MIME type.
            metadata: User metadata: lower-case ASCII keys, ASCII values.
            checksum: ``sha256:<hex>`` of the body; refused with `ChecksumError` if it does not match.

        Returns:
            The stored object's info; `version` is the new one.

        Raises:
            AlreadyExistsError: `IfAbsent`, and the key exists.
            ConflictError: `IfVersion`, and the object has moved on or is gone.
            TruncatedError: The stream was shorter or longer than its size.
        """

    @abc.abstractmethod
    async def delete(self, key: str, *, if_version: str | None = None) -> None:
        """Delete an object. A missing key is success, unless a version was asked for.

        Raises:
            ConflictError: `if_version`, and the object has moved on or is gone.
        """

    @abc.abstractmethod
    async def copy(self, src: str, dst: str, *, src_version: str | None = None, when: When = ALWAYS) -> ObjectInfo:
        """Copy an object within the store, with its content type and metadata; no byte passes through this process.

        The info returned may lack size, content type and metadata, which are the source's.

        Raises:
            NotFoundError: No such source.
            ConflictError: The source has another version than `src_version`, or `IfVersion` does not hold.
            AlreadyExistsError: `IfAbsent`, and the target exists.
        """

    @abc.abstractmethod
    async def close(self) -> None:
        """Free clients and threads. Safe to repeat; a later call to another method may open them again."""


@runtime_checkable
class BulkDelete(Protocol):
    """Optional: delete many objects with few requests."""

    async def delete_many(self, items: Sequence[tuple[str, str | None]]) -> Sequence[tuple[str, Exception]]:
        """Delete keys, each only if it has the version beside it (None: whatever version). Returns what failed, and why."""


@runtime_checkable
class Rename(Protocol):
    """Optional: the store can rename an object or a whole directory in one atomic step."""

    async def rename(self, src: str, dst: str) -> None:
        """Rename an object, or (both ending with ``/``) a directory with all below it, to a name that is free.

        Raises:
            NotFoundError: No such source.
            AlreadyExistsError: The target exists.
            UnsupportedError: This one cannot be renamed natively (it crosses a device, or the store's namespace is flat); copy and
                delete instead.
        """


@runtime_checkable
class LocalPath(Protocol):
    """Optional: objects are real files that a kernel can open."""

    def local_path(self, key: str) -> str | None:
        """The file's or directory's absolute path on this machine, or None."""


@runtime_checkable
class Sweep(Protocol):
    """Optional: writes that a crash cut off leave something behind in the store."""

    async def sweep(self) -> int:
        """Remove what was left so long ago that no write can still be at it. Returns how many. Safe to repeat at any time."""


@runtime_checkable
class Buckets(Protocol):
    """Optional, of what a URL without a bucket opens: the buckets that the credentials may see. See `backends.buckets.AccountBackend`."""

    def open_bucket(self, name: str) -> Backend:
        """Open one of them; no request is made yet, and it need not be among those that `list_buckets` tells.

        Raises:
            InvalidPathError: No bucket of this store can have that name.
        """

    async def list_buckets(self) -> Sequence[str]:
        """The names of the buckets that the credentials may see.

        Raises:
            PermissionDeniedError: They may not ask for that; one whose name is known may open all the same.
        """

    async def create_bucket(self, name: str) -> None:
        """Create a bucket.

        Raises:
            PermissionDeniedError: Not configured, or the store denies it.
            InvalidPathError: A new bucket cannot have that name.
            AlreadyExistsError: The name is taken, maybe by somebody else's bucket.
        """

    async def delete_bucket(self, name: str) -> None:
        """Delete an empty bucket.

        Raises:
            PermissionDeniedError: Not configured, or the store denies it.
            DirectoryNotEmptyError: Something is in it.
            NotFoundError: There is none.
        """
