"""tus 1.0.0: creation (with upload, with deferred length), checksum, expiration, termination, concatenation, method override.

https://tus.io/protocols/resumable-upload
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..errors import (
    ChecksumError,
    CloudContentsError,
    InvalidContentError,
    InvalidPathError,
    TooLargeError,
    WrongOffsetError,
)
from ..uploads.status import UploadStatus
from .conditions import http_date
from .digests import Digest, compared
from .upload_target import MediaTypeError, format_metadata, media_type, parse_metadata, target_condition, target_path

if TYPE_CHECKING:
    from .uploads import UploadsHandler

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,creation-defer-length,checksum,expiration,termination,concatenation"
MEDIA_TYPE = "application/offset+octet-stream"

_MOST = (1 << 63) - 1


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


#: Algorithms of ``Upload-Checksum``. SHA-1 since the specification asks for it; it finds damage, and keeps no secret.
CHECKSUMS: dict[str, Callable[[], Digest]] = {
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "sha256": hashlib.sha256,
    "crc32": _Crc32,
}


class VersionError(CloudContentsError):
    """Another version of tus than this server speaks."""

    code = "tus_version"
    http_status = 412


class FinalUploadError(CloudContentsError, ValueError):
    """Bytes for an upload that was put together from others."""

    code = "final_upload"
    http_status = 403


class TusChecksumError(ChecksumError):
    """The body has another checksum than its header says; nothing of it was kept."""

    http_status = 460
    retryable = False


class Tus:
    """One request in this dialect.

    Args:
        handler: The request's handler.
    """

    def __init__(self, handler: UploadsHandler) -> None:
        self._handler = handler
        self._headers = handler.request.headers
        self._uploads = handler.manager.uploads
        self._owner = handler.owner

    def check_version(self) -> None:
        """Raise for another version.

        Raises:
            VersionError: The client speaks one that is not known here.
        """
        if self._headers.get("Tus-Resumable") != VERSION:
            self._handler.keep_header("Tus-Version", VERSION)
            raise VersionError(f"This server speaks tus {VERSION}.")

    def describe(self) -> None:
        """The headers of an answer to OPTIONS."""
        handler = self._handler
        handler.set_header("Tus-Version", VERSION)
        handler.set_header("Tus-Extension", EXTENSIONS)
        handler.set_header("Tus-Checksum-Algorithm", ",".join(CHECKSUMS))
        limit = self._uploads.limits.max_bytes
        if limit:
            handler.set_header("Tus-Max-Size", str(limit))

    # --- creation -----------------------------------------------------------------------------------------------------------

    async def create(self) -> UploadStatus | None:
        """Begin an upload, and take its first bytes where they come along; None where its body is still being taken."""
        told = parse_metadata(self._headers.get("Upload-Metadata"))
        concat = self._headers.get("Upload-Concat", "")
        if concat.startswith("final"):
            return await self._concatenate(concat, told)
        size = self._length("Upload-Length")
        if self._headers.get("Upload-Defer-Length", "1") != "1" or (size is None and "Upload-Defer-Length" not in self._headers):
            raise InvalidContentError("Say how long the file is (Upload-Length), or that this comes later (Upload-Defer-Length: 1).")
        if concat not in ("", "partial"):
            raise InvalidContentError("Upload-Concat is 'partial', or 'final;' and the URLs of partial uploads.")
        if self._handler.has_body and media_type(self._headers) != MEDIA_TYPE:
            raise MediaTypeError(f"The body of an upload has the Content-Type {MEDIA_TYPE}.")
        self._algorithm()
        partial = concat == "partial"
        status = await self._uploads.start(
            self._path(told, partial=partial),
            size,
            metadata=told,
            content_type=told.get("filetype") or told.get("contentType"),
            sha256=told.get("sha256"),
            when=target_condition(told, self._headers),
            owner=self._owner,
            fingerprint=told.get("fingerprint"),
            protocol="tus",
            is_partial=partial,
        )
        handler = self._handler
        handler.keep_header("Location", handler.address(status.id))
        if self._handler.has_body:
            handler.take(self._append(status.id, 0))
            return None
        if size == 0:
            status = await self._uploads.complete(status.id, owner=self._owner)
        return status

    async def _concatenate(self, concat: str, told: Mapping[str, str]) -> UploadStatus:
        if "Upload-Length" in self._headers:
            raise InvalidContentError("The length of a concatenation is that of its pieces; send no Upload-Length.")
        ids = [urlsplit(address).path.rpartition("/")[2] for address in concat.partition(";")[2].split()]
        if not ids:
            raise InvalidContentError("Upload-Concat names no partial uploads.")
        status = await self._uploads.concatenate(
            self._path(told), ids, metadata=told, when=target_condition(told, self._headers), owner=self._owner, pieces=concat
        )
        self._handler.keep_header("Location", self._handler.address(status.id))
        return status

    def _path(self, told: Mapping[str, str], *, partial: bool = False) -> str:
        path = target_path(self._handler.path_argument(), told, self._headers)
        if path is None and partial:
            return "partial"
        if not path:
            raise InvalidPathError("Say where the file goes: 'path' in Upload-Metadata, or ?path=….")
        return path

    # --- going on -----------------------------------------------------------------------------------------------------------

    async def head(self, id: str) -> None:
        """Where an upload goes on. A request that hangs on it is stopped first: its client is here again."""
        handler = self._handler
        await self._uploads.interrupt(id, owner=self._owner)
        status = await self._uploads.status(id, owner=self._owner)
        handler.refuse_ended(status)
        if status.state != "complete" and status.size is not None and status.offset == status.size:
            # The last bytes came and their answer was lost, or the file could not be made then. A client takes this offset for success.
            await self._uploads.complete(id, owner=self._owner)
            status = await self._uploads.status(id, owner=self._owner)
        handler.set_header("Cache-Control", "no-store")
        self._tell(status)
        if status.metadata:
            handler.set_header("Upload-Metadata", format_metadata(status.metadata))
        if status.size is None:
            handler.set_header("Upload-Defer-Length", "1")
        else:
            handler.set_header("Upload-Length", str(status.size))
        concat = "partial" if status.is_partial else status.pieces
        if concat is not None:
            handler.set_header("Upload-Concat", concat)

    async def patch(self, id: str) -> None:
        """Begin to take more bytes."""
        handler = self._handler
        if media_type(self._headers) != MEDIA_TYPE:
            raise MediaTypeError(f"The body of a PATCH has the Content-Type {MEDIA_TYPE}.")
        offset = self._length("Upload-Offset")
        if offset is None:
            raise InvalidContentError("Say where the bytes belong: Upload-Offset.")
        self._algorithm()
        await self._uploads.interrupt(id, owner=self._owner)
        status = await self._uploads.status(id, owner=self._owner)
        handler.refuse_ended(status)
        if status.pieces is not None:
            raise FinalUploadError("This upload was put together from others; nothing can be added to it.")
        if offset != status.offset:
            raise WrongOffsetError(status.offset)
        size = self._length("Upload-Length")
        if size is not None:
            await self._uploads.declare_size(id, size, owner=self._owner)
        known = size if size is not None else status.size
        length = self._length("Content-Length")
        if known is not None and length is not None and offset + length > known:
            raise TooLargeError(f"This upload has {known} bytes, and more were announced; nothing was taken.")
        handler.take(self._append(id, offset))

    async def _append(self, id: str, offset: int) -> UploadStatus:
        body: AsyncIterator[bytes] = self._handler.body.__aiter__()
        told = self._algorithm()
        if told is not None:
            body = compared(body, [(CHECKSUMS[told[0]](), told[1])], TusChecksumError)
        await self._uploads.append(id, offset, body, owner=self._owner)
        status = await self._uploads.status(id, owner=self._owner)
        if status.size is not None and status.offset == status.size:
            return await self._uploads.complete(id, owner=self._owner)
        return status

    def _tell(self, status: UploadStatus) -> None:
        handler = self._handler
        handler.set_header("Upload-Offset", str(status.offset))
        if status.expires is not None:
            handler.set_header("Upload-Expires", http_date(status.expires))

    async def end(self, status: UploadStatus, code: int) -> None:
        """Answer a request that brought bytes, or began an upload."""
        handler = self._handler
        handler.set_status(code)
        self._tell(status)
        handler.finish()

    # --- checksums ----------------------------------------------------------------------------------------------------------

    def _algorithm(self) -> tuple[str, bytes] | None:
        header = self._headers.get("Upload-Checksum")
        if header is None:
            return None
        name, _, value = header.strip().partition(" ")
        if name not in CHECKSUMS:
            raise InvalidContentError(f"Checksums are taken in {', '.join(CHECKSUMS)}.")
        try:
            return name, base64.b64decode(value.strip(), validate=True)
        except (ValueError, binascii.Error):
            raise InvalidContentError("Upload-Checksum is the algorithm, a space and the digest in base64.") from None

    def _length(self, name: str) -> int | None:
        value = self._headers.get(name)
        if value is None:
            return None
        if not (value.isascii() and value.isdecimal()) or len(value) > 30 or int(value) > _MOST:
            raise InvalidContentError(f"{name} is a number of bytes.")
        return int(value)
