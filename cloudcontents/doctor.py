"""Ask a bucket everything that a server will ask of it, and say in plain words what is wrong.

Every question is put to the store itself; what the backend says of itself (`Capabilities`) is not believed but tried. What the questions
need is written below ``.cloudcontents/doctor/`` and removed at the end.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from . import bucket_rules, inventory, keys
from .backends.interface import IF_ABSENT, Backend, IfVersion
from .bucket import Bucket, Patience
from .errors import (
    AlreadyExistsError,
    BucketNotFoundError,
    CloudContentsError,
    ConfigurationError,
    ConflictError,
    NotFoundError,
    StorageAuthError,
    UnsupportedError,
)
from .inventory import Finding, Status
from .moves import delete_prefix
from .parallel import for_each
from .registry import open_backend

#: Connections of their own that race for one key, and how often they do.
RACERS, ROUNDS = 16, 3

#: Seconds by which the store's clock may differ before we say so, and before signatures begin to fail.
_CLOCK_NOTE, _CLOCK_PROBLEM = 5.0, 300.0

#: A doctor gives up sooner than a server: its user waits.
_PATIENCE = Patience(deadline=20.0, stall=20.0, attempts=3)

_PLACE = keys.reserved_key("doctor") + "/"
_WHOLE = b"written by cloudcontents doctor; it may be deleted\n"


@dataclass(frozen=True, slots=True)
class Report:
    """All answers, in the order of asking."""

    url: str
    findings: list[Finding]

    @property
    def healthy(self) -> bool:
        """Whether there is no problem among them."""
        return not any(finding.status == "problem" for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        return {"url": self.url, "healthy": self.healthy, "findings": [asdict(finding) for finding in self.findings]}


async def examine(url: str, *, opener: Callable[[], Backend] | None = None) -> Report:
    """Put every question to a bucket. Changes nothing but its own scratch objects, which are gone at the end; a repeat is safe.

    Args:
        url: The bucket's URL.
        opener: Opens one more connection to it; by the URL by default.

    Raises:
        ConfigurationError: The URL cannot be used.
    """
    opener = opener or (lambda: open_backend(url))
    bucket = Bucket(opener(), patience=_PATIENCE)
    try:
        return Report(bucket.url, await _Examination(url, bucket, opener).run())
    finally:
        await bucket.close()


class _Examination:
    def __init__(self, url: str, bucket: Bucket, opener: Callable[[], Backend]) -> None:
        self._url = url
        self._bucket = bucket
        self._opener = opener
        self._scratch = f"{_PLACE}{secrets.token_hex(8)}/"
        self._findings: list[Finding] = []
        self._modified: tuple[datetime, datetime, datetime] | None = None

    async def run(self) -> list[Finding]:
        if not await self._reach():
            return self._findings
        if await self._ask("list", "Listing", self._list):
            try:
                if await self._permissions():
                    await self._conditions()
            finally:
                await self._clean_up()
            self._findings += await inventory.take(self._bucket)
            self._findings += await bucket_rules.look(self._url)
        return self._findings

    def _add(self, check: str, status: Status, said: str, advice: str | None = None, **figures: Any) -> None:
        self._findings.append(Finding(check, status, said, advice, figures))

    async def _ask(self, check: str, verb: str, question: Callable[[], Awaitable[object]]) -> bool:
        try:
            await question()
        except CloudContentsError as error:
            self._add(check, "problem", f"{verb} does not work: {error.message}", _ADVICE.get(check))
            return False
        self._add(check, "ok", f"{verb} works.")
        return True

    # --- reach and permissions ----------------------------------------------------------------------------------------------

    async def _reach(self) -> bool:
        # A store may tell a missing bucket from a missing object only in a listing.
        questions: tuple[Callable[[], Awaitable[object]], ...] = (lambda: self._bucket.find(f"{self._scratch}nothing"), self._list)
        for question in questions:
            try:
                await question()
            except CloudContentsError as error:
                # Who is denied something has reached the bucket.
                if error.retryable or isinstance(error, BucketNotFoundError | StorageAuthError | ConfigurationError):
                    advice = "Check the network, a proxy, and endpoint_url where one is set; then ask again." if error.retryable else None
                    self._add("reach", "problem", error.message, advice)
                    return False
        self._add("reach", "ok", "The bucket answers.")
        return True

    async def _list(self) -> None:
        await self._bucket.list("", page_size=1)

    async def _permissions(self) -> bool:
        bucket, key, copy = self._bucket, f"{self._scratch}permissions", f"{self._scratch}permissions-copy"

        async def put() -> None:
            before = datetime.now(timezone.utc)
            info = await bucket.put(key, _WHOLE)
            self._modified = before, info.modified, datetime.now(timezone.utc)

        async def get() -> None:
            _, data = await bucket.read(key)
            if data != _WHOLE:
                raise CloudContentsError("What was read is not what was written.")

        async def copied() -> None:
            await bucket.copy(key, copy)
            if (await bucket.head(copy)).size != len(_WHOLE):
                raise CloudContentsError("The copy is not what was copied.")

        async def delete() -> None:
            await bucket.delete(key)
            if await bucket.find(key) is not None:
                raise CloudContentsError("What was deleted is still there.")

        if not await self._ask("put", "Writing", put):
            return False
        self._clock()
        worked = [
            await self._ask(check, verb, question)
            for check, verb, question in (("get", "Reading", get), ("copy", "Copying in the store", copied), ("delete", "Deleting", delete))
        ]
        return all(worked)

    def _clock(self) -> None:
        assert self._modified is not None  # noqa: S101  # set by what was asked just before
        before, stored, after = self._modified
        ahead = (stored - after).total_seconds()
        # Many stores cut their times to whole seconds.
        behind = (before - stored).total_seconds() - 1
        apart = max(ahead, behind, 0.0)
        if apart <= _CLOCK_NOTE:
            self._add("clock", "ok", "The store's clock agrees with this machine's.", seconds=apart)
        else:
            which = "ahead of" if ahead > behind else "behind"
            self._add(
                "clock",
                "problem" if apart > _CLOCK_PROBLEM else "note",
                f"The store's clock is {apart:.0f} s {which} this machine's.",
                "Let this machine take its time from the network (NTP): cloud stores refuse requests from clocks that are minutes off.",
                seconds=apart,
            )

    # --- conditional writes -------------------------------------------------------------------------------------------------

    async def _conditions(self) -> None:
        capabilities = self._bucket.capabilities
        await self._judge("create_race", "Creating a file", capabilities.put_if_absent, self._create_race)
        await self._judge("save_race", "Saving a file", capabilities.put_if_version, self._save_race)
        await self._judge("stale_save", "Saving from an old version", capabilities.put_if_version, self._stale_save)
        await self._judge("stale_delete", "Deleting an old version", capabilities.delete_if_version, self._stale_delete)
        await self._judge("copy_condition", "Copying onto a file", capabilities.copy_if, self._copy_condition)

    async def _judge(self, check: str, what: str, promised: bool, trial: Callable[[], Awaitable[str | None]]) -> None:
        """Try what the store promises; what it does not promise, it must refuse to do."""
        weak = check in ("stale_delete", "copy_condition")
        try:
            wrong = await trial()
        except UnsupportedError:
            wrong = "The store has no such condition."
        except CloudContentsError as error:
            self._add(check, "problem", f"{what} under a condition does not work: {error.message}", _UNSAFE)
            return
        if wrong is None:
            self._add(check, "ok", f"{what} under a condition: the condition holds.", promised=promised)
        elif weak and not promised:
            self._add(
                check,
                "note",
                f"{what} under a condition: {wrong}",
                "The server looks just before instead; a moment stays open.",
                promised=False,
            )
        else:
            self._add(check, "problem", f"{what} under a condition: {wrong}", _UNSAFE, promised=promised)

    async def _race(self, work: Callable[[Bucket, int], Awaitable[object]]) -> int:
        """Let connections of their own do one thing at once; how many were let through."""
        won = 0
        async with self._connections() as racers:

            async def one(number: int) -> None:
                nonlocal won
                with contextlib.suppress(AlreadyExistsError, ConflictError):
                    await work(racers[number], number)
                    won += 1

            await for_each(range(RACERS), one, width=RACERS)
        return won

    @contextlib.asynccontextmanager
    async def _connections(self) -> AsyncIterator[list[Bucket]]:
        racers = [Bucket(self._opener(), patience=_PATIENCE) for _ in range(RACERS)]
        try:
            # Warm, so that they start together.
            await for_each(racers, lambda racer: racer.find(f"{self._scratch}nothing"), width=RACERS)
            yield racers
        finally:
            for racer in racers:
                await racer.close()

    async def _create_race(self) -> str | None:
        for number in range(ROUNDS):
            key = f"{self._scratch}create-{number}"
            won = await self._race(lambda racer, i, key=key: racer.put(key, b"%d" % i, when=IF_ABSENT))  # type: ignore[misc]
            if won != 1:
                return f"of {RACERS} that created one file at once, {won} were told that they did."
        return None

    async def _save_race(self) -> str | None:
        for number in range(ROUNDS):
            key = f"{self._scratch}save-{number}"
            base = IfVersion((await self._bucket.put(key, _WHOLE)).version)
            won = await self._race(lambda racer, i, key=key, base=base: racer.put(key, b"%d" % i, when=base))  # type: ignore[misc]
            if won != 1:
                return f"of {RACERS} that saved one file from the same version at once, {won} were told that they did."
        return None

    async def _stale_save(self) -> str | None:
        key = f"{self._scratch}stale-save"
        old = await self._bucket.put(key, b"one")
        await self._bucket.put(key, b"two")
        with contextlib.suppress(ConflictError):
            await self._bucket.put(key, b"three", when=IfVersion(old.version))
        if (await self._bucket.read(key))[1] != b"two":
            return "a save from an old version replaced a newer text."
        return None

    async def _stale_delete(self) -> str | None:
        key = f"{self._scratch}stale-delete"
        old = await self._bucket.put(key, b"one")
        await self._bucket.put(key, b"two")
        with contextlib.suppress(ConflictError):
            await self._bucket.delete(key, if_version=old.version)
        return None if await self._bucket.find(key) is not None else "a newer text was deleted."

    async def _copy_condition(self) -> str | None:
        src, dst = f"{self._scratch}copy-from", f"{self._scratch}copy-to"
        old = await self._bucket.put(src, b"old")
        await self._bucket.put(src, b"new")
        await self._bucket.put(dst, b"kept")
        for condition in ({"when": IF_ABSENT}, {"when": IfVersion(old.version)}, {"src_version": old.version}):
            with contextlib.suppress(AlreadyExistsError, ConflictError, NotFoundError):
                await self._bucket.copy(src, dst, **condition)
            if (await self._bucket.read(dst))[1] != b"kept":
                return "a copy replaced a text that it should not have."
        return None

    # --- afterwards ---------------------------------------------------------------------------------------------------------

    async def _clean_up(self) -> None:
        try:
            await delete_prefix(self._bucket, self._scratch)
            await self._bucket.delete(self._scratch)
            if await self._bucket.is_empty(_PLACE) or not [i async for i in self._bucket.objects(_PLACE) if i.key != _PLACE]:
                await self._bucket.delete(_PLACE)
        except CloudContentsError as error:
            self._add(
                "cleanup", "problem", f"Scratch objects of this examination stay: {error.message}", f"Delete {self._scratch} by hand."
            )


_UNSAFE = (
    "Two people, or two servers, that save one file can lose one of the two texts. Let one person at a time write to this bucket, "
    "or use a store with conditional writes."
)
_ADVICE = {
    "list": "Give the server's identity the right to list the bucket (S3: s3:ListBucket; others: read).",
    "put": "Give the server's identity the right to write objects (S3: s3:PutObject), or use the bucket for reading only.",
    "get": "Give the server's identity the right to read objects (S3: s3:GetObject).",
    "copy": "Copying needs the rights to read and to write; an encryption key of the bucket needs them too.",
    "delete": "Give the server's identity the right to delete objects (S3: s3:DeleteObject); a retention policy may forbid it too.",
}
