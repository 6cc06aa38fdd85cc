"""Many buckets as one tree: `Namespace.resolve(path)` tells which mount an API path means, and the path within it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from . import keys
from .backends.interface import Backend
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
    """One bucket with its place in the tree of API paths ("" is the root), and what is kept in it."""

    name: str
    bucket: Bucket
    read_only: bool = False
    journal: Journal = field(init=False)
    tree: Tree = field(init=False)
    trash: Trash = field(init=False)
    conflicts: Conflicts = field(init=False)

    def __post_init__(self) -> None:
        self.journal = Journal(self.bucket)
        self.tree = Tree(self.bucket, self.journal)
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
            stores[""] = ReadOnlyBackend(MemoryBackend(f"no-root-{secrets.token_hex(8)}"))
        #: By name, the root first.
        self.mounts: Sequence[Mount] = [
            Mount(name, Bucket(stores[name], patience=patience), isinstance(stores[name], ReadOnlyBackend)) for name in sorted(stores)
        ]

    def resolve(self, path: str) -> Location:
        """Where an API path leads: the mount of the longest name that it lies in. No request is made.

        Raises:
            OutsideRootError: A path that points outside.
            InvalidPathError: A path that cannot be.
        """
        name = keys.clean(path)
        mount = max((mount for mount in self.mounts if keys.is_within(name, mount.name)), key=lambda mount: len(mount.name))
        return Location(mount, name[len(mount.name) :].lstrip("/") if mount.name else name)

    def below(self, path: str) -> Sequence[str]:
        """Names of the directories directly in an API path that are mounts or lead to one. No request is made."""
        prefix = keys.as_prefix(path)
        found = {mount.name[len(prefix) :].partition("/")[0] for mount in self.mounts if mount.name.startswith(prefix)}
        return sorted(found - {""})

    def is_fixed(self, location: Location) -> bool:
        """Whether a path is a mount or leads to one: a directory whatever is stored, neither renamed nor deleted."""
        return not location.path or bool(self.below(location.api))

    async def close(self) -> None:
        """Free every mount's clients and threads. Safe to repeat; a later call opens them again."""
        for mount in self.mounts:
            await mount.bucket.close()
