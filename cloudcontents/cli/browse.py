"""``ls``, ``cat`` and ``rm`` of a bucket."""

from __future__ import annotations

import argparse
import asyncio
import sys
from datetime import timezone
from typing import Any

from .. import keys
from ..backends.interface import Buckets
from ..errors import CloudContentsError, InvalidPathError, NotFoundError, WrongTypeError
from ..lookup import Entry
from ..namespace import COMPANIONS
from .console import note, out, table
from .places import Place, open_places
from .sides import BucketSide


def add(commands: Any) -> None:
    """Add the commands to the command line."""
    parser = commands.add_parser(
        "ls", help="list a directory of a bucket", description="List what a bucket's directory holds; s3:// and its like: the buckets."
    )
    parser.add_argument("-l", "--long", action="store_true", help="with size in bytes and time of the last change (UTC)")
    parser.add_argument("-R", "--recursive", action="store_true", help="with all below it")
    parser.add_argument("url", metavar="URL")
    parser.set_defaults(run=_ls)

    parser = commands.add_parser("cat", help="write files of a bucket to stdout", description="Write files to stdout, one after another.")
    parser.add_argument("urls", nargs="+", metavar="URL")
    parser.set_defaults(run=_cat)

    parser = commands.add_parser(
        "rm",
        help="delete from a bucket, for good",
        description="Delete files for good: they do not go to the trash. (In Jupyter they do.)",
    )
    parser.add_argument("-r", "--recursive", action="store_true", help="directories and all below them")
    parser.add_argument(
        "-f", "--force", action="store_true", help="also a directory that is itself the root of a bucket with trash and checkpoints"
    )
    parser.add_argument("urls", nargs="+", metavar="URL")
    parser.set_defaults(run=_rm)


async def _ls(args: argparse.Namespace) -> int:
    async with open_places([args.url], accounts=True) as [place]:
        if args.recursive and isinstance(place.bucket.backend, Buckets):
            raise WrongTypeError(f"{place.url} means every bucket; name the one whose files -R is to list.")
        entry = await place.tree.lookup(place.path)
        if entry is None:
            raise NotFoundError(f"{place.url} does not exist.")
        if entry.kind == "file":
            if place.slash:
                raise WrongTypeError(f"{place.url} is a file, not a directory.")
            _print([entry], keys.split(place.path)[0], long=args.long)
        elif args.recursive:
            await _ls_all(place, long=args.long)
        else:
            listing = await place.tree.list(place.path)
            _print(listing.entries, place.path, long=args.long)
            if listing.unnameable:
                note(f"{listing.unnameable} more have names that no path can hold; `cloudcontents doctor` says which.")
            if listing.cut_after is not None:
                note(f"cut after {listing.cut_after!r}: there are more; -R lists all.")
    return 0


async def _ls_all(place: Place, *, long: bool) -> None:
    waiting = [place.path]
    while waiting:
        at = waiting.pop()
        below: list[str] = []
        seen: set[str] = set()
        async for entry in place.tree.scan(at):
            if entry.kind == "directory":
                if entry.path in seen:
                    continue
                seen.add(entry.path)
                below.append(entry.path)
            _print([entry], place.path, long=long)
        waiting += reversed(below)


def _print(entries: Any, base: str, *, long: bool) -> None:
    skip = len(keys.as_prefix(base))
    rows = [_row(entry, entry.path[skip:]) for entry in entries]
    if not long:
        for row in rows:
            out(row[-1])
        return
    width = max([12, *(len(row[0]) for row in rows)])
    table([[size.rjust(width), time.ljust(20), name] for size, time, name in rows])


def _row(entry: Entry, name: str) -> list[str]:
    modified = entry.info.modified if entry.info is not None else entry.modified
    time = modified.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ") if modified is not None else "-"
    if entry.info is None:
        return ["-", time, f"{name}/"]
    return [str(entry.info.size if entry.info.size is not None else "?"), time, name]


async def _cat(args: argparse.Namespace) -> int:
    async with open_places(args.urls) as places:
        for place in places:
            if place.slash or not place.path:
                raise WrongTypeError(f"{place.url} is a directory, not a file.")
            try:
                reader = await place.tree.open(place.path)
            except NotFoundError:
                if await place.tree.dir_exists(place.path):
                    raise WrongTypeError(f"{place.url} is a directory, not a file.") from None
                raise NotFoundError(f"{place.url} does not exist.") from None
            async with reader:
                async for piece in reader:
                    await asyncio.to_thread(sys.stdout.buffer.write, piece)
            await asyncio.to_thread(sys.stdout.buffer.flush)
    return 0


async def _rm(args: argparse.Namespace) -> int:
    failed = 0
    async with open_places(args.urls, leaving=args.urls) as places:
        for place in places:
            try:
                await _remove(place, recursive=args.recursive, force=args.force)
            except CloudContentsError as error:
                failed += 1
                note(str(error))
    return 1 if failed else 0


async def _remove(place: Place, *, recursive: bool, force: bool) -> None:
    tree, path = place.tree, place.path
    if not path:
        raise InvalidPathError(f"{place.url} is the root of a bucket; name what to delete in it.")
    entry = await tree.lookup(path)
    if entry is None:
        raise NotFoundError(f"{place.url} does not exist.")
    if entry.info is not None:
        if place.slash:
            raise WrongTypeError(f"{place.url} is a file, not a directory.")
        await BucketSide(tree, place.url, path).remove(path, entry.info.version)
        for kind in COMPANIONS:
            await tree.delete_prefix(keys.companion_prefix(kind, path))
        return
    if not recursive:
        raise WrongTypeError(f"{place.url} is a directory; add -r to delete it and all below it.")
    if not force and not await tree.bucket.is_empty(f"{path}/{keys.RESERVED}/"):
        raise InvalidPathError(
            f"{place.url} is the root of a bucket of its own, with trash and checkpoints; add --force to delete all of it."
        )
    await tree.remove_dir(path)
    for kind in COMPANIONS:
        await tree.delete_prefix(keys.companion_tree(kind, path))
