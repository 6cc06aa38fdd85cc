"""Durable intent records, so that work on a whole directory finishes after a crash, by whichever server is up.

One object an operation under the reserved prefix, changed by compare-and-swap. Its owner renews it while at work. An entry is taken over
only when its owner is known to be dead (same machine, no such process) or has not renewed it for a whole lease, as watched by the taker's
own clock; clocks of machines are never compared. An owner that finds its entry taken stops at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

import anyio

from .backends.interface import ALWAYS, IF_ABSENT, IfVersion, When
from .bucket import Bucket
from .errors import CloudContentsError, ConflictError, LockedError, NotFoundError
from .keys import reserved_key

Kind = Literal["move", "copy", "delete"]

_PREFIX = reserved_key("journal") + "/"


@dataclass(frozen=True, slots=True)
class Operation:
    """One piece of work on whole prefixes.

    Attributes:
        id: Its name.
        kind: What is done.
        moves: Pairs of source and target prefix (of a deletion: the prefix and "").
        owner: Which process is at it.
        version: The entry's version, for compare-and-swap.
        renewed: When the process that began it last wrote the entry, by the store's clock. Objects are judged by it.
        taken: Whether another one has taken it over since.
    """

    id: str
    kind: Kind
    moves: tuple[tuple[str, str], ...]
    owner: dict[str, Any]
    version: str
    renewed: datetime
    taken: bool = False

    @property
    def key(self) -> str:
        """The key of its entry."""
        return f"{_PREFIX}{self.id}.json"


class NothingDone(Exception):
    """Raised from a failure inside an operation that left nothing behind: there is nothing to finish, its cause is what failed."""


class Journal:
    """The intent records of one bucket.

    Args:
        bucket: Where they live.
        lease: Seconds without renewal after which an entry may be taken over.
    """

    def __init__(self, bucket: Bucket, *, lease: float = 30.0) -> None:
        self.bucket = bucket
        self.lease = lease
        self._owner = {**_process(), "instance": secrets.token_hex(8)}
        self._running: set[str] = set()
        self._held: dict[str, _Held] = {}
        self._seen: dict[str, tuple[str, float]] = {}

    @contextlib.asynccontextmanager
    async def operation(self, kind: Kind, moves: Sequence[tuple[str, str]]) -> AsyncIterator[Operation]:
        """Record an intent, keep it renewed while the body runs, and strike it out when the body ends well.

        Where the body fails the entry stays, and whoever recovers next goes on with it; unless it raises `NothingDone`.

        Raises:
            LockedError: Another server took the entry over in the meantime.
        """
        op = Operation(f"{time.time_ns():020d}-{secrets.token_hex(4)}", kind, tuple(moves), self._owner, "", _NEVER)
        # Claimed before the first request: a recovery of our own must not take what is just being begun.
        self._running.add(op.id)
        try:
            op = await self._write(op, IF_ABSENT)
            async with self._renewed(op):
                yield op
                await self._strike_out(op)
        except NothingDone as undone:
            await self.finish(op)
            raise (undone.__cause__ or undone) from None
        finally:
            self._running.discard(op.id)
            self._held.pop(op.id, None)

    @contextlib.asynccontextmanager
    async def resumed(self, op: Operation) -> AsyncIterator[Operation]:
        """As `operation`, for an entry that `take_abandoned` returned."""
        self._running.add(op.id)
        try:
            async with self._renewed(op):
                yield op
                await self._strike_out(op)
        finally:
            self._running.discard(op.id)
            self._held.pop(op.id, None)

    async def hold(self, op: Operation) -> None:
        """Make sure that a running operation is still ours, for a whole lease from now. Called before what cannot be undone.

        Raises:
            LockedError: Another server took it over, while this one stood still.
        """
        held = self._held[op.id]
        async with held.lock:
            try:
                held.op = await self._write(held.op, IfVersion(held.op.version))
            except (ConflictError, NotFoundError):
                raise _lost() from None

    async def finish(self, op: Operation) -> None:
        """Strike an entry out. Safe to repeat."""
        await self.bucket.delete(op.key)

    async def _strike_out(self, op: Operation) -> None:
        held = self._held[op.id]
        async with held.lock:
            try:
                await self.bucket.delete(op.key, if_version=held.op.version if self.bucket.capabilities.delete_if_version else None)
            except ConflictError:
                raise _lost() from None

    async def pending(self) -> list[Operation]:
        """Every entry, oldest first, whoever is at work on it; damaged ones are passed over."""
        found: list[Operation] = []
        async for info in self.bucket.objects(_PREFIX):
            try:
                info, data = await self.bucket.read(info.key, limit=1 << 20)
                record = json.loads(data)
                moves = tuple((str(src), str(dst)) for src, dst in record["moves"])
                since = record.get("since")
                renewed = datetime.fromisoformat(since) if since else info.modified
                found.append(Operation(record["id"], record["kind"], moves, dict(record["owner"]), info.version, renewed, bool(since)))
            except NotFoundError:
                continue
            except (ValueError, KeyError, TypeError, CloudContentsError):
                continue
        return found

    async def take_abandoned(self) -> list[Operation]:
        """Take over the entries whose owner is gone; each is taken by one taker only.

        An entry of a process that cannot be judged from here is taken at the first call that comes a whole lease after another one saw
        the same version of it.
        """
        taken: list[Operation] = []
        seen: dict[str, tuple[str, float]] = {}
        for op in await self.pending():
            if op.id in self._running:
                continue
            version, since = self._seen.get(op.id, ("", 0.0))
            if version != op.version:
                since = time.monotonic()
            seen[op.id] = (op.version, since)
            ours = op.owner.get("instance") == self._owner["instance"]
            if ours or _is_dead(op.owner) or time.monotonic() - since >= self.lease:
                with contextlib.suppress(ConflictError):
                    taken.append(await self._write(replace(op, owner=self._owner, taken=True), IfVersion(op.version)))
        self._seen = seen
        return taken

    @contextlib.asynccontextmanager
    async def _renewed(self, op: Operation) -> AsyncIterator[None]:
        self._held[op.id] = _Held(op, anyio.Lock())
        lost = False

        async def renew() -> None:
            nonlocal lost
            while True:
                await anyio.sleep(self.lease / 3)
                try:
                    await self.hold(op)
                except LockedError:
                    lost = True
                    group.cancel_scope.cancel()
                    return
                except CloudContentsError:
                    continue  # not renewed this time; there are two more tries in a lease

        failure: Exception | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(renew)
            try:
                yield
            except Exception as error:  # one plain exception, not a group of them, reaches the caller
                failure = error
            group.cancel_scope.cancel()
        if lost:
            raise _lost()
        if failure is not None:
            raise failure

    async def _write(self, op: Operation, when: When) -> Operation:
        body = {"format": 1, "id": op.id, "kind": op.kind, "moves": op.moves, "owner": op.owner, "beat": secrets.token_hex(4)}
        if op.taken:
            body["since"] = op.renewed.isoformat()
        if isinstance(when, IfVersion) and not self.bucket.capabilities.put_if_version:
            when = ALWAYS
        if when == IF_ABSENT and not self.bucket.capabilities.put_if_absent:
            when = ALWAYS
        info = await self.bucket.put(op.key, json.dumps(body).encode(), when=when, content_type="application/json")
        return replace(op, version=info.version, renewed=op.renewed if op.taken else info.modified)


@dataclass(slots=True)
class _Held:
    """An operation that is being worked on, as it was last written. The lock keeps its two writers in this process apart."""

    op: Operation
    lock: anyio.Lock


def _lost() -> LockedError:
    return LockedError("Another server took this operation over and goes on with it; look again in a moment.")


_NEVER = datetime.min


@cache
def _process() -> dict[str, Any]:
    """What tells this process from every other one, as far as the machine can say."""
    return {
        "host": socket.gethostname(),
        "boot": _text("/proc/sys/kernel/random/boot_id"),
        "namespace": _link("/proc/self/ns/pid"),
        "pid": os.getpid(),
        "start": _start_time(os.getpid()),
    }


def _is_dead(owner: dict[str, Any]) -> bool:
    """Whether an owner certainly runs no more: it was on this machine, in this process namespace, and is not there."""
    here = _process()
    if not owner.get("boot") or not owner.get("namespace") or not owner.get("start"):
        return False
    if any(owner.get(name) != here[name] for name in ("host", "boot", "namespace")):
        return False
    return bool(_start_time(int(owner["pid"])) != owner["start"])


def _start_time(pid: int) -> str:
    # The 22nd field; the second one, in parentheses, may hold spaces.
    return (_text(f"/proc/{pid}/stat").rpartition(")")[2].split() or [""] * 20)[19]


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""
