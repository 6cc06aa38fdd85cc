"""Conditional copies of small objects on stores whose CopyObject knows no condition: read, and put under the condition.

Two requests, where a multipart upload that copies on the server takes five; a directory of many small files is renamed in half the time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from .interface import ALWAYS, IfVersion, ObjectInfo, When
from .s3_client import S3Client, S3Connection
from .s3_multipart import base64_of
from .s3_replies import condition, described, info_of, moment

#: Bytes up to which reading and writing is quicker than asking the store for each step.
SMALL = 2**20

#: What an object says of itself besides its type and metadata.
_DESCRIPTION = ("CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage")


@dataclass(frozen=True, slots=True)
class SmallCopy:
    """What became of it.

    Attributes:
        source: The source as it was read.
        reply: To the write; None where the source is not small, and nothing was written.
        modified: The time of the copy, where the replies tell it.
    """

    source: ObjectInfo
    reply: Mapping[str, Any] | None = None
    modified: datetime | None = None


async def copy_small(store: S3Connection, src: str, dst: str, src_version: str | None, when: When) -> SmallCopy:
    """Copy an object if it is small. A repeat is as safe as that of a conditional PUT.

    Raises:
        NotFoundError: No such source.
        ConflictError: The source has another version, or `IfVersion` does not hold.
        AlreadyExistsError: `IfAbsent`, and the target exists.
    """
    unchanged = {"IfMatch": src_version} if src_version is not None else {}

    def fetch(s3: S3Client) -> tuple[Mapping[str, Any], dict[str, Any] | None]:
        found = s3.get_object(Key=src, **unchanged, **store.every)
        if found["ContentLength"] > SMALL:
            found["Body"].close()
            return found, None
        data = found["Body"].read()
        digest = {"ChecksumSHA256": base64_of(f"sha256:{hashlib.sha256(data).hexdigest()}")} if store.check else {}
        told = {name: found[name] for name in _DESCRIPTION if name in found}
        return found, {"Body": data, **digest, **told, **described(found.get("ContentType"), found.get("Metadata"))}

    found, arguments = await store.call(fetch, src, IfVersion(src_version) if src_version is not None else ALWAYS)
    source = info_of(src, found)
    if arguments is None:
        return SmallCopy(source)
    arguments |= {"Key": dst, **store.write, **store.every, **condition(when)}
    reply = await store.call(lambda s3: s3.put_object(**arguments), dst, when)
    return SmallCopy(source, reply, _time(found, reply))


def _time(before: Mapping[str, Any], after: Mapping[str, Any]) -> datetime | None:
    """When something was written between two replies, if they are of the same second by the store's clock."""
    told = [reply.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date") for reply in (before, after)]
    return moment(parsedate_to_datetime(told[0])) if told[0] and told[0] == told[1] else None
