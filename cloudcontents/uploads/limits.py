"""What may be uploaded: sizes, numbers, file types, room on the disk. Checked before a byte is taken, or at the first ones."""

from __future__ import annotations

import asyncio
import fnmatch
import shutil
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import puremagic

from ..bucket import Bucket
from ..errors import InvalidContentError, QuotaError, TooLargeError, TooManyUploadsError, UploadRefusedError
from ..keys import show
from .record import Record

#: Bytes of a file that tell its type.
_HEAD = 8192

#: Bytes of what a client may tell about its upload, as JSON or in headers.
_MOST_METADATA = 8192

#: Bytes that stay free on a disk.
_SPARE = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server allows. 0, or an empty list, is no limit.

    Attributes:
        max_bytes: Bytes of one file.
        max_active: Uploads of one user at once (of all users, where they have no names).
        max_pending_bytes: Bytes of one user's uploads together, as declared.
        allowed_types: MIME types, with ``*``, of which a file must have one.
        denied_types: MIME types, with ``*``, that are refused.
    """

    max_bytes: int = 5 * 2**30
    max_active: int = 1000
    max_pending_bytes: int = 0
    allowed_types: Sequence[str] = ()
    denied_types: Sequence[str] = ()

    def check_size(self, size: int | None) -> None:
        """Check a declared size.

        Raises:
            InvalidContentError: Not a size.
            TooLargeError: More than is allowed.
        """
        if size is None:
            return
        if isinstance(size, bool) or not isinstance(size, int) or size < 0 or size > 2**63 - 1:
            raise InvalidContentError("The size of a file is its number of bytes.")
        if self.max_bytes and size > self.max_bytes:
            raise TooLargeError(f"Files of at most {self.max_bytes} bytes are taken here; this one has {size}.")

    def check_more(self, size: int | None, active: Sequence[Record]) -> None:
        """Check one more upload beside those that a user has.

        Raises:
            TooManyUploadsError: They would be too many, or too much.
        """
        if self.max_active and len(active) >= self.max_active:
            raise TooManyUploadsError(f"{len(active)} uploads are under way; finish or cancel some first.")
        pending = sum(record.size or 0 for record in active) + (size or 0)
        if self.max_pending_bytes and pending > self.max_pending_bytes:
            raise TooManyUploadsError(
                f"Uploads under way would have {pending} bytes together, and {self.max_pending_bytes} are allowed; finish some first."
            )

    @property
    def has_types(self) -> bool:
        """Whether types are looked at."""
        return bool(self.allowed_types or self.denied_types)

    def check_type(self, head: bytes, path: str) -> None:
        """Check what a file is, by its first bytes.

        Raises:
            UploadRefusedError: Not allowed here.
        """
        found = sniff(head)
        denied = any(fnmatch.fnmatch(found, pattern) for pattern in self.denied_types)
        if denied or (self.allowed_types and not any(fnmatch.fnmatch(found, pattern) for pattern in self.allowed_types)):
            raise UploadRefusedError(f"{show(path)} is {found}, which is not taken here; ask who runs this server.")


def check_metadata(metadata: Mapping[str, str]) -> None:
    """Check what a client tells about its upload.

    Raises:
        InvalidContentError: Not text, or too much of it.
    """
    if not all(isinstance(text, str) for pair in metadata.items() for text in pair):
        raise InvalidContentError("The metadata of an upload is text by name.")
    if sum(len(name.encode()) + len(value.encode()) for name, value in metadata.items()) > _MOST_METADATA:
        raise InvalidContentError(f"The metadata of an upload has at most {_MOST_METADATA} bytes.")


async def check_room(bucket: Bucket, size: int | None) -> None:
    """Check that a disk has room, where the store is one.

    Raises:
        QuotaError: It has not.
    """
    place = bucket.local_path(".cloudcontents/")
    if place is None or not size:
        return

    def free() -> int | None:
        for directory in (place, place.rstrip("/").rpartition("/")[0] or "/"):
            try:
                return shutil.disk_usage(directory).free
            except OSError:
                continue
        return None

    left = await asyncio.to_thread(free)
    if left is not None and size + _SPARE > left:
        raise QuotaError(f"The disk has room for {max(left - _SPARE, 0)} more bytes, and this file has {size}; free some first.")


def sniff(head: bytes) -> str:
    """The MIME type that the first bytes of a file tell; ``text/plain`` or ``application/octet-stream`` where they tell no other."""
    try:
        found: str = puremagic.from_string(head, mime=True)
    except (puremagic.PureError, ValueError):
        found = ""
    if found:
        return found
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return "application/octet-stream" if error.start < len(head) - 4 else "text/plain"
    return "application/octet-stream" if b"\0" in head else "text/plain"


async def checked_stream(stream: AsyncIterable[bytes], limits: Limits, path: str) -> AsyncIterator[bytes]:
    """The same bytes, after the first of them were looked at.

    Raises:
        UploadRefusedError: A type that is not allowed; nothing was passed on.
    """
    pieces: list[bytes] = []
    size = 0
    decided = False
    async for piece in stream:
        if decided:
            yield piece
            continue
        pieces.append(piece)
        size += len(piece)
        if size >= _HEAD:
            await asyncio.to_thread(limits.check_type, b"".join(pieces)[:_HEAD], path)
            decided = True
            for held in pieces:
                yield held
            pieces = []
    if not decided and pieces:
        await asyncio.to_thread(limits.check_type, b"".join(pieces), path)
        for held in pieces:
            yield held
