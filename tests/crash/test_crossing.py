"""Moves from one mount to another: a crash or another writer at any call to either store loses nothing, and what is damaged is not taken.

Promise G4, where two stores share no journal: every object is whole in the one or the other at every moment, and the source goes last.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import re
import secrets
import shutil
import time
from pathlib import Path

import pytest

from cloudcontents.backends.faults import FaultBackend
from cloudcontents.backends.interface import IfVersion
from cloudcontents.backends.memory import MemoryBackend, drop_memory_store, memory_store
from cloudcontents.bucket import Bucket
from cloudcontents.crossing import copy_across, move_across
from cloudcontents.errors import AlreadyExistsError, ChecksumError, ConflictError, NotFoundError, PermissionDeniedError
from cloudcontents.namespace import COMPANIONS, Namespace

LONG = [pytest.mark.long, pytest.mark.timeout(3600)]
LARGE = secrets.token_bytes(5 << 20)
FILES = {f"exp/f{n}.txt": f"content {n}".encode() for n in range(5)} | {"exp/deep/large.bin": LARGE, "exp/deep/g.txt": b"deep"}
CHECKPOINTS = {f".cloudcontents/checkpoints/exp/f{n}.txt/.cloudcontents/20260101T000000000000Z-aaaaaa": b"kept %d" % n for n in range(2)}
EVERYTHING = FILES | CHECKPOINTS
MOVED = {key.replace("exp/", "moved/", 1): data for key, data in EVERYTHING.items()}


class Interrupted(FaultBackend):
    """One of two stores whose calls are counted together; before or after the nth one `act` is called, which may never return.

    Args:
        inner: The store.
        clock: The calls of both so far; shared.
        nth: Which one.
        act: What happens there.
        after: Whether the call is made first.
    """

    def __init__(self, inner, clock, nth, act, *, after=False):
        super().__init__(inner)
        self._clock, self._nth, self._act, self._after = clock, nth, act, after

    async def _call(self, operation, key, call, undo=None):
        self._clock.append(f"{operation} {key}")
        mine = len(self._clock) == self._nth
        if mine and not self._after:
            await self._act()
        result = await call()
        if mine and self._after:
            await self._act()
        return result


@pytest.fixture
def stores():
    """Two stores in memory, the first with a directory."""
    names = [f"crossing-{side}-{secrets.token_hex(4)}" for side in ("from", "to")]
    yield [memory_store(name) for name in names]
    for name in names:
        drop_memory_store(name)


async def fill(stores):
    for store in stores:
        store.clear()
    bucket = Bucket(MemoryBackend(stores[0].name))
    for key, data in EVERYTHING.items():
        await bucket.put(key, data)
    await bucket.put("exp/empty/", b"")


def mounted(stores, wrap):
    """Locations of the directory and of its new place, on stores wrapped as told."""
    namespace = Namespace({"": wrap(MemoryBackend(stores[0].name)), "to": wrap(MemoryBackend(stores[1].name))})
    return namespace.resolve("exp"), namespace.resolve("to/moved")


def contents(store):
    return {key: data for key, data in store.snapshot().items() if not key.endswith("/")}


async def until(acted, work):
    """Run something until it stands still at `acted`, and let it die there; True if it ended before."""
    task = asyncio.ensure_future(work)
    standing = asyncio.ensure_future(acted.wait())
    await asyncio.wait([task, standing], return_when=asyncio.FIRST_COMPLETED)
    standing.cancel()
    ended = task.done()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return ended


@pytest.mark.parametrize("after", [False, True])
async def test_a_crash_at_every_call(stores, after):
    nth, ended, deleting = 0, False, False
    while not ended:
        nth += 1
        await fill(stores)
        clock, dead = [], asyncio.Event()

        async def die(dead=dead):
            dead.set()
            await asyncio.Event().wait()

        wrap = lambda inner, clock=clock, nth=nth, die=die: Interrupted(inner, clock, nth, die, after=after)  # noqa: E731
        source, target = mounted(stores, wrap)
        ended = await until(dead, move_across(source, target, companions=COMPANIONS))
        here, there = (contents(store) for store in stores)
        for old, new in zip(EVERYTHING, MOVED, strict=True):
            assert here.get(old, EVERYTHING[old]) == there.get(new, MOVED[new]) == EVERYTHING[old], (nth, clock[-1])
            assert old in here or new in there, (nth, clock[-1])
        if here.keys() != EVERYTHING.keys():
            assert there == MOVED, f"call {nth}, {clock[-1]}: a source is gone, and not everything has arrived"
            deleting = True
    assert deleting
    assert contents(stores[0]) == {}
    assert contents(stores[1]) == MOVED


@pytest.mark.parametrize("conditional", [True, False], ids=["conditional deletion", "as MinIO"])
async def test_what_is_saved_meanwhile_stays(stores, conditional):
    nth, calls, lost = 0, None, set()
    while calls is None or nth < len(calls):
        nth += 1
        await fill(stores)
        clock, saved = [], []
        other = Bucket(MemoryBackend(stores[0].name))

        async def save(other=other, saved=saved):
            with contextlib.suppress(NotFoundError, ConflictError):
                await other.put("exp/f1.txt", b"newer", when=IfVersion((await other.head("exp/f1.txt")).version))
                saved.append(True)

        def wrap(inner, clock=clock, nth=nth, save=save):
            backend = Interrupted(inner, clock, nth, save)
            backend.capabilities = dataclasses.replace(backend.capabilities, delete_if_version=conditional)
            return backend

        source, target = mounted(stores, wrap)
        with contextlib.suppress(ConflictError):
            await move_across(source, target, companions=COMPANIONS)
        here, there = (contents(store) for store in stores)
        if saved and b"newer" not in (here.get("exp/f1.txt"), there.get("moved/f1.txt")):
            lost.add(clock[nth - 1])
        calls = calls if calls is not None and len(calls) > len(clock) else clock
        for old, new in zip(EVERYTHING, MOVED, strict=True):
            assert old in here or new in there, (nth, clock[nth - 1])
    # Without a conditional deletion the version is looked at just before, and what comes after that look cannot be seen.
    assert lost <= (set() if conditional else {f"delete {key}" for key in FILES}), lost


@pytest.mark.parametrize("kind", ["copy", "move"])
async def test_what_fails_is_taken_back_whole(stores, kind):
    await fill(stores)

    class Denying(FaultBackend):
        async def put(self, key, body, **options):
            if key == "moved/f4.txt":
                raise PermissionDeniedError("not this one")
            return await super().put(key, body, **options)

    source, target = mounted(stores, Denying)
    with pytest.raises(PermissionDeniedError):
        await (move_across(source, target, companions=COMPANIONS) if kind == "move" else copy_across(source, None, target))
    assert contents(stores[0]) == EVERYTHING
    assert stores[1].snapshot() == {}


async def test_a_file_whose_checkpoints_cannot_come_along_stays(stores):
    await fill(stores)

    class Denying(FaultBackend):
        async def put(self, key, body, **options):
            if key.startswith(".cloudcontents/"):
                raise PermissionDeniedError("not this one")
            return await super().put(key, body, **options)

    source, target = mounted(stores, Denying)
    source, target = (dataclasses.replace(location, path=path) for location, path in ((source, "exp/f1.txt"), (target, "f1.txt")))
    with pytest.raises(PermissionDeniedError):
        await move_across(source, target, companions=COMPANIONS)
    assert contents(stores[0]) == EVERYTHING
    assert contents(stores[1]) == {}


async def test_what_appears_at_the_target_is_not_replaced_and_nothing_is_moved(stores):
    await fill(stores)
    other = Bucket(MemoryBackend(stores[1].name))

    class Late(FaultBackend):
        async def put(self, key, body, **options):
            if key == "moved/f3.txt":
                await other.put(key, b"theirs")
            return await super().put(key, body, **options)

    source, target = mounted(stores, Late)
    with pytest.raises(AlreadyExistsError):
        await move_across(source, target, companions=COMPANIONS)
    assert contents(stores[0]) == EVERYTHING
    assert contents(stores[1]) == {"moved/f3.txt": b"theirs"}


@pytest.mark.parametrize("name", ["large.bin", "g.txt"])
@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
@pytest.mark.parametrize("side", ["read", "written"])
async def test_damaged_bytes_are_not_taken_for_a_copy(stores, name, algorithm, side):
    """A byte that changes on its way from the source, or to a target that does not look itself, is found by either store's checksum."""
    await fill(stores)
    key = f"exp/deep/{name}"

    def told(info):
        data = EVERYTHING.get(info.key) or MOVED[info.key]
        return dataclasses.replace(info, checksum=f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}")

    class Damaging(FaultBackend):
        async def get(self, wanted, **options):
            reader = await super().get(wanted, **options)
            if wanted == key and side == "read":
                reader.info = told(reader.info)
                reader._data = b"X" + reader._data[1:]
            return reader

        async def put(self, wanted, body, *, checksum=None, **options):
            info = await super().put(wanted, body, **options)
            if wanted == f"moved/deep/{name}" and side == "written":
                return dataclasses.replace(info, checksum=f"{algorithm}:{hashlib.new(algorithm, b'something else').hexdigest()}")
            return info

    source, target = mounted(stores, Damaging)
    with pytest.raises(ChecksumError):
        await move_across(source, target, companions=COMPANIONS)
    assert contents(stores[0]) == EVERYTHING
    assert contents(stores[1]) == {}
