"""Directories over a flat namespace: make, rename, copy, remove; journaled where it takes more than one step.

Deleting or renaming ``exp`` never touches ``exp2/`` or ``exp.csv``: every prefix ends in a slash, and `keys.as_prefix` alone makes one.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from . import keys
from .backends.interface import IF_ABSENT, ObjectInfo, When
from .bucket import Bucket
from .errors import (
    AlreadyExistsError,
    CloudContentsError,
    ConflictError,
    DirectoryNotEmptyError,
    InvalidPathError,
    NotFoundError,
)
from .journal import Journal, NothingDone, Operation
from .lookup import MARKER_NAMES, MARKER_SUFFIX, Entry, Lookup, is_marker_object
from .moves import copy_object, copy_prefix, delete_prefix, delete_version, move_prefix, same_content
from .parallel import both


class Tree(Lookup):
    """The directories of one bucket.

    Args:
        bucket: The bucket.
        journal: Where work on whole directories is recorded; one of its own by default.
    """

    def __init__(self, bucket: Bucket, journal: Journal | None = None) -> None:
        super().__init__(bucket)
        self.journal = journal or Journal(bucket)

    # --- making and removing -------------------------------------------------------------------------------------------

    async def mkdir(self, path: str) -> Entry:
        """Make a directory where nothing is.

        Raises:
            AlreadyExistsError: A file or directory of that name exists.
        """
        if not path or await self.lookup(path) is not None:
            raise _taken(path)
        try:
            info = await self.bucket.put(keys.as_prefix(path), b"", when=self.bucket.if_absent)
        except AlreadyExistsError:
            raise _taken(path) from None
        self.wrote(path, "directory")
        return Entry(path, "directory", modified=info.modified if self.bucket.capabilities.keeps_directories else None)

    async def remove_file(self, path: str, *, if_version: str | None = None, companions: Sequence[str] = ()) -> None:
        """Delete a file; its directory stays, even when it was the last one in it.

        Args:
            path: The file.
            if_version: Delete only this version of it.
            companions: Kinds of our own objects that go with it (as ``checkpoints``); journaled then.

        Raises:
            ConflictError: `if_version`, and the file has changed.
        """
        along = await self._not_empty([(keys.companion_prefix(kind, path), "") for kind in companions])
        if along:
            async with self._deletion([(path, ""), *along]):
                await self.bucket.delete(path, if_version=if_version)
                await self._empty([prefix for prefix, _ in along])
        else:
            await self.bucket.delete(path, if_version=if_version)
        self.wrote(path)
        await self.keep_parent(path)

    async def remove_dir(self, path: str, *, companions: Sequence[str] = ()) -> None:
        """Delete a directory and all below it; journaled, so that it finishes after a crash.

        Args:
            path: The directory.
            companions: Kinds of our own objects that go with its files (as ``checkpoints``).
        """
        prefix = keys.as_prefix(path)
        if not prefix:
            raise InvalidPathError("The root cannot be deleted.")
        along = await self._not_empty([(keys.companion_tree(kind, path), "") for kind in companions])
        async with self._deletion([(prefix, ""), *along]):
            await delete_prefix(self.bucket, prefix)
            await self._delete_legacy_marker(path)
            await self._empty([tree for tree, _ in along])
        self.wrote(path)
        await self.keep_parent(path)

    @contextlib.asynccontextmanager
    async def _deletion(self, prefixes: Sequence[tuple[str, str]]) -> AsyncIterator[None]:
        async with self.journal.operation("delete", prefixes):
            try:
                yield
            except CloudContentsError as error:
                # The user is told, and decides: what is left must not vanish behind their back later.
                raise NothingDone from error

    async def make_parents(self, path: str) -> None:
        """Make sure that the directory of a path exists, and those above it."""
        parent, _ = keys.split(path)
        if parent and not await self.dir_exists(parent):
            await self.make_parents(parent)
            with contextlib.suppress(AlreadyExistsError):
                await self.mkdir(parent)

    async def check_empty(self, path: str) -> None:
        """Make sure that a directory holds nothing but markers.

        Raises:
            DirectoryNotEmptyError: It holds something.
        """
        prefix = keys.as_prefix(path)
        async with contextlib.aclosing(self.bucket.objects(prefix)) as objects:
            async for info in objects:
                name = info.key.removeprefix(prefix)
                if name and name not in MARKER_NAMES:
                    raise DirectoryNotEmptyError(f"Directory {path} not empty")

    async def keep_parent(self, path: str) -> None:
        """Leave the directory that a path was taken out of standing."""
        parent, _ = keys.split(path)
        if not parent or self.bucket.capabilities.keeps_directories:
            return
        prefix = keys.as_prefix(parent)
        if await self.bucket.is_empty(prefix):
            with contextlib.suppress(AlreadyExistsError):
                await self.bucket.put(prefix, b"", when=self.bucket.if_absent)

    # --- renaming and copying ------------------------------------------------------------------------------------------

    async def rename(self, src: str, dst: str, *, companions: Sequence[str] = ()) -> None:
        """Rename or move a file or directory to a name that is free.

        In one step where the store can; else everything is copied, then the sources are deleted, each in the version that was copied. On a
        directory this is journaled: after a crash it finishes.

        Args:
            src: What to rename.
            dst: The new path; its directory exists.
            companions: Kinds of our own objects that go along (as ``checkpoints``), in the same journal entry.

        Raises:
            NotFoundError: The source, or the target's directory, does not exist.
            AlreadyExistsError: The target exists.
            ConflictError: The source, or something in its way at the target, was written meanwhile; nothing is lost.
        """
        if src == dst:
            return
        if not src or not dst:
            raise InvalidPathError("The root cannot be renamed.")
        parent = keys.split(dst)[0]
        entry, target = await both(self.lookup(src), self.lookup(dst))
        if entry is None:
            raise NotFoundError(f"{keys.show(src)} does not exist.")
        if target is not None:
            raise _taken(dst)
        if keys.is_within(dst, src):
            raise InvalidPathError("A directory cannot be moved into itself; choose another place.")
        if parent != keys.split(src)[0] and not await self.dir_exists(parent):
            raise NotFoundError(f"The directory {keys.show(parent)} does not exist.")
        # What was left there by a file of that name which another program removed is not this one's.
        stale = [keys.companion_tree(kind, dst) for kind in companions]
        if entry.info is not None:
            along = [(keys.companion_prefix(kind, src), keys.companion_prefix(kind, dst)) for kind in companions]
            await self.move_file(entry.info, dst, also=along, stale=stale)
        else:
            along = [(keys.companion_tree(kind, src), keys.companion_tree(kind, dst)) for kind in companions]
            await self.move_dir(src, keys.as_prefix(dst), also=along, stale=stale)
        self.wrote(src)
        self.wrote(dst, entry.kind)
        await self.keep_parent(src)

    async def move_file(self, info: ObjectInfo, dst: str, *, also: Sequence[tuple[str, str]] = (), stale: Sequence[str] = ()) -> None:
        """Move one object, in the version given, to a free key of any kind, and prefixes along with it; see `rename`.

        Args:
            info: The object.
            dst: The free key.
            also: Pairs of prefixes.
            stale: Prefixes that are emptied once the new key is ours.
        """
        moves = [(info.key, dst), *await self._not_empty(also)]
        try:
            if len(moves) == 1 and await self.bucket.rename(*moves[0]):
                await self._empty(stale)
                return
            async with self.journal.operation("move", moves) as op:
                await self._move_object(info, dst, op)
                await self._empty(stale)
                for pair in moves[1:]:
                    await self._move(*pair, op=op, resumed=True)
        except AlreadyExistsError:
            raise _taken(dst) from None

    async def _move_object(self, info: ObjectInfo, dst: str, op: Operation) -> None:
        try:
            if await self.bucket.rename(info.key, dst):
                return
            copy = await copy_object(self.bucket, info, dst, IF_ABSENT)
        except CloudContentsError as error:
            if error.retryable:
                raise  # it may have happened: recovery looks
            raise NothingDone from error
        try:
            await delete_version(self.bucket, info.key, info.version)
        except ConflictError:
            if await self.bucket.find(info.key) is None:
                return  # deleted by somebody, or by a taker that went on while we stood still: then our copy is all there is
            # Saved under its old name at that moment: that text stays there, and the rename did not happen.
            await self.journal.hold(op)
            with contextlib.suppress(ConflictError):
                await delete_version(self.bucket, dst, copy.version)
            raise NothingDone from ConflictError(f"{keys.show(info.key)} was saved while it was renamed; try again.")

    async def _finish_object(self, src: str, dst: str, since: datetime) -> bool:
        """Finish the move of one object after a crash; False if it had not begun, and so did not happen."""
        source, copy = await both(self.bucket.find(src), self.bucket.find(dst))
        if source is None:
            return True
        if copy is None:
            return False
        if source.modified <= since and await same_content(self.bucket, source, copy):
            with contextlib.suppress(ConflictError):
                await delete_version(self.bucket, src, source.version)
        return True

    async def move_dir(self, src: str, dst_prefix: str, *, also: Sequence[tuple[str, str]] = (), stale: Sequence[str] = ()) -> None:
        """Move a directory below a free prefix of any kind, and other prefixes along with it, as one journal entry; see `move_file`."""
        moves = [(keys.as_prefix(src), dst_prefix), *await self._not_empty(also)]
        try:
            if len(moves) == 1 and await self.bucket.rename(*moves[0]):
                await self._empty(stale)
                return
            async with self.journal.operation("move", moves) as op:
                left = await self._move(*moves[0], op=op)
                await self._empty(stale)
                for pair in moves[1:]:
                    left = [*left, *await self._move(*pair, op=op, resumed=True)]
                await self._delete_legacy_marker(src)
        except AlreadyExistsError:
            raise _taken(dst_prefix.removesuffix("/")) from None
        if left:
            raise ConflictError(
                f"{len(left)} of the objects below {keys.show(src)} were written by somebody else at both names and stay where "
                f"they are, the first one is {keys.show(left[0])}. Everything else was moved."
            )

    async def _not_empty(self, pairs: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
        return [pair for pair in pairs if not await self.bucket.is_empty(pair[0])]

    async def _empty(self, prefixes: Sequence[str]) -> None:
        for prefix in prefixes:
            await self.delete_prefix(prefix)

    async def _claim(self, src: str, dst: str) -> None:
        """Take a directory's name before anything is put below it: of two that want it, one gets it."""
        marker = await self.bucket.find(src)
        try:
            if marker is not None and marker.size:
                await copy_object(self.bucket, marker, dst, IF_ABSENT)
            else:
                await self.bucket.put(dst, b"", when=self.bucket.if_absent)
        except AlreadyExistsError as error:
            raise NothingDone from error

    async def _move(
        self, src: str, dst: str, *, op: Operation | None = None, resumed: bool = False, since: datetime | None = None
    ) -> Sequence[str]:
        """Move a prefix as a part of an operation: in one step where the store can. Returns the keys that stay."""
        try:
            if await self.bucket.rename(src, dst):
                return []
        except NotFoundError:
            return []
        except AlreadyExistsError as error:
            if not resumed:
                raise NothingDone from error
            # A crash between taking the name and moving: an empty directory is ours to replace; a filled one is gone through below.
            await self.bucket.delete(dst)
            with contextlib.suppress(AlreadyExistsError):
                if await self.bucket.rename(src, dst):
                    return []
        if not resumed:
            await self._claim(src, dst)

        async def hold() -> None:
            if op is not None:
                await self.journal.hold(op)

        return await move_prefix(self.bucket, src, dst, resumed=resumed, since=since, hold=hold)

    async def move_prefix(self, src: str, dst: str) -> None:
        """Move all below one of our own prefixes; journaled. Nothing there is nothing to do."""
        if await self.bucket.is_empty(src):
            return
        async with self.journal.operation("move", [(src, dst)]) as op:
            await self._move(src, dst, op=op, resumed=True)

    async def copy_prefix(self, src: str, dst: str) -> int:
        """Copy all below one of our own prefixes."""
        try:
            return await copy_prefix(self.bucket, src, dst)
        except NothingDone as undone:
            raise (undone.__cause__ or undone) from None

    async def delete_prefix(self, prefix: str) -> int:
        """Delete all below one of our own prefixes."""
        return await delete_prefix(self.bucket, prefix)

    async def copy_file(self, src: str, dst: str, *, when: When = IF_ABSENT) -> ObjectInfo:
        """Copy a file within the store; no byte passes through this process.

        Raises:
            NotFoundError: No such file.
            AlreadyExistsError: The target exists, and `when` is `IfAbsent`.
        """
        info = await self.bucket.head(src)
        copy = await copy_object(self.bucket, info, dst, when)
        self.wrote(dst, "file")
        return copy

    async def copy_dir(self, src: str, dst: str, *, limit_bytes: int | None = None) -> int:
        """Copy a directory and all below it, within the store, to a name that is free; journaled.

        Returns:
            The number of objects.

        Raises:
            AlreadyExistsError: The target exists.
            TooLargeError: More than `limit_bytes` in all; nothing was copied.
        """
        if keys.is_within(dst, src):
            raise InvalidPathError("A directory cannot be copied into itself; choose another place.")
        pair = keys.as_prefix(src), keys.as_prefix(dst)
        async with self.journal.operation("copy", [pair]):
            try:
                await self.mkdir(dst)
            except CloudContentsError as error:
                raise NothingDone from error
            try:
                count = await copy_prefix(self.bucket, *pair, skip=keys.is_reserved, limit_bytes=limit_bytes)
            except NothingDone:
                await self.bucket.delete(pair[1])  # the name that was taken; no harm where something is below it
                raise
        self.wrote(dst, "directory")
        return count

    # --- after a crash -------------------------------------------------------------------------------------------------

    async def recover(self) -> Sequence[str]:
        """Finish what a dead server left unfinished; what a living one is at is left to it. Safe to repeat, and on many servers at once.

        Returns:
            One line for each finished operation.

        Raises:
            CloudContentsError: One could not be finished; every other one was.
        """
        done: list[str] = []
        failures: list[CloudContentsError] = []
        for op in await self.journal.take_abandoned():
            try:
                async with self.journal.resumed(op):
                    left = await self._resume(op)
            except CloudContentsError as error:
                failures.append(error)  # its entry stays; the others' turn must come all the same
                continue
            names = ", ".join(f"{keys.show(s)} → {keys.show(d)}" if d else keys.show(s) for s, d in op.moves)
            rest = f"; {len(left)} objects stay at their old place, both texts are kept" if left else ""
            done.append(f"{op.kind} of {names} finished{rest}")
        if done:
            self._writes += 1
            self._hints.clear()
        if failures:
            raise failures[0]
        return done

    async def _resume(self, op: Operation) -> Sequence[str]:
        left: Sequence[str] = []
        for src, dst in op.moves:
            if op.kind == "delete":
                await self._resume_deletion(src, op.renewed)
            elif op.kind == "copy":
                await copy_prefix(self.bucket, src, dst, skip=keys.is_reserved, resumed=True)
            elif src.endswith("/"):
                left = [*left, *await self._move(src, dst, op=op, resumed=True, since=op.renewed)]
            elif not await self._finish_object(src, dst, op.renewed):
                break
        return left

    async def _resume_deletion(self, src: str, since: datetime) -> None:
        if src.endswith("/"):
            await delete_prefix(self.bucket, src, before=since)
            return
        info = await self.bucket.find(src)
        if info is not None and info.modified <= since:
            with contextlib.suppress(ConflictError):
                await delete_version(self.bucket, src, info.version)

    # --- helpers ----------------------------------------------------------------------------------------------

    async def _delete_legacy_marker(self, path: str) -> None:
        if not self.bucket.capabilities.object_beside_prefix:
            return
        folder, _ = await both(self.bucket.find(path), self.bucket.delete(path + MARKER_SUFFIX))
        if folder is not None and is_marker_object(folder):
            await self.bucket.delete(path)


def _taken(path: str) -> AlreadyExistsError:
    return AlreadyExistsError(f"{keys.show(path)} already exists; choose another name.")
