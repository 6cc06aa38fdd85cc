"""``cp`` and ``mv``: between local files and buckets, between buckets, and within one, where no byte passes through here."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import keys
from ..backends.interface import ALWAYS
from ..errors import AlreadyExistsError, CloudContentsError, ConfigurationError, InvalidPathError, NotFoundError, WrongTypeError
from ..namespace import COMPANIONS
from ..parallel import for_each
from .console import Progress, note
from .local import LocalSide
from .places import is_url, open_places
from .sides import BucketSide, Kind, Side, Source

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
            f"--force. A file is {past} whole or not at all.",
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
        with Progress(quiet=args.quiet) as progress:
            work = _Transfer(target.side, progress, force=args.force, move=args.move, recursive=args.move or args.recursive)
            for source in ends[:-1]:
                path = keys.join(target.path, source.name) if into else target.path
                if len(ends) == 2:
                    await work.carry(source, path)
                else:
                    with work.noting():
                        await work.carry(source, path)
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
            await self._file(source.side, source.path, path, None)
            return
        if target == "file":
            raise WrongTypeError(f"{self._target.show(path)} is a file; a directory cannot take its place.")
        await self._directory(source, path, fresh=target is None)

    async def _directory(self, source: End, path: str, *, fresh: bool) -> None:
        before = self.failed
        if fresh:
            self._target.fresh = path
        await self._target.make_directory(path)

        async def one(item: Any) -> None:
            with self.noting():
                below = keys.join(path, item.path)
                if item.kind == "directory":
                    await self._target.make_directory(below)
                else:
                    await self._file(source.side, keys.join(source.path, item.path), below, item.size)

        items = source.side.walk(source.path)
        await for_each(items, one, width=_WIDTH)  # type: ignore[arg-type]
        if self._move and self.failed == before and not await source.side.remove_directories(source.path):
            note(f"{source} stays: it holds something that has no plain name, or that is not a file.")

    async def _file(self, side: Side, src: str, dst: str, size: int | None) -> None:
        if isinstance(side, BucketSide) and isinstance(self._target, BucketSide) and side.tree is self._target.tree:
            version = await self._within(side, self._target, src, dst)
        else:
            version = await self._through(side, src, dst)
        if self._move:
            await side.remove(src, version)

    async def _within(self, side: BucketSide, target: BucketSide, src: str, dst: str) -> str:
        """Copy in the store; no byte passes through here."""
        capabilities = side.tree.bucket.capabilities
        keys.check_new(dst, max_bytes=capabilities.max_key_bytes, max_segment_bytes=capabilities.max_segment_bytes)
        info = await side.tree.bucket.head(src)
        try:
            copy = await side.tree.copy_file(src, dst, when=ALWAYS) if self._force else await side.tree.copy_file(src, dst)
        except AlreadyExistsError:
            raise target.taken(dst) from None
        if None not in (info.size, copy.size) and info.size != copy.size:
            raise CloudContentsError(f"The store kept {copy.size} of {info.size} bytes of {target.show(dst)}; copy it again.")
        return info.version

    async def _through(self, side: Side, src: str, dst: str) -> str:
        async with side.read(src) as source:
            self._progress.expect(source.size)

            async def counted() -> AsyncIterator[bytes]:
                async for piece in source.chunks:
                    yield piece
                    self._progress.advance(len(piece))

            counting: Source = replace(source, chunks=counted())
            await self._target.write(dst, counting, replace=self._force)
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


def describe(error: Exception) -> str:
    """What to tell the user about a failure: ours speak for themselves, the system's name the file."""
    if isinstance(error, OSError) and not isinstance(error, CloudContentsError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
