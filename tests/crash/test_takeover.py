"""Who goes on with an unfinished operation: a dead server's is taken over, a living one's is not, and one that was taken stops.

Promise G4: in all of it, no object is lost or added.
"""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from cloudcontents.errors import CloudContentsError, ConflictError, LockedError, PermissionDeniedError, TooLargeError, UnavailableError

FILES = {f"exp/f{n}.txt": f"content {n}".encode() for n in range(5)} | {"exp/deep/g.txt": b"deep", "exp//odd": b"unnameable"}
MOVED = {key.replace("exp/", "moved/", 1): data for key, data in FILES.items()}
LEASE = 30.0


@pytest.fixture
def files(store):
    """Puts the files there; then what users have there, without markers."""

    async def put(mount):
        for key, data in FILES.items():
            await mount.bucket.put(key, data)

    def found():
        return {key: data for key, data in store.snapshot().items() if not key.startswith(".cloudcontents/") and not key.endswith("/")}

    put.found = found
    return put


def entries(store):
    return [key for key in store.snapshot() if key.startswith(".cloudcontents/journal/")]


@pytest.fixture
def taker(server):
    mount = server()
    mount.journal.lease = LEASE
    return mount


async def expire(clock, taker):
    """Watch for a whole lease."""
    assert await taker.tree.recover() == []
    clock.now += LEASE
    return await taker.tree.recover()


async def test_a_dead_server_of_this_machine_is_taken_over_at_once(server, taker, files, crash, clock):
    await files(taker)
    peer = server(12, dead=True)
    assert not await crash(peer, peer.tree.rename("exp", "moved"))
    assert len(await taker.tree.recover()) == 1
    assert files.found() == MOVED


async def test_a_dead_server_of_another_machine_is_taken_over_after_a_lease_watched(server, taker, files, crash, clock, store):
    await files(taker)
    peer = server(12, host="elsewhere")
    assert not await crash(peer, peer.tree.rename("exp", "moved"))
    for _ in range(3):
        assert await taker.tree.recover() == []
        clock.now += LEASE / 3 - 0.1
    assert await taker.tree.recover() == []
    clock.now += 1
    assert len(await taker.tree.recover()) == 1
    assert files.found() == MOVED
    assert entries(store) == []


@pytest.mark.parametrize("host", ["elsewhere", None])
async def test_a_living_server_is_left_alone(server, taker, files, clock, store, host):
    await files(taker)
    peer = server(12, host=host)
    task = asyncio.ensure_future(peer.tree.rename("exp", "moved"))
    await peer.faults.reached.wait()
    before = files.found()
    (op,) = await taker.journal.pending()
    other = server()
    other.journal._owner, other.journal._held = peer.journal._owner, peer.journal._held  # its heart beats while its work is slow
    for _ in range(20):
        assert await taker.tree.recover() == []
        clock.now += LEASE - 1
        await other.journal.hold(op)
    assert files.found() == before
    peer.faults.go_on()
    await task
    assert files.found() == MOVED
    assert entries(store) == []


async def test_the_heart_beats_by_itself(server, taker, files, store):
    await files(taker)
    peer = server(12)
    peer.journal.lease = 0.01
    heart = server()
    peer.journal.bucket = heart.bucket
    task = asyncio.ensure_future(peer.tree.rename("exp", "moved"))
    await peer.faults.reached.wait()
    versions = set()
    while len(versions) < 4:  # the test's own time limit is the only one
        versions |= {op.version for op in await taker.journal.pending()}
        await asyncio.sleep(0.001)
    peer.faults.go_on()
    await task
    assert files.found() == MOVED


@pytest.mark.parametrize(
    "failure",
    [None, UnavailableError("the connection broke"), PermissionDeniedError("the credentials ran out")],
    ids=["goes on", "tries again", "fails"],
)
@pytest.mark.parametrize("again", [False, True], ids=["left alone", "old name taken again"])
async def test_an_owner_that_was_taken_stops_and_loses_nothing(server, taker, files, clock, store, failure, again):
    stopped = 0
    for nth in range(1, 40):
        store.clear()
        taker.tree._hints.clear()
        await files(taker)
        peer = server(nth, host="elsewhere")
        task = asyncio.ensure_future(peer.tree.rename("exp", "moved"))
        standing = asyncio.ensure_future(peer.faults.reached.wait())
        await asyncio.wait([task, standing], return_when=asyncio.FIRST_COMPLETED)
        standing.cancel()
        taken = await expire(clock, taker)
        wanted = dict(FILES if not taken and not task.done() else MOVED)
        if taken:
            assert files.found() == MOVED, nth
            if again:
                await taker.bucket.put("exp/f1.txt", b"somebody's new one")
                wanted["exp/f1.txt"] = b"somebody's new one"
        peer.faults.go_on(failure)
        try:
            await task
            assert not taken or failure is not None, nth  # a deletion whose reply was lost finds nothing left to delete
        except LockedError:
            assert taken, nth
            stopped += 1
        except CloudContentsError:
            assert failure is not None or again, nth
        if not taken:
            assert files.found() in (FILES, MOVED), nth
        else:
            assert files.found() == wanted, nth
        await expire(clock, taker)
        assert entries(store) == [], nth
    assert stopped


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("again", [False, True], ids=["left alone", "old name taken again"])
async def test_an_owner_whose_file_was_taken_loses_nothing(server, taker, files, clock, store, again, after):
    for nth in range(1, 20):
        store.clear()
        taker.tree._hints.clear()
        await files(taker)
        peer = server(nth, host="elsewhere", after=after)
        task = asyncio.ensure_future(peer.tree.rename("exp/f1.txt", "named.txt", companions=("checkpoints",)))
        standing = asyncio.ensure_future(peer.faults.reached.wait())
        await asyncio.wait([task, standing], return_when=asyncio.FIRST_COMPLETED)
        standing.cancel()
        await expire(clock, taker)
        made = again and "exp/f1.txt" not in store.snapshot()
        if made:
            await taker.bucket.put("exp/f1.txt", b"somebody's new one")
        peer.faults.go_on()
        with contextlib.suppress(LockedError, ConflictError):
            await task
        await expire(clock, taker)
        found = files.found()
        assert FILES["exp/f1.txt"] in (found.get("exp/f1.txt"), found.get("named.txt")), nth
        if found.get("exp/f1.txt") != FILES["exp/f1.txt"]:
            assert found.get("exp/f1.txt") == (b"somebody's new one" if made else None), nth
        assert entries(store) == [], nth


async def test_a_second_taker_still_knows_what_was_made_since(server, taker, files, crash, clock, store):
    await files(taker)
    peer = server(12, dead=True)
    assert not await crash(peer, peer.tree.rename("exp", "moved"))
    await taker.bucket.put("exp/new.txt", b"made after the crash")
    second = server(8, dead=True)
    assert not await crash(second, second.tree.recover())
    await taker.tree.recover()
    assert files.found() == {**MOVED, "exp/new.txt": b"made after the crash"}
    assert entries(store) == []


async def test_what_cannot_be_finished_keeps_nothing_else_waiting(server, taker, files, crash, clock, store, monkeypatch):
    await files(taker)
    await taker.bucket.put("other/f.txt", b"other")
    for source, target in (("exp", "moved"), ("other", "place")):
        peer = server(8, dead=True)
        assert not await crash(peer, peer.tree.rename(source, target))
    copy = taker.faults.copy

    async def denied(src, dst, **options):
        if dst == "moved/f1.txt":
            raise PermissionDeniedError("not this one")
        return await copy(src, dst, **options)

    monkeypatch.setattr(taker.faults, "copy", denied)
    with pytest.raises(PermissionDeniedError):
        await taker.tree.recover()
    assert store.snapshot()["place/f.txt"] == b"other"
    assert len(entries(store)) == 1
    monkeypatch.undo()
    assert len(await taker.tree.recover()) == 1
    assert files.found() == {**MOVED, "place/f.txt": b"other"}


async def test_a_copy_refused_for_its_size_is_not_made_later(taker, files, store):
    await files(taker)
    with pytest.raises(TooLargeError):
        await taker.tree.copy_dir("exp", "copy", limit_bytes=10)
    assert entries(store) == []
    assert await taker.tree.recover() == []
    assert files.found() == FILES
    assert not await taker.tree.dir_exists("copy")


async def test_a_copy_that_fails_is_taken_back(taker, files, store, monkeypatch):
    await files(taker)
    copy = taker.faults.copy

    async def denied(src, dst, **options):
        if dst == "copy/f1.txt":
            raise PermissionDeniedError("not this one")
        return await copy(src, dst, **options)

    monkeypatch.setattr(taker.faults, "copy", denied)
    with pytest.raises(PermissionDeniedError):
        await taker.tree.copy_dir("exp", "copy")
    assert entries(store) == []
    assert files.found() == FILES
    assert not await taker.tree.dir_exists("copy")


@pytest.mark.parametrize("edited", ["exp/f1.txt", "copy/f1.txt"])
async def test_a_copy_is_finished_around_what_was_edited_since(server, taker, files, crash, store, edited):
    await files(taker)
    total = server()
    await total.tree.copy_dir("exp", "copy")
    store.clear()
    await files(taker)
    peer = server(len(total.faults.calls), dead=True)
    assert not await crash(peer, peer.tree.copy_dir("exp", "copy"))
    await taker.bucket.put(edited, b"edited")
    assert len(await taker.tree.recover()) == 1
    copied = {key.replace("exp/", "copy/", 1): data for key, data in FILES.items()}
    assert files.found() == {**FILES, **copied, edited: b"edited"}
    assert entries(store) == []


async def test_a_deletion_that_fails_does_not_go_on_behind_its_user(taker, files, store, monkeypatch):
    await files(taker)

    async def denied(items):
        return [(key, PermissionDeniedError("not this one")) for key, _ in items]

    monkeypatch.setattr(taker.faults, "delete_many", denied)
    with pytest.raises(PermissionDeniedError):
        await taker.tree.remove_dir("exp")
    assert entries(store) == []
    monkeypatch.undo()
    assert await taker.tree.recover() == []
    assert files.found() == FILES


async def test_what_was_saved_after_a_crashed_deletion_stays(server, taker, files, crash, store):
    await files(taker)
    peer = server(2, dead=True)
    assert not await crash(peer, peer.tree.remove_dir("exp"))
    await taker.bucket.put("exp/f1.txt", b"saved since")
    assert len(await taker.tree.recover()) == 1
    assert files.found() == {"exp/f1.txt": b"saved since"}


async def test_what_somebody_wrote_under_the_new_name_stays_and_so_does_the_old(server, taker, files, crash, store):
    await files(taker)
    peer = server(9, dead=True)
    assert not await crash(peer, peer.tree.rename("exp", "moved"))
    assert "moved/f1.txt" not in store.snapshot()
    await taker.bucket.put("moved/f1.txt", b"theirs")
    (line,) = await taker.tree.recover()
    assert "1 objects stay" in line
    assert files.found() == {**MOVED, "moved/f1.txt": b"theirs", "exp/f1.txt": FILES["exp/f1.txt"]}
    assert entries(store) == []
