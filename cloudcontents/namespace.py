"""From an API path to the place it means: `Namespace.resolve(path)` gives the mount and the path within it."""

from __future__ import annotations

from dataclasses import dataclass, field

from . import keys
from .backends.interface import Backend
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
    def tree(self) -> Tree:
        """The mount's tree."""
        return self.mount.tree

    @property
    def bucket(self) -> Bucket:
        """The mount's bucket."""
        return self.mount.bucket


class Namespace:
    """All that one server shows: today one bucket at the root."""

    def __init__(self, backend: Backend, *, patience: Patience | None = None) -> None:
        self.mounts = [Mount("", Bucket(backend, patience=patience))]

    def resolve(self, path: str) -> Location:
        """Where an API path leads. No request is made.

        Raises:
            OutsideRootError: A path that points outside.
            InvalidPathError: A path that cannot be.
        """
        return Location(self.mounts[0], keys.clean(path))

    async def close(self) -> None:
        """Free every mount's clients and threads. Safe to repeat; a later call opens them again."""
        for mount in self.mounts:
            await mount.bucket.close()
