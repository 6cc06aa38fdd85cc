"""Where a URL on the command line leads: which bucket it is in, and its path there.

A command's URL names something *in* a bucket, so the bucket's own root has to be found. In this order:

1. ``CLOUDCONTENTS_URL``, where it holds the URL: then both the server and the command have one root.
2. ``s3://bucket/…`` and its like: the whole bucket; ``s3://``: all of them, to be listed.
3. ``file:///…`` and other URLs without a bucket's name: the nearest directory above that holds ``.cloudcontents``, else the
   deepest one that exists. A server and a command that write through different roots would not see each other's locks.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .. import keys
from ..bucket import Bucket
from ..config import StoreUrl, parse_url
from ..errors import ConfigurationError
from ..registry import open_backend
from ..tree import Tree


@dataclass(frozen=True, slots=True)
class Place:
    """A path in a bucket.

    Attributes:
        tree: The bucket's tree; one object for all places of one bucket.
        path: The canonical path in it, "" for the root.
        url: As it was given, for messages.
        name: The last part of the URL: what a copy of it is called.
        slash: Whether the URL ended in a slash: a directory is meant.
    """

    tree: Tree
    path: str
    url: str
    name: str
    slash: bool

    @property
    def bucket(self) -> Bucket:
        """The bucket."""
        return self.tree.bucket


def is_url(text: str) -> bool:
    """Whether an argument is a bucket URL; anything else is a local path."""
    return "://" in text


@contextlib.asynccontextmanager
async def open_places(urls: Sequence[str], *, leaving: Sequence[str] = (), accounts: bool = False) -> AsyncIterator[list[Place]]:
    """Open the buckets of some URLs, each once, and close them at the end. No request is made.

    Args:
        urls: The URLs.
        leaving: Those of them whose object or directory is about to go: it cannot be the bucket's root.
        accounts: Whether a URL may mean all buckets (``s3://``).

    Raises:
        ConfigurationError: A URL that cannot be.
        InvalidPathError: A path that cannot be.
    """
    parsed = [parse_url(url) for url in urls]
    roots = _roots(parsed, [url in leaving for url in urls])
    trees: list[tuple[StoreUrl, Tree]] = []
    try:
        places = []
        for text, url, root in zip(urls, parsed, roots, strict=True):
            path = keys.clean(url.path[len(root.path.rstrip("/")) :])
            tree = _opened(trees, root, accounts)
            name = keys.split(url.path.rstrip("/"))[1] or keys.split(url.bucket)[1]
            places.append(Place(tree, path, text, name, url.path.endswith("/")))
        yield places
    finally:
        for _, tree in trees:
            await tree.bucket.close()


def _opened(trees: list[tuple[StoreUrl, Tree]], root: StoreUrl, accounts: bool) -> Tree:
    for known, tree in trees:
        if known == root:
            return tree
    trees.append((root, Tree(Bucket(open_backend(root, accounts=accounts)))))
    return trees[-1][1]


def _roots(urls: Sequence[StoreUrl], leaving: Sequence[bool]) -> list[StoreUrl]:
    configured = _configured()
    roots: list[StoreUrl | None] = []
    unmarked: list[Path] = []
    for url, leaves in zip(urls, leaving, strict=True):
        if configured is not None and _holds(configured, url):
            roots.append(configured)
        elif url.bucket or not url.path:
            roots.append(replace(url, path=""))
        else:
            path, start = Path(url.path), _deepest(url, leaves)
            marked = next((at for at in (path, *path.parents) if (at / keys.RESERVED).is_dir()), None)
            roots.append(None if marked is None else replace(url, path=str(marked)))
            unmarked += [start] if marked is None else []
    shared = os.path.commonpath(unmarked) if unmarked else ""
    return [root or replace(url, path=shared) for url, root in zip(urls, roots, strict=True)]


def _configured() -> StoreUrl | None:
    text = os.environ.get("CLOUDCONTENTS_URL")
    return parse_url(text) if text else None


def _holds(root: StoreUrl, url: StoreUrl) -> bool:
    if (root.scheme, root.bucket) != (url.scheme, url.bucket) or (url.options and dict(url.options) != dict(root.options)):
        return False
    return keys.is_within(url.path.strip("/"), root.path.strip("/"))


def _deepest(url: StoreUrl, leaves: bool) -> Path:
    """The deepest part of a URL's path that exists on this machine: of ``file://`` a directory, of another store what it is kept in."""
    path = Path(url.path)
    if ".." in path.parts:
        raise ConfigurationError("A bucket URL holds no '..'; write the directory itself.")
    if not path.is_absolute():
        raise ConfigurationError(f"Write the path of a {url.scheme}:// URL in full: {url.scheme}:///home/me/bucket.")
    for at in (path.parent,) if leaves and url.scheme == "file" else (path,):
        for directory in (at, *at.parents):
            if directory.is_dir() or (url.scheme != "file" and directory.exists()):
                return directory
    return path
