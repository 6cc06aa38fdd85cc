"""``/cloudcontents/archive/<path>``: a directory as a zip, made while it is sent.

Memory holds one piece of one file and the archive's own table of contents. Compressing happens in a thread. ZIP64 where sizes or counts ask
for it. A failure after the first byte breaks the connection: an archive without its end is not taken for one.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import re
import struct
import zipfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from tornado import web

from ..errors import InvalidPathError, NotFoundError, WrongTypeError
from ..keys import show, split
from ..lookup import Entry
from ..namespace import Location, holds_buckets
from ..tree import Tree
from .base import api_path
from .stream import PIECE, StreamHandler

#: The least effort: an archive is for moving, and the time goes into the store.
_LEVEL = 1

#: Bytes gathered before they are sent: most entries are small.
_BATCH = 64 * 1024

_DRIVE = re.compile(r"[A-Za-z]:")


class ArchiveHandler(StreamHandler):
    """A directory, or all of the bucket, as a zip file."""

    @web.authenticated
    async def get(self, path: str) -> None:
        """Send the zip. Its entries are sorted, and lie in a folder of the directory's name."""
        location = await self._describe(path)
        archive = ZipWriter()
        top = split(location.path)[1]

        def visible(entry: Entry) -> bool:
            return self.is_visible(api_path(location.mount, entry.path))

        await self.stream(zip_directory(location.tree, location.path, archive, top=top, visible=visible))

    @web.authenticated
    async def head(self, path: str) -> None:
        """Send the headers that `get` would send; the size is not known before the archive is made."""
        await self._describe(path)
        await self.send_headers()

    async def _describe(self, path: str) -> Location:
        if self.get_query_argument("format", "zip") != "zip":
            raise InvalidPathError("An archive comes as format=zip, and no other.")
        location = self.locate(path)
        if not location.path and holds_buckets(location.mount):
            raise WrongTypeError("All buckets at once are no archive; choose one.")
        if not await location.tree.dir_exists(location.path):
            if await location.tree.file_exists(location.path):
                raise WrongTypeError(f"{show(path)} is a file; download it from /files/.")
            raise NotFoundError(f"{show(path)} does not exist.")
        self.set_type("application/zip")
        self.set_header("Cache-Control", "no-store")
        self.set_attachment_header(f"{split(location.path)[1] or 'files'}.zip")
        return location


class ZipWriter:
    """Makes a zip piece by piece; each method returns the bytes that are ready to go. Slow: call it in a thread."""

    def __init__(self) -> None:
        self._out = _Sink()
        self._zip = zipfile.ZipFile(self._out, "w", zipfile.ZIP_DEFLATED, allowZip64=True, compresslevel=_LEVEL)
        self._entry: Any = None

    def directory(self, name: str, modified: datetime | None) -> bytes:
        """Add a directory; `name` without a slash at its end."""
        info = _zip_info(f"{name}/", modified)
        info.compress_type = zipfile.ZIP_STORED
        info.external_attr = (0o40755 << 16) | 0x10
        self._zip.writestr(info, b"")
        return self._out.take()

    def file(self, name: str, modified: datetime, data: bytes) -> bytes:
        """Add a whole file."""
        return self.begin(name, modified, len(data)) + self.write(data) + self.end()

    def begin(self, name: str, modified: datetime, size: int) -> bytes:
        """Begin a file of a known size."""
        info = _zip_info(name, modified)
        info.compress_type = zipfile.ZIP_DEFLATED
        info._compresslevel = _LEVEL  # type: ignore[attr-defined]  # public from Python 3.13 on only
        info.external_attr = 0o100644 << 16
        info.file_size = size  # what decides whether the entry needs ZIP64
        self._entry = self._zip.open(info, "w")
        return self._out.take()

    def write(self, piece: bytes) -> bytes:
        """Add bytes to the file."""
        self._entry.write(piece)
        return self._out.take()

    def end(self) -> bytes:
        """End the file."""
        self._entry.close()
        return self._out.take()

    def close(self) -> bytes:
        """End the archive: its table of contents."""
        self._zip.close()
        return self._out.take()


async def zip_directory(tree: Tree, path: str, archive: ZipWriter, *, top: str, visible: Callable[[Entry], bool]) -> AsyncIterator[bytes]:
    """Yield a zip of a directory and all below it.

    Each file is read in one version. One that is deleted before its turn comes is left out; any other failure is raised.

    Args:
        tree: The tree.
        path: The directory.
        archive: What makes the bytes.
        top: The folder in the archive that all lies in; "" for none.
        visible: Says which entries go in; a directory that does not takes all below it along.
    """
    place = safe_name(top) if top else ""
    waiting = bytearray(await asyncio.to_thread(archive.directory, place, None) if place else b"")
    async for piece in _zip_below(tree, path, archive, place, visible):
        waiting += piece
        if len(waiting) >= _BATCH:
            yield bytes(waiting)
            waiting.clear()
    waiting += await asyncio.to_thread(archive.close)
    yield bytes(waiting)


@dataclass(slots=True)
class _Level:
    """A directory that is being gone through: where it lies in the archive, and the names seen in it."""

    place: str
    entries: AsyncGenerator[Entry, None]
    files: set[str] = field(default_factory=set)
    directories: set[str] = field(default_factory=set)


async def _zip_below(tree: Tree, path: str, archive: ZipWriter, place: str, visible: Callable[[Entry], bool]) -> AsyncIterator[bytes]:
    # A stack, not a recursion: a path may have more segments than Python has frames.
    levels = [_Level(place, tree.scan(path))]
    try:
        while levels:
            level = levels[-1]
            entry = await anext(level.entries, None)
            if entry is None:
                levels.pop()
                continue
            if not visible(entry):
                continue
            segment = split(entry.path)[1]
            if entry.kind == "file":
                level.files.add(segment)
                # A directory of the same name is in the archive already; no disk could hold both. The other way round below.
                name = _under(level.place, safe_name(segment, taken=segment in level.directories))
                async for piece in _zip_file(tree, entry, archive, name):
                    yield piece
            elif segment not in level.directories:
                level.directories.add(segment)
                name = _under(level.place, safe_name(segment, taken=segment in level.files))
                yield await asyncio.to_thread(archive.directory, name, entry.modified)
                levels.append(_Level(name, tree.scan(entry.path)))
    finally:
        for level in reversed(levels):
            await level.entries.aclose()


async def _zip_file(tree: Tree, entry: Entry, archive: ZipWriter, name: str) -> AsyncIterator[bytes]:
    try:
        reader = await tree.open(entry.path)
    except NotFoundError:
        return
    async with reader:
        if reader.length <= PIECE:
            data = b"".join([piece async for piece in reader])
            yield await asyncio.to_thread(archive.file, name, reader.info.modified, data)
            return
        yield await asyncio.to_thread(archive.begin, name, reader.info.modified, reader.length)
        async for piece in reader:
            yield await asyncio.to_thread(archive.write, piece)
        yield await asyncio.to_thread(archive.end)


def safe_name(segment: str, *, taken: bool = False) -> str:
    """A path segment as no unpacking program can take for anything but a name.

    Backslashes (a path on Windows) and the colon of a drive letter become ``_``; a name that had to be changed, or is taken, ends in a few
    digits of its hash, so that two names never become one.
    """
    name = segment.replace("\\", "_")
    if _DRIVE.match(name):
        name = f"{name[0]}_{name[2:]}"
    if name == segment and not taken:
        return segment
    stem, dot, ending = name.rpartition(".")
    digits = hashlib.sha256(segment.encode()).hexdigest()[:8]
    return f"{stem}~{digits}.{ending}" if dot and stem else f"{name}~{digits}"


def _under(place: str, name: str) -> str:
    return f"{place}/{name}" if place else name


def _zip_info(name: str, modified: datetime | None) -> zipfile.ZipInfo:
    moment = (modified or datetime.now(timezone.utc)).astimezone(timezone.utc)
    first, last = datetime(1980, 1, 1, tzinfo=timezone.utc), datetime(2107, 12, 31, tzinfo=timezone.utc)
    info = zipfile.ZipInfo(name, min(max(moment, first), last).timetuple()[:6])
    stamp = int(moment.timestamp())
    if 0 <= stamp < 1 << 31:
        # A zip's own times know no time zone. The "extended timestamp" field does, and the usual programs read it.
        info.extra = struct.pack("<HHBl", 0x5455, 5, 1, stamp)
    return info


class _Sink(io.RawIOBase):
    """Where `zipfile` writes to: cannot seek, and is emptied after each step."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def tell(self) -> int:
        raise io.UnsupportedOperation("tell")

    def take(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)
