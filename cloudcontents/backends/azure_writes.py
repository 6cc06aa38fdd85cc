"""What the writes to Azure have in common: their condition, what their reply tells, and uploads in blocks."""

from __future__ import annotations

import hashlib
import math
import re
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from azure.core import MatchConditions
from azure.storage.blob import BlobBlock, ContainerClient, ContentSettings

from cloudcontents.errors import ConflictError
from cloudcontents.keys import show
from cloudcontents.parallel import for_each

from .azure_client import AzureConnection, patient
from .azure_names import written_metadata
from .body import BodyCheck, send_parts
from .interface import IfAbsent, IfVersion, ObjectInfo, SizedStream, When
from .sdk import persist

#: Bytes of a block, where those of one size suffice.
BLOCK = 8 * 2**20

# The store takes 50,000 blocks of at most 4,000 MiB.
_MOST_BLOCKS = 49_000
MOST_BYTES = _MOST_BLOCKS * 4_000 * 2**20

#: Bytes of one block that the store copies by itself.
_COPIED_BLOCK = 256 * 2**20

_PLAIN_VERSION = re.compile(r"[\x21\x23-\x7e]{1,256}\Z")


def is_plain_version(version: str) -> bool:
    """Whether a text may stand in a header as an ETag; what may not never was a version."""
    return _PLAIN_VERSION.match(version) is not None


def condition(when: When, key: str) -> dict[str, Any]:
    """The SDK's arguments of a precondition.

    Raises:
        ConflictError: No object ever had that version.
    """
    if isinstance(when, IfAbsent):
        return {"match_condition": MatchConditions.IfMissing}
    if isinstance(when, IfVersion):
        if not is_plain_version(when.version):
            raise ConflictError(f"{show(key)} never had that version.")
        return {"etag": f'"{when.version}"', "match_condition": MatchConditions.IfNotModified}
    return {}


def stored(
    key: str,
    reply: Mapping[str, Any],
    size: int | None,
    content_type: str | None,
    metadata: Mapping[str, str] | None,
    digest: bytes,
) -> ObjectInfo:
    """What was written, by the reply to the write; `digest` is its MD5, empty where that is not known."""
    return ObjectInfo(
        key,
        size,
        reply["etag"].strip('"'),
        reply["last_modified"],
        revision=reply.get("version_id"),
        content_type=content_type,
        metadata=dict(metadata or {}),
        checksum=f"md5:{digest.hex()}" if digest else None,
    )


def md5_of(info: ObjectInfo) -> bytes:
    """The MD5 of an object, empty where the store has none."""
    return bytes.fromhex((info.checksum or "").partition(":")[2])


async def stage_block(azure: AzureConnection, key: str, name: str, data: bytes) -> None:
    """Send one block of a blob. The store compares its MD5.

    Args:
        azure: The container.
        key: The blob.
        name: The block's; those of all blocks of a blob are of one length.
        data: Its bytes.
    """

    def work(container: ContainerClient) -> None:
        container.get_blob_client(key).stage_block(name, data, length=len(data), validate_content=True, **azure.scope)

    await azure.call(work, key)


async def commit_blocks(
    azure: AzureConnection,
    key: str,
    names: Sequence[str],
    when: When,
    size: int,
    content_type: str | None,
    metadata: Mapping[str, str] | None,
    *,
    digest: bytes = b"",
    tier: Mapping[str, Any],
) -> ObjectInfo:
    """Make a blob of its blocks, in one step and with a condition; `digest` is its MD5, empty where that is not known."""
    arguments = condition(when, key)

    def work(container: ContainerClient) -> ObjectInfo:
        reply = container.get_blob_client(key).commit_block_list(
            [BlobBlock(name) for name in names],
            content_settings=ContentSettings(content_type=content_type, content_md5=bytearray(digest) if digest else None),
            metadata=written_metadata(key, metadata),
            **arguments,
            **azure.scope,
            **tier,
        )
        return stored(key, reply, size, content_type, metadata, digest)

    return await azure.call(work, key, when)


class BlockUpload:
    """One object on its way in blocks, which nobody sees before they are committed.

    What is not committed the store drops after a week, or when somebody else writes the object; there is no call for it.

    Args:
        azure: The container.
        key: The object.
    """

    def __init__(self, azure: AzureConnection, key: str) -> None:
        self._azure = azure
        self._key = key
        # The names of all blocks of an object are of one length, and shared by all who write it.
        self._upload = secrets.token_hex(12)
        self._names: list[str] = []

    async def send(self, body: SizedStream, check: BodyCheck) -> bytes:
        """Send a stream, a few blocks at once and in memory; returns its MD5.

        Raises:
            TruncatedError: It was shorter or longer than its size.
            ChecksumError: It is not what its checksum says.
        """
        size = max(BLOCK, math.ceil(body.size / _MOST_BLOCKS))
        whole = hashlib.md5(usedforsecurity=False)

        def update(piece: bytes) -> None:
            check.update(piece)
            whole.update(piece)

        async def checked() -> AsyncIterator[bytes]:
            async for piece in body.chunks:
                await self._azure.threads.run(lambda: update(piece))  # noqa: B023 - awaited at once
                yield piece
            check.finish()

        async def send(_: int, data: bytes) -> None:
            name = self._name()
            await persist(lambda: stage_block(self._azure, self._key, name, data))

        await send_parts(checked(), size, send)
        return whole.digest()

    async def copy(self, source: str, size: int) -> None:
        """Let the store read the blocks from another object by itself."""
        step = max(_COPIED_BLOCK, math.ceil(size / _MOST_BLOCKS))

        async def one(part: tuple[str, int]) -> None:
            name, start = part

            def work(container: ContainerClient) -> None:
                container.get_blob_client(self._key).stage_block_from_url(
                    name,
                    **self._azure.source(source),
                    source_offset=start,
                    source_length=min(step, size - start),
                    **self._azure.scope,
                    **patient(),
                )

            await self._azure.call(work, source)

        await for_each([(self._name(), start) for start in range(0, size, step)], one)

    async def commit(
        self, when: When, size: int, content_type: str | None, metadata: Mapping[str, str] | None, digest: bytes
    ) -> ObjectInfo:
        """Make the object of its blocks, in one step and with a condition."""
        return await commit_blocks(
            self._azure, self._key, self._names, when, size, content_type, metadata, digest=digest, tier=self._azure.tier
        )

    def _name(self) -> str:
        self._names.append(f"{self._upload}-{len(self._names):06d}")
        return self._names[-1]
