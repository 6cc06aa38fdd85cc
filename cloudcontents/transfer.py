"""Copy one object: within a bucket by the store itself, into another bucket streamed in bounded memory and verified."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator

import anyio.to_thread

from .backends.interface import ALWAYS, Always, Body, Capabilities, IfAbsent, IfVersion, ObjectInfo, Reader, SizedStream, When
from .bucket import WRITE_ID, Bucket
from .errors import ChecksumError, ConflictError, DeadlineError, TruncatedError, UnavailableError
from .keys import show
from .moves import copy_object, delete_version

#: Up to this many bytes a body goes through memory whole, so that a failed request can be sent again.
LARGE = 4 << 20

#: How often in a row a line may break before a byte more has come.
_BREAKS = 3


async def transfer(src: Bucket, info: ObjectInfo, dst: Bucket, key: str, when: When = ALWAYS) -> ObjectInfo:
    """Copy one version of an object with its content type and metadata.

    The target is whole or not there. Between buckets at most a few MiB are in memory, and size, SHA-256 and MD5 are compared, as far as
    either store tells them. On a store without conditional writes the condition is checked just before.

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
        passed = _Passed()
        pieces = passed.through(_steady(src, reader), read)
        known = read.checksum if read.checksum and read.checksum.startswith("sha256:") else None
        body: Body
        if reader.length <= LARGE:
            body = b"".join([piece async for piece in pieces])
            known = known or passed.checksum("sha256")
        else:
            body = SizedStream(pieces, reader.length)
        metadata = {name: value for name, value in (read.metadata or {}).items() if name != WRITE_ID}
        copied = await dst.put(key, body, when=sent, content_type=read.content_type, metadata=metadata, checksum=known)
    if not passed.agrees(copied) or copied.size not in (None, reader.length):
        if not isinstance(when, IfVersion):  # what was there before is never deleted
            with contextlib.suppress(ConflictError):
                await delete_version(dst, key, copied.version)
        raise _damaged(info.key)
    return copied


class _Passed:
    """The digests of the bytes on their way."""

    def __init__(self) -> None:
        self._digests = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}

    async def through(self, pieces: AsyncIterator[bytes], source: ObjectInfo) -> AsyncIterator[bytes]:
        """The bytes of an object.

        Raises:
            ChecksumError: At their end: they are not what the store has.
        """
        async for piece in pieces:
            if len(piece) > 1 << 16:
                await anyio.to_thread.run_sync(self._update, piece)
            else:
                self._update(piece)
            yield piece
        if not self.agrees(source):
            raise _damaged(source.key)

    def _update(self, piece: bytes) -> None:
        for digest in self._digests.values():
            digest.update(piece)

    def checksum(self, algorithm: str) -> str:
        """As `ObjectInfo.checksum` has it."""
        return f"{algorithm}:{self._digests[algorithm].hexdigest()}"

    def agrees(self, info: ObjectInfo) -> bool:
        """Whether these are an object's bytes, as far as its store tells a checksum that is known here."""
        algorithm = (info.checksum or "").partition(":")[0]
        return algorithm not in self._digests or info.checksum == self.checksum(algorithm)


async def _steady(src: Bucket, reader: Reader) -> AsyncIterator[bytes]:
    """A reader's bytes; where the line breaks, the rest of that version is asked for anew. The caller closes the reader that it gave."""
    info, read, failures = reader.info, 0, 0
    async with contextlib.AsyncExitStack() as opened:
        while True:
            try:
                async for piece in reader:
                    read, failures = read + len(piece), 0 if piece else failures
                    yield piece
                return
            except (UnavailableError, DeadlineError, TruncatedError):
                failures += 1
                if failures > _BREAKS or read == info.size:
                    raise
            await opened.aclose()
            reader = await opened.enter_async_context(await src.get(info.key, start=read, if_version=info.version))


def _damaged(key: str) -> ChecksumError:
    return ChecksumError(f"The copy of {show(key)} is not what is stored; try again.")


def _allows(capabilities: Capabilities, when: When) -> bool:
    if isinstance(when, Always):
        return True
    return capabilities.put_if_absent if isinstance(when, IfAbsent) else capabilities.put_if_version
