"""``cp`` and ``mv``: between local files and buckets, between buckets, and within one, where no byte passes through here.

The same command again goes on where the last one was cut off. A file that is at the target already, and equal, is left there; one that
this command once copied, and nobody has changed there since, is replaced when its source has changed; any other stays, and is told.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from .. import keys
from ..backends.interface import ALWAYS, IfVersion
from ..errors import AlreadyExistsError, CloudContentsError, ConfigurationError, InvalidPathError, NotFoundError, WrongTypeError
from ..namespace import COMPANIONS
from ..parallel import for_each
from .console import Progress, note
from .local import LocalSide
from .places import is_url, open_places
from .sides import BucketSide, Item, Kind, Side, Source, Standing

#: Files under way at once; each holds at most a few MiB.
_WIDTH = 8


@dataclass(frozen=True, slots=True)
class End:
    """One argument: a path on one side, what a copy of it is called, and whether it was written with a slash at its end."""

    side: Side
    path: str
    name: str
    slash: bool

    def __str__(self) -> str:
        return self.side.show(self.path)


def add(commands: Any) -> None:
    """Add ``cp`` and ``mv`` to the command line."""
    for name, verb, past in (("cp", "copy", "copied"), ("mv", "move", "moved")):
        parser = commands.add_parser(
            name,
            help=f"{verb} files between this machine and buckets",
            description=f"{verb.capitalize()} files and directories; at least one end is a bucket URL. Nothing is overwritten without "
            f"--force. A file is {past} whole or not at all. The same command again goes on where the last one was cut off.",
        )
        if name == "cp":
            parser.add_argument("-r", "--recursive", action="store_true", help="copy directories and all below them")
        parser.add_argument("-f", "--force", action="store_true", help="overwrite files that exist")
        parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")
        parser.add_argument("sources", nargs="+", metavar="SRC", help="a local path or a bucket URL")
        parser.add_argument("target", metavar="DST", help="where to; a directory if it ends in / or exists as one")
        parser.set_defaults(run=run, move=name == "mv")


async def run(args: argparse.Namespace) -> int:
    """Carry out ``cp`` or ``mv``; 1 where something was not done."""
    if not any(map(is_url, (*args.sources, args.target))):
        raise ConfigurationError("All of these are local paths; use your system's own command, or name a bucket URL.")
    async with _ends([*args.sources, args.target], leaving=args.sources if args.move else ()) as ends:
        target = ends[-1]
        into = await _is_directory(target, many=len(ends) > 2)
        if into and len(ends) == 2 and not target.slash and await target.side.is_begun(target.path, _mark(ends[0])):
            into = False  # the directory is the copy that was cut off
        with Progress(quiet=args.quiet) as progress:
            work = _Transfer(target.side, progress, force=args.force, move=args.move, recursive=args.move or args.recursive)
            for source in ends[:-1]:
                path = keys.join(target.path, source.name) if into else target.path
                if len(ends) == 2:
                    await work.carry(source, path)
                else:
                    with work.noting():
                        await work.carry(source, path)
        if work.many and not args.quiet:
            note(work.summary())
        return 1 if work.failed else 0


@contextlib.asynccontextmanager
async def _ends(arguments: Sequence[str], *, leaving: Sequence[str]) -> AsyncIterator[list[End]]:
    urls = [argument for argument in arguments if is_url(argument)]
    async with open_places(urls, leaving=[url for url in urls if url in leaving]) as places:
        found = dict(zip(urls, places, strict=True))
        ends: list[End] = []
        for argument in arguments:
            if is_url(argument):
                place = found[argument]
                ends.append(End(BucketSide(place.tree, place.url, place.path), place.path, place.name, place.slash))
            else:
                ends.append(_local_end(argument))
        yield ends


def _local_end(argument: str) -> End:
    return End(LocalSide(Path(argument)), "", os.path.basename(os.path.abspath(argument)), argument.endswith((os.sep, "/")))


async def _is_directory(target: End, *, many: bool) -> bool:
    kind = await target.side.kind(target.path)
    if kind == "file" and (many or target.slash):
        raise WrongTypeError(f"{target} is a file, not a directory.")
    if kind is None and many and not target.slash:
        raise NotFoundError(f"The directory {target} does not exist; end it in / to make it.")
    return kind == "directory" or target.slash


class _Transfer:
    """One run of ``cp`` or ``mv`` towards one side."""

    def __init__(self, target: Side, progress: Progress, *, force: bool, move: bool, recursive: bool) -> None:
        self.failed = 0
        #: Whether a directory was among what was asked for.
        self.many = False
        self._done = self._bytes = self._equal = 0
        self._target = target
        self._progress = progress
        self._force = force
        self._move = move
        self._recursive = recursive

    @contextlib.contextmanager
    def noting(self) -> Any:
        """Say what failed and go on."""
        try:
            yield
        except (CloudContentsError, OSError) as error:
            self.failed += 1
            note(describe(error))

    def summary(self) -> str:
        """One line: what was done, what was there already, what failed."""
        parts = [f"{self._done:,} {'file' if self._done == 1 else 'files'} {'moved' if self._move else 'copied'}"]
        if self._bytes:
            parts[0] += f" ({_size(self._bytes)} through this machine)"
        if self._equal:
            parts.append(f"{self._equal:,} there already and equal")
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        return ", ".join(parts) + "."

    async def carry(self, source: End, path: str) -> None:
        """Copy or move one argument to a path of the target's side."""
        kind = await source.side.kind(source.path)
        if kind is None:
            raise NotFoundError(f"{source} does not exist.")
        if kind == "file" and source.slash:
            raise WrongTypeError(f"{source} is a file, not a directory.")
        if kind == "directory" and not self._recursive:
            raise WrongTypeError(f"{source} is a directory; add -r to copy it and all below it.")
        self._check_apart(source, path, kind)
        target = await self._target.kind(path)
        if self._move and target is None and await self._rename(source, path):
            return
        if kind == "file":
            if target == "directory":
                raise WrongTypeError(f"{self._target.show(path)} is a directory; a file cannot take its place.")
            await self._file(source.side, source.path, path)
            return
        if target == "file":
            raise WrongTypeError(f"{self._target.show(path)} is a file; a directory cannot take its place.")
        self.many = True
        await self._directory(source, path, fresh=target is None)

    async def _directory(self, source: End, path: str, *, fresh: bool) -> None:
        before, mark = self.failed, _mark(source)
        if fresh:
            self._target.fresh = path
            await self._target.begin(path, mark)
        await self._target.make_directory(path)

        lasting = 0  # failures that no second try mends

        async def one(item: Item) -> None:
            nonlocal lasting
            with self.noting():
                if item.problem is not None:
                    lasting += isinstance(item.problem, InvalidPathError)
                    raise item.problem
                below = keys.join(path, item.path)
                if item.kind == "directory":
                    await self._target.make_directory(below)
                else:
                    await self._file(source.side, keys.join(source.path, item.path), below)

        items = source.side.walk(source.path)
        await for_each(items, one, width=_WIDTH)  # type: ignore[arg-type]
        if self.failed == before + lasting:
            await self._target.end(path, mark)
        if self._move and self.failed == before and not await source.side.remove_directories(source.path):
            note(f"{source} stays: it holds something that has no plain name, or that is not a file.")

    async def _file(self, side: Side, src: str, dst: str) -> None:
        fresh = self._target.fresh is not None and keys.is_within(dst, self._target.fresh)
        standing = None if fresh else await self._target.find(dst, follow=False)
        origin, over = _digest(side.whole_name(src)), None
        if standing is not None:
            found = await side.find(src)
            if found is None:
                raise NotFoundError(f"{side.show(src)} is gone.")
            if await self._same(side, src, found, dst, standing, origin):
                self._equal += 1
                if self._move:
                    await side.remove(src, found.version)
                return
            if not self._force and not (standing.origin or "").startswith(f"{origin}."):
                raise AlreadyExistsError(
                    f"{self._target.show(dst)} exists and is another file; choose another name, or add --force to overwrite it."
                )
            over = standing.version
        if isinstance(side, BucketSide) and isinstance(self._target, BucketSide) and side.tree is self._target.tree:
            version = await self._within(side, self._target, src, dst, over)
        else:
            version = await self._through(side, src, dst, over, origin)
        self._done += 1
        if self._move:
            await side.remove(src, version)

    async def _same(self, side: Side, src: str, found: Standing, dst: str, standing: Standing, origin: str) -> bool:
        """Whether source and target hold the same bytes; read only where nothing that is known says so."""
        if None not in (found.size, standing.size) and found.size != standing.size:
            return False
        if standing.origin == f"{origin}.{_digest(found.version)}" or (found.write is not None and found.write == standing.write):
            return True
        for algorithm in ("sha256", "md5"):
            one, other = _checksum(found, algorithm), _checksum(standing, algorithm)
            # A file of this machine is read for it, an object of a bucket is not.
            if other is not None and one is None and not isinstance(side, BucketSide):
                one = await _hashed(side, src, algorithm)
            if one is not None and other is None and not isinstance(self._target, BucketSide):
                other = await _hashed(self._target, dst, algorithm)
            if one is not None and other is not None:
                return one == other
        # As a copy to this machine left it. Not enough to delete the source.
        if not isinstance(self._target, BucketSide) and not self._move and standing.modified == _whole(found.modified):
            return True
        return await _hashed(side, src, "sha256") == await _hashed(self._target, dst, "sha256")

    async def _within(self, side: BucketSide, target: BucketSide, src: str, dst: str, over: str | None) -> str:
        """Copy in the store; no byte passes through here."""
        capabilities = side.tree.bucket.capabilities
        keys.check_new(dst, max_bytes=capabilities.max_key_bytes, max_segment_bytes=capabilities.max_segment_bytes)
        info = await side.tree.bucket.head(src)
        try:
            if over is None:
                copy = await side.tree.copy_file(src, dst)
            else:
                copy = await side.tree.copy_file(src, dst, when=IfVersion(over) if capabilities.copy_if else ALWAYS)
        except AlreadyExistsError:
            raise target.taken(dst) from None
        if None not in (info.size, copy.size) and info.size != copy.size:
            raise CloudContentsError(f"The store kept {copy.size} of {info.size} bytes of {target.show(dst)}; copy it again.")
        return info.version

    async def _through(self, side: Side, src: str, dst: str, over: str | None, origin: str) -> str:
        async with side.read(src) as source:
            self._progress.expect(source.size)

            async def counted() -> AsyncIterator[bytes]:
                async for piece in source.chunks:
                    yield piece
                    self._progress.advance(len(piece))

            counting: Source = replace(source, chunks=counted())
            await self._target.write(dst, counting, over=over, origin=f"{origin}.{_digest(source.version)}")
            self._bytes += source.size
            return source.version

    async def _rename(self, source: End, path: str) -> bool:
        """Move within one bucket as the server does: journaled, with what belongs to the files."""
        side, target = source.side, self._target
        if not (isinstance(side, BucketSide) and isinstance(target, BucketSide) and side.tree is target.tree):
            return False
        capabilities = side.tree.bucket.capabilities
        keys.check_new(path, max_bytes=capabilities.max_key_bytes, max_segment_bytes=capabilities.max_segment_bytes)
        await side.tree.make_parents(path)
        await side.tree.rename(source.path, path, companions=COMPANIONS)
        return True

    def _check_apart(self, source: End, path: str, kind: Kind) -> None:
        """Refuse to copy a thing onto itself or a directory into itself, whichever way it is named."""
        side, target = source.side, self._target
        if isinstance(side, BucketSide) and isinstance(target, BucketSide) and side.tree is target.tree:
            src, dst = source.path, path
        else:
            one, other = side.real_path(source.path), target.real_path(path)
            if one is None or other is None:
                return
            src, dst = (os.path.realpath(at).strip(os.sep).replace(os.sep, "/") for at in (one, other))
        if src == dst:
            raise InvalidPathError(f"{source} and {target.show(path)} are the same.")
        if kind == "directory" and keys.is_within(dst, src):
            raise InvalidPathError(f"{source} cannot go into itself.")


def _mark(source: End) -> str:
    """Names a copy of this source, so that the same command knows it again."""
    return _digest(source.side.whole_name(source.path))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:24]


def _checksum(standing: Standing, algorithm: str) -> str | None:
    name, _, value = (standing.checksum or "").partition(":")
    return value if name == algorithm else None


async def _hashed(side: Side, path: str, algorithm: str) -> str:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    async with side.read(path) as source:
        async for piece in source.chunks:
            await asyncio.to_thread(digest.update, piece)
    return digest.hexdigest()


def _whole(moment: datetime | None) -> datetime | None:
    return moment.replace(microsecond=0) if moment is not None else None


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def describe(error: Exception) -> str:
    """What to tell the user about a failure: ours speak for themselves, the system's name the file."""
    if isinstance(error, OSError) and not isinstance(error, CloudContentsError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
