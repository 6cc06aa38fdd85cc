"""``/files/<path>``: a file streamed from the bucket, whole or a range of it, pinned to one version while it streams.

One request to the store; two where the answer hangs on what is there (a conditional request, a range that does not fit, If-Range of
another version). Nothing of the server's own disk is ever served.
"""

from __future__ import annotations

import mimetypes
import re

from tornado import web

from ..backends.interface import ObjectInfo, Reader
from ..errors import ConflictError, NotFoundError, PreconditionError, RangeError, WrongTypeError
from ..keys import show, split
from ..namespace import Location
from .conditions import (
    ByteRange,
    content_range,
    etag,
    http_date,
    if_match_fails,
    is_conditional,
    is_not_modified,
    parse_range,
    range_applies,
)
from .stream import StreamHandler

#: How often a request starts again when the file is overwritten between its two requests to the store.
_ATTEMPTS = 3

_MIME = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*(;\s*charset=[a-z0-9-]+)?\Z", re.ASCII | re.IGNORECASE)


class FilesHandler(StreamHandler):
    """The server's file route; `CloudContentsManager.files_handler_class`."""

    @web.authenticated
    async def get(self, path: str) -> None:
        """Send a file: 200, 206 with one Range, 304, 412 or 416."""
        location = await self._locate(path)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                await self._answer(location)
                return
            except ConflictError as error:
                # Overwritten between the question and the read. What is there now may answer the question differently.
                if isinstance(error, PreconditionError) or attempt == _ATTEMPTS:
                    raise

    @web.authenticated
    async def head(self, path: str) -> None:
        """Send what `get` would send, without the bytes; Range has no meaning here."""
        location = await self._locate(path)
        info = await self._info(location)
        if not self._is_settled(info):
            self._describe(location, info)
            if info.size is not None:
                self.set_header("Content-Length", str(info.size))
            await self.send_headers()

    async def _locate(self, path: str) -> Location:
        location = self.locate(path)
        if not location.path:
            raise _is_directory(path)
        return location

    async def _answer(self, location: Location) -> None:
        headers = self.request.headers
        self.set_status(200)  # an attempt before this one may have come as far as a range
        self.clear_header("Content-Range")
        info = await self._info(location) if is_conditional(headers) else None
        if info is not None and self._is_settled(info):
            return
        try:
            wanted = parse_range(headers.get("Range"))
            if info is not None and not range_applies(headers, info):
                wanted = None
            reader = await self._open(location, wanted, info)
        except RangeError as error:
            info = info or await self._info(location)
            if not range_applies(headers, info):
                reader, wanted = await self._open(location, None, info), None
            else:
                await self._refuse_range(error, info)
                return
        if wanted is not None and (not range_applies(headers, reader.info) or reader.info.size is None):
            await reader.aclose()
            reader, wanted = await self._open(location, None, None), None
        async with reader:
            await self._send_body(location, reader, wanted)

    async def _send_body(self, location: Location, reader: Reader, wanted: ByteRange | None) -> None:
        size = reader.info.size
        if wanted is not None and size is not None:
            if reader.length == 0:
                await self._refuse_range(RangeError("An empty file has no ranges."), reader.info)
                return
            start = max(size + wanted.start, 0) if wanted.start < 0 else wanted.start
            self.set_status(206)
            self.set_header("Content-Range", content_range(start, reader.length, size))
        self._describe(location, reader.info)
        self.set_header("Content-Length", str(reader.length))
        await self.stream(reader.__aiter__())

    async def _info(self, location: Location) -> ObjectInfo:
        entry = await location.tree.lookup(location.path, "file")
        if entry is None or entry.info is None:
            raise await self._missing(location)
        return entry.info

    async def _open(self, location: Location, wanted: ByteRange | None, info: ObjectInfo | None) -> Reader:
        start, length = (wanted.start, wanted.length) if wanted else (0, None)
        version = info.version if info else None
        try:
            return await location.tree.open(location.path, start=start, length=length, if_version=version)
        except NotFoundError:
            raise await self._missing(location) from None

    async def _missing(self, location: Location) -> Exception:
        """Why there is no file: it is a directory, or nothing at all."""
        if await location.tree.dir_exists(location.path):
            return _is_directory(location.path)
        return NotFoundError(f"{show(location.path)} does not exist.")

    def _is_settled(self, info: ObjectInfo) -> bool:
        """Whether the request's conditions are all the answer: 304 was sent.

        Raises:
            PreconditionError: If-Match does not hold.
        """
        headers = self.request.headers
        if if_match_fails(headers, info):
            raise PreconditionError("The file has another version than the one asked for; load it again.")
        if not is_not_modified(headers, info):
            return False
        self._set_validators(info)
        self.set_status(304)
        self.finish()
        return True

    def _describe(self, location: Location, info: ObjectInfo) -> None:
        name = split(location.path)[1]
        self._set_validators(info)
        self.set_header("Accept-Ranges", "bytes")
        self.set_type(content_type(name, info.content_type))
        if self.get_argument("download", None) or name.lower().endswith(".ipynb"):
            self.set_attachment_header(name)

    def _set_validators(self, info: ObjectInfo) -> None:
        self.set_header("Etag", etag(info))
        self.set_header("Last-Modified", http_date(info.modified))
        self.set_header("Cache-Control", "no-cache")

    async def _refuse_range(self, error: RangeError, info: ObjectInfo) -> None:
        if info.size is not None:
            self.set_header("Content-Range", f"bytes */{info.size}")
        self._content_type = "application/json"
        await self.reply({"message": error.message, "code": error.code, "reason": None}, error.http_status)


def content_type(name: str, stored: str | None = None) -> str:
    """What a file is served as: by its name, as the server does it; by what the store says where the name says nothing."""
    if name.lower().endswith(".ipynb"):
        return "application/x-ipynb+json"
    guessed, encoding = mimetypes.guess_type(name)
    if encoding is not None:  # the bytes are sent as they are, so a compressed file is its compression (RFC 6713)
        return "application/gzip" if encoding == "gzip" else "application/octet-stream"
    if guessed == "text/plain":
        return "text/plain; charset=UTF-8"
    if guessed is None and stored is not None and _MIME.match(stored):
        return stored
    return guessed or "application/octet-stream"


def _is_directory(path: str) -> WrongTypeError:
    return WrongTypeError(f"{show(path)} is a directory; download it as an archive.")
