"""The two ends of a copy: what a bucket and a local directory have in common, and the bucket's side."""

from __future__ import annotations

import abc
import contextlib
import mimetypes
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal

from .. import keys
from ..backends.interface import ALWAYS, IF_ABSENT, Body, SizedStream, When
from ..errors import AlreadyExistsError, CloudContentsError, NotFoundError, WrongTypeError
from ..tree import Tree

Kind = Literal["file", "directory"]

#: Largest file that is read into memory before it is sent, so that it can be sent again.
WHOLE = 1 << 22


@dataclass(frozen=True, slots=True)
class Item:
    """Something below a directory; `path` is relative to it, with slashes."""

    path: str
    kind: Kind
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A file being read.

    Attributes:
        size: Bytes that `chunks` yields; fewer or more raise.
        version: Names what is read; `Side.remove` takes it.
        checksum: ``algorithm:value`` of the whole, where the store knows one.
        chunks: The bytes.
    """

    size: int
    version: str
    checksum: str | None
    chunks: AsyncIterator[bytes]


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
    def real_path(self, path: str) -> str | None:
        """Where that lies on this machine, or None where it does not."""

    @abc.abstractmethod
    async def kind(self, path: str) -> Kind | None:
        """What is there."""

    @abc.abstractmethod
    def walk(self, path: str) -> AsyncIterator[Item]:
        """Everything below a directory, each directory before what is in it; nothing that is ours."""

    @abc.abstractmethod
    def read(self, path: str) -> AbstractAsyncContextManager[Source]:
        """Open a file, pinned to one version."""

    @abc.abstractmethod
    async def write(self, path: str, source: Source, *, replace: bool) -> None:
        """Store a file whole, or not at all.

        Raises:
            AlreadyExistsError: Something is there, and not `replace`.
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

    def real_path(self, path: str) -> str | None:
        """The file behind a key, where the store has such."""
        return self.tree.bucket.local_path(path)

    async def kind(self, path: str) -> Kind | None:
        """One or two requests."""
        entry = await self.tree.lookup(path)
        return entry.kind if entry is not None else None

    async def walk(self, path: str) -> AsyncIterator[Item]:
        """One LIST per 1,000 entries and directory."""
        waiting = [path]
        while waiting:
            at = waiting.pop()
            seen: set[str] = set()
            async with contextlib.aclosing(self.tree.scan(at)) as entries:
                async for entry in entries:
                    if entry.kind == "directory":
                        if entry.path in seen:
                            continue  # a marker beside what is below it
                        seen.add(entry.path)
                        waiting.append(entry.path)
                    yield Item(entry.path[len(path) :].lstrip("/"), entry.kind, entry.info.size if entry.info else None)

    @contextlib.asynccontextmanager
    async def read(self, path: str) -> AsyncIterator[Source]:
        """One GET."""
        async with await self.tree.open(path) as reader:
            yield Source(reader.length, reader.info.version, reader.info.checksum, reader.__aiter__())

    async def write(self, path: str, source: Source, *, replace: bool) -> None:
        """One PUT; a small file is sent again after a passing failure."""
        capabilities = self.tree.bucket.capabilities
        name = keys.check_new(path, max_bytes=capabilities.max_key_bytes, max_segment_bytes=capabilities.max_segment_bytes)
        fresh = self.fresh is not None and keys.is_within(name, self.fresh)
        if not fresh and await self.tree.dir_exists(name):
            raise WrongTypeError(f"{self.show(path)} is a directory; a file cannot take its place.")
        body: Body = SizedStream(source.chunks, source.size)
        if source.size <= WHOLE:
            body = b"".join([piece async for piece in source.chunks])
        when = ALWAYS if replace else await self.if_free(name)
        checksum = source.checksum if (source.checksum or "").startswith("sha256:") else None
        try:
            info = await self.tree.bucket.put(name, body, when=when, content_type=_content_type(name), checksum=checksum)
        except AlreadyExistsError:
            raise self.taken(path) from None
        self.tree.wrote(name, "file")
        if info.size is not None and info.size != source.size:
            raise CloudContentsError(f"The store kept {info.size} of {source.size} bytes of {self.show(path)}; copy it again.")

    async def if_free(self, path: str) -> When:
        """The precondition of a write that must not overwrite; checked here where the store cannot."""
        if self.tree.bucket.capabilities.put_if_absent:
            return IF_ABSENT
        if await self.tree.bucket.find(path) is not None:
            raise self.taken(path)
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


def _content_type(name: str) -> str | None:
    return "application/x-ipynb+json" if name.endswith(".ipynb") else mimetypes.guess_type(name)[0]
