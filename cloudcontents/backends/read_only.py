"""A wrapper that refuses every write, whoever asks: the lowest place where read-only can be enforced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from cloudcontents.errors import PermissionDeniedError

from .interface import ALWAYS, Backend, Body, Buckets, LocalPath, ObjectInfo, Page, Reader, When


class ReadOnlyBackend(Backend):
    """Another backend, to be read only. Offers none of the optional protocols that write.

    Args:
        inner: The backend that is read.
    """

    def __init__(self, inner: Backend) -> None:
        self._inner = inner
        self.capabilities = inner.capabilities
        if isinstance(inner, LocalPath):
            self.local_path = inner.local_path
        if isinstance(inner, Buckets):
            self._buckets: Buckets = inner
            self.open_bucket, self.list_buckets = self._open_bucket, inner.list_buckets
            self.create_bucket = self.delete_bucket = self._refuse_bucket

    @property
    def url(self) -> str:
        """The inner URL."""
        return self._inner.url

    async def list(self, prefix: str, *, delimiter: str | None = None, page_token: str | None = None, page_size: int | None = None) -> Page:
        """See `Backend.list`."""
        return await self._inner.list(prefix, delimiter=delimiter, page_token=page_token, page_size=page_size)

    async def head(self, key: str) -> ObjectInfo:
        """See `Backend.head`."""
        return await self._inner.head(key)

    async def get(self, key: str, *, start: int = 0, length: int | None = None, if_version: str | None = None) -> Reader:
        """See `Backend.get`."""
        return await self._inner.get(key, start=start, length=length, if_version=if_version)

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

    async def close(self) -> None:
        """Close the inner backend."""
        await self._inner.close()

    def _open_bucket(self, name: str) -> Backend:
        return ReadOnlyBackend(self._buckets.open_bucket(name))

    async def _refuse_bucket(self, name: str) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise PermissionDeniedError("This part of the tree is read-only; save under another path.")
