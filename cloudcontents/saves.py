"""One save: what it is conditional on, and what becomes of the text when somebody else was faster (promises G1, G2, G9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from . import bases, keys, metrics
from .backends.interface import ALWAYS, IF_ABSENT, Body, IfVersion, ObjectInfo, When
from .errors import AlreadyExistsError, ConflictError, NotFoundError, PreconditionError, WrongTypeError
from .models import SAVED_BY, SHA256, digest, whole_seconds
from .namespace import Location
from .offload import Offload

#: Bytes that are hashed sooner than a thread could be asked to.
_SMALL = 64 * 1024


@dataclass(frozen=True, slots=True)
class Precondition:
    """What must hold for a save.

    Attributes:
        when: For the store.
        base: The version that the text was made from, or None for a new file.
        explicit: Whether the client sent it as an HTTP precondition itself; then its failure is a 412.
    """

    when: When
    base: str | None
    explicit: bool = False


class Saves:
    """How files are written.

    Args:
        served: What was last served to whom.
        offload: Threads for hashing.
    """

    def __init__(self, served: bases.Bases, offload: Offload) -> None:
        self._served = served
        self._offload = offload

    async def precondition(self, location: Location, model: Mapping[str, Any]) -> Precondition:
        """What a save is conditional on.

        In this order: what the client says (If-Match, If-None-Match, the model's ``version``), the version that it was last served, what
        this request has seen already, and last a HEAD of our own.

        Raises:
            WrongTypeError: A directory is there.
            PreconditionError: ``If-Match: *``, and there is no such file.
        """
        path = location.path
        handler = bases.current_handler()
        if handler is not None and handler.request.method == "PUT":
            match = handler.request.headers.get("If-Match", "").strip()
            none_match = handler.request.headers.get("If-None-Match", "").strip()
            if none_match == "*":
                return Precondition(IF_ABSENT, None, explicit=True)
            if match == "*":
                info = await location.bucket.find(path)
                if info is None:
                    raise PreconditionError(f"{keys.show(path)} does not exist.")
                return Precondition(IfVersion(info.version), info.version, explicit=True)
            if match:
                version = match.removeprefix("W/").strip('"')
                return Precondition(IfVersion(version), version, explicit=True)
        version = model.get("version")
        if isinstance(version, str) and version:
            return Precondition(IfVersion(version), version)
        base = self._served.base(location.api)
        if base is not None:
            return Precondition(IfVersion(base), base)
        looked, seen = self._served.seen(location.api)
        if not looked:
            entry = await location.tree.lookup(path)
            if entry is not None and entry.info is None:
                raise WrongTypeError(f"{keys.show(path)} is a directory; choose another name.")
            seen = entry.info.version if entry is not None and entry.info is not None else None
        elif seen is None and await location.tree.dir_exists(path):
            raise WrongTypeError(f"{keys.show(path)} is a directory; choose another name.")
        return Precondition(IF_ABSENT, None) if seen is None else Precondition(IfVersion(seen), seen)

    async def metadata(self, location: Location, data: bytes | None) -> Mapping[str, str] | None:
        """What is stored beside the content: its SHA-256, where the store keeps such things for free, and who saved it."""
        found: dict[str, str] = {}
        if data is not None and location.bucket.capabilities.metadata:
            found[SHA256] = digest(data) if len(data) <= _SMALL else await self._offload.run(digest, data)
        name = bases.user_name()
        if name is not None and name.isascii() and name.isprintable():
            found[SAVED_BY] = name[:200]
        return found or None

    async def write(
        self,
        location: Location,
        body: Body,
        precondition: Precondition,
        *,
        content_type: str | None,
        type: str,
        format: str,
    ) -> ObjectInfo:
        """Write a file under its precondition.

        Raises:
            ConflictError: Somebody else has saved; the text is kept, and the message says when, as far as known who, and under which id.
            PreconditionError: The same, where the client sent the condition itself.
        """
        when = precondition.when
        data = body if isinstance(body, bytes) else None
        try:
            if not location.bucket.keeps(when):
                # The best there is on such a store, and said so in log, doctor and status: looked up a moment before (G9).
                await self._check(location, when)
                when = ALWAYS
            metadata = await self.metadata(location, data)
            return await location.bucket.put(location.path, body, when=when, content_type=content_type, metadata=metadata)
        except (ConflictError, AlreadyExistsError) as error:
            metrics.CONFLICTS.labels(location.bucket.scheme).inc()
            raise await self.refused(location, precondition, data, type, format) from error

    async def _check(self, location: Location, when: When) -> None:
        info = await location.bucket.find(location.path)
        wanted = when.version if isinstance(when, IfVersion) else None
        if (info.version if info is not None else None) != wanted:
            raise ConflictError(f"{keys.show(location.path)} has changed.")

    async def refused(
        self, location: Location, precondition: Precondition, data: bytes | None = None, type: str = "file", format: str = "base64"
    ) -> ConflictError:
        """The error that tells of a lost race; the text, where one is given, is in safety before it is told."""
        path = location.path
        kept = ""
        if data is not None:
            conflict = await location.mount.conflicts.keep(
                path,
                data,
                client=bases.client(),
                base=precondition.base,
                type=type,
                format=format,
                by=bases.user_name(),
            )
            kept = f" Your text was not lost: it is kept as conflict {conflict.id} (see /cloudcontents/conflicts/{conflict.id})."
        try:
            there = await location.bucket.head(path)
        except NotFoundError:
            told = f"{keys.show(path)} was deleted or renamed by somebody else since you opened it."
        else:
            who = (there.metadata or {}).get(SAVED_BY)
            told = f"{keys.show(path)} was changed {_ago(there.modified)}{f' by {who}' if who else ''}, after you opened it."
        error = PreconditionError if precondition.explicit else ConflictError
        return error(f"{told}{kept} Open it again to see what is there now, then save to replace it, or save under another name.")


def _ago(time: datetime) -> str:
    seconds = (datetime.now(timezone.utc) - time).total_seconds()
    stamp = whole_seconds(time).strftime("%Y-%m-%d %H:%M:%S UTC")
    if seconds < 60:
        return f"a moment ago ({stamp})"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min ago ({stamp})"
    return f"on {stamp}"
