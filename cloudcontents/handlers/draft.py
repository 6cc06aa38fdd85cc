"""Resumable uploads for HTTP, the IETF's draft: interop version 8, and the older ones that clients speak.

https://datatracker.ietf.org/doc/draft-ietf-httpbis-resumable-upload/
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import re
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from tornado.iostream import StreamClosedError

from ..errors import (
    ChecksumError,
    CloudContentsError,
    InvalidContentError,
    InvalidPathError,
    SupersededError,
    TooLargeError,
    UploadGoneError,
    WrongOffsetError,
)
from ..uploads.status import UploadStatus
from .digests import Digest, compared
from .upload_target import MediaTypeError, media_type, parse_metadata, target_condition, target_path

if TYPE_CHECKING:
    from .uploads import UploadsHandler

MEDIA_TYPE = "application/partial-upload"

#: Versions that are known, and the first ones in which something is as it is now.
_VERSIONS = range(3, 9)
_SAYS_COMPLETE = 4  # before: Upload-Incomplete, the reverse
_HAS_MEDIA_TYPE = 6
_ENDS_BY_WORD = 7  # before: complete when all bytes are there; clients of those versions may never say that they are

#: Seconds between two words of progress.
_PROGRESS = 1.0

_PROBLEMS = "https://iana.org/assignments/http-problem-types#"

#: Algorithms of `Content-Digest`.
DIGESTS: dict[str, Callable[[], Digest]] = {"sha-256": hashlib.sha256, "sha-512": hashlib.sha512}

_INTEGER = re.compile(r"-?\d{1,15}\Z")
_DIGEST = re.compile(r"([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/]*={0,2}):\Z")


class InconsistentLengthError(InvalidContentError):
    """Words about the length of an upload that do not go together."""

    code = "inconsistent_length"
    problem = "inconsistent-upload-length"


class CompletedUploadError(InvalidContentError):
    """Bytes for an upload that is complete."""

    code = "completed_upload"
    problem = "completed-upload"


class ContentDigestError(ChecksumError):
    """A body that is not what its `Content-Digest` says; nothing of it was kept."""

    retryable = False


class Draft:
    """One request in this dialect.

    Args:
        handler: The request's handler.
    """

    def __init__(self, handler: UploadsHandler) -> None:
        self._handler = handler
        self._headers = handler.request.headers
        self._uploads = handler.manager.uploads
        self._owner = handler.owner

    # --- what the request says ----------------------------------------------------------------------------------------------

    @property
    def told_version(self) -> int | None:
        """The interop version, where the client tells it."""
        return self._integer("Upload-Draft-Interop-Version")

    @property
    def version(self) -> int:
        """The interop version by which to answer."""
        return self.told_version or _VERSIONS[-1]

    @property
    def is_creation(self) -> bool:
        """Whether a POST begins an upload in this dialect."""
        return self._complete is not None or self.told_version is not None

    @property
    def _complete(self) -> bool | None:
        """Whether the client says that the file ends with this request. None: it does not say."""
        incomplete = self.version < _SAYS_COMPLETE
        value = _item(self._headers.get("Upload-Incomplete" if incomplete else "Upload-Complete"))
        return {"?1": not incomplete, "?0": incomplete}.get(value)

    def _integer(self, name: str) -> int | None:
        """A header that is a number of bytes; another value is as none."""
        value = _item(self._headers.get(name))
        return int(value) if _INTEGER.match(value) and int(value) >= 0 else None

    def _length(self, offset: int, known: int | None) -> int | None:
        """The length of the whole as far as it is known with this request.

        Raises:
            InconsistentLengthError: It is said in two ways.
        """
        told = self._integer("Upload-Length")
        streamed = "Transfer-Encoding" in self._headers
        rest = offset + self._body_length if self._complete and not streamed else None
        said = {length for length in (told, rest, known) if length is not None}
        if len(said) > 1:
            raise InconsistentLengthError("The length of this upload is said in two ways that differ.")
        return next(iter(said), None)

    @property
    def _body_length(self) -> int:
        value = self._headers.get("Content-Length", "0")
        return int(value) if value.isascii() and value.isdecimal() else 0

    # --- the verbs ----------------------------------------------------------------------------------------------------------

    async def create(self) -> None:
        """Begin an upload, and take what comes along."""
        handler = self._handler
        complete = self._greet()
        if self._headers.get("Content-Encoding", "identity") != "identity":
            raise MediaTypeError("Files are stored as they come; send the bytes without a Content-Encoding.")
        self._digests()
        size = self._length(0, None)
        if size is not None and self._body_length > size:
            raise InconsistentLengthError(f"This upload has {size} bytes, and more were announced; nothing was taken.")
        told = parse_metadata(self._headers.get("Upload-Metadata"))
        path = target_path(handler.path_argument(), told, self._headers)
        if not path:
            raise InvalidPathError("Say where the file goes: ?path=…, or a name in Content-Disposition.")
        body_type = media_type(self._headers)
        status = await self._uploads.start(
            path,
            size,
            metadata=told,
            content_type=told.get("filetype") or (body_type if body_type != MEDIA_TYPE else None) or None,
            sha256=self._repr_digest(),
            when=target_condition(told, self._headers),
            owner=self._owner,
            fingerprint=told.get("fingerprint"),
            protocol="draft",
        )
        handler.keep_header("Location", handler.address(status.id))
        handler.keep_header("Upload-Limit", self._limit(status))
        await self._interim(Location=handler.address(status.id), Upload_Limit=self._limit(status))
        handler.take(self._append(status, complete))

    async def retrieve(self, id: str) -> UploadStatus:
        """Where an upload goes on. A request that hangs on it is stopped first: its client is here again."""
        await self._uploads.interrupt(id, owner=self._owner)
        status = await self._uploads.status(id, owner=self._owner)
        self._handler.refuse_ended(status)
        if status.state != "complete" and status.size == status.offset and self.version < _ENDS_BY_WORD:
            status = await self._end(id)
        self.tell(status)
        if status.size is not None:
            self._handler.set_header("Upload-Length", str(status.size))
        self._handler.set_header("Cache-Control", "no-store")
        return status

    async def patch(self, id: str) -> None:
        """Begin to take more bytes."""
        handler = self._handler
        if self.version >= _HAS_MEDIA_TYPE and media_type(self._headers) != MEDIA_TYPE:
            raise MediaTypeError(f"The body of a PATCH has the Content-Type {MEDIA_TYPE}.")
        complete = self._greet()
        offset = self._integer("Upload-Offset")
        if offset is None:
            raise InvalidContentError("Say where the bytes belong: Upload-Offset.")
        self._digests()
        await self._uploads.interrupt(id, owner=self._owner)
        status = await self._uploads.status(id, owner=self._owner)
        handler.refuse_ended(status)
        if offset != status.offset:
            raise WrongOffsetError(status.offset)
        if status.state == "complete":
            if handler.has_body or not complete:
                raise CompletedUploadError("This upload is complete; nothing more can be added.")
            handler.take(_done(status))  # its client did not hear the answer
            return
        size = self._length(offset, status.size)
        if size is not None and offset + self._body_length > size:
            await self._exceeded(id, size)
        if size is not None and status.size is None:
            await self._uploads.declare_size(id, size, owner=self._owner)
            status = await self._uploads.status(id, owner=self._owner)
        handler.keep_header("Upload-Limit", self._limit(status))
        handler.take(self._append(status, complete))

    def tell(self, status: UploadStatus) -> None:
        """The headers of an answer: where it goes on, whether it is complete, for how long it waits."""
        self._say_complete(status.state == "complete")
        self._handler.keep_header("Upload-Limit", self._limit(status))
        self._handler.set_header("Upload-Offset", str(status.offset))

    def describe(self) -> None:
        """The header of an answer to OPTIONS."""
        self._handler.set_header("Upload-Limit", self._limit(None))

    # --- bytes --------------------------------------------------------------------------------------------------------------

    async def _append(self, status: UploadStatus, complete: bool) -> UploadStatus:
        id = status.id
        if self._handler.has_body:
            body: AsyncIterator[bytes] = self._handler.body.__aiter__()
            digests = self._digests()
            if digests:
                body = compared(body, digests, ContentDigestError)
            async with self._progress(status):
                try:
                    await self._uploads.append(id, status.offset, body, final=complete, owner=self._owner)
                except TooLargeError:
                    if status.size is not None:
                        await self._exceeded(id, status.size)
                    raise
            status = await self._uploads.status(id, owner=self._owner)
        if not complete and not (self.version < _ENDS_BY_WORD and status.offset == status.size):
            return status
        if status.offset != status.size:
            raise InconsistentLengthError(f"This upload was to end here, at byte {status.offset}, and was declared to have {status.size}.")
        return await self._end(id)

    async def _end(self, id: str) -> UploadStatus:
        """Make the file. Where that cannot be, the answer says that going on with the upload does not help."""
        try:
            return await self._uploads.complete(id, owner=self._owner)
        except CloudContentsError as error:
            if error.http_status < 500 and not isinstance(error, (SupersededError, UploadGoneError)):
                self._say_complete(True)
            raise

    async def _exceeded(self, id: str, size: int) -> None:
        """More bytes than the declared length: that upload is of no use any more.

        Raises:
            InconsistentLengthError: Always.
        """
        await self._uploads.cancel(id, owner=self._owner)
        raise InconsistentLengthError(f"This upload was declared to have {size} bytes, and more came; it was given up, begin it again.")

    # --- digests ------------------------------------------------------------------------------------------------------------

    def _digests(self) -> list[tuple[Digest, bytes]]:
        """By what to compare the body: each digest of `Content-Digest` that is known here.

        Raises:
            InvalidContentError: Not a digest, or none that is known: not to compare would be no answer.
        """
        told = self._digest_field("Content-Digest", list(DIGESTS))
        return [(DIGESTS[name](), digest) for name, digest in told.items()]

    def _repr_digest(self) -> str | None:
        """The SHA-256 of the whole, in hex, by `Repr-Digest`."""
        told = self._digest_field("Repr-Digest", ["sha-256"])
        return told["sha-256"].hex() if told else None

    def _digest_field(self, name: str, known: list[str]) -> dict[str, bytes]:
        header = self._headers.get(name)
        if header is None:
            return {}
        found: dict[str, bytes] = {}
        for member in header.split(","):
            match = _DIGEST.match(member.strip())
            try:
                if match is None:
                    raise ValueError(member)
                found[match[1]] = base64.b64decode(match[2], validate=True)
            except (ValueError, binascii.Error):
                raise InvalidContentError(f"{name} is an algorithm and the digest in base64 between colons, as sha-256=:…:.") from None
        found = {algorithm: digest for algorithm, digest in found.items() if algorithm in known}
        if not found:
            self._handler.keep_header(f"Want-{name}", ", ".join(f"{algorithm}=10" for algorithm in known))
            raise InvalidContentError(f"{name} is compared in {' and '.join(known)}.")
        return found

    # --- what is told -------------------------------------------------------------------------------------------------------

    def _greet(self) -> bool:
        """What every answer to bytes has, errors too; returns whether the file ends with this request.

        Raises:
            InvalidContentError: The client does not say.
        """
        self._say_complete(False)
        self._handler.keep_header("Upload-Limit", self._limit(None))
        complete = self._complete
        if complete is None:
            raise InvalidContentError("Say whether the file ends with this request: Upload-Complete: ?1, or ?0 where more follows.")
        return complete

    def _say_complete(self, complete: bool) -> None:
        old = self.version < _SAYS_COMPLETE
        self._handler.keep_header("Upload-Incomplete" if old else "Upload-Complete", "?1" if complete != old else "?0")

    def _limit(self, status: UploadStatus | None) -> str:
        limits = []
        most = self._uploads.limits.max_bytes
        if most:
            limits.append(f"max-size={most}")
        if status is not None and status.expires is not None:
            left = (status.expires - datetime.now(timezone.utc)).total_seconds()
            limits.append(f"max-age={max(int(left), 0)}")
        return ", ".join(limits) or "min-size=0"

    def problem(self, model: dict[str, Any], status_code: int, error: object) -> dict[str, Any]:
        """An error as problem details (RFC 9457), beside what our errors have everywhere."""
        told: dict[str, Any] = {"type": "about:blank", "title": model["code"], "status": status_code, "detail": model["message"], **model}
        if isinstance(error, WrongOffsetError):
            told["type"] = f"{_PROBLEMS}mismatching-upload-offset"
            told["expected-offset"] = error.offset
            told["provided-offset"] = self._integer("Upload-Offset")
        elif isinstance(error, (InconsistentLengthError, CompletedUploadError)):
            told["type"] = f"{_PROBLEMS}{error.problem}"
        return told

    # --- interim responses --------------------------------------------------------------------------------------------------

    @property
    def _has_interim(self) -> bool:
        """Whether to send 104: only where it is configured, and to who knows them by version."""
        return bool(self._handler.manager.upload_interim_responses) and self.told_version in _VERSIONS

    async def _interim(self, **headers: str) -> None:
        """Send a 104 (Upload Resumption Supported)."""
        if not self._has_interim or self._handler.request.version != "HTTP/1.1":
            return
        lines = {name.replace("_", "-"): value for name, value in headers.items()}
        lines["Upload-Draft-Interop-Version"] = str(self.told_version)
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        with contextlib.suppress(StreamClosedError):
            await self._handler.request.connection.stream.write(  # type: ignore[union-attr]
                f"HTTP/1.1 104 Upload Resumption Supported\r\n{text}\r\n".encode("latin-1")
            )

    @contextlib.asynccontextmanager
    async def _progress(self, status: UploadStatus) -> AsyncIterator[None]:
        """Tell while bytes come how many of them are in safety."""
        if not self._has_interim:
            yield
            return

        async def tell() -> None:
            told = status.offset
            async for now in self._uploads.watch(status.id, owner=self._owner, every=_PROGRESS):
                if now.offset > told:
                    told = now.offset
                    await self._interim(Upload_Offset=str(told))

        telling = asyncio.ensure_future(tell())
        try:
            yield
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)


def _item(header: str | None) -> str:
    """The value of a structured field's item, without its parameters."""
    return (header or "").partition(";")[0].strip()


async def _done(status: UploadStatus) -> UploadStatus:
    return status
