"""What a URL without a bucket opens: the buckets that the credentials may see, as the directories of a backend that holds nothing else."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import NoReturn

from cloudcontents.config import StoreUrl
from cloudcontents.errors import ConfigurationError, InvalidPathError, NotFoundError, PermissionDeniedError, UnsupportedError
from cloudcontents.keys import is_reserved, show

from .interface import ALWAYS, Backend, Body, Capabilities, ObjectInfo, Page, PrefixInfo, Reader, When

#: The option that allows buckets to be created and deleted.
MANAGE = "manage_buckets"

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class AccountBackend(Backend):
    """The buckets of one account; subclass it for a store (`Buckets` says what a subclass promises).

    To be listed, and no more: an object lives in a bucket, which `open_bucket` opens. Creating and deleting are refused unless the URL
    says ``manage_buckets=true``.

    Args:
        url: The URL, without a bucket and a path.

    Raises:
        ConfigurationError: There is a path where the bucket's name should stand.
    """

    capabilities = Capabilities()

    #: What names the buckets of this store have, for messages.
    rules: str

    def __init__(self, url: StoreUrl) -> None:
        if url.path.strip("/"):
            raise ConfigurationError(f"A {url.scheme}:// URL with a path names the bucket, too; without both it means all buckets.")
        self._store = replace(url, path="")
        self._may_manage = url.flag(MANAGE)

    @property
    def url(self) -> str:
        """The account's URL."""
        return str(self._store)

    # --- what a subclass adds -----------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def is_name(self, name: str) -> bool:
        """Whether a bucket of this store may have that name, a very old one, too."""

    @abc.abstractmethod
    def is_new_name(self, name: str) -> bool:
        """Whether a new bucket may have it."""

    @abc.abstractmethod
    def open_named(self, url: StoreUrl) -> Backend:
        """Open the bucket of a URL."""

    @abc.abstractmethod
    async def list_buckets(self) -> Sequence[str]:
        """See `Buckets.list_buckets`."""

    @abc.abstractmethod
    async def create(self, name: str) -> None:
        """Create a bucket whose name is a good one."""

    @abc.abstractmethod
    async def delete_empty(self, name: str) -> None:
        """Delete a bucket if nothing is in it."""

    # --- buckets ------------------------------------------------------------------------------------------------------------

    def open_bucket(self, name: str) -> Backend:
        """See `Buckets.open_bucket`."""
        if not self.is_name(name):
            raise self._bad(name)
        options = {option: value for option, value in self._store.options.items() if option not in self.own_options}
        return self.open_named(replace(self._store, bucket="/".join(filter(None, (self._store.bucket, name))), options=options))

    #: Options that a bucket's own URL does not have.
    own_options: frozenset[str] = frozenset({MANAGE})

    async def create_bucket(self, name: str) -> None:
        """See `Buckets.create_bucket`."""
        self._check_may_manage()
        if not self.is_new_name(name):
            raise self._bad(name)
        await self.create(name)

    async def delete_bucket(self, name: str) -> None:
        """See `Buckets.delete_bucket`."""
        self._check_may_manage()
        if not self.is_name(name):
            raise self._bad(name)
        await self.delete_empty(name)

    def _bad(self, name: str) -> InvalidPathError:
        return InvalidPathError(f"{show(name)} cannot be a bucket, and only buckets are here. {self.rules}")

    def _check_may_manage(self) -> None:
        if not self._may_manage:
            raise PermissionDeniedError(
                "Buckets are neither created nor deleted here. Whoever configures the server can allow it: add "
                f"{MANAGE}=true to the URL, as in {self.url}?{MANAGE}=true."
            )

    # --- as a backend -------------------------------------------------------------------------------------------------------

    async def list(self, prefix: str, *, delimiter: str | None = None, page_token: str | None = None, page_size: int | None = None) -> Page:
        """The buckets, as directories: all on one page. What is in them is in the backends that `open_bucket` opens."""
        if is_reserved(prefix):
            return Page(())
        if "/" in prefix:
            raise UnsupportedError("What is in a bucket is not listed among the buckets; open it first.")
        names = sorted(name for name in await self.list_buckets() if name.startswith(prefix) and self.is_name(name))
        if delimiter is None:
            return Page([ObjectInfo(f"{name}/", 0, "", _EPOCH) for name in names])
        return Page((), [PrefixInfo(f"{name}/") for name in names])

    async def head(self, key: str) -> ObjectInfo:
        """Nothing is here but buckets."""
        raise NotFoundError(f"{show(key)} does not exist.")

    async def get(self, key: str, *, start: int = 0, length: int | None = None, if_version: str | None = None) -> Reader:
        """Nothing is here but buckets."""
        raise NotFoundError(f"{show(key)} does not exist.")

    async def put(
        self,
        key: str,
        body: Body,
        *,
        when: When = ALWAYS,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        checksum: str | None = None,
    ) -> ObjectInfo:
        """Refused."""
        self._refuse()

    async def delete(self, key: str, *, if_version: str | None = None) -> None:
        """Refused."""
        self._refuse()

    async def copy(self, src: str, dst: str, *, src_version: str | None = None, when: When = ALWAYS) -> ObjectInfo:
        """Refused."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise PermissionDeniedError("Files live in buckets, and here are only buckets; open one first.")
