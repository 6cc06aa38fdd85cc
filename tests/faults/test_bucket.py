"""What `Bucket` makes of tries that failed: what was done all the same is found, and nothing asked in between outlasts the deadline."""

from __future__ import annotations

import secrets

import anyio
import pytest

from cloudcontents.backends.faults import Fault, FaultBackend
from cloudcontents.backends.interface import IF_ABSENT, IfVersion, ObjectInfo, Reader
from cloudcontents.backends.memory import MemoryBackend, drop_memory_store
from cloudcontents.bucket import Bucket, Patience
from cloudcontents.errors import (
    AlreadyExistsError,
    ConflictError,
    DeadlineError,
    NotFoundError,
    RateLimitedError,
    TruncatedError,
    UnavailableError,
)
from cloudcontents.registry import open_backend

QUICK = Patience(first_pause=0.0)


def slow_down():
    return RateLimitedError("slow down")


def cut():
    return TruncatedError("the reply was cut off")


def broken():
    return UnavailableError("the connection broke")


@pytest.fixture
def name():
    name = f"bucket-{secrets.token_hex(4)}"
    yield name
    drop_memory_store(name)


@pytest.mark.parametrize("error", [slow_down, broken, cut])
@pytest.mark.parametrize("when", ["absent", "version"])
async def test_a_write_that_was_done_in_spite_of_its_failure_is_no_conflict(name, error, when):
    clean = Bucket(MemoryBackend(name))
    condition = IF_ABSENT if when == "absent" else IfVersion((await clean.put("a", b"old")).version)
    bucket = Bucket(FaultBackend(MemoryBackend(name), [Fault(error, after=True, operation="put", nth=1)]), patience=QUICK)
    info = await bucket.put("a", b"new", when=condition)
    assert (await clean.head("a")).version == info.version


@pytest.mark.parametrize("error", [slow_down, broken, cut])
async def test_what_somebody_else_wrote_after_a_failure_stays_a_conflict(name, error):
    class Meanwhile(FaultBackend):
        async def put(self, key, body, **options):
            if self.count("put") == 1:
                await self._inner.put(key, b"theirs")
            return await super().put(key, body, **options)

    bucket = Bucket(Meanwhile(MemoryBackend(name), [Fault(error, operation="put", nth=1)]), patience=QUICK)
    with pytest.raises(AlreadyExistsError):
        await bucket.put("a", b"ours", when=IF_ABSENT)
    assert (await bucket.read("a"))[1] == b"theirs"


@pytest.mark.parametrize("error", [slow_down, broken, cut])
@pytest.mark.parametrize("checksums", [True, False])
async def test_a_copy_that_was_done_in_spite_of_its_failure_is_found(name, error, checksums):
    """A store that has no checksum of what it copied by parts tells by the write id, which goes with the copy."""

    class Inner(MemoryBackend):
        async def head(self, key):
            info = await super().head(key)
            return info if checksums else ObjectInfo(**{**_fields(info), "checksum": None})

    bucket = Bucket(FaultBackend(Inner(name), [Fault(error, after=True, operation="copy", nth=1)]), patience=QUICK)
    await bucket.put("a", b"x")
    assert (await bucket.copy("a", "b", when=IF_ABSENT)).version
    assert (await bucket.read("b"))[1] == b"x"
    await bucket.put("c", b"y")
    with pytest.raises(AlreadyExistsError):
        await bucket.copy("a", "c", when=IF_ABSENT)


@pytest.mark.parametrize("error", [slow_down, broken, cut])
async def test_a_deletion_that_was_done_in_spite_of_its_failure_is_no_conflict(name, error):
    bucket = Bucket(FaultBackend(MemoryBackend(name), [Fault(error, after=True, operation="delete", nth=1)]), patience=QUICK)
    info = await bucket.put("a", b"x")
    await bucket.delete("a", if_version=info.version)
    assert await bucket.find("a") is None


@pytest.mark.parametrize("kind", ["object", "directory"])
async def test_a_rename_that_was_done_in_spite_of_its_failure_is_found(tmp_path, kind):
    src, dst = ("a", "b") if kind == "object" else ("a/", "b/")
    backend = FaultBackend(open_backend(tmp_path.as_uri()), [Fault(broken, after=True, operation="rename", nth=1)])
    bucket = Bucket(backend, patience=QUICK)
    await bucket.put("a" if kind == "object" else "a/x", b"x")
    assert await bucket.rename(src, dst)
    assert backend.count("rename") == 2
    assert (await bucket.read("b" if kind == "object" else "b/x"))[1] == b"x"
    if kind == "object":
        with pytest.raises(NotFoundError):
            await bucket.rename("a", "c")
        await bucket.put("d", b"in the way")
        with pytest.raises(AlreadyExistsError):
            await bucket.rename("b", "d")
    await bucket.close()


@pytest.mark.parametrize("operation", ["put", "delete", "copy"])
async def test_the_question_after_a_failure_ends_by_the_deadline(name, operation):
    """The store breaks the connection just before the deadline, and then says nothing more."""
    clean = Bucket(MemoryBackend(name))
    old = await clean.put("a", b"x")
    plan = [
        Fault(broken, after=True, delay=0.4, operation=operation, nth=1),
        Fault(lambda: ConflictError("gone"), operation="delete", nth=2),
        Fault(delay=3600, operation="head"),
    ]
    bucket = Bucket(FaultBackend(MemoryBackend(name), plan), patience=Patience(deadline=0.5, first_pause=0.0))
    calls = {
        "put": lambda: bucket.put("b", b"x", when=IF_ABSENT),
        "delete": lambda: bucket.delete("a", if_version=old.version),
        "copy": lambda: bucket.copy("a", "b", when=IF_ABSENT),
    }
    # A copy has ten times as long; what is compared is the order of things, not a speed.
    with anyio.fail_after(60), pytest.raises(DeadlineError):
        await calls[operation]()


async def test_a_read_into_memory_ends_however_slowly_its_bytes_come(name):
    class Trickle(Reader):
        def __init__(self, info):
            self.info, self.length = info, info.size

        async def __aiter__(self):
            while True:
                await anyio.sleep(0.05)
                yield b"x"

        async def aclose(self):
            pass

    class Slow(MemoryBackend):
        async def get(self, key, **options):
            return Trickle(await self.head(key))

    bucket = Bucket(Slow(name), patience=Patience(deadline=0.5, stall=10))
    await bucket.put("a", bytes(10_000))
    with anyio.fail_after(60), pytest.raises(DeadlineError):
        await bucket.read("a")


async def test_seven_tries_hide_three_failures_of_ten(name):
    """Without a pause between them: only their number counts here."""
    backend = FaultBackend(MemoryBackend(name), [Fault(broken, operation="head", probability=0.3)], seed=5)
    bucket = Bucket(backend, patience=QUICK)
    await bucket.put("a", b"x")
    failed = 0
    for _ in range(3000):
        try:
            await bucket.head("a")
        except UnavailableError:
            failed += 1
    assert failed <= 3
    assert backend.count("head") > 4000


def _fields(info):
    return {name: getattr(info, name) for name in info.__dataclass_fields__}
