"""``s3://bucket/prefix``: Amazon S3 and stores that speak its protocol, on boto3's own core.

Every call runs in the backend's own threads. The version of an object is its ETag. Against Amazon's own S3 all preconditions are the
store's. Other stores of the protocol (`endpoint_url`) differ, so there a conditional copy is a multipart upload that copies on the server
and whose completion carries the condition (a small object is read and put), and a conditional delete is not offered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from cloudcontents.config import StoreUrl
from cloudcontents.errors import (
    AlreadyExistsError,
    CloudContentsError,
    ConflictError,
    RangeError,
    UnsupportedError,
)
from cloudcontents.keys import show
from cloudcontents.parallel import for_each

from .body import read_whole
from .interface import (
    ALWAYS,
    Backend,
    Body,
    Capabilities,
    IfVersion,
    ObjectInfo,
    Page,
    PrefixInfo,
    Reader,
    SizedStream,
    When,
)
from .prefix import PrefixBackend
from .s3_buckets import S3Buckets
from .s3_client import OPTIONS, S3Client, S3Connection
from .s3_errors import error_code, failure
from .s3_multipart import PART, S3Multipart, base64_of
from .s3_presign import S3Presign
from .s3_replies import condition, described, info_of, moment
from .s3_small_copies import copy_small
from .sdk import FIRST_PIECE, BlockingStream, HeldReader, SdkReader, checked, empty_reader

#: Characters that XML 1.0 cannot hold, or that its readers change.
_NOT_IN_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_NO_CONDITIONAL_DELETE = "This store's conditional delete cannot be relied on; delete without a version."


def open_s3(url: StoreUrl) -> Backend:
    """Open ``s3://bucket[/prefix]``, or ``s3://``: all buckets. No request is made yet.

    Raises:
        ConfigurationError: A path without a bucket, or an option that is unknown or cannot be.
    """
    if not url.bucket:
        return S3Buckets(url)
    url.check_options(OPTIONS)
    backend = S3Backend(url)
    return PrefixBackend(backend, url.prefix) if url.prefix else backend


class S3Backend(S3Multipart, S3Presign):
    """One bucket. Credentials come from boto3's own chain, and are looked up again when the store says that they have expired."""

    def __init__(self, url: StoreUrl, *, beside: S3Connection | None = None) -> None:
        store = S3Connection(url, beside=beside)
        super().__init__(store)
        self._call, self._threads = store.call, store.threads
        self._every = store.every
        # Others than Amazon's own are asked only for what all of them do.
        self._amazon = store.amazon
        self.capabilities = Capabilities(delete_if_version=store.amazon, distinct_versions=False, max_object_bytes=5 * 2**40)

    @property
    def url(self) -> str:
        """The bucket's URL."""
        return f"s3://{self._store.bucket}"

    # --- reading ------------------------------------------------------------------------------------------------------------

    async def list(self, prefix: str, *, delimiter: str | None = None, page_token: str | None = None, page_size: int | None = None) -> Page:
        """See `Backend.list`."""
        if delimiter not in (None, "/"):
            raise UnsupportedError("Listings are delimited by '/' or not at all.")
        # Asked for one key, MinIO says after a marker that there are no more.
        most = max(min(page_size or 1000, 1000), 1 if self._amazon else 2)
        arguments: dict[str, Any] = {**self._every, "Prefix": prefix, "MaxKeys": most}
        if delimiter:
            arguments["Delimiter"] = delimiter
        if page_token:
            arguments["ContinuationToken"] = page_token
        reply = await self._call(lambda s3: s3.list_objects_v2(**arguments))
        objects = [
            ObjectInfo(found["Key"], found["Size"], found["ETag"], moment(found["LastModified"])) for found in reply.get("Contents", ())
        ]
        prefixes = [PrefixInfo(found["Prefix"]) for found in reply.get("CommonPrefixes", ())]
        return Page(objects, prefixes, reply.get("NextContinuationToken") if reply.get("IsTruncated") else None)

    async def head(self, key: str) -> ObjectInfo:
        """See `Backend.head`."""
        return await self._call(lambda s3: info_of(key, s3.head_object(Key=key, **self._every)), key)

    async def get(self, key: str, *, start: int = 0, length: int | None = None, if_version: str | None = None) -> Reader:
        """See `Backend.get`."""
        if length is not None and length < 0:
            raise RangeError("A range's length cannot be negative.")
        if length == 0:
            return self._empty(await self._checked_head(key, start, if_version))
        arguments: dict[str, Any] = {**self._every, "Key": key}
        if start < 0 and length is not None:
            # A length counted from an end that is not known yet takes a look first.
            info = await self._checked_head(key, start, if_version)
            start, if_version = max((info.size or 0) + start, 0), if_version or info.version
        if start < 0:
            arguments["Range"] = f"bytes={start}"
        elif start or length is not None:
            arguments["Range"] = f"bytes={start}-{start + length - 1 if length is not None else ''}"
        if if_version is not None:
            arguments["IfMatch"] = if_version

        def work(s3: S3Client) -> tuple[Mapping[str, Any], ObjectInfo, bytes | None]:
            reply = s3.get_object(**arguments)
            whole = reply.get("ContentRange", "").rpartition("/")[2]
            try:
                info = info_of(key, {**reply, **({"ContentLength": int(whole)} if whole.isdecimal() else {})})
            except KeyError:
                reply["Body"].close()
                raise
            return reply, info, reply["Body"].read() if reply["ContentLength"] <= FIRST_PIECE else None

        try:
            reply, info, data = await self._call(work, key, IfVersion(if_version) if if_version else ALWAYS)
        except RangeError:
            if start > 0:
                raise
            return self._empty(await self._checked_head(key, 0, if_version))
        if data is not None:
            return HeldReader(info, data)
        body = _WholeBody(reply["Body"], reply["ContentLength"])
        return SdkReader(self._threads, body, info, reply["ContentLength"], lambda error: failure(error, key, ALWAYS))

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
        """See `Backend.put`. Two requests: the reply to a PUT does not tell the time of the object."""
        if isinstance(body, SizedStream) and body.size > PART:
            return await self.put_stream(key, body, when, content_type, metadata, checksum)
        data, digest = await read_whole(body, checksum)
        arguments = {**self._every, "Key": key, "Body": data, **described(content_type, metadata), **self._store.write, **condition(when)}
        if checksum is not None or self._store.check:
            arguments["ChecksumSHA256"] = base64_of(digest)

        def work(s3: S3Client) -> tuple[Mapping[str, Any], ObjectInfo | None]:
            reply = s3.put_object(**arguments)
            try:
                return reply, info_of(key, s3.head_object(Key=key, **self._every))
            except (ClientError, BotoCoreError, KeyError):
                return reply, None  # the write itself is done

        reply, info = await self._call(work, key, when)
        if info is not None and info.version == reply["ETag"]:
            return info
        return await self.stored(key, reply, len(data), content_type, metadata)

    async def delete(self, key: str, *, if_version: str | None = None) -> None:
        """See `Backend.delete`."""
        if if_version is not None and not self._amazon:
            raise UnsupportedError(_NO_CONDITIONAL_DELETE)
        matching = {"IfMatch": if_version} if if_version is not None else {}
        when = IfVersion(if_version) if if_version is not None else ALWAYS
        await self._call(lambda s3: s3.delete_object(Key=key, **matching, **self._every), key, when)

    async def delete_many(self, items: Sequence[tuple[str, str | None]]) -> Sequence[tuple[str, Exception]]:
        """See `BulkDelete.delete_many`; at most 1,000 keys a request."""
        failed: list[tuple[str, Exception]] = []
        if not self._amazon:
            failed = [(key, UnsupportedError(_NO_CONDITIONAL_DELETE)) for key, version in items if version is not None]
            items = [(key, version) for key, version in items if version is None]

        async def one(item: tuple[str, str | None]) -> None:
            try:
                await self.delete(item[0], if_version=item[1])
            except CloudContentsError as error:
                failed.append((item[0], error))

        # The request is XML, which cannot hold every key; the store would refuse the other keys with it.
        await for_each([item for item in items if _NOT_IN_XML.search(item[0])], one)
        items = [item for item in items if not _NOT_IN_XML.search(item[0])]
        if not items:
            return failed
        objects = [{"Key": key, **({"ETag": version} if version is not None else {})} for key, version in items]
        reply = await self._call(lambda s3: s3.delete_objects(Delete={"Objects": objects, "Quiet": True}, **self._every))
        versions = dict(items)
        return failed + [
            (found["Key"], _delete_failure(found, versions.get(found["Key"])))
            for found in reply.get("Errors", ())
            if found.get("Code") != "NoSuchKey" or versions.get(found["Key"]) is not None
        ]

    async def copy(self, src: str, dst: str, *, src_version: str | None = None, when: When = ALWAYS) -> ObjectInfo:
        """See `Backend.copy`. By parts above 5 GiB.

        Conditionally, on stores that are not Amazon's: by parts above 1 MiB, else read and put.
        """
        if self._amazon or when == ALWAYS:
            try:
                return await self._copy_whole(src, dst, src_version, when)
            except _TooLarge:
                pass
        if src == dst:
            return await self.copy_parts(await self._checked_head(src, 0, src_version), dst, when)
        copy = await copy_small(self._store, src, dst, src_version, when)
        source = copy.source
        if copy.reply is None:
            return await self.copy_parts(source, dst, when)
        if copy.modified is None:
            return await self.stored(dst, copy.reply, source.size or 0, source.content_type, source.metadata)
        return replace(source, key=dst, version=copy.reply["ETag"], modified=copy.modified, revision=copy.reply.get("VersionId"))

    async def _copy_whole(self, src: str, dst: str, src_version: str | None, when: When) -> ObjectInfo:
        # A copy onto itself is refused unless something changes.
        info = await self._checked_head(src, 0, src_version) if src == dst else None
        src_version = info.version if info is not None else src_version
        unchanged = {"CopySourceIfMatch": src_version} if src_version is not None else {}
        changed = {"MetadataDirective": "REPLACE", **described(info.content_type, info.metadata)} if info is not None else {}

        def work(s3: S3Client) -> Any:
            arguments = {**unchanged, **changed, **self._store.write, **self._every, **condition(when)}
            return s3.copy_object(Key=dst, CopySource={"Bucket": self._store.bucket, "Key": src}, **arguments)

        try:
            reply = await self._call(work, src if when == ALWAYS else dst, _copy_condition(src_version, when), long=True)
        except CloudContentsError as error:
            code = error_code(error)
            if code == "EntityTooLarge" or (code == "InvalidRequest" and "copy source" in str(error.__cause__).lower()):
                raise _TooLarge from error
            if isinstance(error, AlreadyExistsError | ConflictError) and when != ALWAYS:
                await self._checked_head(src, 0, src_version)  # tells a stale or missing source from a taken target
            raise
        stored = reply["CopyObjectResult"]
        return ObjectInfo(dst, None, stored["ETag"], moment(stored["LastModified"]), revision=reply.get("VersionId"))

    async def close(self) -> None:
        """See `Backend.close`."""
        await self._store.close()


class _WholeBody:
    """A body that is read to its very end with its last piece: the SDK compares the checksum only there."""

    def __init__(self, body: BlockingStream, length: int) -> None:
        self._body = body
        self._left = length

    def read(self, size: int, /) -> bytes:
        piece = self._body.read(size)
        self._left -= len(piece)
        if piece and not self._left:
            self._body.read(1)
        return piece

    def close(self) -> None:
        self._body.close()


class _TooLarge(Exception):
    """The source is larger than one CopyObject takes."""


def _copy_condition(src_version: str | None, when: When) -> When:
    return IfVersion(src_version) if when == ALWAYS and src_version is not None else when


def _delete_failure(found: Mapping[str, Any], version: str | None) -> Exception:
    if version is not None and found.get("Code") in ("PreconditionFailed", "NoSuchKey"):
        return ConflictError(f"{show(found['Key'])} has changed; it was not deleted.")
    error: Exception = failure(_code_error(found), found["Key"], ALWAYS)
    return error


def _code_error(found: Mapping[str, Any]) -> ClientError:
    return ClientError({"Error": {"Code": found.get("Code", ""), "Message": found.get("Message", "")}}, "DeleteObjects")
