"""What S3 is told of an object, and what its replies tell."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from .interface import IfAbsent, IfVersion, ObjectInfo, When


def described(content_type: str | None, metadata: Mapping[str, str] | None) -> dict[str, Any]:
    """The arguments that describe an object which is written."""
    return {**({"ContentType": content_type} if content_type else {}), "Metadata": dict(metadata or {})}


def condition(when: When) -> dict[str, Any]:
    """The arguments of a precondition."""
    if isinstance(when, IfAbsent):
        return {"IfNoneMatch": "*"}
    return {"IfMatch": when.version} if isinstance(when, IfVersion) else {}


def info_of(key: str, reply: Mapping[str, Any]) -> ObjectInfo:
    """What the reply to a HEAD or a GET tells of an object."""
    etag = reply["ETag"]
    plain = etag.strip('"')
    # Only of an object that was written whole, and not encrypted with a key of its own, is the ETag the MD5 of its content.
    is_md5 = len(plain) == 32 and "kms" not in reply.get("ServerSideEncryption", "") and "SSECustomerAlgorithm" not in reply
    return ObjectInfo(
        key,
        reply["ContentLength"],
        etag,
        moment(reply["LastModified"]),
        revision=reply.get("VersionId"),
        content_type=reply.get("ContentType"),
        metadata=dict(reply.get("Metadata", {})),
        checksum=f"md5:{plain}" if is_md5 else None,
    )


def moment(told: datetime) -> datetime:
    """A time in whole seconds: some stores tell milliseconds in a listing and none elsewhere."""
    return told.astimezone(timezone.utc).replace(microsecond=0)
