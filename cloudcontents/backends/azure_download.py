"""A download from Azure as one request whose body is read as a stream."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from azure.storage.blob import BlobClient

from cloudcontents.errors import ChecksumError
from cloudcontents.keys import show

from .azure_names import metadata_of
from .azure_replies import taken
from .interface import ObjectInfo


def open_download(blob: BlobClient, key: str, *, start: int, length: int | None, condition: Mapping[str, Any]) -> Download:
    """Ask for a blob, or a range of it, and return when its headers are there. Blocks.

    Args:
        blob: The blob.
        key: Its key.
        start: First byte, not negative.
        length: Bytes wanted; None means up to the end.
        condition: The SDK's arguments of a precondition.
    """
    # Without a range the SDK, told that an empty blob has none, asks for it whole.
    wanted: dict[str, Any] = {"offset": start, "length": length} if start or length is not None else {}
    reply = taken(lambda hook: blob.download_blob(**wanted, raw_response_hook=hook, **condition))
    try:
        return Download(reply, key)
    except BaseException:
        reply.internal_response.close()
        raise


class Download:
    """The reply to a download: `info` of the whole blob, and its bytes by blocking reads.

    A blob that comes whole is compared with the MD5 that the store has of it.

    Attributes:
        info: The blob's info.
        length: Bytes that will come.
    """

    def __init__(self, reply: Any, key: str) -> None:
        headers = reply.headers
        self._reply = reply
        self._blocks: Iterator[bytes] = reply.stream_download(None, decompress=False)
        self._held = bytearray()
        self.length = self._left = int(headers["Content-Length"])
        total = headers.get("Content-Range", "").rpartition("/")[2]
        size = int(total) if total.isdecimal() else self.length
        told = headers.get("x-ms-blob-content-md5") or ("" if size != self.length else headers.get("Content-MD5", ""))
        digest = base64.b64decode(told) if headers.get("x-ms-blob-type", "BlockBlob") == "BlockBlob" else b""
        self._digest = digest
        self._hash = hashlib.md5(usedforsecurity=False) if digest and size == self.length else None
        self.info = ObjectInfo(
            key,
            size,
            headers["ETag"].strip('"'),
            parsedate_to_datetime(headers["Last-Modified"]),
            revision=headers.get("x-ms-version-id"),
            content_type=headers.get("Content-Type"),
            metadata=metadata_of({name[10:]: value for name, value in headers.items() if name.lower().startswith("x-ms-meta-")}),
            checksum=f"md5:{digest.hex()}" if digest else None,
        )

    def read(self, size: int, /) -> bytes:
        """Block for the next piece; empty at the end.

        Raises:
            ChecksumError: It was the last piece, and the bytes are not those that the store says it has.
        """
        while len(self._held) < size and (block := next(self._blocks, b"")):
            self._held += block
        piece = bytes(self._held[:size])
        del self._held[:size]
        self._left -= len(piece)
        if self._hash is not None:
            self._hash.update(piece)
            if not self._left and self._hash.digest() != self._digest:
                raise ChecksumError(f"The bytes of {show(self.info.key)} that arrived are not those that the store has; read it again.")
        return piece

    def close(self) -> None:
        """Give the connection back."""
        self._reply.internal_response.close()
