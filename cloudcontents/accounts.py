"""Buckets as directories: the tree of a bucket that stands among others, and which of an account's buckets are open."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from .bucket import Bucket
from .errors import CloudContentsError, DirectoryNotEmptyError, NotFoundError, PermissionDeniedError
from .journal import Journal
from .keys import show
from .lookup import Entry, Kind, Listing
from .tree import Tree

T = TypeVar("T")

#: Buckets of one account that are kept open. One that is pushed out closes itself when the last one is done with it.
OPEN = 32


class BucketTree(Tree):
    """The tree of one bucket among others: its root is a directory that may be missing, and that can be made and removed.

    Args:
        bucket: The bucket.
        journal: Its journal.
        account: The buckets that it is one of.
        name: Its name.
    """

    def __init__(self, bucket: Bucket, journal: Journal, account: Bucket, name: str) -> None:
        super().__init__(bucket, journal)
        self._account = account
        self._name = name

    async def lookup(self, path: str, kind: Kind | None = None) -> Entry | None:
        """See `Lookup.lookup`; one request for the bucket itself, none where it was just served."""
        if path or kind == "file":
            return await super().lookup(path, kind)
        return Entry("", "directory") if self.was("") == "directory" or await self._is_there() else None

    async def dir_exists(self, path: str) -> bool:
        """Whether a directory, or the bucket, is there. One request."""
        return await self.lookup(path, "directory") is not None

    async def list(self, path: str) -> Listing:
        """See `Lookup.list`."""
        if path:
            return await super().list(path)
        try:
            return await self._shared_listing("")
        except NotFoundError:
            self.wrote("")
            raise

    async def mkdir(self, path: str) -> Entry:
        """See `Tree.mkdir`; of the root: create the bucket, where the configuration allows it."""
        if path:
            return await super().mkdir(path)
        await self._account.create_bucket(self._name)
        self.wrote("", "directory")
        return Entry("", "directory")

    async def remove_dir(self, path: str, *, companions: Sequence[str] = ()) -> None:
        """See `Tree.remove_dir`; of the root: delete the bucket if nothing is in it, where the configuration allows it."""
        if path:
            await super().remove_dir(path, companions=companions)
            return
        await self._account.delete_bucket(self._name)
        self.bucket.reached = False
        self.wrote("")

    async def rename_bucket(self, target: BucketTree) -> None:
        """Give an empty bucket another name: the new one is created, the old one deleted.

        Raises:
            DirectoryNotEmptyError: Something is in it; no store renames a bucket.
            AlreadyExistsError: The name is taken.
        """
        if not await self.bucket.is_empty(""):
            raise DirectoryNotEmptyError(f"No store renames a bucket. Make a new one, and move what is in {show(self._name)}.")
        await target.mkdir("")
        try:
            await self.remove_dir("")
        except CloudContentsError:
            with contextlib.suppress(CloudContentsError):  # the first failure is the one to tell
                await target.remove_dir("")
            raise

    async def _is_there(self) -> bool:
        try:
            await self.bucket.is_empty("")
        except NotFoundError:
            return False
        except PermissionDeniedError:
            pass  # nobody says that it is missing; who opens it is told
        self._note("", "directory")
        return True


class OpenBuckets(Generic[T]):
    """The buckets of one account that are open, each made at its first use; the `OPEN` last used ones are kept.

    Args:
        account: What opens them.
        make: What is kept of an opened one, from its name and bucket.
    """

    def __init__(self, account: Bucket, make: Callable[[str, Bucket], T]) -> None:
        self._account = account
        self._make = make
        self._open: OrderedDict[str, T] = OrderedDict()

    def open(self, name: str) -> T:
        """What is kept of a bucket; no request is made.

        Raises:
            InvalidPathError: No bucket can have that name.
        """
        if name not in self._open:
            self._open[name] = self._make(name, self._account.open_bucket(name))
            if len(self._open) > OPEN:
                self._open.popitem(last=False)
        self._open.move_to_end(name)
        return self._open[name]

    def __iter__(self) -> Iterator[T]:
        return iter(list(self._open.values()))
