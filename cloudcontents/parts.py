"""`Parts`: what arrives in parts, on any bucket; the store's own multipart upload, or part objects, with deadlines, retries and metrics.

Beside `Bucket`, and built on it, as `Bucket` is on `Backend`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from . import metrics
from .backends.interface import ALWAYS, ObjectInfo, When
from .backends.multipart import Compose, Multipart, Part, PartRules, ReadParts, Upload
from .backends.part_objects import PartObjects
from .bucket import SLOWEST, WRITE_ID, Bucket
from .errors import AlreadyExistsError, ConflictError, DeadlineError, NotFoundError, RateLimitedError, UnavailableError, UnsupportedError


class Parts:
    """The uploads in parts of one bucket. Bound to no event loop; each call is tried again after a passing failure."""

    def __init__(self, bucket: Bucket) -> None:
        backend = bucket.backend
        self._bucket = bucket
        self._store: Multipart = backend if isinstance(backend, Multipart) else PartObjects(backend)

    @property
    def rules(self) -> PartRules:
        """What the store asks of parts."""
        return self._store.part_rules

    @property
    def are_readable(self) -> bool:
        """Whether parts can be read before the object is complete."""
        return isinstance(self._store, ReadParts)

    async def begin(
        self, key: str, *, place: str, part_size: int, content_type: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> tuple[Upload, bool]:
        """Begin an upload; see `Multipart.begin`.

        Returns:
            The upload, and whether an earlier try may have begun another one, its reply lost: `list_uploads` finds that.
        """
        lost = False

        async def call() -> Upload:
            nonlocal lost
            try:
                return await self._store.begin(key, place=place, part_size=part_size, content_type=content_type, metadata=metadata)
            except (UnavailableError, DeadlineError) as error:
                lost = lost or not isinstance(error, RateLimitedError)
                raise

        return await self._bucket.attempt("begin", call), lost

    async def put(self, upload: Upload, number: int, data: bytes, *, checksum: str) -> Part:
        """Store one part; see `Multipart.put_part`. A repeat is safe."""
        allowed = self._bucket.patience.deadline + len(data) / SLOWEST
        part = await self._bucket.attempt(
            "put_part", lambda: self._store.put_part(upload, number, data, checksum=checksum), deadline=allowed
        )
        metrics.WRITTEN_BYTES.labels(self._bucket.scheme).inc(len(data))
        return part

    async def list(self, upload: Upload) -> Sequence[Part]:
        """All parts held; see `Multipart.list_parts`."""
        return await self._bucket.attempt("list_parts", lambda: self._store.list_parts(upload))

    def read(self, upload: Upload, part: Part) -> AsyncIterator[bytes]:
        """The bytes of a part.

        Raises:
            UnsupportedError: Not `are_readable`.
        """
        if not isinstance(self._store, ReadParts):
            raise UnsupportedError("The parts of this store cannot be read before the upload is complete.")
        return self._store.read_part(upload, part)

    async def complete(
        self,
        upload: Upload,
        parts: Sequence[Part],
        *,
        when: When = ALWAYS,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectInfo:
        """Make the object; see `Multipart.complete`.

        Safe against a lost reply, and safe to repeat, where `metadata` holds a write id of the upload's own and the store keeps metadata:
        an object that carries it is the one that was wanted.
        """
        size = sum(part.size for part in parts)
        allowed = self._bucket.patience.deadline * 10 + size / SLOWEST
        lost = False

        async def call() -> ObjectInfo:
            nonlocal lost
            if lost and (mine := await self._mine(upload, metadata)) is not None:
                return mine
            try:
                return await self._store.complete(upload, parts, when=when, content_type=content_type, metadata=metadata)
            except (UnavailableError, DeadlineError) as error:
                lost = lost or not isinstance(error, RateLimitedError)
                raise
            except (NotFoundError, AlreadyExistsError, ConflictError):
                # Whoever made the object, here or elsewhere, may have been cut off before this was known.
                if (mine := await self._mine(upload, metadata)) is not None:
                    return mine
                raise

        return await self._bucket.attempt("complete", call, deadline=allowed)

    async def compose(
        self, sources: Sequence[ObjectInfo], key: str, *, when: When, content_type: str | None, metadata: Mapping[str, str]
    ) -> ObjectInfo | None:
        """Make an object out of others within the store; see `Compose.compose`. As safe to repeat as `complete`.

        Returns:
            None where the store cannot; the bytes have to be sent.
        """
        backend = self._bucket.backend
        if not isinstance(backend, Compose):
            return None
        tried = False

        async def call() -> ObjectInfo:
            nonlocal tried
            if tried and (mine := await self._written(key, metadata)) is not None:
                return mine
            tried = True
            return await backend.compose(sources, key, when=when, content_type=content_type, metadata=metadata)

        allowed = self._bucket.patience.deadline * 10 + sum(source.size or 0 for source in sources) / SLOWEST
        try:
            return await self._bucket.attempt("compose", call, deadline=allowed)
        except UnsupportedError:
            return None

    async def abort(self, upload: Upload) -> None:
        """Forget an upload and its parts; a repeat is safe."""
        await self._bucket.attempt("abort", lambda: self._store.abort(upload))

    async def list_uploads(self, key: str) -> Sequence[Upload]:
        """Uploads under way for a key, as far as the store names them."""
        return await self._bucket.attempt("list_uploads", lambda: self._store.list_uploads(key))

    async def _mine(self, upload: Upload, metadata: Mapping[str, str] | None) -> ObjectInfo | None:
        """The object, if it carries the upload's own write id; then what is left of its parts goes, too."""
        found = await self._written(upload.key, metadata)
        if found is not None:
            await self._store.abort(upload)
        return found

    async def _written(self, key: str, metadata: Mapping[str, str] | None) -> ObjectInfo | None:
        """The object, if it carries this write id."""
        if not metadata or WRITE_ID not in metadata:
            return None
        found = await self._bucket.find(key)
        return found if found is not None and (found.metadata or {}).get(WRITE_ID) == metadata[WRITE_ID] else None
