"""Copy one object: within a bucket by the store itself, into another bucket streamed in bounded memory and verified."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import anyio.to_thread

from .backends.interface import ALWAYS, Always, Body, Capabilities, IfAbsent, IfVersion, ObjectInfo, Reader, SizedStream, When
from .bucket import WRITE_ID, Bucket
from .errors import ChecksumError
from .keys import show
from .moves import copy_object

#: Up to this many bytes a body goes through memory whole, so that a failed request can be sent again.
_SMALL = 4 << 20


async def transfer(src: Bucket, info: ObjectInfo, dst: Bucket, key: str, when: When = ALWAYS) -> ObjectInfo:
    """Copy one version of an object with its content type and metadata.

    The target is whole or not there. Between buckets at most a few MiB are in memory, and size and, where the stores tell it, SHA-256
    are compared. On a store without conditional writes the condition is checked just before.

    Args:
        src: Where it is.
        info: The object, in the version that is wanted.
        dst: Where it goes.
        key: Its key there.
        when: Precondition on the target; without one the target must be a fresh key.

    Raises:
        NotFoundError: The source is gone.
        ConflictError: The source has another version, or `IfVersion` does not hold.
        AlreadyExistsError: `IfAbsent`, and the target exists.
        ChecksumError: The copy is not what was read. A new target was removed again.
    """
    if src is dst:
        return await copy_object(dst, info, key, when)
    sent = when if _allows(dst.capabilities, when) else ALWAYS
    async with await src.get(info.key, if_version=info.version) as reader:
        read = reader.info
        digest = hashlib.sha256()
        pieces = _hashed(reader, digest)
        known = _sha256(read)
        body: Body
        if reader.length <= _SMALL:
            body = b"".join([piece async for piece in pieces])
            known = known or f"sha256:{digest.hexdigest()}"
        else:
            body = SizedStream(pieces, reader.length)
        metadata = {name: value for name, value in (read.metadata or {}).items() if name != WRITE_ID}
        copied = await dst.put(key, body, when=sent, content_type=read.content_type, metadata=metadata, checksum=known)
    wanted = f"sha256:{digest.hexdigest()}"
    if (_sha256(copied) or wanted) != wanted or copied.size not in (None, reader.length):
        if not isinstance(when, IfVersion):  # what was there before is never deleted
            await dst.delete(key, if_version=copied.version if dst.capabilities.delete_if_version else None)
        raise ChecksumError(f"The copy of {show(info.key)} is not what was read; try again.")
    return copied


def _sha256(info: ObjectInfo) -> str | None:
    return info.checksum if info.checksum and info.checksum.startswith("sha256:") else None


def _allows(capabilities: Capabilities, when: When) -> bool:
    if isinstance(when, Always):
        return True
    return capabilities.put_if_absent if isinstance(when, IfAbsent) else capabilities.put_if_version


async def _hashed(reader: Reader, digest: hashlib._Hash) -> AsyncIterator[bytes]:
    async for piece in reader:
        if len(piece) > 1 << 16:
            await anyio.to_thread.run_sync(digest.update, piece)
        else:
            digest.update(piece)
        yield piece
