"""Directories over a flat namespace: list, look up, make, rename, copy, remove.

A directory exists when its marker or any key below it exists. Deleting or renaming ``exp`` never touches ``exp2/`` or ``exp.csv``: every
prefix ends in a slash, and `keys.as_prefix` alone makes one. Paths here are canonical API paths within the bucket.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from . import keys
from .backends.interface import ALWAYS, IF_ABSENT, ObjectInfo, Page, Reader, When
from .bucket import Bucket
from .errors import (
    AlreadyExistsError,
    CloudContentsError,
    ConflictError,
    DirectoryNotEmptyError,
    InvalidPathError,
    NotFoundError,
    WrongTypeError,
)
from .journal import Journal, NothingDone, Operation
from .moves import copy_object, copy_prefix, delete_prefix, move_prefix, same_content
from .parallel import both

Kind = Literal["file", "directory"]

#: Entries after which a listing says that it was cut.
LISTING_LIMIT = 20_000

#: Seconds for which a path is first asked for as what it just was.
_HINT_SECONDS = 30.0
_HINTS = 4096

#: Other tools' ways to say "this is a directory": files of these names say it of their parent, the suffix of their own stem.
_MARKER_NAMES = frozenset({".s3keep", ".gcskeep"})
_MARKER_SUFFIX = "_$folder$"
_MARKER_METADATA = "hdi_isfolder"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or directory. `info` is the file's; `modified` of a directory is None where the store knows no time for it."""

    path: str
    kind: Kind
    info: ObjectInfo | None = None
    modified: datetime | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """What a directory holds.

    Attributes:
        path: The directory.
        entries: Files and directories, in UTF-8 order of their names.
        modified: The directory's own time, where the store knows one.
        cut_after: Where a listing of more than `LISTING_LIMIT` entries was cut: the last name it holds; else None.
        unnameable: Keys and prefixes left out because no path can name them.
    """

    path: str
    entries: Sequence[Entry]
    modified: datetime | None = None
    cut_after: str | None = None
    unnameable: int = 0


class Tree:
    """The directories of one bucket.

    Args:
        bucket: The bucket.
        journal: Where work on whole directories is recorded; one of its own by default.
    """

    def __init__(self, bucket: Bucket, journal: Journal | None = None) -> None:
        self.bucket = bucket
        self.journal = journal or Journal(bucket)
        self._hints: OrderedDict[str, tuple[Kind, float]] = OrderedDict()
        self._listings: dict[tuple[int, int, str], asyncio.Task[Listing]] = {}
        self._writes = 0

    # --- questions -----------------------------------------------------------------------------------------------------

    async def lookup(self, path: str, kind: Kind | None = None) -> Entry | None:
        """What a path is, or None. The directory wins over an object of the same name.

        One request where `kind` is given or the path was just served as the one or the other; else a HEAD and a one-key LIST in parallel.
        """
        if not path:
            if kind == "file":
                return None
            return Entry("", "directory", modified=await self._root_time())
        if kind == "file":
            return await self._file(path)
        if kind == "directory":
            return await self._find_dir(path)
        hint = self.was(path)
        if hint == "file" and (found := await self._file(path)) is not None:
            return found
        if hint == "directory" and (found := await self._find_dir(path)) is not None:
            return found
        file, directory = await both(self._file(path), self._find_dir(path, ask_marker=False))
        if file is None and directory is None and await self._legacy_marker(path):
            return Entry(path, "directory")
        return directory or file

    async def file_exists(self, path: str) -> bool:
        """Whether a file is there; False for a directory. One request."""
        return await self.lookup(path, "file") is not None if path else False

    async def dir_exists(self, path: str) -> bool:
        """Whether a directory is there; the root always is. One request."""
        return not path or await self.lookup(path, "directory") is not None

    async def open(self, path: str, *, start: int = 0, length: int | None = None, if_version: str | None = None) -> Reader:
        """Open a file for reading. One request.

        Raises:
            NotFoundError: No such file.
        """
        if not path:
            raise WrongTypeError("This is a directory, not a file.")
        reader = await self.bucket.get(path, start=start, length=length, if_version=if_version)
        if _is_marker_object(reader.info):
            await reader.aclose()
            raise NotFoundError(f"{keys.show(path)} does not exist.")
        self._note_file(path)
        return reader

    async def open_any(self, path: str) -> Reader | Listing:
        """Open whatever is there: a directory's listing, or a reader of the file. The directory wins; two requests in parallel.

        Raises:
            NotFoundError: Neither is there.
        """
        if not path:
            return await self.list("")
        if self.was(path) == "file":
            with contextlib.suppress(NotFoundError):
                return await self.open(path)

        async def reader() -> Reader | None:
            try:
                return await self.open(path)
            except NotFoundError:
                return None

        async def listing() -> Listing | None:
            try:
                return await self._shared_listing(path)
            except NotFoundError:
                return None

        file, directory = await both(reader(), listing())
        if directory is not None:
            if file is not None:
                await file.aclose()
            return directory
        if file is not None:
            return file
        if await self._legacy_marker(path):
            return Listing(path, ())
        raise NotFoundError(f"{keys.show(path)} does not exist.")

    async def list(self, path: str) -> Listing:
        """List a directory: one delimited LIST per 1,000 entries and no request per entry.

        Identical listings under way at once share one; one that began before a write of ours is not shared with what came after it.

        Raises:
            NotFoundError: No such directory.
        """
        try:
            return await self._shared_listing(path)
        except NotFoundError:
            if await self._legacy_marker(path):
                return Listing(path, ())
            raise

    async def _shared_listing(self, path: str) -> Listing:
        key = (id(asyncio.get_running_loop()), self._writes, path)
        task = self._listings.get(key)
        if task is None:
            task = asyncio.ensure_future(self._list(path))
            self._listings[key] = task
            task.add_done_callback(lambda _: self._listings.pop(key, None))
        # Shielded: one caller that goes away must not take the listing from the others.
        return await asyncio.shield(task)

    async def _list(self, path: str) -> Listing:
        prefix = keys.as_prefix(path)
        entries: dict[str, Entry] = {}
        seen = False
        unnameable = 0
        modified: datetime | None = None
        cut: str | None = None
        async with contextlib.aclosing(self.bucket.pages(prefix, delimiter="/")) as pages:
            async for page in pages:
                seen = seen or bool(page.objects or page.prefixes)
                for entry in self._entries(prefix, page):
                    if entry is None:
                        unnameable += 1
                    elif entry.path == path:
                        modified = entry.modified
                    elif entry.kind == "directory" or entry.path not in entries:
                        entries[entry.path] = entry  # the directory wins
                if len(entries) > LISTING_LIMIT or (len(entries) == LISTING_LIMIT and page.next_token):
                    kept = sorted(entries)[:LISTING_LIMIT]
                    entries = {name: entries[name] for name in kept}
                    cut = kept[-1].rpartition("/")[2]
                    break
        if path and not seen:
            raise NotFoundError(f"{keys.show(path)} does not exist.")
        self._note(path, "directory")
        return Listing(path, sorted(entries.values(), key=lambda e: e.path.encode()), modified, cut, unnameable)

    async def scan(self, path: str) -> AsyncGenerator[Entry, None]:
        """Every entry of a directory, page by page and so in bounded memory, however many there are.

        A file and a directory of one name both come. Nothing at all comes from a directory that is not there.
        """
        prefix = keys.as_prefix(path)
        async with contextlib.aclosing(self.bucket.pages(prefix, delimiter="/")) as pages:
            async for page in pages:
                found = [entry for entry in self._entries(prefix, page) if entry is not None and entry.path != path]
                for entry in sorted(found, key=lambda entry: entry.path.encode()):
                    yield entry

    def _entries(self, prefix: str, page: Page) -> Sequence[Entry | None]:
        """A page's entries; None for each key that no path can name, the directory itself for its own marker."""
        timed = self.bucket.capabilities.keeps_directories
        found: list[Entry | None] = []
        for common in page.prefixes:
            name = common.key[len(prefix) : -1]
            if keys.is_reserved_segment(name):
                continue
            if not name or not keys.is_nameable(name):
                found.append(None)
            else:
                found.append(Entry(prefix + name, "directory", modified=common.modified if timed else None))
        for info in page.objects:
            name = info.key[len(prefix) :]
            if not name:
                found.append(Entry(prefix[:-1], "directory", modified=info.modified if timed else None))
            elif name in _MARKER_NAMES or keys.is_reserved_segment(name):
                continue
            elif not keys.is_nameable(name) or name.endswith("/"):
                found.append(None)
            elif name.endswith(_MARKER_SUFFIX) and keys.is_nameable(stem := name.removesuffix(_MARKER_SUFFIX)):
                found.append(Entry(prefix + stem, "directory"))
            elif _is_marker_object(info):
                found.append(Entry(info.key, "directory"))
            else:
                found.append(Entry(info.key, "file", info))
        return found

    # --- making and removing -------------------------------------------------------------------------------------------

    async def mkdir(self, path: str) -> Entry:
        """Make a directory where nothing is.

        Raises:
            AlreadyExistsError: A file or directory of that name exists.
        """
        if not path or await self.lookup(path) is not None:
            raise _taken(path)
        try:
            info = await self.bucket.put(keys.as_prefix(path), b"", when=self._if_absent())
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
                if name and name not in _MARKER_NAMES:
                    raise DirectoryNotEmptyError(f"Directory {path} not empty")

    async def keep_parent(self, path: str) -> None:
        """Leave the directory that a path was taken out of standing."""
        parent, _ = keys.split(path)
        if not parent or self.bucket.capabilities.keeps_directories:
            return
        prefix = keys.as_prefix(parent)
        if await self.bucket.is_empty(prefix):
            with contextlib.suppress(AlreadyExistsError):
                await self.bucket.put(prefix, b"", when=self._if_absent())

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
                await self._move_object(info, dst)
                await self._empty(stale)
                for pair in moves[1:]:
                    await self._move(*pair, op=op, resumed=True)
        except AlreadyExistsError:
            raise _taken(dst) from None

    async def _move_object(self, info: ObjectInfo, dst: str) -> None:
        try:
            if await self.bucket.rename(info.key, dst):
                return
            copy = await copy_object(self.bucket, info, dst, IF_ABSENT)
        except CloudContentsError as error:
            if error.retryable:
                raise  # it may have happened: recovery looks
            raise NothingDone from error
        try:
            await self.bucket.delete(info.key, if_version=self._version(info))
        except ConflictError:
            # Saved under its old name at that moment: that text stays there, and the rename did not happen.
            with contextlib.suppress(ConflictError):
                await self.bucket.delete(dst, if_version=self._version(copy))
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
                await self.bucket.delete(src, if_version=self._version(source))
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
                await self.bucket.put(dst, b"", when=self._if_absent())
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
                await self.bucket.delete(src, if_version=self._version(info))

    # --- helpers -------------------------------------------------------------------------------------------------------

    def wrote(self, path: str, kind: Kind | None = None) -> None:
        """Note a write of ours: a listing under way is not shared with what comes after it, and the path is now of this kind."""
        self._writes += 1
        if kind is None:
            self._hints.pop(path, None)
        else:
            self._note(path, kind)

    def was(self, path: str) -> Kind | None:
        """What a path just was, as far as is known without a request."""
        kind, since = self._hints.get(path, (None, 0.0))
        return kind if time.monotonic() - since < _HINT_SECONDS else None

    def _note_file(self, path: str) -> None:
        # An object beside a directory of its name may be asked for as a file; the next one who asks for neither gets the directory.
        if self.was(path) != "directory":
            self._note(path, "file")

    def _note(self, path: str, kind: Kind) -> None:
        self._hints[path] = (kind, time.monotonic())
        self._hints.move_to_end(path)
        if len(self._hints) > _HINTS:
            self._hints.popitem(last=False)

    def _if_absent(self) -> When:
        return IF_ABSENT if self.bucket.capabilities.put_if_absent else ALWAYS

    def _version(self, info: ObjectInfo) -> str | None:
        return info.version if self.bucket.capabilities.delete_if_version else None

    async def _file(self, path: str) -> Entry | None:
        info = await self.bucket.find(path)
        if info is None or _is_marker_object(info):
            return None
        self._note_file(path)
        return Entry(path, "file", info)

    async def _find_dir(self, path: str, *, ask_marker: bool = True) -> Entry | None:
        first = await self._first(path)
        if first is None and not (ask_marker and await self._legacy_marker(path)):
            return None
        self._note(path, "directory")
        own = first is not None and first.key == keys.as_prefix(path) and self.bucket.capabilities.keeps_directories
        return Entry(path, "directory", modified=first.modified if first is not None and own else None)

    async def _root_time(self) -> datetime | None:
        if not self.bucket.capabilities.keeps_directories:
            return None
        first = await self._first("")
        return first.modified if first is not None and first.key == "" else None

    async def _first(self, path: str) -> ObjectInfo | None:
        """The first key below a directory, its own marker included."""
        async with contextlib.aclosing(self.bucket.pages(keys.as_prefix(path), page_size=1)) as pages:
            async for page in pages:
                if page.objects:
                    return page.objects[0]
        return None

    async def _legacy_marker(self, path: str) -> bool:
        """Whether another tool's marker beside the directory says that it exists; asked only where nothing else does."""
        if not self.bucket.capabilities.object_beside_prefix:
            return False
        suffix, folder = await both(self.bucket.find(path + _MARKER_SUFFIX), self.bucket.find(path))
        return suffix is not None or (folder is not None and _is_marker_object(folder))

    async def _delete_legacy_marker(self, path: str) -> None:
        if not self.bucket.capabilities.object_beside_prefix:
            return
        folder, _ = await both(self.bucket.find(path), self.bucket.delete(path + _MARKER_SUFFIX))
        if folder is not None and _is_marker_object(folder):
            await self.bucket.delete(path)


def _is_marker_object(info: ObjectInfo) -> bool:
    return (info.metadata or {}).get(_MARKER_METADATA, "").lower() == "true"


def _taken(path: str) -> AlreadyExistsError:
    return AlreadyExistsError(f"{keys.show(path)} already exists; choose another name.")
