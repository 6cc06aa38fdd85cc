"""``gs://bucket/prefix``: Google Cloud Storage, on the SDK's credentials and session, in the backend's own threads.

The version of an object is its generation: each write makes a new one, a change of metadata alone does not. Every precondition is the
store's own. Objects are read by the XML interface, whose reply tells everything of an object; all else goes by the JSON interface.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import requests

from cloudcontents.config import StoreUrl
from cloudcontents.errors import (
    ConfigurationError,
    ConflictError,
    NotFoundError,
    RangeError,
    UnavailableError,
    UnsupportedError,
)
from cloudcontents.keys import show

from .body import BodyCheck, read_whole
from .gcs_buckets import GcsBuckets
from .gcs_client import COPYING, OPTIONS, GcsClient
from .gcs_errors import Refusal, failure
from .gcs_multipart import GcsParts
from .gcs_objects import FIELDS, check_found, check_name, condition, description, generation, nameable, object_info, reply_info
from .gcs_presign import GcsSigner
from .gcs_rename import GcsRenames
from .gcs_transfer import CHUNK, SLICE, CheckedStream, Digest, UploadSession, multipart
from .interface import ALWAYS, Backend, Body, Capabilities, IfVersion, ObjectInfo, Page, PrefixInfo, Reader, SizedStream, When
from .prefix import PrefixBackend
from .sdk import SdkReader, SdkThreads, checked, empty_reader

T = TypeVar("T")

_LISTED = "items(name,generation,size,updated,md5Hash,crc32c),prefixes,nextPageToken"
_CLASSES = frozenset({"STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE", "MULTI_REGIONAL", "REGIONAL", "DURABLE_REDUCED_AVAILABILITY"})


def open_gcs(url: StoreUrl) -> Backend:
    """Open ``gs://bucket[/prefix]``, or ``gs://``: all buckets of a project. No request is made yet.

    Raises:
        ConfigurationError: A path without a bucket, or an option that is unknown or cannot be.
    """
    if not url.bucket:
        return GcsBuckets(url)
    url.check_options(OPTIONS)
    backend = GcsBackend(url)
    return PrefixBackend(backend, url.prefix) if url.prefix else backend


class GcsBackend(Backend):
    """One bucket. Credentials come from the SDK's own chain and are renewed by it."""

    capabilities = Capabilities(max_object_bytes=5 * 2**40)

    def __init__(self, url: StoreUrl) -> None:
        self._client = GcsClient(url)
        self._bucket = url.bucket
        self._threads = SdkThreads("gcs")
        self._renames = GcsRenames(self._client, self._threads)
        self._kms_key = url.options.get("kms_key_name")
        self._class = url.options.get("storage_class")
        if self._class is not None and self._class not in _CLASSES:
            raise ConfigurationError("storage_class is STANDARD, NEARLINE, COLDLINE or ARCHIVE.")
        parts = GcsParts(self, self._client, self._threads, storage_class=self._class, kms_key=self._kms_key)
        self.part_rules = parts.part_rules
        self.begin, self.put_part, self.list_parts, self.read_part = parts.begin, parts.put_part, parts.list_parts, parts.read_part
        self.complete, self.abort, self.list_uploads = parts.complete, parts.abort, parts.list_uploads
        signer = GcsSigner(
            self._client, self._threads, storage_class=self._class, kms_key=self._kms_key, payer=url.options.get("user_project")
        )
        self.sign_get, self.sign_put, self.sign_part = signer.sign_get, signer.sign_put, signer.sign_part

    @property
    def url(self) -> str:
        """The bucket's URL."""
        return f"gs://{self._bucket}"

    # --- reading ------------------------------------------------------------------------------------------------------------

    async def list(self, prefix: str, *, delimiter: str | None = None, page_token: str | None = None, page_size: int | None = None) -> Page:
        """See `Backend.list`."""
        if delimiter not in (None, "/"):
            raise UnsupportedError("Listings are delimited by '/' or not at all.")
        params = {
            "prefix": prefix or None,
            "delimiter": delimiter,
            "pageToken": page_token,
            "maxResults": min(page_size or 1000, 1000),
            # In a bucket with a hierarchical namespace an empty folder is no object and no key's prefix.
            "includeFoldersAsPrefixes": "true" if delimiter else None,
            "fields": _LISTED,
        }

        def work() -> Page:
            reply = self._client.json("GET", f"/storage/v1/b/{quote(self._bucket, safe='')}/o", params)
            objects = [object_info(found["name"], found, listed=True) for found in reply.get("items", ())]
            return Page(objects, [PrefixInfo(found) for found in reply.get("prefixes", ())], reply.get("nextPageToken"))

        return await self._call(work)

    async def head(self, key: str) -> ObjectInfo:
        """See `Backend.head`."""
        check_found(key)
        return await self._call(lambda: object_info(key, self._client.json("GET", self._client.object_path(key), {"fields": FIELDS})), key)

    async def get(self, key: str, *, start: int = 0, length: int | None = None, if_version: str | None = None) -> Reader:
        """See `Backend.get`. What is read are the bytes as they are stored, compressed ones too."""
        check_found(key)
        if length is not None and length < 0:
            raise RangeError("A range's length cannot be negative.")
        if length == 0:
            return self._empty(await self._checked_head(key, start, if_version))
        if start < 0 and length is not None:
            # A length counted from an end that is not known yet takes a look first.
            info = await self._checked_head(key, start, if_version)
            start, if_version = max((info.size or 0) + start, 0), if_version or info.version
        # Whoever takes gzip is not sent something unpacked.
        headers = {"Accept-Encoding": "gzip"}
        if start < 0:
            headers["Range"] = f"bytes={start}"
        elif start or length is not None:
            headers["Range"] = f"bytes={start}-{start + length - 1 if length is not None else ''}"
        when: When = ALWAYS
        if if_version is not None:
            when = IfVersion(if_version)
            headers["x-goog-if-generation-match"] = generation(if_version, key)
        path = f"/{quote(self._bucket, safe='')}/{quote(key, safe='')}"

        def work() -> tuple[requests.Response, ObjectInfo]:
            response = self._client.send("GET", path, headers=headers, stream=True)
            try:
                return response, reply_info(key, response.headers)
            except BaseException:
                response.close()
                raise

        try:
            response, info = await self._call(work, key, when, dispose=lambda opened: opened[0].close())
        except RangeError:
            if start > 0:
                raise
            return self._empty(await self._checked_head(key, 0, if_version))
        stream = CheckedStream(response, info)
        reader = SdkReader(self._threads, stream, info, stream.length, lambda error: failure(error, key))
        if if_version is not None and info.version != if_version:
            await reader.aclose()
            raise ConflictError(f"{show(key)} has changed since it was read; read it again.")
        return reader

    async def _checked_head(self, key: str, start: int, if_version: str | None) -> ObjectInfo:
        return checked(await self.head(key), start, if_version)

    def _empty(self, info: ObjectInfo) -> Reader:
        return empty_reader(self._threads, info)

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
        """See `Backend.put`. One request up to 8 MiB; beyond it an upload session, one part at a time."""
        return await self.put_as(self._class, key, body, when=when, content_type=content_type, metadata=metadata, checksum=checksum)

    async def put_as(
        self,
        storage_class: str | None,
        key: str,
        body: Body,
        *,
        when: When = ALWAYS,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        checksum: str | None = None,
    ) -> ObjectInfo:
        """As `put`, with a storage class; None leaves it to the bucket."""
        check_name(key)
        described = {"name": key, **description(content_type, metadata)}
        if storage_class is not None:
            described["storageClass"] = storage_class
        params = {"ifGenerationMatch": condition(when, key), "kmsKeyName": self._kms_key, "fields": FIELDS}
        if not isinstance(body, bytes) and body.size > CHUNK:
            session = UploadSession(self._client, self._upload_path, described, params, body.size)
            return await self._upload(key, session, self._chunks(body, checksum), when)
        data, _ = await read_whole(body, checksum)
        if len(data) > CHUNK:
            session = UploadSession(self._client, self._upload_path, described, params, len(data))
            return await self._upload(key, session, self._slices(data), when)

        def work() -> ObjectInfo:
            digest = Digest()
            digest.update(data)
            content_type, content = multipart({**described, digest.field: digest.value()}, data)
            arguments = {"headers": {"Content-Type": content_type}, "data": content}
            return object_info(key, self._client.json("POST", self._upload_path, {"uploadType": "multipart", **params}, **arguments))

        return await self._call(work, key, when, creating=True)

    async def _upload(self, key: str, session: UploadSession, chunks: AsyncGenerator[bytes, None], when: When) -> ObjectInfo:
        """Send a large body chunk by chunk; the last one makes the object, and comes only once the body is what it said."""
        async with contextlib.aclosing(chunks):
            await self._call(session.begin, key, when, creating=True)
            try:
                reply: dict[str, Any] | None = None
                async for chunk in chunks:
                    reply = await self._call(lambda: session.send(chunk), key, when, creating=True)  # noqa: B023 - awaited at once
                if reply is None:
                    raise UnavailableError("The store did not end the upload; send it again.")
            except BaseException:
                await asyncio.shield(self._threads.run(session.abort))
                raise
            return object_info(key, reply)

    async def _chunks(self, body: SizedStream, checksum: str | None) -> AsyncGenerator[bytes, None]:
        check = BodyCheck(body.size, checksum, hashed=checksum is not None)
        held = bytearray()
        async for piece in body.chunks:
            await self._threads.run(lambda: check.update(piece))  # noqa: B023 - awaited at once
            held += piece
            # The last chunk waits for the stream's end.
            while len(held) > CHUNK:
                chunk = bytes(memoryview(held)[:CHUNK])
                del held[:CHUNK]
                yield chunk
        check.finish()
        yield bytes(held)

    async def _slices(self, data: bytes) -> AsyncGenerator[bytes, None]:
        for at in range(0, len(data), SLICE):
            yield await self._threads.run(lambda: data[at : at + SLICE])  # noqa: B023 - awaited at once

    @property
    def _upload_path(self) -> str:
        return f"/upload/storage/v1/b/{quote(self._bucket, safe='')}/o"

    async def delete(self, key: str, *, if_version: str | None = None) -> None:
        """See `Backend.delete`."""
        if not nameable(key):
            return
        when: When = ALWAYS if if_version is None else IfVersion(if_version)
        params = {"ifGenerationMatch": condition(when, key)}
        try:
            await self._call(lambda: self._client.json("DELETE", self._client.object_path(key), params), key, when)
        except NotFoundError:
            return

    async def copy(self, src: str, dst: str, *, src_version: str | None = None, when: When = ALWAYS) -> ObjectInfo:
        """See `Backend.copy`. A large object, or one of another class or place, takes several requests; the store works between them."""
        return await self.copy_as(self._class, src, dst, src_version=src_version, when=when)

    async def copy_as(
        self, storage_class: str | None, src: str, dst: str, *, src_version: str | None = None, when: When = ALWAYS
    ) -> ObjectInfo:
        """As `copy`, with a storage class; None leaves it to the bucket."""
        check_found(src)
        check_name(dst)
        described: dict[str, Any] | None = None
        if storage_class is not None:
            # A copy takes its source's description only where it is told nothing; so it is told everything.
            source = await self.head(src)
            src_version = src_version or source.version
            described = {"contentType": source.content_type, "metadata": dict(source.metadata or {}), "storageClass": storage_class}
        params = {
            "ifGenerationMatch": condition(when, dst),
            "ifSourceGenerationMatch": None if src_version is None else generation(src_version, src),
            "destinationKmsKeyName": self._kms_key,
            "fields": f"done,rewriteToken,resource({FIELDS})",
        }
        arguments: dict[str, Any] = {"timeout": COPYING}
        if described is not None:
            arguments |= {"headers": {"Content-Type": "application/json"}, "data": json.dumps(described).encode()}
        source_path, target_path = self._client.object_path(src), self._client.object_path(dst).removeprefix("/storage/v1")

        def step(token: str | None) -> dict[str, Any]:
            return self._client.json("POST", f"{source_path}/rewriteTo{target_path}", {**params, "rewriteToken": token}, **arguments)

        token: str | None = None
        while True:
            try:
                reply = await self._threads.run(lambda: step(token))  # noqa: B023 - awaited at once
            except Refusal as error:
                if error.status == 412 and src_version is not None:
                    if when == ALWAYS:
                        raise ConflictError(f"{show(src)} has changed since it was read; read it again.") from error
                    await self._checked_head(src, 0, src_version)  # tells a stale source from a taken target
                raise (failure(error, src) if error.status == 404 else failure(error, dst, when)) from error
            except Exception as error:
                raise failure(error, src) from error
            if reply.get("done"):
                return object_info(dst, reply["resource"])
            token = reply["rewriteToken"]

    async def rename(self, src: str, dst: str) -> None:
        """See `Rename.rename`; in a bucket with a hierarchical namespace."""
        check_found(src)
        check_name(dst)
        await self._renames.rename(src, dst)

    async def close(self) -> None:
        """See `Backend.close`."""
        await self._threads.run(self._client.close)
        await self._threads.close()

    async def _call(
        self,
        work: Callable[[], T],
        key: str = "",
        when: When = ALWAYS,
        *,
        creating: bool = False,
        dispose: Callable[[T], object] | None = None,
    ) -> T:
        """Run requests in a thread."""
        try:
            return await self._threads.run(work, dispose=dispose)
        except Exception as error:
            raise failure(error, key, when, creating=creating) from error
