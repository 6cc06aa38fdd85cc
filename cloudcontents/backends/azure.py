"""``az://account/container/prefix``: Azure Blob Storage, on azure-storage-blob.

Every call runs in the backend's own threads. The version of an object is its ETag, without its quotes; all preconditions are the
store's. A copy is Put Blob From URL, above 5,000 MiB blocks from the URL; both are done when they are answered, and atomic. Only a store
that answers that it lacks the first (Azurite) is asked for Copy Blob, which may go on after its answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from azure.core import MatchConditions
from azure.storage.blob import BlobProperties, BlobType, ContainerClient, ContentSettings

from cloudcontents.config import StoreUrl
from cloudcontents.errors import (
    AlreadyExistsError,
    CloudContentsError,
    ConflictError,
    NotFoundError,
    RangeError,
    UnavailableError,
    UnsupportedError,
)
from cloudcontents.keys import show
from cloudcontents.parallel import for_each

from .azure_buckets import AzureContainers
from .azure_client import ONE_REQUEST, OPTIONS, AzureConnection, patient
from .azure_download import open_download
from .azure_errors import answer, failure
from .azure_listing import list_page
from .azure_multipart import AzureParts
from .azure_names import check_readable, check_writable, is_holdable, metadata_of, written_metadata
from .azure_presign import AzureSigner
from .azure_rename import AzureRenames
from .azure_writes import BLOCK, MOST_BYTES, BlockUpload, condition, is_plain_version, md5_of, stored
from .body import BodyCheck, read_whole
from .interface import (
    ALWAYS,
    Backend,
    Body,
    Capabilities,
    IfAbsent,
    IfVersion,
    ObjectInfo,
    Page,
    Reader,
    SizedStream,
    When,
)
from .prefix import PrefixBackend
from .sdk import EmptyStream, SdkReader

#: Blobs of one batch.
_BATCH = 256
#: Looks at a source that changes while it is copied.
_LOOKS = 3
#: Seconds between two looks at a copy that goes on after its answer.
_COPY_PAUSE = 0.5


def open_azure(url: StoreUrl) -> Backend:
    """Open ``az://account/container[/prefix]``, or ``az://account``: all its containers. No request is made yet.

    Raises:
        ConfigurationError: No account, a path without a container, or an option that is unknown or cannot be.
    """
    if not url.bucket.partition("/")[2]:
        return AzureContainers(url)
    url.check_options(OPTIONS)
    backend = AzureBackend(url)
    return PrefixBackend(backend, url.prefix) if url.prefix else backend


class AzureBackend(Backend):
    """One container.

    Args:
        url: ``az://account/container`` with its options; the path after it is not looked at.
    """

    # A backslash would become a slash.
    capabilities = Capabilities(max_object_bytes=MOST_BYTES, refused_characters="\\")

    def __init__(self, url: StoreUrl) -> None:
        self._azure = AzureConnection(url)
        self._renames = AzureRenames(self._azure)
        parts, signer = AzureParts(self, self._azure), AzureSigner(self._azure)
        self.part_rules = parts.part_rules
        self.begin, self.put_part, self.list_parts = parts.begin, parts.put_part, parts.list_parts
        self.complete, self.abort, self.list_uploads = parts.complete, parts.abort, parts.list_uploads
        self.sign_get, self.sign_put, self.sign_part = signer.sign_get, signer.sign_put, signer.sign_part
        # Whether the store has said that it cannot copy and answer when it is done.
        self._copies_later = False

    @property
    def url(self) -> str:
        """The container's URL."""
        return f"az://{self._azure.account}/{self._azure.container}"

    # --- reading ------------------------------------------------------------------------------------------------------------

    async def list(self, prefix: str, *, delimiter: str | None = None, page_token: str | None = None, page_size: int | None = None) -> Page:
        """See `Backend.list`."""
        if delimiter not in (None, "/"):
            raise UnsupportedError("Listings are delimited by '/' or not at all.")
        if not is_holdable(prefix):
            return Page(())
        return await self._azure.call(lambda c: list_page(c, prefix, delimiter=delimiter, token=page_token, size=page_size))

    async def head(self, key: str) -> ObjectInfo:
        """See `Backend.head`."""
        check_readable(key)
        return await self._azure.call(lambda c: _info(key, c.get_blob_client(key).get_blob_properties()), key)

    async def get(self, key: str, *, start: int = 0, length: int | None = None, if_version: str | None = None) -> Reader:
        """See `Backend.get`. One request; two where the range is counted from the end, which Azure cannot do, or the object is empty."""
        check_readable(key)
        if length is not None and length < 0:
            raise RangeError("A range's length cannot be negative.")
        if length == 0:
            return self._empty(await self._checked_head(key, start, if_version))
        if start < 0:
            info = await self._checked_head(key, start, if_version)
            start, if_version = max((info.size or 0) + start, 0), if_version or info.version
        when = IfVersion(if_version) if if_version is not None else ALWAYS
        arguments = condition(when, key)
        try:
            download = await self._azure.call(
                lambda c: open_download(c.get_blob_client(key), key, start=start, length=length, condition=arguments), key, when
            )
        except RangeError:
            if start > 0:
                raise
            return self._empty(await self._checked_head(key, 0, if_version))
        if start > 0 and start >= (download.info.size or 0):
            await self._azure.threads.run(download.close)  # a range that begins at the end is none, whatever the store says
            raise RangeError(f"The range starts at byte {start}, and the object has {download.info.size} bytes.")
        return SdkReader(self._azure.threads, download, download.info, download.length, lambda error: failure(error, key, ALWAYS))

    async def _checked_head(self, key: str, start: int, if_version: str | None) -> ObjectInfo:
        info = await self.head(key)
        if if_version is not None and info.version != if_version:
            raise ConflictError(f"{show(key)} has changed since it was read; read it again.")
        if start > 0 and start >= (info.size or 0):
            raise RangeError(f"The range starts at byte {start}, and the object has {info.size} bytes.")
        return info

    def _empty(self, info: ObjectInfo) -> Reader:
        return SdkReader(self._azure.threads, EmptyStream(), info, 0, lambda error: error)

    # --- writing ------------------------------------------------------------------------------------------------------------

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
        """See `Backend.put`. One request; a large stream goes as blocks, which nobody sees before they are committed."""
        check_writable(key)
        if isinstance(body, SizedStream) and body.size > BLOCK:
            return await self._put_blocks(key, body, when, content_type, metadata, checksum)
        data, _ = await read_whole(body, checksum)
        arguments = condition(when, key)

        def work(container: ContainerClient) -> ObjectInfo:
            reply = container.get_blob_client(key).upload_blob(
                data,
                length=len(data),
                overwrite=True,
                # Sends the MD5 along, which the store compares and keeps.
                validate_content=True,
                content_settings=ContentSettings(content_type=content_type),
                metadata=written_metadata(key, metadata),
                **arguments,
                **self._azure.write,
            )
            return stored(key, reply, len(data), content_type, metadata, bytes(reply.get("content_md5") or b""))

        return await self._azure.call(work, key, when)

    async def _put_blocks(
        self, key: str, body: SizedStream, when: When, content_type: str | None, metadata: Mapping[str, str] | None, checksum: str | None
    ) -> ObjectInfo:
        blocks = BlockUpload(self._azure, key)
        check = BodyCheck(body.size, checksum, hashed=checksum is not None)
        digest = await blocks.send(body, check)
        return await blocks.commit(when, body.size, content_type, metadata, digest)

    async def delete(self, key: str, *, if_version: str | None = None) -> None:
        """See `Backend.delete`."""
        when = IfVersion(if_version) if if_version is not None else ALWAYS
        arguments = condition(when, key)
        try:
            check_readable(key)
            await self._azure.call(lambda c: c.get_blob_client(key).delete_blob(**arguments), key, when)
        except NotFoundError:
            if if_version is not None:
                raise ConflictError(f"{show(key)} is gone; it was deleted or renamed meanwhile.") from None

    async def delete_many(self, items: Sequence[tuple[str, str | None]]) -> Sequence[tuple[str, Exception]]:
        """See `BulkDelete.delete_many`; at most 256 keys a request."""
        failed: list[tuple[str, Exception]] = []
        for start in range(0, len(items), _BATCH):
            failed += await self._delete_batch(items[start : start + _BATCH])
        return failed

    async def _delete_batch(self, items: Sequence[tuple[str, str | None]]) -> Sequence[tuple[str, Exception]]:
        failed: list[tuple[str, Exception]] = []
        sent = [(key, version) for key, version in items if is_holdable(key) and (version is None or is_plain_version(version))]
        batch = [{"name": key, **({"etag": f'"{version}"'} if version is not None else {})} for key, version in sent]
        try:
            replies = await self._azure.call(lambda c: list(c.delete_blobs(*batch, raise_on_any_failure=False)))
        except UnsupportedError:
            replies, sent = [], []  # a store without batches: one by one
        for (key, version), reply in zip(sent, replies, strict=True):
            if not 200 <= reply.status_code < 300:
                when = IfVersion(version) if version is not None else ALWAYS
                error = answer(str(reply.headers.get("x-ms-error-code") or ""), reply.status_code, key, when)
                if not isinstance(error, NotFoundError):
                    failed.append((key, error))

        async def one(item: tuple[str, str | None]) -> None:
            try:
                await self.delete(item[0], if_version=item[1])
            except CloudContentsError as error:
                failed.append((item[0], error))

        await for_each([item for item in items if item not in sent], one)
        return failed

    # --- copying ------------------------------------------------------------------------------------------------------------

    async def copy(self, src: str, dst: str, *, src_version: str | None = None, when: When = ALWAYS) -> ObjectInfo:
        """See `Backend.copy`. Two requests: what the copy is to be like is read from its source first."""
        check_writable(dst)
        for look in range(1, _LOOKS + 1):
            source = await self._checked_head(src, 0, src_version)
            if src == dst:
                return _in_place(source, when)
            try:
                return await self.copy_seen(source, dst, when)
            except (AlreadyExistsError, ConflictError):
                now = await self._checked_head(src, 0, src_version)  # tells a stale source from a taken target
                if now.version == source.version or look == _LOOKS:
                    raise
        raise AssertionError("the last look returns or raises")  # pragma: no cover

    async def copy_seen(self, source: ObjectInfo, dst: str, when: When) -> ObjectInfo:
        """Copy an object as it was seen, with what was seen of it; fails where it has changed since."""
        if (source.size or 0) > ONE_REQUEST:
            return await self._copy_blocks(source, dst, when)
        if self._copies_later:
            return await self._copy_later(source, dst, when)
        arguments = condition(when, dst)

        def work(container: ContainerClient) -> ObjectInfo:
            reply = container.get_blob_client(dst).upload_blob_from_url(
                **self._azure.source(source.key),
                overwrite=True,
                source_etag=f'"{source.version}"',
                source_match_condition=MatchConditions.IfNotModified,
                content_settings=ContentSettings(content_type=source.content_type),
                metadata=written_metadata(dst, source.metadata),
                **arguments,
                **self._azure.write,
                **patient(),
            )
            return stored(dst, reply, source.size, source.content_type, source.metadata, bytes(reply.get("content_md5") or b""))

        try:
            return await self._azure.call(work, source.key if when == ALWAYS else dst, when)
        except UnsupportedError:
            self._copies_later = True
            return await self._copy_later(source, dst, when)

    async def _copy_blocks(self, source: ObjectInfo, dst: str, when: When) -> ObjectInfo:
        """By blocks that the store reads by itself. It has no condition on their source: a look afterwards tells that none changed."""
        size, blocks = source.size or 0, BlockUpload(self._azure, dst)
        await blocks.copy(source.key, size)
        await self._checked_head(source.key, 0, source.version)
        return await blocks.commit(when, size, source.content_type, source.metadata, md5_of(source))

    async def _copy_later(self, source: ObjectInfo, dst: str, when: When) -> ObjectInfo:
        """By Copy Blob, which knows no encryption scope."""
        arguments = condition(when, dst)

        def work(container: ContainerClient) -> Mapping[str, Any]:
            return container.get_blob_client(dst).start_copy_from_url(
                source_url=self._azure.source(source.key, same_account=True)["source_url"],
                source_etag=f'"{source.version}"',
                source_match_condition=MatchConditions.IfNotModified,
                **arguments,
                **self._azure.tier,
            )

        reply = await self._azure.call(work, source.key if when == ALWAYS else dst, when)
        status = reply["copy_status"]
        while status == "pending":
            await asyncio.sleep(_COPY_PAUSE)
            found = await self._azure.call(lambda c: c.get_blob_client(dst).get_blob_properties(), dst)
            if found.copy.id != reply["copy_id"]:
                raise ConflictError(f"{show(dst)} was written by somebody else while it was copied.")
            status = found.copy.status
            reply = {**reply, "etag": found.etag, "last_modified": found.last_modified}
        if status != "success":
            raise UnavailableError(f"The store did not finish copying {show(source.key)} ({status}); try again later.")
        return stored(dst, reply, source.size, source.content_type, source.metadata, md5_of(source))

    async def rename(self, src: str, dst: str) -> None:
        """See `Rename.rename`; in an account with a hierarchical namespace."""
        await self._renames.rename(src, dst)

    async def close(self) -> None:
        """See `Backend.close`."""
        await self._azure.close()


def _in_place(source: ObjectInfo, when: When) -> ObjectInfo:
    """A copy of an object onto itself is there already."""
    if isinstance(when, IfAbsent):
        raise AlreadyExistsError(f"{show(source.key)} exists already.")
    if isinstance(when, IfVersion) and when.version != source.version:
        raise ConflictError(f"{show(source.key)} has changed since it was read.")
    return source


def _info(key: str, found: BlobProperties) -> ObjectInfo:
    if found.etag is None:
        raise KeyError("ETag")  # whatever answered, it is not the store
    # Of other kinds of blobs the store keeps an MD5 that a later write does not change.
    digest = found.content_settings.content_md5 if found.blob_type == BlobType.BLOCKBLOB else None
    return ObjectInfo(
        key,
        found.size,
        found.etag.strip('"'),
        found.last_modified,
        revision=found.version_id,
        content_type=found.content_settings.content_type,
        metadata=metadata_of(found.metadata),
        checksum=f"md5:{bytes(digest).hex()}" if digest else None,
    )
