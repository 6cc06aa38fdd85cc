"""Uploads in parts to Google Cloud Storage: an object for each part, joined by the store itself.

A compose takes 32 objects and makes one, and takes composed objects too; how many parts are in one in the end is not limited, only that it
has 5 TiB at the most (https://cloud.google.com/storage/docs/composite-objects, https://cloud.google.com/storage/quotas). So the parts are
the leaves of a tree, whose last compose makes the object, with the condition. What was composed on the way lies below the upload's place
under a name that tells its sources: an attempt that was broken off is gone on with.

What is composed has the class of its sources. Parts are of class STANDARD, since the other classes bill what is deleted early; an object
that is to be of another class is composed beside its parts and then rewritten, which the store does by itself.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from cloudcontents.crc import CRC32C, combined
from cloudcontents.errors import ChecksumError, NotFoundError, PartsChangedError, PermissionDeniedError
from cloudcontents.keys import show
from cloudcontents.parallel import for_each

from .gcs_client import COPYING, GcsClient
from .gcs_errors import Refusal, failure
from .gcs_objects import FIELDS, check_name, condition, description, object_info
from .gcs_transfer import multipart
from .interface import ALWAYS, ObjectInfo, When
from .multipart import Part, Upload
from .part_objects import PartObjects, part_name
from .sdk import SdkThreads

if TYPE_CHECKING:
    from .gcs import GcsBackend

T = TypeVar("T")

#: Objects that one request composes.
_SOURCES = 32

#: The class of parts. Nothing is billed for their deletion.
CLASS = "STANDARD"

#: Classes for which it is; objects of the others are as good as STANDARD ones.
_BILLED = ("NEARLINE", "COLDLINE", "ARCHIVE")

_LISTED = "items(name,generation,size,crc32c),nextPageToken"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Source:
    """An object that is composed, in one generation of it."""

    name: str
    generation: str
    size: int
    crc: int

    @classmethod
    def of(cls, reply: Mapping[str, Any]) -> _Source:
        """From an object of the JSON interface."""
        crc = int.from_bytes(base64.b64decode(reply["crc32c"]), "big")
        return cls(reply["name"], str(reply["generation"]), int(reply["size"]), crc)


class GcsParts(PartObjects):
    """`Multipart` and `ReadParts` of one bucket.

    Where a retention policy or a hold of the bucket forbids deletions, uploads are completed all the same, and their parts stay, billed,
    until it lets them go; `abort` says `PermissionDeniedError`. A lifecycle rule that deletes what is old below the reserved prefix of
    uploads then cleans up.

    Args:
        backend: The bucket.
        client: Its requests.
        threads: Where they run.
        storage_class: What objects are to be of, where that is configured.
        kms_key: What they are encrypted with, where that is configured.
    """

    def __init__(
        self, backend: GcsBackend, client: GcsClient, threads: SdkThreads, *, storage_class: str | None, kms_key: str | None
    ) -> None:
        super().__init__(backend)
        self._bucket = backend
        self._client = client
        self._threads = threads
        self._class = storage_class
        self._kms_key = kms_key

    async def put_part(self, upload: Upload, number: int, data: bytes, *, checksum: str) -> Part:
        """See `Multipart.put_part`. One request up to 8 MiB, two above; the store compares the CRC."""
        name = part_name(upload, Part(number, len(data), "", checksum))
        info = await self._bucket.put_as(CLASS, name, data, checksum=checksum)
        return Part(number, len(data), info.version, checksum)

    async def complete(
        self,
        upload: Upload,
        parts: Sequence[Part],
        *,
        when: When = ALWAYS,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectInfo:
        """See `Multipart.complete`. A LIST for each 1,000 parts, a compose for each 32, and a deletion for each that was composed.

        Raises:
            ChecksumError: What the store composed is not what it was told to, by its own CRC. It was taken away; the parts are kept.
        """
        check_name(upload.key)
        described = description(content_type, metadata)
        if parts:
            info = await self._join_all(upload, parts, described, when)
        else:
            info = await self._bucket.put(upload.key, b"", when=when, content_type=content_type, metadata=metadata)
        try:
            await self.abort(upload)
        except PermissionDeniedError:
            _log.warning("A retention policy or a hold keeps the parts of an upload: %s", show(upload.place))
        return info

    async def abort(self, upload: Upload) -> None:
        """See `Multipart.abort`. Generation by generation, so that a versioned bucket keeps none of what was replaced either."""

        async def one(source: _Source) -> None:
            path = self._client.object_path(source.name)
            try:
                await self._call(lambda: self._client.json("DELETE", path, {"generation": source.generation}), source.name)
            except NotFoundError:
                return

        await for_each(await self._list(upload.place, versions=True), one)

    # --- composing ----------------------------------------------------------------------------------------------------------

    async def _join_all(self, upload: Upload, parts: Sequence[Part], described: Mapping[str, Any], when: When) -> ObjectInfo:
        held = {source.name: source for source in await self._list(upload.place)}
        row: Sequence[_Source] = [_held(held, part_name(upload, part), part) for part in parts]
        whole = await self._threads.run(lambda: _expected(row))
        while len(row) > _SOURCES:
            row = await self._join_row(upload, row, held)
        storage_class = await self._target_class(upload)
        if storage_class in _BILLED:
            joined = await self._join(upload, row, held, described)
            try:
                info = await self._bucket.copy_as(storage_class, joined.name, upload.key, src_version=joined.generation, when=when)
            except NotFoundError as error:
                raise _changed() from error
            return info
        return await self._publish(upload, row, described, when, whole)

    async def _join_row(self, upload: Upload, row: Sequence[_Source], held: Mapping[str, _Source]) -> Sequence[_Source]:
        """The next row of the tree, up to 32 of the last one in each."""
        groups = [row[at : at + _SOURCES] for at in range(0, len(row), _SOURCES)]
        joined: dict[int, _Source] = {}

        async def one(number: int) -> None:
            group = groups[number]
            joined[number] = group[0] if len(group) == 1 else await self._join(upload, group, held, description(None, None))

        await for_each(range(len(groups)), one)
        return [joined[number] for number in range(len(groups))]

    async def _join(self, upload: Upload, group: Sequence[_Source], held: Mapping[str, _Source], described: Mapping[str, Any]) -> _Source:
        """Compose below the place, or find what was composed there before, or is by somebody else at this moment."""
        told = json.dumps([[[source.name, source.generation] for source in group], described], sort_keys=True)
        name = f"{upload.place}/joined/{hashlib.sha256(told.encode()).hexdigest()}"
        expected = _expected(group)
        made = held.get(name)
        if made is None:
            try:
                made = _Source.of(await self._compose(name, group, described, "0"))
            except Refusal as error:
                if error.status not in (404, 412):
                    raise failure(error, name) from error
                made = {source.name: source for source in await self._list(upload.place)}.get(name)
        if made is None:
            raise _changed()
        if (made.size, made.crc) != expected:
            raise ChecksumError(f"What the store made of the parts of {show(upload.key)} is not what they are; complete the upload again.")
        return made

    async def _publish(
        self, upload: Upload, row: Sequence[_Source], described: Mapping[str, Any], when: When, expected: tuple[int, int]
    ) -> ObjectInfo:
        """The last compose, which makes the object."""
        try:
            reply = await self._compose(upload.key, row, described, condition(when, upload.key))
        except Refusal as error:
            if error.status == 404 or (error.status == 412 and (when == ALWAYS or not await self._are_there(upload, row))):
                if error.status == 404:
                    await self._list(upload.place)  # tells a bucket that is gone
                raise _changed() from error
            raise failure(error, upload.key, when) from error
        made = _Source.of(reply)
        if (made.size, made.crc) != expected:
            path = self._client.object_path(upload.key)
            await self._call(lambda: self._client.json("DELETE", path, {"ifGenerationMatch": made.generation}), upload.key)
            raise ChecksumError(f"What the store made of the parts of {show(upload.key)} is not what they are; complete the upload again.")
        return object_info(upload.key, reply)

    async def _compose(self, name: str, sources: Sequence[_Source], described: Mapping[str, Any], match: str | None) -> dict[str, Any]:
        """One request.

        Raises:
            Refusal: The store answered with an error.
        """
        told = {
            "sourceObjects": [
                {
                    "name": source.name,
                    "generation": source.generation,
                    "objectPreconditions": {"ifGenerationMatch": source.generation},
                }
                for source in sources
            ],
            "destination": dict(described),
        }
        params = {"ifGenerationMatch": match, "kmsKeyName": self._kms_key, "fields": FIELDS}
        arguments: dict[str, Any] = {
            "headers": {"Content-Type": "application/json"},
            "data": json.dumps(told).encode(),
            "timeout": COPYING,
        }
        try:
            return await self._threads.run(
                lambda: self._client.json("POST", f"{self._client.object_path(name)}/compose", params, **arguments)
            )
        except Refusal:
            raise
        except Exception as error:
            raise failure(error, name) from error

    async def _target_class(self, upload: Upload) -> str:
        """The class that objects are to be of; where none is configured, the one that the bucket gives to a new object."""
        if self._class is None:
            probe = f"{upload.place}/class"
            content_type, content = multipart({"name": probe, **description(None, None)}, b"")
            arguments = {"headers": {"Content-Type": content_type}, "data": content}
            path = f"/upload/storage/v1/b/{quote(self._client.bucket, safe='')}/o"
            params = {"uploadType": "multipart", "kmsKeyName": self._kms_key, "fields": "storageClass"}
            reply = await self._call(lambda: self._client.json("POST", path, params, **arguments))
            with contextlib.suppress(PermissionDeniedError):  # a retention policy's; it is empty
                await self._bucket.delete(probe)
            self._class = str(reply["storageClass"])
        return self._class

    # --- what lies at the place ---------------------------------------------------------------------------------------------

    async def _are_there(self, upload: Upload, row: Sequence[_Source]) -> bool:
        return set(row) <= set(await self._list(upload.place))

    async def _list(self, place: str, *, versions: bool = False) -> Sequence[_Source]:
        """Everything below a place; with `versions`, what was replaced too."""
        params = {"prefix": f"{place}/", "versions": "true" if versions else None, "fields": _LISTED}
        found: list[_Source] = []
        token: str | None = None
        while True:
            page = await self._call(
                lambda: self._client.json(
                    "GET",
                    f"/storage/v1/b/{quote(self._client.bucket, safe='')}/o",
                    {**params, "pageToken": token},  # noqa: B023 - awaited at once
                )
            )
            found += map(_Source.of, page.get("items", ()))
            token = page.get("nextPageToken")
            if token is None:
                return found

    async def _call(self, work: Callable[[], T], key: str = "") -> T:
        try:
            return await self._threads.run(work)
        except Exception as error:
            raise failure(error, key) from error


def _held(held: Mapping[str, _Source], name: str, part: Part) -> _Source:
    source = held.get(name)
    if source is None or (source.generation, source.size) != (part.version, part.size):
        raise _changed()
    return source


def _expected(sources: Sequence[_Source]) -> tuple[int, int]:
    """Size and CRC of sources in a row."""
    crc = combined([(source.crc, source.size) for source in sources], polynomial=CRC32C)
    return sum(source.size for source in sources), crc


def _changed() -> PartsChangedError:
    return PartsChangedError("A part of the upload is gone or has changed; ask which parts are held.")
