"""Many buckets as one tree: `Namespace.resolve(path)` tells which mount an API path means, and the path within it.

A mount is one bucket, or all buckets of an account: then the next name of the path is a bucket, which becomes a mount when it is first
asked for.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from . import keys
from .accounts import BucketTree, OpenBuckets
from .backends.interface import Backend, Buckets
from .backends.memory import MemoryBackend
from .backends.read_only import ReadOnlyBackend
from .bucket import Bucket, Patience
from .conflicts import Conflicts
from .journal import Journal
from .trash import Trash
from .tree import Tree

#: Kinds of our own objects that belong to a file and go where it goes.
COMPANIONS = ("checkpoints",)


@dataclass(slots=True)
class Mount:
    """One bucket with its place in the tree of API paths ("" is the root), and what is kept in it.

    Attributes:
        name: The path that it is shown under.
        bucket: The bucket.
        read_only: Whether nothing in it can be changed.
        account: The buckets that it is one of, where its name was not configured but asked for.
    """

    name: str
    bucket: Bucket
    read_only: bool = False
    account: Bucket | None = None
    journal: Journal = field(init=False)
    tree: Tree = field(init=False)
    trash: Trash = field(init=False)
    conflicts: Conflicts = field(init=False)

    def __post_init__(self) -> None:
        self.journal = Journal(self.bucket)
        if self.account is None:
            self.tree = Tree(self.bucket, self.journal)
        else:
            self.tree = BucketTree(self.bucket, self.journal, self.account, keys.split(self.name)[1])
        self.trash = Trash(self.tree, companions=COMPANIONS)
        self.conflicts = Conflicts(self.bucket)


@dataclass(frozen=True, slots=True)
class Location:
    """Where an API path leads: the mount, and the canonical path within it."""

    mount: Mount
    path: str

    @property
    def api(self) -> str:
        """The canonical API path."""
        return keys.join(self.mount.name, self.path)

    @property
    def tree(self) -> Tree:
        """The mount's tree."""
        return self.mount.tree

    @property
    def bucket(self) -> Bucket:
        """The mount's bucket."""
        return self.mount.bucket


class Namespace:
    """All that one server shows.

    Args:
        backends: Stores by the API path that each is shown under; "" is the root. Without one the root is an empty directory that holds
            the others and cannot be written.
        patience: How long calls to the stores may take.
    """

    def __init__(self, backends: Backend | Mapping[str, Backend], *, patience: Patience | None = None) -> None:
        stores = {"": backends} if isinstance(backends, Backend) else dict(backends)
        if "" not in stores:
            stores[""] = _nothing()
        self._configured = [_mount(name, Bucket(stores[name], patience=patience)) for name in sorted(stores)]
        self._accounts = {mount.name: _open_buckets(mount) for mount in self._configured if holds_buckets(mount)}

    @property
    def mounts(self) -> Sequence[Mount]:
        """The configured ones by name, the root first, and after them the buckets of accounts that were asked for and found."""
        return [*self._configured, *(mount for opened in self._accounts.values() for mount in opened if mount.bucket.reached)]

    def resolve(self, path: str) -> Location:
        """Where an API path leads: the mount of the longest name that it lies in. No request is made.

        Raises:
            OutsideRootError: A path that points outside.
            InvalidPathError: A path that cannot be, or that begins with what cannot be a bucket where only buckets are.
        """
        name = keys.clean(path)
        mount = max((mount for mount in self._configured if keys.is_within(name, mount.name)), key=lambda mount: len(mount.name))
        rest = name[len(mount.name) :].lstrip("/") if mount.name else name
        if not rest or mount.name not in self._accounts:
            return Location(mount, rest)
        bucket, _, inner = rest.partition("/")
        if self.below(keys.join(mount.name, bucket)):
            # A name that leads to a mount is no bucket, whatever the account has.
            return Location(_mount(mount.name, Bucket(_nothing())), rest)
        return Location(self._accounts[mount.name].open(bucket), inner)

    def below(self, path: str) -> Sequence[str]:
        """Names of the directories directly in an API path that are mounts or lead to one. No request is made."""
        prefix = keys.as_prefix(path)
        found = {mount.name[len(prefix) :].partition("/")[0] for mount in self._configured if mount.name.startswith(prefix)}
        return sorted(found - {""})

    def is_fixed(self, location: Location) -> bool:
        """Whether a path is a mount or leads to one: a directory whatever is stored, neither renamed nor deleted.

        A bucket of an account is none: whether it is there, its tree tells.
        """
        return (not location.path and location.mount.account is None) or bool(self.below(location.api))

    async def close(self) -> None:
        """Free every mount's clients and threads. Safe to repeat; a later call opens them again."""
        for mount in [*self._configured, *(mount for opened in self._accounts.values() for mount in opened)]:
            await mount.bucket.close()


def holds_buckets(mount: Mount) -> bool:
    """Whether buckets, and nothing else, are directly in a mount."""
    return isinstance(mount.bucket.backend, Buckets)


def _mount(name: str, bucket: Bucket, account: Bucket | None = None) -> Mount:
    return Mount(name, bucket, isinstance(bucket.backend, ReadOnlyBackend), account)


def _open_buckets(mount: Mount) -> OpenBuckets[Mount]:
    return OpenBuckets(mount.bucket, lambda name, bucket: _mount(keys.join(mount.name, name), bucket, mount.bucket))


def _nothing() -> Backend:
    return ReadOnlyBackend(MemoryBackend(f"no-root-{secrets.token_hex(8)}"))
