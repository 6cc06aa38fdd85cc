"""Optional protocols of a backend for objects that arrive in parts, in any order, over days, from many servers.

What has arrived lies in the store, and the store is asked for it (`list_parts`): an upload survives every server. A backend that
implements nothing of this has `cloudcontents.backends.part_objects` do it with plain objects.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from .interface import ALWAYS, ObjectInfo, When


@dataclass(frozen=True, slots=True)
class PartRules:
    """What a store asks of the parts of one upload. Every part but the last has the upload's own `Upload.part_size`.

    Attributes:
        min_bytes: Smallest part size; the last part may be smaller.
        max_bytes: Largest part.
        most: Most parts of one upload; they are numbered from 1.
    """

    min_bytes: int = 1
    max_bytes: int = 4 * 2**30
    most: int = 10_000


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload that was begun: all that is needed to go on with it, from any process.

    Attributes:
        key: The object that it becomes.
        place: A key of the uploader's own that nothing else uses. A store that needs a place for its parts has it there, and at keys that
            begin with it and a slash; `abort` and `complete` leave nothing behind.
        id: The store's own name for it, or "".
        part_size: Bytes of each part but the last.
    """

    key: str
    place: str
    id: str
    part_size: int


@dataclass(frozen=True, slots=True)
class Part:
    """A part that the store holds.

    Attributes:
        number: 1 for the first one; the part's bytes begin at ``(number - 1) * part_size``.
        size: Bytes.
        version: Opaque; tells these bytes from others sent under the same number, and is what `complete` needs.
        checksum: ``sha256:<hex>`` of the part, where the store tells it.
    """

    number: int
    size: int
    version: str
    checksum: str | None = None


@runtime_checkable
class Multipart(Protocol):
    """Optional: the store takes an object in parts. Until `complete` nothing is to be seen at the key, and what was there stays."""

    @property
    def part_rules(self) -> PartRules:
        """What the store asks of parts."""

    async def begin(
        self, key: str, *, place: str, part_size: int, content_type: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> Upload:
        """Begin an upload. Its repeat begins another one.

        Args:
            key: The object to be.
            place: See `Upload.place`.
            part_size: Bytes of each part but the last; within `part_rules`.
            content_type: As for `Backend.put`.
            metadata: As for `Backend.put`.
        """

    async def put_part(self, upload: Upload, number: int, data: bytes, *, checksum: str) -> Part:
        """Store one part, durably. The same number again replaces it; a repeat is safe.

        Args:
            upload: The upload.
            number: From 1.
            data: The bytes: the upload's part size, or fewer for the last one, at least one byte.
            checksum: ``sha256:<hex>`` of them; the store refuses others where it can check.

        Raises:
            NotFoundError: The store knows no such upload: it was completed or aborted. (A store without names for uploads takes the part.)
            ChecksumError: Other bytes than the checksum's arrived; nothing was kept.
        """

    async def list_parts(self, upload: Upload) -> Sequence[Part]:
        """All parts held, by number. Where a store keeps several of one number, all of them.

        Raises:
            NotFoundError: The store knows no such upload. (A store without names for uploads answers with no parts.)
        """

    async def complete(
        self,
        upload: Upload,
        parts: Sequence[Part],
        *,
        when: When = ALWAYS,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectInfo:
        """Make the object out of these parts, in this order, all at once; the upload is no more.

        Args:
            upload: The upload.
            parts: Numbers 1 to n, as `put_part` or `list_parts` returned them. None at all makes an empty object.
            when: As for `Backend.put`; where it does not hold the upload stays as it is, to be completed otherwise or aborted.
            content_type: The same as `begin` was given.
            metadata: The same as `begin` was given.

        Raises:
            AlreadyExistsError: `IfAbsent`, and the key exists.
            ConflictError: `IfVersion` does not hold.
            PartsChangedError: A part is gone, or holds other bytes by now; list them again.
            NotFoundError: The store knows no such upload.
        """

    async def abort(self, upload: Upload) -> None:
        """Forget an upload and all its parts. A repeat, and one that is gone, is success."""

    async def list_uploads(self, key: str) -> Sequence[Upload]:
        """Uploads under way whose object would be `key`, as far as the store names them: those that `begin` made and nobody recorded.

        `place` and `part_size` are not known to a store, and are empty.
        """


@runtime_checkable
class Compose(Protocol):
    """Optional: the store makes one object out of several; no byte passes through this process."""

    async def compose(
        self,
        sources: Sequence[ObjectInfo],
        key: str,
        *,
        when: When = ALWAYS,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectInfo:
        """Make an object out of others, in this order, all at once; they stay.

        Args:
            sources: Objects with size and version; each is taken in that version or not at all.
            key: The object to be.
            when: As for `Backend.put`.
            content_type: As for `Backend.put`.
            metadata: As for `Backend.put`.

        Raises:
            UnsupportedError: Not out of these: they are too small for the store.
            NotFoundError: One of them is gone.
            ConflictError: One of them has changed, or `IfVersion` does not hold.
            AlreadyExistsError: `IfAbsent`, and the key exists.
        """


@runtime_checkable
class ReadParts(Protocol):
    """Optional: parts can be read before the object is complete."""

    def read_part(self, upload: Upload, part: Part) -> AsyncIterator[bytes]:
        """The bytes of a part that the store holds.

        Raises:
            PartsChangedError: It is gone, or has other bytes by now.
        """
