"""What Google's two interfaces tell of an object, and how a version is written as their condition."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from cloudcontents.errors import ConflictError, InvalidContentError, InvalidPathError, NotFoundError
from cloudcontents.keys import show

from .interface import IfAbsent, IfVersion, ObjectInfo, When

#: What is asked of an object of the JSON interface.
FIELDS = "name,generation,size,updated,contentType,metadata,md5Hash,crc32c"

_LARGEST_GENERATION = 2**63 - 1


def object_info(key: str, reply: Mapping[str, Any], *, listed: bool = False) -> ObjectInfo:
    """From an object of the JSON interface."""
    return ObjectInfo(
        key,
        int(reply["size"]),
        str(reply["generation"]),
        # Whole seconds: the reply to a download tells no more.
        datetime.fromisoformat(reply["updated"].replace("Z", "+00:00")).replace(microsecond=0),
        revision=str(reply["generation"]),
        content_type=reply.get("contentType"),
        metadata=None if listed else {name.lower(): value for name, value in (reply.get("metadata") or {}).items()},
        checksum=_checksum(reply.get("md5Hash"), reply.get("crc32c")),
    )


def reply_info(key: str, headers: Mapping[str, str]) -> ObjectInfo:
    """From the headers of a download; `headers` do not tell upper case from lower."""
    hashes = dict(part.strip().split("=", 1) for part in headers.get("x-goog-hash", "").split(",") if "=" in part)
    return ObjectInfo(
        key,
        int(headers["x-goog-stored-content-length"]),
        headers["x-goog-generation"],
        parsedate_to_datetime(headers["Last-Modified"]).astimezone(timezone.utc),
        revision=headers["x-goog-generation"],
        content_type=headers.get("Content-Type"),
        metadata={
            name.lower().removeprefix("x-goog-meta-"): value for name, value in headers.items() if name.lower().startswith("x-goog-meta-")
        },
        checksum=_checksum(hashes.get("md5"), hashes.get("crc32c")),
    )


def _checksum(md5: str | None, crc32c: str | None) -> str | None:
    """The MD5 where the store has one; of an object that it composed it knows only the CRC."""
    if md5:
        return f"md5:{base64.b64decode(md5).hex()}"
    return f"crc32c:{base64.b64decode(crc32c).hex()}" if crc32c else None


def description(content_type: str | None, metadata: Mapping[str, str] | None) -> dict[str, Any]:
    """How an object is described that is about to be made.

    Raises:
        InvalidContentError: A content type that no header can hold.
    """
    if content_type is not None and not (content_type.isascii() and content_type.isprintable()):
        raise InvalidContentError("A content type is printable ASCII.")
    return {"contentType": content_type or "application/octet-stream", "metadata": dict(metadata or {})}


def condition(when: When, key: str) -> str | None:
    """A precondition as the store takes it, None for none."""
    if isinstance(when, IfAbsent):
        return "0"
    return generation(when.version, key) if isinstance(when, IfVersion) else None


def generation(version: str, key: str) -> str:
    """A version as the store takes it; 0 would mean "nothing is there", and what no generation can be is no version of the object."""
    if not (version.isascii() and version.isdecimal()) or not 0 < int(version) <= _LARGEST_GENERATION:
        raise ConflictError(f"{show(key)} has changed since it was read; read it again.")
    return version


def nameable(key: str) -> bool:
    """Whether the store can hold a key."""
    # The store has no such objects, and in a request's path they would mean the bucket itself.
    return key not in ("", ".", "..")


def check_name(key: str) -> None:
    """Refuse to write a key that cannot be.

    Raises:
        InvalidPathError: The store cannot hold it.
    """
    if not nameable(key):
        raise InvalidPathError(f"The store does not take the name {show(key)}; use another one.")


def check_found(key: str) -> None:
    """Refuse to look for a key that cannot be.

    Raises:
        NotFoundError: The store cannot hold it.
    """
    if not nameable(key):
        raise NotFoundError(f"{show(key)} does not exist.")
