"""Copies and moves from one mount to another: streamed in bounded memory, verified, the source deleted last.

Two buckets share no journal. A crash leaves copies at the target beside the whole source: nothing is lost, and nothing is half written.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from . import keys
from .backends.interface import IF_ABSENT, ObjectInfo
from .bucket import Bucket
from .errors import AlreadyExistsError, CloudContentsError, ConflictError, NotFoundError, TooLargeError
from .namespace import Location
from .parallel import for_each
from .transfer import transfer

#: Objects on their way at once; each holds a few MiB.
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
    await target.tree.mkdir(target.path)
    await _copy_prefix(source.bucket, prefix, target.bucket, keys.as_prefix(target.path))
    target.tree.wrote(target.path, "directory")
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
    moved: list[tuple[str, str]] = []
    if entry.info is not None:
        await transfer(source.bucket, entry.info, target.bucket, target.path, IF_ABSENT)
        moved.append((entry.info.key, entry.info.version))
        target.tree.wrote(target.path, "file")
    else:
        await target.tree.mkdir(target.path)
        moved += await _copy_prefix(source.bucket, keys.as_prefix(source.path), target.bucket, keys.as_prefix(target.path))
        target.tree.wrote(target.path, "directory")
    for kind in companions:
        src, dst = keys.companion_tree(kind, source.path), keys.companion_tree(kind, target.path)
        moved += await _copy_prefix(source.bucket, src, target.bucket, dst)
    await _delete(source.bucket, moved)
    source.tree.wrote(source.path)
    await source.tree.keep_parent(source.path)


async def _copy_prefix(source: Bucket, src: str, target: Bucket, dst: str) -> list[tuple[str, str]]:
    """Copy all below a prefix; on failure what was copied is taken back. Returns the sources and their versions."""
    done: list[tuple[str, str]] = []
    copies: list[tuple[str, str]] = []

    async def one(info: ObjectInfo) -> None:
        name = dst + info.key.removeprefix(src)
        if info.key.endswith("/") and not info.size:
            with contextlib.suppress(AlreadyExistsError):
                await target.put(name, b"", when=IF_ABSENT)
        else:
            copy = await transfer(source, info, target, name, IF_ABSENT)
            copies.append((name, copy.version))
        done.append((info.key, info.version))

    try:
        await for_each(source.objects(src), one, width=_WIDTH)
    except CloudContentsError:
        with contextlib.suppress(CloudContentsError):  # the first failure is the one to tell
            await _delete(target, copies)
            await target.delete(dst)
        raise
    return done


async def _delete(bucket: Bucket, items: Sequence[tuple[str, str]]) -> None:
    """Delete objects in the version given, markers last and the deepest first."""
    conditional = bucket.capabilities.delete_if_version
    failed = await bucket.delete_many([(key, version if conditional else None) for key, version in items if not key.endswith("/")])
    for key, _ in sorted((item for item in items if item[0].endswith("/")), key=lambda item: -item[0].count("/")):
        await bucket.delete(key)
    conflicts = [key for key, error in failed if isinstance(error, ConflictError)]
    if conflicts:
        raise ConflictError(
            f"{len(conflicts)} objects were written while they were moved and stay where they are, the first one is "
            f"{keys.show(conflicts[0])}. Everything else was moved."
        )
    if failed:
        raise failed[0][1]
