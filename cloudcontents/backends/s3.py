"""``s3://bucket/prefix``: Amazon S3 and stores that speak its protocol, on boto3's own core.

Every call runs in the backend's own threads. The version of an object is its ETag. Against Amazon's own S3 all preconditions are the
store's. Other stores of the protocol (`endpoint_url`) differ, so there a conditional copy is a multipart upload that copies on the server
and whose completion carries the condition, and a conditional delete is not offered.
"""

from __future__ import annotations

import asyncio
import base64
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.exceptions import ClientError

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
    PrefixInfo,
    Reader,
    SizedStream,
    When,
)
from .prefix import PrefixBackend
from .s3_buckets import S3Buckets
from .s3_client import OPTIONS, S3Client, S3Connection
from .s3_errors import error_code, failure
from .sdk import BlockingStream, SdkReader, checked, empty_reader

#: Largest object that one PUT or one CopyObject takes; beyond it, parts.
_ONE_REQUEST = 5 * 2**30
_PART = 8 * 2**20
_MOST_PARTS = 9_500
#: Parts of one upload on their way at once.
_WIDTH = 4

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


class S3Backend(Backend):
    """One bucket. Credentials come from boto3's own chain, and are looked up again when the store says that they have expired."""

    def __init__(self, url: StoreUrl, *, beside: S3Connection | None = None) -> None:
        self._store = store = S3Connection(url, beside=beside)
        self._call, self._threads = store.call, store.threads
        self._every = store.every
        # Others than Amazon's own are asked only for what all of them do.
        self._amazon = store.amazon
        self._part_check = {"ChecksumAlgorithm": "CRC32"} if store.check else {}
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
            ObjectInfo(found["Key"], found["Size"], found["ETag"], _time(found["LastModified"])) for found in reply.get("Contents", ())
        ]
        prefixes = [PrefixInfo(found["Prefix"]) for found in reply.get("CommonPrefixes", ())]
        return Page(objects, prefixes, reply.get("NextContinuationToken") if reply.get("IsTruncated") else None)

    async def head(self, key: str) -> ObjectInfo:
        """See `Backend.head`."""
        return _info(key, await self._call(lambda s3: s3.head_object(Key=key, **self._every), key))

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
        try:
            reply = await self._call(lambda s3: s3.get_object(**arguments), key, IfVersion(if_version) if if_version else ALWAYS)
        except RangeError:
            if start > 0:
                raise
            return self._empty(await self._checked_head(key, 0, if_version))
        whole = reply.get("ContentRange", "").rpartition("/")[2]
        size = int(whole) if whole.isdecimal() else reply["ContentLength"]
        info = _info(key, {**reply, "ContentLength": size})
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
        described = _described(content_type, metadata)
        if isinstance(body, SizedStream) and body.size > _PART:
            return await self._put_parts(key, body, when, described, checksum)
        data, digest = await read_whole(body, checksum)
        arguments = {**self._every, "Key": key, "Body": data, **described, **self._store.write, **_condition(when)}
        if checksum is not None or self._store.check:
            arguments["ChecksumSHA256"] = base64.b64encode(bytes.fromhex(digest.partition(":")[2])).decode()
        reply = await self._call(lambda s3: s3.put_object(**arguments), key, when)
        return await self._stored(key, reply, len(data), content_type, metadata)

    async def _put_parts(self, key: str, body: SizedStream, when: When, described: Mapping[str, Any], checksum: str | None) -> ObjectInfo:
        size = max(_PART, math.ceil(body.size / _MOST_PARTS))
        check = BodyCheck(body.size, checksum, hashed=checksum is not None)

        async def send(upload: str) -> list[dict[str, Any]]:
            done: list[dict[str, Any]] = []
            under_way: set[asyncio.Task[dict[str, Any]]] = set()
            try:
                number, held = 0, bytearray()
                async for piece in body.chunks:
                    await self._threads.run(lambda: check.update(piece))  # noqa: B023 - awaited at once
                    held += piece
                    while len(held) >= size:
                        number += 1
                        data, held = bytes(held[:size]), held[size:]
                        if len(under_way) >= _WIDTH:
                            finished, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                            done += [task.result() for task in finished]
                        under_way.add(asyncio.ensure_future(self._part(key, upload, number, data)))
                check.finish()
                if held:
                    under_way.add(asyncio.ensure_future(self._part(key, upload, number + 1, bytes(held))))
                done += await asyncio.gather(*under_way)
            except BaseException:
                for task in under_way:
                    task.cancel()
                await asyncio.gather(*under_way, return_exceptions=True)
                raise
            return done

        return await self._multipart(key, when, {**described, **self._part_check}, send, body.size)

    async def _part(self, key: str, upload: str, number: int, data: bytes) -> dict[str, Any]:
        reply = await self._call(
            lambda s3: s3.upload_part(Key=key, UploadId=upload, PartNumber=number, Body=data, **self._part_check, **self._every),
            key,
        )
        return _part_of(number, reply)

    async def _multipart(
        self,
        key: str,
        when: When,
        described: Mapping[str, Any],
        send: Callable[[str], Any],
        size: int,
    ) -> ObjectInfo:
        """A multipart upload whose completion carries the condition; aborted where anything fails."""
        begun = await self._call(lambda s3: s3.create_multipart_upload(Key=key, **described, **self._store.write, **self._every), key)
        upload = begun["UploadId"]
        try:
            parts = sorted(await send(upload), key=lambda part: part["PartNumber"])
            reply = await self._call(
                lambda s3: s3.complete_multipart_upload(
                    Key=key, UploadId=upload, MultipartUpload={"Parts": parts}, **self._every, **_condition(when)
                ),
                key,
                when,
                long=True,
            )
        except BaseException as error:
            if isinstance(error, UnavailableError) and await self._completed(key, upload):
                # The reply was lost, not the upload. Seen only where nobody has written since: his version must not pass for ours.
                info = await self._find(key)
                if info is not None and (info.size, info.metadata) == (size, described["Metadata"]):
                    return info
                raise
            await asyncio.shield(self._abort(key, upload))
            raise
        return await self._stored(key, reply, size, described.get("ContentType"), described.get("Metadata"))

    async def _completed(self, key: str, upload: str) -> bool:
        """Whether an upload that nobody aborted is no more, which is to say: became an object."""
        try:
            await self._call(lambda s3: s3.list_parts(Key=key, UploadId=upload, MaxParts=1, **self._every), key)
        except CloudContentsError as error:
            return error_code(error) == "NoSuchUpload"
        return False

    async def _find(self, key: str) -> ObjectInfo | None:
        try:
            return await self.head(key)
        except NotFoundError:
            return None

    async def _abort(self, key: str, upload: str) -> None:
        try:
            await self._call(lambda s3: s3.abort_multipart_upload(Key=key, UploadId=upload, **self._every), key)
        except CloudContentsError:
            return  # the bucket's lifecycle rule, or the next sweep, takes what is left; the first failure is the one to tell

    async def _stored(
        self, key: str, reply: Mapping[str, Any], size: int, content_type: str | None, metadata: Mapping[str, str] | None
    ) -> ObjectInfo:
        """What was stored, with its time; where that cannot be seen, or somebody was faster since, with the reply's own time."""
        try:
            info = await self.head(key)
            if info.version == reply["ETag"]:
                return info
        except CloudContentsError:
            pass  # the write itself is done
        told = reply.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
        modified = _time(parsedate_to_datetime(told) if told else datetime.now(timezone.utc))
        return ObjectInfo(
            key, size, reply["ETag"], modified, revision=reply.get("VersionId"), content_type=content_type, metadata=metadata or {}
        )

    async def delete(self, key: str, *, if_version: str | None = None) -> None:
        """See `Backend.delete`."""
        if if_version is not None and not self._amazon:
            raise UnsupportedError(_NO_CONDITIONAL_DELETE)
        condition = {"IfMatch": if_version} if if_version is not None else {}
        when = IfVersion(if_version) if if_version is not None else ALWAYS
        await self._call(lambda s3: s3.delete_object(Key=key, **condition, **self._every), key, when)

    async def delete_many(self, items: Sequence[tuple[str, str | None]]) -> Sequence[tuple[str, Exception]]:
        """See `BulkDelete.delete_many`; at most 1,000 keys a request."""
        refused: list[tuple[str, Exception]] = []
        if not self._amazon:
            refused = [(key, UnsupportedError(_NO_CONDITIONAL_DELETE)) for key, version in items if version is not None]
            items = [(key, version) for key, version in items if version is None]
        if not items:
            return refused
        objects = [{"Key": key, **({"ETag": version} if version is not None else {})} for key, version in items]
        reply = await self._call(lambda s3: s3.delete_objects(Delete={"Objects": objects, "Quiet": True}, **self._every))
        versions = dict(items)
        return refused + [
            (found["Key"], _delete_failure(found, versions.get(found["Key"])))
            for found in reply.get("Errors", ())
            if found.get("Code") != "NoSuchKey" or versions.get(found["Key"]) is not None
        ]

    async def copy(self, src: str, dst: str, *, src_version: str | None = None, when: When = ALWAYS) -> ObjectInfo:
        """See `Backend.copy`. Above 5 GiB, and conditionally on stores that are not Amazon's, by parts."""
        if self._amazon or when == ALWAYS:
            try:
                return await self._copy_whole(src, dst, src_version, when)
            except _TooLarge:
                pass
        return await self._copy_parts(await self._checked_head(src, 0, src_version), dst, when)

    async def _copy_whole(self, src: str, dst: str, src_version: str | None, when: When) -> ObjectInfo:
        # A copy onto itself is refused unless something changes.
        info = await self._checked_head(src, 0, src_version) if src == dst else None
        src_version = info.version if info is not None else src_version
        condition = {"CopySourceIfMatch": src_version} if src_version is not None else {}
        changed = {"MetadataDirective": "REPLACE", **_described(info.content_type, info.metadata)} if info is not None else {}

        def work(s3: S3Client) -> Any:
            source = {"Bucket": self._store.bucket, "Key": src}
            return s3.copy_object(
                Key=dst, CopySource=source, **condition, **changed, **self._store.write, **self._every, **_condition(when)
            )

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
        return ObjectInfo(dst, None, stored["ETag"], _time(stored["LastModified"]), revision=reply.get("VersionId"))

    async def _copy_parts(self, source: ObjectInfo, dst: str, when: When) -> ObjectInfo:
        size = source.size or 0
        described = _described(source.content_type, source.metadata)
        if size == 0:
            return await self.put(dst, b"", when=when, content_type=source.content_type, metadata=source.metadata)
        step = size if size <= _ONE_REQUEST else max(512 * 2**20, math.ceil(size / _MOST_PARTS))
        ranges = [(number + 1, first, min(first + step, size) - 1) for number, first in enumerate(range(0, size, step))]

        async def send(upload: str) -> list[dict[str, Any]]:
            async def one(number: int, first: int, last: int) -> dict[str, Any]:
                def work(s3: S3Client) -> Any:
                    return s3.upload_part_copy(
                        Key=dst,
                        UploadId=upload,
                        PartNumber=number,
                        CopySource={"Bucket": self._store.bucket, "Key": source.key},
                        CopySourceIfMatch=source.version,
                        **({"CopySourceRange": f"bytes={first}-{last}"} if len(ranges) > 1 else {}),
                        **self._every,
                    )

                reply = await self._call(work, source.key, IfVersion(source.version), long=True)
                return _part_of(number, reply["CopyPartResult"])

            return await asyncio.gather(*(one(*part) for part in ranges))

        return await self._multipart(dst, when, described, send, size)

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


def _described(content_type: str | None, metadata: Mapping[str, str] | None) -> dict[str, Any]:
    return {**({"ContentType": content_type} if content_type else {}), "Metadata": dict(metadata or {})}


def _condition(when: When) -> dict[str, Any]:
    if isinstance(when, IfAbsent):
        return {"IfNoneMatch": "*"}
    return {"IfMatch": when.version} if isinstance(when, IfVersion) else {}


def _copy_condition(src_version: str | None, when: When) -> When:
    return IfVersion(src_version) if when == ALWAYS and src_version is not None else when


def _part_of(number: int, reply: Mapping[str, Any]) -> dict[str, Any]:
    checksums = {name: value for name, value in reply.items() if name.startswith("Checksum") and name != "ChecksumType"}
    return {"PartNumber": number, "ETag": reply["ETag"], **checksums}


def _info(key: str, reply: Mapping[str, Any]) -> ObjectInfo:
    etag = reply["ETag"]
    plain = etag.strip('"')
    # Only of an object that was written whole, and not encrypted with a key of its own, is the ETag the MD5 of its content.
    is_md5 = len(plain) == 32 and "kms" not in reply.get("ServerSideEncryption", "") and "SSECustomerAlgorithm" not in reply
    return ObjectInfo(
        key,
        reply["ContentLength"],
        etag,
        _time(reply["LastModified"]),
        revision=reply.get("VersionId"),
        content_type=reply.get("ContentType"),
        metadata=dict(reply.get("Metadata", {})),
        checksum=f"md5:{plain}" if is_md5 else None,
    )


def _delete_failure(found: Mapping[str, Any], version: str | None) -> Exception:
    if version is not None and found.get("Code") in ("PreconditionFailed", "NoSuchKey"):
        return ConflictError(f"{show(found['Key'])} has changed; it was not deleted.")
    error: Exception = failure(_code_error(found), found["Key"], ALWAYS)
    return error


def _code_error(found: Mapping[str, Any]) -> ClientError:
    return ClientError({"Error": {"Code": found.get("Code", ""), "Message": found.get("Message", "")}}, "DeleteObjects")


def _time(told: datetime) -> datetime:
    # In whole seconds: some stores tell milliseconds in a listing and none elsewhere.
    return told.astimezone(timezone.utc).replace(microsecond=0)
