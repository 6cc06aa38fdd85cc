"""A wrapper that roots a backend below a prefix: no key without it goes in, no key with it comes out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from urllib.parse import quote

from .interface import ALWAYS, Backend, Body, BulkDelete, LocalPath, ObjectInfo, Page, Reader, Rename, Sweep, When
from .multipart import Compose, Multipart, Part, ReadParts, Upload
from .presign import Presign, SignedRequest


class PrefixBackend(Backend):
    """Another backend, seen from below a prefix.

    It implements the optional protocols that the other one implements, and no others, so that ``isinstance`` stays honest.

    Args:
        inner: The backend of the whole bucket; closed together with this one.
        prefix: A canonical path, without slashes at its ends.
    """

    def __init__(self, inner: Backend, prefix: str) -> None:
        self._inner = inner
        self._prefix = f"{prefix}/"
        spare = inner.capabilities.max_key_bytes - len(self._prefix.encode())
        self.capabilities = replace(inner.capabilities, max_key_bytes=spare)
        # Bound to the instance where the inner backend has them: a protocol is told by its methods.
        if isinstance(inner, BulkDelete):
            self._bulk: BulkDelete = inner
            self.delete_many = self._delete_many
        if isinstance(inner, Rename):
            self._renamer: Rename = inner
            self.rename = self._rename
        if isinstance(inner, LocalPath):
            self._paths: LocalPath = inner
            self.local_path = self._local_path
        if isinstance(inner, Sweep):
            self.sweep = inner.sweep
        if isinstance(inner, Multipart):
            self._parts: Multipart = inner
            self.part_rules = inner.part_rules
            self.begin, self.put_part, self.list_parts = self._begin, self._put_part, self._list_parts
            self.complete, self.abort, self.list_uploads = self._complete, self._abort, self._list_uploads
        if isinstance(inner, ReadParts):
            self._readable: ReadParts = inner
            self.read_part = self._read_part
        if isinstance(inner, Compose):
            self._composer: Compose = inner
            self.compose = self._compose
        if isinstance(inner, Presign):
            self._signer: Presign = inner
            self.sign_get, self.sign_put, self.sign_part = self._sign_get, self._sign_put, self._sign_part

    @property
    def url(self) -> str:
        """The inner URL, and the prefix."""
        return f"{self._inner.url}/{quote(self._prefix.removesuffix('/'))}"

    async def list(
        self,
        prefix: str,
        *,
        delimiter: str | None = None,
        page_token: str | None = None,
        page_size: int | None = None,
    ) -> Page:
        """See `Backend.list`. The marker of the prefix itself is not an object of this bucket, and is left out."""
        page = await self._inner.list(self._prefix + prefix, delimiter=delimiter, page_token=page_token, page_size=page_size)
        return Page(
            [self._outer(info) for info in page.objects if info.key != self._prefix],
            [replace(info, key=self._strip(info.key)) for info in page.prefixes],
            page.next_token,
        )

    async def head(self, key: str) -> ObjectInfo:
        """See `Backend.head`."""
        return self._outer(await self._inner.head(self._prefix + key))

    async def get(self, key: str, *, start: int = 0, length: int | None = None, if_version: str | None = None) -> Reader:
        """See `Backend.get`."""
        reader = await self._inner.get(self._prefix + key, start=start, length=length, if_version=if_version)
        reader.info = self._outer(reader.info)
        return reader

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
        """See `Backend.put`."""
        return self._outer(
            await self._inner.put(self._prefix + key, body, when=when, content_type=content_type, metadata=metadata, checksum=checksum)
        )

    async def delete(self, key: str, *, if_version: str | None = None) -> None:
        """See `Backend.delete`."""
        await self._inner.delete(self._prefix + key, if_version=if_version)

    async def copy(self, src: str, dst: str, *, src_version: str | None = None, when: When = ALWAYS) -> ObjectInfo:
        """See `Backend.copy`."""
        return self._outer(await self._inner.copy(self._prefix + src, self._prefix + dst, src_version=src_version, when=when))

    async def close(self) -> None:
        """Close the inner backend."""
        await self._inner.close()

    async def _delete_many(self, items: Sequence[tuple[str, str | None]]) -> Sequence[tuple[str, Exception]]:
        failed = await self._bulk.delete_many([(self._prefix + key, version) for key, version in items])
        return [(self._strip(key), error) for key, error in failed]

    async def _rename(self, src: str, dst: str) -> None:
        await self._renamer.rename(self._prefix + src, self._prefix + dst)

    def _local_path(self, key: str) -> str | None:
        return self._paths.local_path(self._prefix + key)

    # --- uploads in parts ---------------------------------------------------------------------------------------------------

    async def _begin(
        self, key: str, *, place: str, part_size: int, content_type: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> Upload:
        begun = await self._parts.begin(
            self._prefix + key, place=self._prefix + place, part_size=part_size, content_type=content_type, metadata=metadata
        )
        return replace(begun, key=key, place=place)

    async def _put_part(self, upload: Upload, number: int, data: bytes, *, checksum: str) -> Part:
        return await self._parts.put_part(self._within(upload), number, data, checksum=checksum)

    async def _list_parts(self, upload: Upload) -> Sequence[Part]:
        return await self._parts.list_parts(self._within(upload))

    async def _complete(
        self,
        upload: Upload,
        parts: Sequence[Part],
        *,
        when: When = ALWAYS,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectInfo:
        inner = self._within(upload)
        return self._outer(await self._parts.complete(inner, parts, when=when, content_type=content_type, metadata=metadata))

    async def _abort(self, upload: Upload) -> None:
        await self._parts.abort(self._within(upload))

    async def _list_uploads(self, key: str) -> Sequence[Upload]:
        return [replace(upload, key=key) for upload in await self._parts.list_uploads(self._prefix + key)]

    def _read_part(self, upload: Upload, part: Part) -> AsyncIterator[bytes]:
        return self._readable.read_part(self._within(upload), part)

    def _within(self, upload: Upload) -> Upload:
        # An upload that was found by `list_uploads` has no place.
        place = self._prefix + upload.place if upload.place else ""
        return replace(upload, key=self._prefix + upload.key, place=place)

    async def _compose(
        self,
        sources: Sequence[ObjectInfo],
        key: str,
        *,
        when: When = ALWAYS,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectInfo:
        inner = [replace(source, key=self._prefix + source.key) for source in sources]
        composed = self._composer.compose(inner, self._prefix + key, when=when, content_type=content_type, metadata=metadata)
        return self._outer(await composed)

    # --- signed requests ----------------------------------------------------------------------------------------------------

    async def _sign_get(self, key: str, *, expires_in: int = 900, filename: str | None = None) -> SignedRequest:
        return await self._signer.sign_get(self._prefix + key, expires_in=expires_in, filename=filename)

    async def _sign_put(self, key: str, *, size: int, checksum: str, expires_in: int = 900) -> SignedRequest:
        return await self._signer.sign_put(self._prefix + key, size=size, checksum=checksum, expires_in=expires_in)

    async def _sign_part(self, upload: Upload, number: int, *, size: int, checksum: str, expires_in: int = 900) -> SignedRequest:
        return await self._signer.sign_part(self._within(upload), number, size=size, checksum=checksum, expires_in=expires_in)

    def _strip(self, key: str) -> str:
        # A backend that answers with a key outside the prefix is broken; showing it would let its reader out.
        if not key.startswith(self._prefix):
            raise RuntimeError("a backend answered with a key outside its prefix")
        return key[len(self._prefix) :]

    def _outer(self, info: ObjectInfo) -> ObjectInfo:
        return replace(info, key=self._strip(info.key))
