"""What is told of uploads: of one under way or ended, of its parts, of all together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from .. import keys
from .history import Note
from .session import Session


@dataclass(frozen=True, slots=True)
class UploadStatus:
    """What is known of an upload.

    Attributes:
        id: Its name.
        path: The API path that the file will have, or has.
        state: ``active``, ``completing``, ``complete``, ``cancelled``, ``failed``, ``expired`` or ``recovered``.
        size: Bytes of the file; None while unknown.
        offset: Bytes that have arrived without a gap from the start: where a stream goes on.
        received: Bytes that have arrived, in whatever order.
        part_size: Bytes of each part but the last.
        progress: Share of the file that has arrived, 0 to 1; None while the size is unknown.
        bytes_per_second: Average of the last seconds, as far as this process takes part.
        seconds_left: Estimate; None where it cannot be told.
        created: When it was begun.
        expires: When it is given up if nothing more comes.
        owner: Whose it is, where users have names.
        fingerprint: By which its client finds it again.
        metadata: What the client told.
        protocol: What the client speaks.
        post: State of `post_upload_hook`: ``running``, ``done``, ``failed``; None where there is none.
        version: Of the file, once it is complete.
        is_partial: Whether it is to become a piece of another upload.
        pieces: What it was put together from, in its client's words; None for all others.
    """

    id: str
    path: str
    state: str
    size: int | None
    offset: int
    received: int
    part_size: int
    progress: float | None
    bytes_per_second: float
    seconds_left: float | None
    created: datetime | None
    expires: datetime | None
    owner: str | None = None
    fingerprint: str | None = None
    metadata: Mapping[str, str] | None = None
    protocol: str = "api"
    post: str | None = None
    version: str | None = None
    is_partial: bool = False
    pieces: str | None = None


@dataclass(frozen=True, slots=True)
class PartsStatus:
    """Which parts of an upload are held: number, size and checksum of each; and which are still needed (None while the size is unknown)."""

    id: str
    part_size: int
    held: Sequence[Mapping[str, Any]]
    needed: Sequence[int] | None
    offset: int
    progress: float | None


@dataclass(frozen=True, slots=True)
class Statistics:
    """How uploads go, over all servers of the same buckets.

    Attributes:
        active: Uploads under way.
        active_bytes: Bytes that they will have together, as far as declared.
        bytes_per_second: What this process takes in.
        today: Uploads completed since midnight UTC.
        today_bytes: Their bytes.
        week: Uploads completed in the last seven days.
        week_bytes: Their bytes.
        failures: Uploads in the last seven days that came to nothing.
    """

    active: int
    active_bytes: int
    bytes_per_second: float
    today: int
    today_bytes: int
    week: int
    week_bytes: int
    failures: int


def of_session(mount: str, session: Session, expire_seconds: float) -> UploadStatus:
    """How an upload under way stands, as far as its session knows."""
    record, speed = session.record, session.speed.bytes_per_second
    received = min(session.received, record.size) if record.size is not None else session.received
    left = (record.size - received) / speed if record.size is not None and speed > 0 else None
    return UploadStatus(
        id=record.id,
        path=keys.join(mount, record.path),
        state=record.state,
        size=record.size,
        offset=session.offset,
        received=received,
        part_size=record.part_size,
        progress=None if record.size is None else received / record.size if record.size else 1.0,
        bytes_per_second=speed,
        seconds_left=left,
        created=record.created,
        expires=record.touched + timedelta(seconds=expire_seconds),
        owner=record.owner,
        fingerprint=record.fingerprint,
        metadata=record.metadata,
        protocol=record.protocol,
        is_partial=record.is_partial,
        pieces=record.pieces,
    )


def of_note(mount: str, note: Note, details: Mapping[str, Any], post: str | None) -> UploadStatus:
    """How an upload ended."""
    size = details.get("size")
    return UploadStatus(
        id=note.id,
        path=keys.join(mount, str(details.get("path", ""))),
        state=note.outcome,
        size=size,
        offset=note.size,
        received=note.size,
        part_size=int(details.get("part_size") or 0),
        progress=1.0 if note.outcome == "complete" else None,
        bytes_per_second=0.0,
        seconds_left=None,
        created=datetime.fromisoformat(details["created"]) if details.get("created") else None,
        expires=None,
        owner=details.get("owner"),
        fingerprint=details.get("fingerprint"),
        metadata=details.get("metadata"),
        protocol=str(details.get("protocol", "api")),
        post=post or details.get("post"),
        version=details.get("version"),
        pieces=details.get("pieces"),
    )
