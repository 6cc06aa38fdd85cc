"""The two ends of a copy: what a bucket and a local directory have in common, and the bucket's side."""

from __future__ import annotations

import abc
import contextlib
import hashlib
import mimetypes
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from .. import keys
from ..backends.interface import ALWAYS, IF_ABSENT, Body, IfVersion, SizedStream, When
from ..bucket import WRITE_ID
from ..errors import AlreadyExistsError, CloudContentsError, ConflictError, InvalidPathError, NotFoundError, WrongTypeError
from ..tree import Tree

Kind = Literal["file", "directory"]

#: Largest file that is read into memory before it is sent, so that it can be sent again.
WHOLE = 1 << 22

#: Name of the metadata entry that tells which file in which version an object was copied from; a save by anybody else drops it.
ORIGIN = "cc-from"


@dataclass(frozen=True, slots=True)
class Item:
    """Something below a directory; `path` is relative to it, with slashes. `problem` says why it cannot be copied."""

    path: str
    kind: Kind
    size: int | None = None
    problem: CloudContentsError | OSError | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """A file as it stands, before any of it is read.

    Attributes:
        size: Bytes, or None where that is unknown.
        version: As `Source.version`.
        checksum: As `Source.checksum`.
        modified: Time of its last change, in whole seconds where it was copied from elsewhere.
        origin: Which file in which version it is a copy of, where it is one and nobody has changed it since.
        write: Names the write that made it; equal ones mean equal bytes.
    """

    size: int | None
    version: str
    checksum: str | None = None
    modified: datetime | None = None
    origin: str | None = None
    write: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A file being read.

    Attributes:
        size: Bytes that `chunks` yields; fewer or more raise.
        version: Names what is read; `Side.remove` takes it.
        checksum: ``algorithm:value`` of the whole, where the store knows one.
        chunks: The bytes.
        modified: Time of the last change.
    """

    size: int
    version: str
    checksum: str | None
    chunks: AsyncIterator[bytes]
    modified: datetime | None = None


class Side(abc.ABC):
    """Files below one root. A path is relative to it; "" is the root itself.

    Attributes:
        fresh: A path below which nothing was when the command began, so that nothing can be in the way there.
    """

    fresh: str | None = None

    @abc.abstractmethod
    def show(self, path: str) -> str:
        """A path as a message names it."""

    @abc.abstractmethod
    def whole_name(self, path: str) -> str:
        """A name that no other file has, on this machine or elsewhere."""

    @abc.abstractmethod
    def real_path(self, path: str) -> str | None:
        """Where that lies on this machine, or None where it does not."""

    @abc.abstractmethod
    async def kind(self, path: str) -> Kind | None:
        """What is there."""

    @abc.abstractmethod
    async def find(self, path: str, *, follow: bool = True) -> Standing | None:
        """The file that is there.

        Args:
            path: Its path.
            follow: Whether a link counts as what it leads to; else it is a file like no other.

        Raises:
            WrongTypeError: It is a directory.
        """

    @abc.abstractmethod
    def walk(self, path: str) -> AsyncIterator[Item]:
        """Everything below a directory, each directory before what is in it; nothing that is ours."""

    @abc.abstractmethod
    def read(self, path: str) -> AbstractAsyncContextManager[Source]:
        """Open a file, pinned to one version."""

    @abc.abstractmethod
    async def write(self, path: str, source: Source, *, over: str | None = None, origin: str | None = None) -> None:
        """Store a file whole, or not at all.

        Args:
            path: Where to.
            source: What to write.
            over: The version that it replaces; None: nothing may be there.
            origin: For `Standing.origin`, where this side can keep it.

        Raises:
            AlreadyExistsError: Something is there, and no `over`.
            ConflictError: What is there has another version than `over`.
        """

    @abc.abstractmethod
    async def make_directory(self, path: str) -> None:
        """Make a directory; one that is there already is fine."""

    @abc.abstractmethod
    async def remove(self, path: str, version: str) -> None:
        """Delete a file if it still is this version.

        Raises:
            ConflictError: It has changed.
        """

    @abc.abstractmethod
    async def remove_directories(self, path: str) -> bool:
        """Delete a directory if nothing but empty directories is below it; whether it went."""

    @abc.abstractmethod
    async def begin(self, path: str, mark: str) -> None:
        """Note that a copy with this mark makes a new directory, so that the same command, cut off, goes on in it."""

    @abc.abstractmethod
    async def is_begun(self, path: str, mark: str) -> bool:
        """Whether a copy with this mark began this directory and has not ended."""

    @abc.abstractmethod
    async def end(self, path: str, mark: str) -> None:
        """Forget what `begin` noted. A repeat is safe."""


class BucketSide(Side):
    """A bucket.

    Args:
        tree: Its tree.
        url: The URL given, and `at`, the path that it means: for messages.
    """

    def __init__(self, tree: Tree, url: str, at: str) -> None:
        self.tree = tree
        self._url = url
        self._at = at

    def show(self, path: str) -> str:
        """The URL as it was given, and what is below it."""
        if keys.is_within(path, self._at):
            return keys.join(self._url.split("?")[0].rstrip("/"), path[len(self._at) :].strip("/"))
        return path

    def whole_name(self, path: str) -> str:
        """The bucket's URL and the path in it."""
        return f"{self.tree.bucket.url.split('?')[0]} {path}"

    def real_path(self, path: str) -> str | None:
        """The file behind a key, where the store has such."""
        return self.tree.bucket.local_path(path)

    async def kind(self, path: str) -> Kind | None:
        """One or two requests."""
        entry = await self.tree.lookup(path)
        return entry.kind if entry is not None else None

    async def find(self, path: str, *, follow: bool = True) -> Standing | None:
        """One or two requests."""
        entry = await self.tree.lookup(path)
        if entry is None:
            return None
        if entry.info is None:
            raise WrongTypeError(f"{self.show(path)} is a directory; a file cannot take its place.")
        info, metadata = entry.info, entry.info.metadata or {}
        return Standing(info.size, info.version, info.checksum, info.modified, metadata.get(ORIGIN), metadata.get(WRITE_ID))

    async def walk(self, path: str) -> AsyncIterator[Item]:
        """One LIST per 1,000 entries and directory."""
        waiting = [path]
        while waiting:
            at = waiting.pop()
            seen: set[str] = set()
            unnameable = 0

            def skipped(count: int) -> None:
                nonlocal unnameable
                unnameable += count

            async with contextlib.aclosing(self.tree.scan(at, skipped=skipped)) as entries:
                async for entry in entries:
                    if entry.kind == "directory":
                        if entry.path in seen:
                            continue  # a marker beside what is below it
                        seen.add(entry.path)
                        waiting.append(entry.path)
                    yield Item(entry.path[len(path) :].lstrip("/"), entry.kind, entry.info.size if entry.info else None)
            if unnameable:
                below = at[len(path) :].lstrip("/")
                said = (
                    f"{unnameable} names directly in {self.show(at)} can be no path, and are left out; `cloudcontents doctor` says which."
                )
                yield Item(below, "directory", problem=InvalidPathError(said))

    @contextlib.asynccontextmanager
    async def read(self, path: str) -> AsyncIterator[Source]:
        """One GET."""
        async with await self.tree.open(path) as reader:
            info = reader.info
            yield Source(reader.length, info.version, info.checksum, reader.__aiter__(), info.modified)

    async def write(self, path: str, source: Source, *, over: str | None = None, origin: str | None = None) -> None:
        """One PUT; a small file is sent again after a passing failure."""
        bucket = self.tree.bucket
        name = keys.check_new(path, max_bytes=bucket.capabilities.max_key_bytes, max_segment_bytes=bucket.capabilities.max_segment_bytes)
        body: Body = SizedStream(source.chunks, source.size)
        if source.size <= WHOLE:
            body = b"".join([piece async for piece in source.chunks])
        when = await self._when(name, over)
        checksum = source.checksum if (source.checksum or "").startswith("sha256:") else None
        metadata = {ORIGIN: origin} if origin is not None else None
        try:
            info = await bucket.put(name, body, when=when, content_type=_content_type(name), metadata=metadata, checksum=checksum)
        except AlreadyExistsError:
            raise self.taken(path) from None
        self.tree.wrote(name, "file")
        if info.size is not None and info.size != source.size:
            raise CloudContentsError(f"The store kept {info.size} of {source.size} bytes of {self.show(path)}; copy it again.")

    async def _when(self, path: str, over: str | None) -> When:
        """The precondition of a write; checked here where the store cannot."""
        capabilities = self.tree.bucket.capabilities
        if over is None and capabilities.put_if_absent:
            return IF_ABSENT
        if over is not None and capabilities.put_if_version:
            return IfVersion(over)
        found = await self.tree.bucket.find(path)
        if over is None and found is not None:
            raise self.taken(path)
        if over is not None and (found is None or found.version != over):
            raise ConflictError(f"{self.show(path)} changed meanwhile; copy it again.")
        return ALWAYS

    def taken(self, path: str) -> AlreadyExistsError:
        """What to say where something is in the way."""
        return AlreadyExistsError(f"{self.show(path)} exists; choose another name, or add --force to overwrite it.")

    async def make_directory(self, path: str) -> None:
        """A marker, where nothing is."""
        if path:
            with contextlib.suppress(AlreadyExistsError):
                await self.tree.mkdir(keys.clean(path))
                return
            if not await self.tree.dir_exists(path):
                raise WrongTypeError(f"{self.show(path)} is a file; a directory cannot take its place.")

    async def remove(self, path: str, version: str) -> None:
        """One DELETE, conditional where the store can."""
        conditional = self.tree.bucket.capabilities.delete_if_version
        await self.tree.remove_file(path, if_version=version if conditional else None)

    async def remove_directories(self, path: str) -> bool:
        """Only markers may be left; what no path can name stays, and so does what is ours."""
        if not path:
            return False
        async for info in self.tree.bucket.objects(keys.as_prefix(path)):
            if not info.key.endswith("/"):
                return False
        with contextlib.suppress(NotFoundError):
            await self.tree.remove_dir(path)
        return True

    async def begin(self, path: str, mark: str) -> None:
        """One PUT below the reserved prefix."""
        await self.tree.bucket.put(_record(path, mark), b"")

    async def is_begun(self, path: str, mark: str) -> bool:
        """One HEAD."""
        return await self.tree.bucket.find(_record(path, mark)) is not None

    async def end(self, path: str, mark: str) -> None:
        """One DELETE."""
        await self.tree.bucket.delete(_record(path, mark))


def _record(path: str, mark: str) -> str:
    return keys.reserved_key("copies", hashlib.sha256(f"{mark}/{path}".encode()).hexdigest()[:32])


def _content_type(name: str) -> str | None:
    return "application/x-ipynb+json" if name.endswith(".ipynb") else mimetypes.guess_type(name)[0]
