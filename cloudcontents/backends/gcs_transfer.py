"""Bytes to and from Google Cloud Storage: upload sessions, the small upload's envelope, and checksums both ways."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from typing import Any

import google_crc32c
import requests

from cloudcontents.errors import ChecksumError, UnavailableError
from cloudcontents.keys import show

from .gcs_client import GcsClient
from .gcs_errors import GONE, Refusal
from .interface import ObjectInfo

#: Bytes of a stream that are sent at once, and the most that go without a session. The store wants multiples of 256 KiB.
CHUNK = 8 * 2**20

#: Bytes sent at once of a body that is in memory anyway.
SLICE = 64 * 2**20

# It has no types.
_CRC32C: Any = google_crc32c.Checksum

#: Without its C part, CRC32C would hold the interpreter for seconds.
_FAST_CRC = google_crc32c.implementation == "c"
_CONTINUE = 308
_PERSISTED = re.compile(r"bytes=0-(\d+)")


class Digest:
    """The checksum that the store compares with: CRC32C, or MD5 where Python has no fast one.

    Attributes:
        field: Its name in an object's description.
        name: Its name in the header ``x-goog-hash``.
    """

    def __init__(self) -> None:
        self._hash: Any = _CRC32C() if _FAST_CRC else hashlib.md5(usedforsecurity=False)
        self.field, self.name = ("crc32c", "crc32c") if _FAST_CRC else ("md5Hash", "md5")

    def update(self, piece: bytes) -> None:
        """Take the next piece."""
        self._hash.update(piece)

    def value(self) -> str:
        """As the store writes it."""
        return base64.b64encode(self._hash.digest()).decode()


def multipart(described: Mapping[str, Any], data: bytes) -> tuple[str, bytes]:
    """An object's description and its bytes as one body; returns its content type and itself."""
    boundary = secrets.token_hex(24)
    head = f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json.dumps(described)}\r\n"
    middle = f"--{boundary}\r\nContent-Type: {described['contentType']}\r\n\r\n"
    return f"multipart/related; boundary={boundary}", b"".join((head.encode(), middle.encode(), data, f"\r\n--{boundary}--\r\n".encode()))


class UploadSession:
    """One resumable upload, in order, each chunk sent once. Blocks: call it in a thread.

    The session's address is as good as a credential: whoever has it may write. It stays in here.

    Args:
        client: The way to the store.
        path: Where uploads begin.
        described: The object's description.
        params: Condition and key of the object.
        size: Bytes in all; more than none.
    """

    def __init__(self, client: GcsClient, path: str, described: Mapping[str, Any], params: Mapping[str, Any], size: int) -> None:
        self._client = client
        self._path = path
        self._described = described
        self._params = params
        self._size = size
        self._sent = 0
        self._digest = Digest()
        self._address: str | None = None

    def begin(self) -> None:
        """Open the session; nothing is visible in the bucket.

        Raises:
            Refusal: The store answered with an error.
        """
        headers = {
            "Content-Type": "application/json; charset=UTF-8",
            "X-Upload-Content-Type": self._described["contentType"],
            "X-Upload-Content-Length": str(self._size),
        }
        data = json.dumps(self._described).encode()
        with self._client.send("POST", self._path, {"uploadType": "resumable", **self._params}, headers=headers, data=data) as reply:
            self._address = reply.headers["Location"]

    def send(self, chunk: bytes) -> dict[str, Any] | None:
        """Send the next chunk. Returns the object where it was the last one.

        Raises:
            Refusal: The store answered with an error.
            ChecksumError: What the store has is not what was sent; it was taken away again.
        """
        self._digest.update(chunk)
        first, end = self._sent, self._sent + len(chunk)
        while True:
            reply = self._put(chunk[self._sent - first :], end)
            if reply is not None:
                return self._checked(reply)
            if self._sent == end:
                return None

    def _put(self, data: bytes, end: int) -> dict[str, Any] | None:
        """Send what is left of a chunk; the store may keep only the beginning, and says how much."""
        headers = {"Content-Range": f"bytes {self._sent}-{end - 1}/{self._size}"}
        if end == self._size:
            headers["x-goog-hash"] = f"{self._digest.name}={self._digest.value()}"
        try:
            reply = self._client.send("PUT", self._where(), headers=headers, data=data, expect=(200, 201, _CONTINUE))
        except Refusal as error:
            # Of a session, "not found" is said of itself.
            raise Refusal(GONE, error.reason, error.message, None) if error.status == 404 else error  # noqa: B904 - the same failure
        with reply:
            if reply.status_code != _CONTINUE:
                if end != self._size:
                    raise UnavailableError("The store ended the upload early; send it again.")
                found: dict[str, Any] = reply.json()
                return found
            told = _PERSISTED.fullmatch(reply.headers.get("Range", ""))
        kept = int(told.group(1)) + 1 if told else 0
        if not self._sent < kept <= end or kept == self._size:
            raise UnavailableError("The store lost a part of the upload; send it again.")
        self._sent = kept
        return None

    def _checked(self, reply: dict[str, Any]) -> dict[str, Any]:
        self._address = None
        told = reply.get(self._digest.field)
        if told is None or told == self._digest.value():
            return reply
        path = self._client.object_path(self._described["name"])
        self._client.json("DELETE", path, {"ifGenerationMatch": reply["generation"]})
        raise ChecksumError(f"The bytes of {show(self._described['name'])} were damaged on their way; send them again.")

    def abort(self) -> None:
        """Give the session up. Never fails: what is left of one is invisible, and the store drops it after a week. Safe to repeat."""
        address, self._address = self._address, None
        if address is not None:
            with contextlib.suppress(Exception), self._client.send("DELETE", address, expect=tuple(range(200, 600))):
                pass

    def _where(self) -> str:
        if self._address is None:
            raise UnavailableError("The upload was given up; send it again.")
        return self._address


class CheckedStream:
    """The bytes of a reply as the store holds them; of a whole object they are compared with the store's CRC32C.

    Args:
        response: The reply, its body unread.
        info: The object.

    Attributes:
        length: Bytes that it yields.
    """

    def __init__(self, response: requests.Response, info: ObjectInfo) -> None:
        self._response = response
        self._key = info.key
        headers = response.headers
        whole = response.status_code == 200
        # Compressed for the way only, and not so in the store.
        self._decode = whole and "Content-Encoding" in headers and headers.get("x-goog-stored-content-encoding") == "identity"
        told = headers.get("Content-Length")
        self.length = (info.size or 0) if self._decode or told is None else int(told)
        self._left = self.length
        self._expected = _crc(headers.get("x-goog-hash", "")) if whole and _FAST_CRC else None
        self._crc = _CRC32C()

    def read(self, size: int, /) -> bytes:
        """Block for the next piece; empty at the end.

        Raises:
            ChecksumError: These are not the bytes that the store holds.
        """
        piece: bytes = self._response.raw.read(size, decode_content=self._decode)
        if self._expected is not None and piece:
            self._crc.update(piece)
            self._left -= len(piece)
            if self._left == 0 and base64.b64encode(self._crc.digest()).decode() != self._expected:
                raise ChecksumError(f"The bytes of {show(self._key)} were damaged on their way; read it again.")
        return piece

    def close(self) -> None:
        """Give the connection back."""
        self._response.close()


def _crc(hashes: str) -> str | None:
    for part in hashes.split(","):
        name, _, value = part.strip().partition("=")
        if name == "crc32c":
            return value
    return None
