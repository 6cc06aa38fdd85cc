"""Uploads in parts on any backend: each part is an object of its own below the upload's place, joined by one streamed write at the end.

For stores that have nothing better. The bytes go through this process once more when the upload is completed, one piece in memory at a
time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

from cloudcontents.errors import ConflictError, NotFoundError, PartsChangedError
from cloudcontents.parallel import for_each

from .interface import ALWAYS, Backend, BulkDelete, ObjectInfo, SizedStream, When
from .multipart import Part, PartRules, Upload


class PartObjects:
    """`Multipart` and `ReadParts` over a backend that has neither.

    A part's object is named by its number and its SHA-256, so that other bytes under the same number are another object, and a listing
    tells everything.

    Args:
        backend: Where the parts are kept, and the object is made.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.part_rules = PartRules(most=1_000_000)

    async def begin(
        self, key: str, *, place: str, part_size: int, content_type: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> Upload:
        """See `Multipart.begin`. No request: the first part makes the place."""
        return Upload(key, place, "", part_size)

    async def put_part(self, upload: Upload, number: int, data: bytes, *, checksum: str) -> Part:
        """See `Multipart.put_part`."""
        part = Part(number, len(data), "", checksum)
        info = await self._backend.put(part_name(upload, part), data, checksum=checksum)
        return replace(part, version=info.version)

    async def list_parts(self, upload: Upload) -> Sequence[Part]:
        """See `Multipart.list_parts`; one LIST per 1,000 parts."""
        prefix = f"{upload.place}/"
        parts: list[Part] = []
        token: str | None = None
        while True:
            page = await self._backend.list(prefix, page_token=token)
            for info in page.objects:
                number, dash, digest = info.key.removeprefix(prefix).partition("-")
                if dash and number.isdecimal():
                    parts.append(Part(int(number), info.size or 0, info.version, f"sha256:{digest}"))
            token = page.next_token
            if token is None:
                return parts

    async def complete(
        self,
        upload: Upload,
        parts: Sequence[Part],
        *,
        when: When = ALWAYS,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectInfo:
        """See `Multipart.complete`."""

        async def whole() -> AsyncIterator[bytes]:
            for part in parts:
                async for piece in self.read_part(upload, part):
                    yield piece

        body = SizedStream(whole(), sum(part.size for part in parts))
        info = await self._backend.put(upload.key, body, when=when, content_type=content_type, metadata=metadata)
        await self.abort(upload)
        return info

    async def read_part(self, upload: Upload, part: Part) -> AsyncIterator[bytes]:
        """See `ReadParts.read_part`."""
        try:
            reader = await self._backend.get(part_name(upload, part), if_version=part.version)
        except (NotFoundError, ConflictError) as error:
            raise PartsChangedError(f"Part {part.number} of the upload is gone or has changed; ask which parts are held.") from error
        async with reader:
            async for piece in reader:
                yield piece

    async def abort(self, upload: Upload) -> None:
        """See `Multipart.abort`."""
        names = [part_name(upload, part) for part in await self.list_parts(upload)]
        if isinstance(self._backend, BulkDelete):
            failures = await self._backend.delete_many([(name, None) for name in names])
            if failures:
                raise failures[0][1]
        else:
            await for_each(names, self._backend.delete)

    async def list_uploads(self, key: str) -> Sequence[Upload]:
        """See `Multipart.list_uploads`: this store names none."""
        return ()


def part_name(upload: Upload, part: Part) -> str:
    """The key of a part's object: its number and its SHA-256, below the upload's place."""
    return f"{upload.place}/{part.number:07d}-{(part.checksum or '').removeprefix('sha256:')}"
