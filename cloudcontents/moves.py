"""Copy, move and delete whole prefixes: in parallel, in bounded steps, and so that a repeat goes on where a crash stopped.

A prefix ends in a slash, always. A move copies everything, then deletes what it has copied, each source only in the version that was
copied: at no moment is an object in neither place. Objects that no path can name go along like any other (promise G10).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime

from .backends.interface import ALWAYS, IF_ABSENT, IfVersion, ObjectInfo, When
from .bucket import Bucket
from .errors import AlreadyExistsError, CloudContentsError, ConflictError, NotFoundError, TooLargeError
from .journal import NothingDone
from .keys import show
from .parallel import for_each

#: Keys deleted with one request, where the store takes many.
_BATCH = 1000

#: How often a source is listed again when others keep writing to it.
_ROUNDS = 5


async def copy_prefix(
    bucket: Bucket,
    src: str,
    dst: str,
    *,
    skip: Callable[[str], bool] | None = None,
    limit_bytes: int | None = None,
    resumed: bool = False,
) -> int:
    """Copy every object below a prefix to another one; what is already there with the same content is left as it is.

    Args:
        bucket: The bucket.
        src: Source prefix.
        dst: Target prefix.
        skip: Says which of the source's keys stay behind.
        limit_bytes: The most that may be copied.
        resumed: Whether a crashed copy goes on: then what is there with other content was written since, by somebody, and stays.

    Returns:
        The number of objects.

    Raises:
        NothingDone: From what failed, as `TooLargeError` or an object in the way (not `resumed`); what had been copied was taken back.
        CloudContentsError: It stopped halfway; going on with `resumed` finishes it.
    """
    _check(src, dst)
    if limit_bytes is not None:
        total = 0
        async for info in bucket.objects(src):
            total += info.size or 0
            if total > limit_bytes:
                raise NothingDone from TooLargeError(
                    f"{show(src.rstrip('/'))} holds more than {limit_bytes / 2**20:g} MiB, the most that is copied at once. "
                    "Copy parts of it, or raise max_copy_folder_size_mb."
                )
    placed: dict[str, tuple[str, str]] = {}

    async def one(info: ObjectInfo) -> None:
        if skip is not None and skip(info.key):
            return
        try:
            copied = await _place(bucket, info, dst + info.key.removeprefix(src))
        except AlreadyExistsError:
            if not resumed:
                raise
        except NotFoundError:
            pass  # deleted at the source meanwhile
        else:
            placed[info.key] = (info.version, copied.version)

    try:
        await for_each(bucket.objects(src), one)
    except CloudContentsError as error:
        if resumed:
            raise
        await _take_back(bucket, src, dst, placed)
        raise NothingDone from error
    return len(placed)


async def delete_prefix(bucket: Bucket, prefix: str, *, before: datetime | None = None) -> int:
    """Delete every object below a prefix, the prefix's own marker last.

    Args:
        bucket: The bucket.
        prefix: The prefix.
        before: Leave what was written after this time (by the store's clock): somebody made it since.

    Returns:
        The number of objects deleted.

    Raises:
        CloudContentsError: Some could not be deleted; the others are gone.
    """
    _check(prefix)
    markers: list[str] = []
    count = 0

    async def batches() -> AsyncIterator[list[tuple[str, str | None]]]:
        batch: list[tuple[str, str | None]] = []
        async for info in bucket.objects(prefix):
            if info.key.endswith("/"):
                # Whatever its time: on a disk a directory's time changes with what goes from it, and one that is not empty stays.
                markers.append(info.key)
                continue
            if before is not None and info.modified > before:
                continue
            batch.append((info.key, None))
            if len(batch) == _BATCH:
                yield batch
                batch = []
        if batch:
            yield batch

    async for batch in batches():
        await _delete(bucket, batch)
        count += len(batch)
    await _delete_markers(bucket, markers)
    return count + len(markers)


async def move_prefix(
    bucket: Bucket,
    src: str,
    dst: str,
    *,
    resumed: bool = False,
    since: datetime | None = None,
    hold: Callable[[], Awaitable[None]] | None = None,
) -> list[str]:
    """Move every object below a prefix to another one.

    Args:
        bucket: The bucket.
        src: Source prefix; empty means that nothing is to be done.
        dst: Target prefix; no object below it may be in the way.
        resumed: Whether a crashed move goes on: then an object at the target may be our own copy, and nothing is undone on failure.
        since: Of a resumed move: when it was last known to be at work, by the store's clock. What was newly made at the source since
            then belongs to somebody who took the old name again, and stays.
        hold: Raises if the move is no longer ours to do; asked before anything is deleted.

    Returns:
        Keys left at the source, because the target holds something else under their name, or they were made since.

    Raises:
        NothingDone: From what failed, as an object in the way (not `resumed`); what had been copied was taken back.
        CloudContentsError: It stopped halfway; going on with `resumed` finishes it.
    """
    _check(src, dst)
    if dst.startswith(src):
        raise ValueError(f"A prefix cannot be moved into itself: {src!r} to {dst!r}")
    placed: dict[str, tuple[str, str]] = {}  # source key -> versions of source and copy
    left: dict[str, str] = {}  # source key -> the version that stays

    async def one(info: ObjectInfo) -> None:
        target = dst + info.key.removeprefix(src)
        before = placed.get(info.key)
        if before is not None and before[0] == info.version:
            return
        try:
            if before is not None:  # changed at the source since it was copied
                copied = await _copy(bucket, info, target, IfVersion(before[1]))
            elif _made_since(info, since) and await bucket.find(target) is None:
                left[info.key] = info.version
                return
            else:
                copied = await _place(bucket, info, target)
        except (AlreadyExistsError, ConflictError) as error:
            if not resumed and before is None and isinstance(error, AlreadyExistsError):
                raise
            left[info.key] = info.version
        except NotFoundError:
            pass  # deleted at the source meanwhile
        else:
            placed[info.key] = (info.version, copied.version)

    try:
        await for_each(bucket.objects(src), one)
    except CloudContentsError as error:
        if resumed:
            raise
        if hold is not None:
            await hold()  # a taker that went on may have deleted sources by now: then our copies are all there is
        await _take_back(bucket, src, dst, placed)
        raise NothingDone from error

    for _ in range(_ROUNDS):
        batch: list[tuple[str, str | None]] = []
        markers: list[str] = []
        changed: list[ObjectInfo] = []
        async for info in bucket.objects(src):
            if left.get(info.key) == info.version:
                continue
            version, _copied = placed.get(info.key, ("", ""))
            if info.key.endswith("/") and info.key in placed:
                markers.append(info.key)
            elif version != info.version:
                changed.append(info)
            else:
                batch.append((info.key, version if bucket.capabilities.delete_if_version else None))
        if not (batch or changed or markers):
            break
        if hold is not None:
            await hold()  # after listing: what a taker's users made under the old names would look like a change to move along
        await for_each(changed, one)
        for start in range(0, len(batch), _BATCH):
            await _delete(bucket, batch[start : start + _BATCH], tolerate_conflicts=True)
        if not changed:
            kept = [key for key in left if not key.endswith("/")]
            await _delete_markers(bucket, [m for m in markers if not any(key.startswith(m) for key in kept)])
            if not batch:
                break
    return sorted(left)


def _made_since(info: ObjectInfo, since: datetime | None) -> bool:
    return since is not None and info.modified > since and not info.key.endswith("/")


async def same_content(bucket: Bucket, one: ObjectInfo, other: ObjectInfo) -> bool:
    """Whether two objects hold the same bytes: by the store's checksums where it has them, else by reading both."""
    if one.size != other.size:
        return False
    if one.checksum is None:  # a listing may not tell it
        one = await bucket.head(one.key)
    if one.checksum and other.checksum and one.checksum.split(":")[0] == other.checksum.split(":")[0]:
        return one.checksum == other.checksum
    if one.size == 0:
        return True
    async with await bucket.get(one.key) as first, await bucket.get(other.key) as second:
        held: list[bytes] = [b"", b""]
        sides = [first.__aiter__(), second.__aiter__()]
        while True:
            for i, side in enumerate(sides):
                if not held[i]:
                    held[i] = await anext(side, b"")
            length = min(len(held[0]), len(held[1]))
            if length == 0:
                return held[0] == held[1]
            if held[0][:length] != held[1][:length]:
                return False
            held = [piece[length:] for piece in held]


async def copy_object(bucket: Bucket, info: ObjectInfo, target: str, when: When) -> ObjectInfo:
    """Copy one version of an object; where the store cannot make a copy conditional, the condition is checked just before.

    Raises:
        NotFoundError: The source is gone.
        ConflictError: The source has another version, or `IfVersion` does not hold.
        AlreadyExistsError: `IfAbsent`, and the target exists.
    """
    if when != ALWAYS and not bucket.capabilities.copy_if:
        found = await bucket.find(target)
        if when == IF_ABSENT and found is not None:
            raise AlreadyExistsError(f"{show(target)} exists already; choose another name.")
        if isinstance(when, IfVersion) and (found is None or found.version != when.version):
            raise ConflictError(f"{show(target)} has changed meanwhile; look at it and try again.")
        when = ALWAYS
    copy = await bucket.copy(info.key, target, src_version=info.version, when=when)
    # Some stores' replies tell only what is new of a copy.
    return replace(info, key=target, version=copy.version, modified=copy.modified, revision=copy.revision)


async def delete_version(bucket: Bucket, key: str, version: str) -> None:
    """Delete an object in one version; where the store cannot make a deletion conditional, the version is looked at just before.

    Raises:
        ConflictError: The object has another version, or is gone.
    """
    if bucket.capabilities.delete_if_version:
        await bucket.delete(key, if_version=version)
        return
    found = await bucket.find(key)
    if found is None or found.version != version:
        raise ConflictError(f"{show(key)} has changed meanwhile; it was not deleted.")
    await bucket.delete(key)


async def delete_versions(bucket: Bucket, items: Sequence[tuple[str, str]]) -> Sequence[tuple[str, Exception]]:
    """Delete many objects, each in the version beside it; see `delete_version`. Returns what failed, and why."""
    if bucket.capabilities.delete_if_version:
        return await bucket.delete_many(items)
    failed: list[tuple[str, Exception]] = []

    async def one(item: tuple[str, str]) -> None:
        try:
            await delete_version(bucket, *item)
        except CloudContentsError as error:
            failed.append((item[0], error))

    await for_each(items, one)
    return failed


async def _copy(bucket: Bucket, info: ObjectInfo, target: str, when: When) -> ObjectInfo:
    for _ in range(_ROUNDS):
        try:
            return await copy_object(bucket, info, target, when)
        except ConflictError:
            fresh = await bucket.head(info.key)
            if fresh.version == info.version:
                raise
            info = fresh  # the source was saved just now: copy what is there now; the next listing sees the version
    raise ConflictError(f"{show(info.key)} is being written all the time; try again when it rests.")


async def _place(bucket: Bucket, info: ObjectInfo, target: str) -> ObjectInfo:
    """Put a copy where nothing may be; an equal object that is there already is taken for it."""
    if info.key.endswith("/") and not info.size:
        # A marker. Not copied: on a disk it is a directory.
        try:
            return await bucket.put(target, b"", when=bucket.if_absent, content_type=info.content_type)
        except AlreadyExistsError:
            return info
    try:
        return await _copy(bucket, info, target, IF_ABSENT)
    except AlreadyExistsError:
        there = await bucket.find(target)
        if there is None:
            return await _copy(bucket, info, target, IF_ABSENT)
        if await same_content(bucket, info, there):
            return there
        raise


async def _take_back(bucket: Bucket, src: str, dst: str, placed: dict[str, tuple[str, str]]) -> None:
    """Delete the copies of a move that failed; its sources are all still there."""
    copies = [(dst + key.removeprefix(src), copy) for key, (_, copy) in placed.items()]
    _raise_first(await delete_versions(bucket, [c for c in copies if not c[0].endswith("/")]), tolerate_conflicts=True)
    await _delete_markers(bucket, [dst, *(key for key, _ in copies if key.endswith("/") and key != dst)])


async def _delete(bucket: Bucket, batch: list[tuple[str, str | None]], *, tolerate_conflicts: bool = False) -> None:
    _raise_first(await bucket.delete_many(batch), tolerate_conflicts=tolerate_conflicts)


def _raise_first(failed: Sequence[tuple[str, Exception]], *, tolerate_conflicts: bool) -> None:
    for _, error in failed:
        if not (tolerate_conflicts and isinstance(error, ConflictError)):
            raise error


async def _delete_markers(bucket: Bucket, markers: list[str]) -> None:
    """Delete directory markers, the deepest first: on a disk a directory goes only when it is empty."""
    depths = sorted({key.count("/") for key in markers}, reverse=True)
    for depth in depths:
        await _delete(bucket, [(key, None) for key in markers if key.count("/") == depth])


def _check(*prefixes: str) -> None:
    for prefix in prefixes:
        if not prefix.endswith("/"):
            raise ValueError(f"A prefix ends in '/', this one does not: {prefix!r}")
