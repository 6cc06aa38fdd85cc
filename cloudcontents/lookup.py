"""What a path is and what a directory holds: questions over a flat namespace.

A directory exists when its marker or any key below it exists. Paths here are canonical API paths within the bucket.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from . import keys
from .backends.interface import ObjectInfo, Page, Reader
from .bucket import Bucket
from .errors import (
    NotFoundError,
    WrongTypeError,
)
from .parallel import both

Kind = Literal["file", "directory"]

#: Entries after which a listing says that it was cut.
LISTING_LIMIT = 20_000

#: Seconds for which a path is first asked for as what it just was.
_HINT_SECONDS = 30.0
_HINTS = 4096

#: Other tools' ways to say "this is a directory": files of these names say it of their parent, the suffix of their own stem.
MARKER_NAMES = frozenset({".s3keep", ".gcskeep", ".s3fskeep"})
MARKER_SUFFIX = "_$folder$"
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


class Lookup:
    """Questions to one bucket; `Tree` changes it, too.

    Args:
        bucket: The bucket.
    """

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
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
        if is_marker_object(reader.info):
            await reader.aclose()
            raise NotFoundError(f"{keys.show(path)} does not exist.")
        self._note_file(path)
        return reader

    async def open_any(self, path: str) -> Reader | Listing:
        """Open whatever is there: a directory's listing, or a reader of the file. The directory wins; two requests in parallel.

        One of them where the path was just served as the one or the other.

        Raises:
            NotFoundError: Neither is there.
        """
        if not path:
            return await self.list("")
        if self.was(path) == "file":
            with contextlib.suppress(NotFoundError):
                return await self.open(path)
        if self.was(path) == "directory":
            with contextlib.suppress(NotFoundError):
                return await self._shared_listing(path)

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

    async def scan(self, path: str, *, skipped: Callable[[int], object] | None = None) -> AsyncGenerator[Entry, None]:
        """Every entry of a directory, page by page and so in bounded memory, however many there are.

        A file and a directory of one name both come. Nothing at all comes from a directory that is not there. `skipped` is told
        how many keys of a page no path can name.
        """
        prefix = keys.as_prefix(path)
        async with contextlib.aclosing(self.bucket.pages(prefix, delimiter="/")) as pages:
            async for page in pages:
                entries = self._entries(prefix, page)
                if skipped is not None and None in entries:
                    skipped(entries.count(None))
                found = [entry for entry in entries if entry is not None and entry.path != path]
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
            elif name in MARKER_NAMES or keys.is_reserved_segment(name):
                continue
            elif not keys.is_nameable(name) or name.endswith("/"):
                found.append(None)
            elif name.endswith(MARKER_SUFFIX) and keys.is_nameable(stem := name.removesuffix(MARKER_SUFFIX)):
                found.append(Entry(prefix + stem, "directory"))
            elif is_marker_object(info):
                found.append(Entry(info.key, "directory"))
            else:
                found.append(Entry(info.key, "file", info))
        return found

    # --- what is known without a request ----------------------------------------------------------------------

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

    # --- single requests --------------------------------------------------------------------------------------

    async def _file(self, path: str) -> Entry | None:
        info = await self.bucket.find(path)
        if info is None or is_marker_object(info):
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
        suffix, folder = await both(self.bucket.find(path + MARKER_SUFFIX), self.bucket.find(path))
        return suffix is not None or (folder is not None and is_marker_object(folder))


def is_marker_object(info: ObjectInfo) -> bool:
    """Whether an object says by its metadata that it is a directory."""
    return (info.metadata or {}).get(_MARKER_METADATA, "").lower() == "true"
