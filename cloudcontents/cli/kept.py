"""``trash`` and ``conflicts``: what a bucket keeps so that nothing is lost."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from typing import Any

from ..namespace import Mount, Namespace
from ..registry import open_backend
from .console import note, out, table


def add(commands: Any) -> None:
    """Add the commands to the command line. Their URL is the bucket that the server was given."""
    trash = commands.add_parser("trash", help="what was deleted in Jupyter: list, restore, empty").add_subparsers(
        metavar="ACTION", required=True
    )
    parser = trash.add_parser("ls", help="list what is in the trash, the oldest first")
    parser.add_argument("url", metavar="URL", help="the bucket that the server was given")
    parser.set_defaults(run=_trash_ls)
    parser = trash.add_parser("restore", help="bring something back")
    parser.add_argument("url", metavar="URL", help="the bucket that the server was given")
    parser.add_argument("id", metavar="ID", help="as `trash ls` shows it")
    parser.add_argument("--to", metavar="PATH", help="to this path of the bucket; default: where it was")
    parser.set_defaults(run=_trash_restore)
    parser = trash.add_parser("empty", help="delete what is in the trash, for good")
    parser.add_argument("url", metavar="URL", help="the bucket that the server was given")
    parser.add_argument("ids", metavar="ID", nargs="*", help="only these")
    parser.add_argument("--older-than", metavar="DAYS", type=float, help="only what was deleted more than so many days ago")
    parser.set_defaults(run=_trash_empty)

    conflicts = commands.add_parser("conflicts", help="texts of saves that were refused: list, show, delete").add_subparsers(
        metavar="ACTION", required=True
    )
    parser = conflicts.add_parser("ls", help="list the texts that are kept, the oldest first")
    parser.add_argument("url", metavar="URL", help="the bucket that the server was given")
    parser.add_argument("path", metavar="PATH", nargs="?", help="only those of this path")
    parser.set_defaults(run=_conflicts_ls)
    parser = conflicts.add_parser("show", help="write a text to stdout")
    parser.add_argument("url", metavar="URL", help="the bucket that the server was given")
    parser.add_argument("id", metavar="ID", help="as `conflicts ls` and the refused save's message show it")
    parser.set_defaults(run=_conflicts_show)
    parser = conflicts.add_parser("rm", help="forget texts")
    parser.add_argument("url", metavar="URL", help="the bucket that the server was given")
    parser.add_argument("ids", metavar="ID", nargs="+", help="as `conflicts ls` shows it")
    parser.set_defaults(run=_conflicts_rm)


@contextlib.asynccontextmanager
async def _mount(url: str) -> AsyncIterator[Mount]:
    namespace = Namespace(open_backend(url))
    try:
        yield namespace.mounts[0]
    finally:
        await namespace.close()


async def _trash_ls(args: argparse.Namespace) -> int:
    async with _mount(args.url) as mount:
        items = await mount.trash.list()
    table([[item.id, _time(item.deleted), item.by or "-", item.path + ("/" if item.kind == "directory" else "")] for item in items])
    return 0


async def _trash_restore(args: argparse.Namespace) -> int:
    async with _mount(args.url) as mount:
        out(await mount.trash.restore(args.id, args.to))
    return 0


async def _trash_empty(args: argparse.Namespace) -> int:
    age = None if args.older_than is None else args.older_than * 86400
    async with _mount(args.url) as mount:
        count = await mount.trash.empty(args.ids or None, max_age_seconds=age)
    note(f"{count} deleted for good.")
    return 0


async def _conflicts_ls(args: argparse.Namespace) -> int:
    async with _mount(args.url) as mount:
        kept = await mount.conflicts.list(args.path)
    table([[item.id, _time(item.kept), item.by or "-", str(item.size), item.path] for item in kept])
    return 0


async def _conflicts_show(args: argparse.Namespace) -> int:
    async with _mount(args.url) as mount:
        _, data = await mount.conflicts.get(args.id)
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdout.buffer.write, data)
    return 0


async def _conflicts_rm(args: argparse.Namespace) -> int:
    async with _mount(args.url) as mount:
        for id in args.ids:
            await mount.conflicts.get(id)
            await mount.conflicts.delete(id)
    return 0


def _time(moment: Any) -> str:
    return str(moment.strftime("%Y-%m-%dT%H:%M:%SZ"))
