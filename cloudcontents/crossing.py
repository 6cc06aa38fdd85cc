"""Copies and moves from one mount to another: streamed in bounded memory, verified, the source deleted last.

Two buckets share no journal. A crash leaves copies at the target beside the whole source: nothing is lost, and nothing is half written.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

import anyio

from . import keys
from .backends.interface import IF_ABSENT, ObjectInfo
from .bucket import Bucket
from .errors import AlreadyExistsError, CloudContentsError, ConflictError, NotFoundError, TooLargeError
from .moves import delete_versions
from .namespace import Location
from .parallel import for_each
from .transfer import LARGE, transfer

#: Objects on their way at once; each holds a few MiB. Of those that go in parts, which hold more, there is one at a time.
_WIDTH = 4


async def copy_across(source: Location, info: ObjectInfo | None, target: Location, *, limit_bytes: int | None = None) -> ObjectInfo | None:
    """Copy a file or directory to a free path of another mount.

    Args:
        source: What to copy.
        info: The file; None for a directory.
        target: Where to; nothing is there.
        limit_bytes: The most that a directory may hold.

    Returns:
        The copy of a file, None for a directory.

    Raises:
        AlreadyExistsError: Something is at the target; what had been copied was taken back.
        TooLargeError: More than `limit_bytes`; nothing was copied.
    """
    if info is not None:
        copy = await transfer(source.bucket, info, target.bucket, target.path, IF_ABSENT)
        target.tree.wrote(target.path, "file")
        return copy
    prefix = keys.as_prefix(source.path)
    if limit_bytes is not None:
        total = 0
        async for found in source.bucket.objects(prefix):
            total += found.size or 0
            if total > limit_bytes:
                raise TooLargeError(
                    f"{keys.show(source.api)} holds more than {limit_bytes / 2**20:g} MiB, the most that is copied at once. "
                    "Copy parts of it, or raise max_copy_folder_size_mb."
                )
    crossing = _Crossing(source.bucket, target.bucket)
    async with crossing.or_nothing():
        await crossing.directory(source, target)
    return None


async def move_across(source: Location, target: Location, *, companions: Sequence[str] = ()) -> None:
    """Move a file or directory, and what belongs to it, to a free path of another mount.

    Raises:
        NotFoundError: The source, or the target's directory, does not exist.
        AlreadyExistsError: The target exists; nothing was changed.
        ConflictError: Something was written at the source meanwhile; it stays there, the copy too.
    """
    entry = await source.tree.lookup(source.path)
    if entry is None:
        raise NotFoundError(f"{keys.show(source.api)} does not exist.")
    if await target.tree.lookup(target.path) is not None:
        raise AlreadyExistsError(f"{keys.show(target.api)} already exists; choose another name.")
    parent = keys.split(target.path)[0]
    if not await target.tree.dir_exists(parent):
        raise NotFoundError(f"The directory {keys.show(parent)} does not exist.")
    crossing = _Crossing(source.bucket, target.bucket)
    async with crossing.or_nothing():
        if entry.info is not None:
            await crossing.file(entry.info, target.path)
            target.tree.wrote(target.path, "file")
        else:
            await crossing.directory(source, target)
        for kind in companions:
            await crossing.prefix(keys.companion_tree(kind, source.path), keys.companion_tree(kind, target.path))
    await crossing.delete_sources()
    source.tree.wrote(source.path)
    await source.tree.keep_parent(source.path)


class _Crossing:
    """One copy from a bucket to another: what it has copied so far, so that it can be taken back, or the sources be deleted."""

    def __init__(self, source: Bucket, target: Bucket) -> None:
        self._source = source
        self._target = target
        self._sources: list[tuple[str, str]] = []
        self._copies: list[tuple[str, str]] = []
        self._large = anyio.Lock()

    @contextlib.asynccontextmanager
    async def or_nothing(self) -> AsyncIterator[None]:
        """Take back what was copied if the body fails; every source is still there."""
        try:
            yield
        except CloudContentsError:
            with contextlib.suppress(CloudContentsError):  # the first failure is the one to tell
                await _delete(self._target, self._copies)
            raise

    async def file(self, info: ObjectInfo, target: str) -> None:
        """Copy one object to a free key."""
        async with self._large if (info.size or 0) > LARGE else contextlib.nullcontext():
            copy = await transfer(self._source, info, self._target, target, IF_ABSENT)
        self._copies.append((target, copy.version))
        self._sources.append((info.key, info.version))

    async def directory(self, source: Location, target: Location) -> None:
        """Copy a directory to a free path."""
        await target.tree.mkdir(target.path)
        prefix = keys.as_prefix(target.path)
        self._copies.append((prefix, ""))
        await self.prefix(keys.as_prefix(source.path), prefix)
        target.tree.wrote(target.path, "directory")

    async def prefix(self, src: str, dst: str) -> None:
        """Copy all below a prefix."""

        async def one(info: ObjectInfo) -> None:
            name = dst + info.key.removeprefix(src)
            if not info.key.endswith("/") or info.size:
                await self.file(info, name)
                return
            with contextlib.suppress(AlreadyExistsError):
                await self._target.put(name, b"", when=self._target.if_absent)
                self._copies.append((name, ""))
            self._sources.append((info.key, info.version))

        await for_each(self._source.objects(src), one, width=_WIDTH)

    async def delete_sources(self) -> None:
        """Delete what was copied, each object in the version that was copied.

        Raises:
            ConflictError: Some were written meanwhile, and stay.
        """
        failed = await _delete(self._source, self._sources)
        conflicts = [key for key, error in failed if isinstance(error, ConflictError)]
        if conflicts:
            raise ConflictError(
                f"{len(conflicts)} objects were written while they were moved and stay where they are, the first one is "
                f"{keys.show(conflicts[0])}. Everything else was moved."
            )
        if failed:
            raise failed[0][1]


async def _delete(bucket: Bucket, items: Sequence[tuple[str, str]]) -> Sequence[tuple[str, Exception]]:
    """Delete objects in the version given, markers last and the deepest first. Returns what failed, and why."""
    failed = await delete_versions(bucket, [(key, version) for key, version in items if not key.endswith("/")])
    for key in sorted((key for key, _ in items if key.endswith("/")), key=lambda key: -key.count("/")):
        await bucket.delete(key)
    return failed
