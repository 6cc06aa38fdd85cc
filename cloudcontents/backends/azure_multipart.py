"""Uploads in parts to Azure Blob Storage: blocks of a private blob, which is copied to its name when all are there.

Blocks of the target itself would be gone as soon as somebody saves it: the list of uncommitted blocks belongs to the blob's name. A block's
name says the part's number and its SHA-256, so that the list of blocks tells everything, and other bytes under a number are another block.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from azure.storage.blob import ContainerClient

from cloudcontents.errors import AlreadyExistsError, ConflictError, NotFoundError, PartsChangedError, UnavailableError
from cloudcontents.keys import show

from .azure_client import AzureConnection
from .azure_errors import error_code
from .azure_names import check_writable
from .azure_replies import taken
from .azure_writes import commit_blocks, stage_block
from .body import read_whole, sha256_of
from .interface import ALWAYS, ObjectInfo, When
from .multipart import Part, PartRules, Upload

if TYPE_CHECKING:
    from .azure import AzureBackend

_BLOCK = re.compile(r"([0-9]{7})-([A-Za-z0-9_-]{43})")


def staging_blob(upload: Upload) -> str:
    """The key of the blob whose blocks are the parts."""
    return f"{upload.place}/blob"


def block_name(number: int, checksum: str) -> str:
    """The name of a part's block, of one length for all (the store asks for that, and for at most 64 bytes).

    Raises:
        UnsupportedError: The checksum is not ``sha256:<hex>``.
    """
    return f"{number:07d}-{base64.urlsafe_b64encode(sha256_of(checksum)).decode().rstrip('=')}"


class AzureParts:
    """`Multipart` of one container. Blocks that were not committed cannot be read, so it offers no `ReadParts`.

    The store drops uncommitted blocks a week after the last one came. An account that keeps versions or what was deleted keeps the private
    blob of an upload, too, as long as it keeps anything.

    Args:
        backend: The container.
        azure: The way to it.
    """

    part_rules = PartRules(max_bytes=4_000 * 2**20, most=50_000)

    def __init__(self, backend: AzureBackend, azure: AzureConnection) -> None:
        self._backend = backend
        self._azure = azure

    async def begin(
        self, key: str, *, place: str, part_size: int, content_type: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> Upload:
        """See `Multipart.begin`. No request: the first block makes the place."""
        check_writable(key)
        return Upload(key, place, "", part_size)

    async def put_part(self, upload: Upload, number: int, data: bytes, *, checksum: str) -> Part:
        """See `Multipart.put_part`. One request; the store compares the MD5."""
        await read_whole(data, checksum)
        name = block_name(number, checksum)
        await stage_block(self._azure, staging_blob(upload), name, data)
        return _part(name, len(data))

    async def list_parts(self, upload: Upload) -> Sequence[Part]:
        """See `Multipart.list_parts`. One request; the blocks of an upload that was cut off while it was completed are among them."""
        committed, uncommitted = await self._blocks(upload)
        held = {**committed, **uncommitted}
        return await self._azure.threads.run(lambda: [_part(name, size) for name, size in sorted(held.items())])

    async def complete(
        self,
        upload: Upload,
        parts: Sequence[Part],
        *,
        when: When = ALWAYS,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectInfo:
        """See `Multipart.complete`. Six requests, and one for each 256 MiB of what is larger than 5,000 MiB.

        What was cut off in between is gone on with: blocks that were committed as they should be are not committed again.
        """
        check_writable(upload.key)
        if parts:
            info = await self._publish(upload, await self._commit(upload, parts, content_type, metadata), when)
        else:
            info = await self._backend.put(upload.key, b"", when=when, content_type=content_type, metadata=metadata)
        await self.abort(upload)
        return info

    async def abort(self, upload: Upload) -> None:
        """See `Multipart.abort`. Blocks cannot be deleted before they are committed; an empty list of them drops them all."""
        key = staging_blob(upload)
        await commit_blocks(self._azure, key, [], ALWAYS, 0, None, None, tier={})
        await self._backend.delete(key)

    async def list_uploads(self, key: str) -> Sequence[Upload]:
        """See `Multipart.list_uploads`: this store names none."""
        return ()

    async def _commit(
        self, upload: Upload, parts: Sequence[Part], content_type: str | None, metadata: Mapping[str, str] | None
    ) -> ObjectInfo:
        """The private blob, made of these parts."""
        key, names = staging_blob(upload), [part.version for part in parts]
        size = sum(part.size for part in parts)
        committed, uncommitted = await self._blocks(upload)
        held = {**committed, **uncommitted}
        if any(held.get(part.version) != part.size for part in parts):
            raise _changed()
        if list(committed) != names:
            try:
                # In no tier that bills what is deleted early.
                await commit_blocks(self._azure, key, names, ALWAYS, size, content_type, metadata, tier={})
            except UnavailableError as error:
                if error_code(error) == "InvalidBlockList":
                    raise _changed() from error
                raise
        try:
            made = await self._backend.head(key)
        except NotFoundError as error:
            raise _changed() from error
        if made.size != size:
            raise PartsChangedError(f"The parts of {show(upload.key)} are not of the size they were; ask which parts are held.")
        return made

    async def _publish(self, upload: Upload, made: ObjectInfo, when: When) -> ObjectInfo:
        """Copy the private blob to the key, with the condition."""
        try:
            return await self._backend.copy_seen(made, upload.key, when)
        except (AlreadyExistsError, ConflictError, NotFoundError) as error:
            # Tells a private blob that somebody else is completing from a condition that does not hold.
            try:
                now = await self._backend.head(made.key)
            except NotFoundError:
                raise _changed() from error
            if now.version != made.version or isinstance(error, NotFoundError):
                raise _changed() from error
            raise

    async def _blocks(self, upload: Upload) -> tuple[dict[str, int], dict[str, int]]:
        """Names and sizes of the blocks that are committed, in their order, and of those that are not."""
        key = staging_blob(upload)

        def work(container: ContainerClient) -> tuple[dict[str, int], dict[str, int]]:
            blob = container.get_blob_client(key)
            # The SDK takes a second, with the interpreter locked, for a list of 50,000.
            reply = taken(lambda hook: blob.get_block_list("all", raw_response_hook=hook))
            root = ElementTree.fromstring(reply.body())  # noqa: S314 - the store's, over its own connection; the SDK reads it so too
            return _named(root, "CommittedBlocks"), _named(root, "UncommittedBlocks")

        try:
            return await self._azure.call(work, key)
        except NotFoundError:
            return {}, {}


def _named(root: ElementTree.Element, kind: str) -> dict[str, int]:
    found = ((_decoded(block.findtext("Name") or ""), int(block.findtext("Size") or 0)) for block in root.iterfind(f"{kind}/Block"))
    return {name: size for name, size in found if _BLOCK.fullmatch(name)}


def _decoded(name: str) -> str:
    return base64.b64decode(name).decode("ascii", "replace")


def _part(name: str, size: int) -> Part:
    number, _, digest = name.partition("-")
    return Part(int(number), size, name, f"sha256:{base64.urlsafe_b64decode(digest + '=').hex()}")


def _changed() -> PartsChangedError:
    return PartsChangedError("A part of the upload is gone or has changed; ask which parts are held.")
