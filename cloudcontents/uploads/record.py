"""The record of an upload: one object under the reserved prefix, changed by compare-and-swap, from which any server can go on."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Literal

from .. import keys
from ..backends.interface import ALWAYS, IF_ABSENT, IfAbsent, IfVersion, When
from ..backends.multipart import Upload
from ..bucket import WRITE_ID, Bucket
from ..errors import ConflictError, NotFoundError, UploadNotFoundError
from ..models import SAVED_BY, SHA256
from ..parallel import for_each

_PREFIX = keys.reserved_key("uploads", "records") + "/"
_MOST_BYTES = 1 << 20

State = Literal["active", "completing"]


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of an upload besides its bytes.

    Attributes:
        id: Its name; 128 random bits of it are a secret among users who share a server without names of their own.
        path: The path within the bucket that the file will have.
        size: Bytes of the file; None until that is known.
        part_size: Bytes of each part but the last.
        created: When it was begun.
        touched: When it was last written to, to the minute.
        state: ``active``, or ``completing`` while the object is being made.
        key: The object that the parts become: `path`, or a staging object that is checked before it is copied there.
        place: Where the store may keep parts.
        token: The store's own name for the upload; None until it was begun there.
        epoch: Grows with each process that takes the upload over.
        when: What must hold of the target: ``any``, ``absent``, or ``version:…``.
        content_type: The file's MIME type.
        metadata: What the client told, for itself.
        sha256: Of the whole file in hex, where the client told it.
        owner: Whose it is, where users have names.
        fingerprint: By which its client finds it again.
        protocol: What the client speaks.
        is_partial: Whether it is to become a piece of another upload, and no file.
        pieces: What it was put together from, in its client's words.
        is_doubtful: Whether the store may hold another upload of the same key that was begun for this one, its reply lost.
        version: The record's own, for compare-and-swap; not part of it.
    """

    id: str
    path: str
    size: int | None
    part_size: int
    created: datetime
    touched: datetime
    key: str
    place: str
    state: State = "active"
    token: str | None = None
    epoch: int = 0
    when: str = "absent"
    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    sha256: str | None = None
    owner: str | None = None
    fingerprint: str | None = None
    protocol: str = "api"
    is_partial: bool = False
    pieces: str | None = None
    is_doubtful: bool = False
    version: str = ""

    @property
    def upload(self) -> Upload:
        """What the store is asked with."""
        return Upload(self.key, self.place, self.token or "", self.part_size)

    @property
    def is_staged(self) -> bool:
        """Whether the parts become a staging object first."""
        return self.key != self.path

    @property
    def object_metadata(self) -> dict[str, str]:
        """What is stored with the object; its write id settles whose it is."""
        found = {WRITE_ID: self.id[-16:]}
        if self.sha256 is not None:
            found[SHA256] = self.sha256
        if self.owner is not None and self.owner.isascii() and self.owner.isprintable():
            found[SAVED_BY] = self.owner[:200]
        return found

    @property
    def condition(self) -> When:
        """`when`, as a precondition."""
        if self.when == "absent":
            return IF_ABSENT
        return IfVersion(self.when.removeprefix("version:")) if self.when.startswith("version:") else ALWAYS


def condition_text(when: When) -> str:
    """A precondition as a record keeps it."""
    if isinstance(when, IfAbsent):
        return "absent"
    return f"version:{when.version}" if isinstance(when, IfVersion) else "any"


class Records:
    """The records of one bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._known: dict[str, Record] = {}

    async def create(self, record: Record) -> Record:
        """Write a new one."""
        return await self._write(record, self._bucket.if_absent)

    async def read(self, id: str) -> Record:
        """Read one.

        Raises:
            UploadNotFoundError: There is none.
        """
        try:
            info, data = await self._bucket.read(record_key(id), limit=_MOST_BYTES)
        except NotFoundError:
            raise UploadNotFoundError(f"There is no upload {id}.") from None
        return _parse(data, info.version)

    async def is_current(self, record: Record) -> bool:
        """Whether nobody has changed it since; one HEAD.

        Raises:
            UploadNotFoundError: It is gone.
        """
        info = await self._bucket.find(record_key(record.id))
        if info is None:
            raise UploadNotFoundError(f"There is no upload {record.id}.")
        return info.version == record.version

    async def change(self, record: Record, **changes: Any) -> Record:
        """Change a record that nobody else has changed since.

        Raises:
            ConflictError: Somebody has.
        """
        possible = self._bucket.capabilities.put_if_version
        return await self._write(replace(record, **changes), IfVersion(record.version) if possible else ALWAYS)

    async def delete(self, record: Record) -> None:
        """Delete it. Safe to repeat."""
        await self._bucket.delete(record_key(record.id))
        self._known.pop(record.id, None)

    async def all(self) -> list[Record]:
        """Every record, in no order that means anything. Only those are read that changed since the last time."""
        async with contextlib.aclosing(self._bucket.objects(_PREFIX)) as objects:
            listed = {info.key.removeprefix(_PREFIX): info.version async for info in objects if not info.key.endswith("/")}
        self._known = {id: record for id, record in self._known.items() if listed.get(id) == record.version}

        async def look(id: str) -> None:
            with contextlib.suppress(UploadNotFoundError, ConflictError):
                self._known[id] = await self.read(id)

        await for_each([id for id in listed if id not in self._known], look)
        return list(self._known.values())

    async def _write(self, record: Record, when: When) -> Record:
        value = asdict(record) | {"created": record.created.isoformat(), "touched": record.touched.isoformat()}
        del value["version"]
        info = await self._bucket.put(record_key(record.id), json.dumps(value).encode(), when=when, content_type="application/json")
        self._known[record.id] = written = replace(record, version=info.version)
        return written


def record_key(id: str) -> str:
    """The key of an upload's record."""
    return _PREFIX + keys.check_id(id, "upload id")


def _parse(data: bytes, version: str) -> Record:
    try:
        value = json.loads(data)
        known = {name: value[name] for name in {item.name for item in fields(Record)} & value.keys()}
        known |= {name: datetime.fromisoformat(value[name]) for name in ("created", "touched")}
        return Record(**known | {"version": version})
    except (ValueError, TypeError, KeyError) as error:
        raise ConflictError("The record of this upload is damaged; cancel it and upload the file again.") from error
