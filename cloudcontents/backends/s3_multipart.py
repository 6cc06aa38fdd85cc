"""Objects in parts on S3: its own multipart uploads, kept for days or made in one go (streams, and copies of what is too large for one).

An upload is begun on the object's own key, and nothing is to be seen there before its end. What has arrived is asked of the store, part by
part with the SHA-256 that the store has checked.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from cloudcontents.errors import (
    AlreadyExistsError,
    CloudContentsError,
    ConflictError,
    NotFoundError,
    UnavailableError,
    UnsupportedError,
)
from cloudcontents.keys import show

from .body import BodyCheck, send_parts
from .interface import ALWAYS, Backend, IfVersion, ObjectInfo, SizedStream, When
from .multipart import Part, PartRules, Upload
from .s3_client import S3Client, S3Connection
from .s3_errors import error_code
from .s3_replies import condition, described, moment
from .sdk import persist

#: Largest object that one PUT or one CopyObject takes; beyond it, parts.
ONE_REQUEST = 5 * 2**30
#: Bytes of a part of what goes up in one go.
PART = 8 * 2**20

_MOST_PARTS = 9_500
_PAGE = 1000
_ABORTS = 3


class S3Multipart(Backend):
    """The part of `S3Backend` that knows parts: `Multipart`.

    Args:
        store: The bucket's connection.
    """

    #: See `Multipart.part_rules`.
    part_rules = PartRules(min_bytes=5 * 2**20, max_bytes=5 * 2**30, most=10_000)

    def __init__(self, store: S3Connection) -> None:
        self._store = store
        # An upload that was begun so takes no part without its SHA-256.
        self._part_check = {"ChecksumAlgorithm": "SHA256"} if store.check else {}

    async def begin(
        self, key: str, *, place: str, part_size: int, content_type: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> Upload:
        """See `Multipart.begin`. The place is not used."""
        upload = await self._begin(key, {**described(content_type, metadata), **self._part_check})
        return Upload(key, place, upload.id, part_size)

    async def put_part(self, upload: Upload, number: int, data: bytes, *, checksum: str) -> Part:
        """See `Multipart.put_part`."""
        return await self._put_part(upload, number, data, checksum)

    async def list_parts(self, upload: Upload) -> Sequence[Part]:
        """See `Multipart.list_parts`; one request for each 1,000 parts."""
        parts: list[Part] = []
        arguments = {**self._of(upload), "MaxParts": _PAGE}
        while True:
            reply = await self._store.call(lambda s3: s3.list_parts(**arguments), upload.key)
            parts += [_part(found["PartNumber"], found["Size"], found) for found in reply.get("Parts", ())]
            if not reply.get("IsTruncated"):
                return parts
            arguments["PartNumberMarker"] = reply["NextPartNumberMarker"]

    async def complete(
        self,
        upload: Upload,
        parts: Sequence[Part],
        *,
        when: When = ALWAYS,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectInfo:
        """See `Multipart.complete`.

        Raises:
            InvalidContentError: A part that is not the last one has less than 5 MiB.
        """
        if not parts:
            return await self._complete_empty(upload, when, content_type, metadata)
        table = [_entry(part) for part in parts]

        def work(s3: S3Client) -> Any:
            return s3.complete_multipart_upload(**self._of(upload), MultipartUpload={"Parts": table}, **condition(when))

        try:
            reply = await self._store.call(work, upload.key, when, long=True)
        except (AlreadyExistsError, ConflictError):
            # Stores look at the condition first: an upload that became the object itself would be refused because of that object.
            await self._check_there(upload)
            raise
        return await self.stored(upload.key, reply, sum(part.size for part in parts), content_type, metadata)

    async def abort(self, upload: Upload) -> None:
        """See `Multipart.abort`. Asks whether parts are left: one that was on its way may arrive after the abort."""
        for _ in range(_ABORTS):
            try:
                await self._store.call(lambda s3: s3.abort_multipart_upload(**self._of(upload)), upload.key)
                await self._check_there(upload)
            except NotFoundError:
                return
        raise UnavailableError(f"Parts of {show(upload.key)} keep arriving; abort its upload again in a moment.")

    async def list_uploads(self, key: str) -> Sequence[Upload]:
        """See `Multipart.list_uploads`; asks for the exact key, which is all that MinIO answers.

        Raises:
            PermissionDeniedError: The credentials lack ``s3:ListBucketMultipartUploads``.
        """
        found: list[Upload] = []
        arguments: dict[str, Any] = {**self._store.every, "Prefix": key, "MaxUploads": _PAGE}
        while True:
            reply = await self._store.call(lambda s3: s3.list_multipart_uploads(**arguments), key)
            uploads = reply.get("Uploads", ())
            found += [Upload(key, "", upload["UploadId"], 0) for upload in uploads if upload["Key"] == key]
            # The key itself is the first of all that begin with it.
            if not reply.get("IsTruncated") or any(upload["Key"] != key for upload in uploads):
                return found
            arguments.update(KeyMarker=reply["NextKeyMarker"], UploadIdMarker=reply["NextUploadIdMarker"])

    # --- in one go ----------------------------------------------------------------------------------------------------------

    async def put_stream(
        self,
        key: str,
        body: SizedStream,
        when: When,
        content_type: str | None,
        metadata: Mapping[str, str] | None,
        checksum: str | None,
    ) -> ObjectInfo:
        """Store what is not in memory: a few parts of it are, at any time."""
        size = max(PART, math.ceil(body.size / _MOST_PARTS))
        check = BodyCheck(body.size, checksum, hashed=checksum is not None)

        async def checked() -> AsyncIterator[bytes]:
            async for piece in body.chunks:
                await self._store.threads.run(lambda: check.update(piece))  # noqa: B023 - awaited at once
                yield piece
            check.finish()

        async def send(upload: Upload) -> list[Part]:
            return await send_parts(checked(), size, lambda number, data: self._persist_part(upload, number, data))

        return await self._in_one_go(key, when, content_type, metadata, body.size, send, self._part_check)

    async def copy_parts(self, source: ObjectInfo, dst: str, when: When) -> ObjectInfo:
        """Copy within the store, by parts; the condition is that of the completion."""
        size = source.size or 0
        if size == 0:
            return await self.put(dst, b"", when=when, content_type=source.content_type, metadata=source.metadata)
        step = size if size <= ONE_REQUEST else max(512 * 2**20, math.ceil(size / _MOST_PARTS))
        pieces = [(source, first, min(first + step, size) - 1) for first in range(0, size, step)]
        return await self._join(pieces, dst, when, source.content_type, source.metadata)

    async def compose(
        self,
        sources: Sequence[ObjectInfo],
        key: str,
        *,
        when: When = ALWAYS,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectInfo:
        """See `Compose.compose`. All but the last need 5 MiB, as parts do."""
        full = [source for source in sources if source.size]
        if not full or any((source.size or 0) < self.part_rules.min_bytes for source in full[:-1]):
            raise UnsupportedError("S3 joins objects of at least 5 MiB; send the bytes instead.")
        step = max(512 * 2**20, math.ceil(sum(source.size or 0 for source in full) / _MOST_PARTS))
        pieces = [(source, first, last) for source in full for first, last in _slices(source.size or 0, step, self.part_rules.min_bytes)]
        return await self._join(pieces, key, when, content_type, metadata)

    async def _join(
        self,
        pieces: Sequence[tuple[ObjectInfo, int, int]],
        key: str,
        when: When,
        content_type: str | None,
        metadata: Mapping[str, str] | None,
    ) -> ObjectInfo:
        """An object of pieces of others, each given by its first and last byte, copied by the store at once."""

        async def send(upload: Upload) -> list[Part]:
            async def one(number: int, source: ObjectInfo, first: int, last: int) -> Part:
                whole = (first, last + 1) == (0, source.size)

                def work(s3: S3Client) -> Any:
                    return s3.upload_part_copy(
                        **self._of(upload),
                        PartNumber=number,
                        CopySource={"Bucket": self._store.bucket, "Key": source.key},
                        CopySourceIfMatch=source.version,
                        **({} if whole else {"CopySourceRange": f"bytes={first}-{last}"}),
                    )

                reply = await persist(lambda: self._store.call(work, source.key, IfVersion(source.version), long=True))
                return _part(number, last + 1 - first, reply["CopyPartResult"])

            return await asyncio.gather(*(one(number, *piece) for number, piece in enumerate(pieces, 1)))

        size = sum(last + 1 - first for _, first, last in pieces)
        return await self._in_one_go(key, when, content_type, metadata, size, send, {})

    async def _in_one_go(
        self,
        key: str,
        when: When,
        content_type: str | None,
        metadata: Mapping[str, str] | None,
        size: int,
        send: Callable[[Upload], Awaitable[list[Part]]],
        check: Mapping[str, str],
    ) -> ObjectInfo:
        """An upload of this call alone: aborted where anything fails."""
        upload = await self._begin(key, {**described(content_type, metadata), **check})
        try:
            parts = sorted(await send(upload), key=lambda part: part.number)
            return await self.complete(upload, parts, when=when, content_type=content_type, metadata=metadata)
        except BaseException as error:
            if isinstance(error, UnavailableError) and await self._is_gone(upload):
                # The reply was lost, not the upload. Seen only where nobody has written since: his version must not pass for ours.
                info = await self._find(key)
                if info is not None and (info.size, info.metadata) == (size, dict(metadata or {})):
                    return info
                raise
            await asyncio.shield(self._forget(upload))
            if isinstance(error, CloudContentsError) and error_code(error) == "NoSuchUpload":
                raise UnavailableError(f"The upload of {show(key)} was ended by somebody else; send it again.") from error
            raise

    async def _forget(self, upload: Upload) -> None:
        try:
            await self.abort(upload)
        except CloudContentsError:
            return  # the bucket's lifecycle rule takes what is left; the first failure is the one to tell

    async def _find(self, key: str) -> ObjectInfo | None:
        try:
            return await self.head(key)
        except NotFoundError:
            return None

    # --- the requests -------------------------------------------------------------------------------------------------------

    async def _begin(self, key: str, arguments: Mapping[str, Any]) -> Upload:
        arguments = {**arguments, **self._store.write, **self._store.every}
        begun = await self._store.call(lambda s3: s3.create_multipart_upload(Key=key, **arguments), key)
        return Upload(key, "", begun["UploadId"], 0)

    async def _persist_part(self, upload: Upload, number: int, data: bytes) -> Part:
        return await persist(lambda: self._put_part(upload, number, data, None))

    async def _put_part(self, upload: Upload, number: int, data: bytes, checksum: str | None) -> Part:
        def work(s3: S3Client) -> Any:
            # As a file: of bytes the SDK would make one more copy, to send it with the headers.
            body = io.BytesIO(data)
            return s3.upload_part(**self._of(upload), PartNumber=number, Body=body, **self._proof(data, checksum))

        return _part(number, len(data), await self._store.call(work, upload.key))

    def _proof(self, data: bytes, checksum: str | None) -> dict[str, str]:
        """What the store compares a part's bytes with. Hashes: for a thread."""
        if self._store.check:
            return {"ChecksumSHA256": base64_of(checksum or f"sha256:{hashlib.sha256(data).hexdigest()}")}
        if checksum is not None:
            check = BodyCheck(len(data), checksum)
            check.update(data)
            check.finish()
        # All that a store without the newer checksums knows.
        return {"ContentMD5": base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()}

    async def _complete_empty(self, upload: Upload, when: When, content_type: str | None, metadata: Mapping[str, str] | None) -> ObjectInfo:
        """S3 makes no object of no parts."""
        await self._check_there(upload)
        info = await self.put(upload.key, b"", when=when, content_type=content_type, metadata=metadata)
        await self.abort(upload)
        return info

    async def _check_there(self, upload: Upload) -> None:
        """Raise `NotFoundError` where the store knows no such upload."""
        await self._store.call(lambda s3: s3.list_parts(**self._of(upload), MaxParts=1), upload.key)

    async def _is_gone(self, upload: Upload) -> bool:
        """Whether an upload that nobody aborted is no more, which is to say: became an object."""
        try:
            await self._check_there(upload)
        except CloudContentsError as error:
            return error_code(error) == "NoSuchUpload"
        return False

    def _of(self, upload: Upload) -> dict[str, Any]:
        return {"Key": upload.key, "UploadId": upload.id, **self._store.every}

    async def stored(
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
        modified = moment(parsedate_to_datetime(told) if told else datetime.now(timezone.utc))
        return ObjectInfo(
            key, size, reply["ETag"], modified, revision=reply.get("VersionId"), content_type=content_type, metadata=metadata or {}
        )


def base64_of(checksum: str) -> str:
    """``sha256:<hex>`` as S3 writes it."""
    return base64.b64encode(bytes.fromhex(checksum.partition(":")[2])).decode()


def _slices(size: int, step: int, least: int) -> list[tuple[int, int]]:
    """First and last byte of each slice of an object; none is shorter than the least, for which the last one may be longer."""
    firsts = list(range(0, size, step))
    if len(firsts) > 1 and size - firsts[-1] < least:
        firsts.pop()
    return [(first, (firsts[at + 1] if at + 1 < len(firsts) else size) - 1) for at, first in enumerate(firsts)]


def _part(number: int, size: int, told: Mapping[str, Any]) -> Part:
    digest = told.get("ChecksumSHA256")
    return Part(number, size, told["ETag"], f"sha256:{base64.b64decode(digest).hex()}" if digest else None)


def _entry(part: Part) -> dict[str, Any]:
    """A part as a completion names it: with the checksum that the store has told, which it compares once more."""
    return {"PartNumber": part.number, "ETag": part.version, **({"ChecksumSHA256": base64_of(part.checksum)} if part.checksum else {})}
