"""A write whose reply was lost: settled by its write id, never reported as a conflict with oneself, never written twice (promise G2)."""

from __future__ import annotations

import secrets

import pytest

from cloudcontents import CloudContentsManager
from cloudcontents.backends.faults import Fault, FaultBackend
from cloudcontents.backends.interface import ALWAYS, IF_ABSENT, IfVersion, SizedStream
from cloudcontents.backends.memory import MemoryBackend, drop_memory_store, memory_store
from cloudcontents.bucket import Bucket, Patience
from cloudcontents.errors import AlreadyExistsError, ChecksumError, ConflictError, DeadlineError, RateLimitedError, UnavailableError

PATIENCE = Patience(first_pause=0.0)
LOST = [lambda: UnavailableError("the connection broke"), lambda: DeadlineError("no answer")]


@pytest.fixture
def store():
    name = f"lost-{secrets.token_hex(4)}"
    yield memory_store(name)
    drop_memory_store(name)


@pytest.fixture
def faulty(store):
    """A bucket on the store with a plan of faults, and what it sends them through."""

    def make(*plan):
        backend = FaultBackend(MemoryBackend(store.name), plan)
        return Bucket(backend, patience=PATIENCE), backend

    return make


@pytest.fixture
def clean(faulty):
    return faulty()[0]


@pytest.mark.parametrize("error", LOST)
async def test_a_conditional_write_is_found_to_be_our_own(faulty, clean, error):
    old = await clean.put("a", b"old")
    bucket, backend = faulty(Fault(error, after=True, operation="put", nth=1))
    info = await bucket.put("a", b"new", when=IfVersion(old.version))
    assert (await clean.head("a")).version == info.version
    assert (await clean.read("a"))[1] == b"new"
    assert backend.count("put") == 1


@pytest.mark.parametrize("error", LOST)
async def test_a_creation_is_found_to_be_our_own(faulty, clean, error):
    bucket, _ = faulty(Fault(error, after=True, operation="put", nth=1))
    info = await bucket.put("a", b"new", when=IF_ABSENT)
    assert (await clean.head("a")).version == info.version


@pytest.mark.parametrize("when", ["absent", "version", "always"])
async def test_a_write_that_did_not_happen_is_made(faulty, clean, when):
    old = await clean.put("a", b"old") if when != "absent" else None
    condition = {"absent": IF_ABSENT, "version": IfVersion(old.version if old else ""), "always": ALWAYS}[when]
    bucket, _ = faulty(Fault(LOST[0], operation="put", nth=1))
    await bucket.put("a", b"new", when=condition)
    assert (await clean.read("a"))[1] == b"new"


@pytest.mark.parametrize("error", [RateLimitedError("slower"), ChecksumError("damaged on the way")])
async def test_a_stream_that_was_refused_is_not_sent_again_empty(faulty, error):
    async def chunks():
        yield b"new"

    bucket, backend = faulty(Fault(lambda: error, operation="put", nth=1))
    with pytest.raises(type(error), match=str(error)):
        await bucket.put("a", SizedStream(chunks(), 3), when=IF_ABSENT)
    assert backend.count("put") == 1


class Meanwhile(FaultBackend):
    """Somebody else writes after our reply was lost and before we look."""

    async def head(self, key):
        if self.count("put") == 1 and not self.count("head"):
            await self._inner.put(key, b"theirs")
        return await super().head(key)


@pytest.mark.parametrize("after", [False, True], ids=["not made", "made"])
async def test_somebody_elses_write_is_not_taken_for_ours_and_not_overwritten(store, clean, after):
    old = await clean.put("a", b"old")
    bucket = Bucket(Meanwhile(MemoryBackend(store.name), [Fault(LOST[0], after=after, operation="put", nth=1)]), patience=PATIENCE)
    with pytest.raises(ConflictError):
        await bucket.put("a", b"ours", when=IfVersion(old.version))
    assert (await clean.read("a"))[1] == b"theirs"


async def test_somebody_elses_creation_is_not_taken_for_ours(store, clean):
    bucket = Bucket(Meanwhile(MemoryBackend(store.name), [Fault(LOST[0], operation="put", nth=1)]), patience=PATIENCE)
    with pytest.raises(AlreadyExistsError):
        await bucket.put("a", b"ours", when=IF_ABSENT)
    assert (await clean.read("a"))[1] == b"theirs"


async def test_a_conditional_deletion_whose_reply_was_lost(faulty, clean, store):
    old = await clean.put("a", b"old")
    bucket, _ = faulty(Fault(LOST[0], after=True, operation="delete", nth=1))
    await bucket.delete("a", if_version=old.version)
    assert "a" not in store.snapshot()


@pytest.mark.parametrize("content", ["first", "again"])
async def test_a_save_whose_reply_was_lost_is_no_conflict(store, content):
    """C6: through the manager, no 409, and no text kept."""

    class Manager(CloudContentsManager):
        def open_backend(self):
            return FaultBackend(MemoryBackend(store.name), [Fault(LOST[0], after=True, operation="put", key="note.txt", nth=nth)])

    nth = 1 if content == "first" else 2
    manager = Manager()
    manager.notary.db_file = ":memory:"
    manager.namespace.mounts[0].bucket.patience = PATIENCE
    model = {"type": "file", "format": "text"}
    first = await manager.save({**model, "content": "first"}, "note.txt")
    second = await manager.save({**model, "content": "again", "version": first["version"]}, "note.txt")
    assert store.find("note.txt").info.version == second["version"]
    assert store.find("note.txt").data == b"again"
    assert not [key for key in store.snapshot() if key.startswith(".cloudcontents/conflicts/")]
    await manager.close()
