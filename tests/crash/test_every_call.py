"""A server that dies at any call of any operation on directories, on memory: quick, so every call and every pair of crashes is played.

Promises G4 and G10: what `test_kills` shows with real kills of a sample, here for each of them, in one process.
"""

from __future__ import annotations

import random
import secrets

import pytest

CHECKPOINT = ".cloudcontents/checkpoints/{}/.cloudcontents/20260101T000000000000Z-aaaaaa"
FILES = {f"exp/f{n}.txt": f"content {n}".encode() for n in range(4)} | {"exp/deep/g.txt": b"deep", "exp//odd": b"unnameable"}
OURS = {CHECKPOINT.format(name): f"checkpoint of {name}".encode() for name in ("exp/f0.txt", "exp/f1.txt", "exp/deep/g.txt")}
OTHERS = {"exp2/f.txt": b"a neighbour", "exp.csv": b"another", CHECKPOINT.format("exp2/f.txt"): b"its checkpoint"}

OPERATIONS = {
    "rename": lambda mount: mount.tree.rename("exp", "moved", companions=("checkpoints",)),
    "rename a file": lambda mount: mount.tree.rename("exp/f0.txt", "exp/deep/named.txt", companions=("checkpoints",)),
    "to the trash": lambda mount: mount.trash.put("exp"),
    "a file to the trash": lambda mount: mount.trash.put("exp/f0.txt"),
    "restore": lambda mount: restore(mount),
    "restore a file": lambda mount: restore(mount),
    "delete": lambda mount: mount.tree.remove_dir("exp", companions=("checkpoints",)),
    "delete a file": lambda mount: mount.tree.remove_file("exp/f0.txt", companions=("checkpoints",)),
    "copy": lambda mount: mount.tree.copy_dir("exp", "copy"),
}
DELETIONS = ("delete", "delete a file")


async def restore(mount):
    await mount.trash.restore((await mount.trash.list())[0].id)


async def prepare(mount, store, name):
    store.clear()
    for key, data in {**FILES, **OURS, **OTHERS}.items():
        await mount.bucket.put(key, data)
    if name == "restore":
        await mount.trash.put("exp")
    if name == "restore a file":
        await mount.trash.put("exp/f0.txt")
    return seen(store)


def seen(store):
    """What users and checkpoints have; not the trash, not markers."""
    ours = (".cloudcontents/trash/", ".cloudcontents/journal/")
    return {key: data for key, data in store.snapshot().items() if not key.startswith(ours) and not key.endswith("/")}


def texts(store):
    """Every text that is there, wherever."""
    return set(store.snapshot().values()) & {*FILES.values(), *OURS.values(), *OTHERS.values()}


async def both_ends(server, store, name):
    """Before and after an operation without any crash, and how many calls it takes."""
    before = await prepare(server(), store, name)
    mount = server()
    await OPERATIONS[name](mount)
    return before, seen(store), len(mount.faults.calls)


def check(store, name, before, after, where):
    found = seen(store)
    assert found in (before, after), where
    if name not in DELETIONS:
        assert texts(store) == {*FILES.values(), *OURS.values(), *OTHERS.values()}, where
    assert not [key for key in store.snapshot() if key.startswith(".cloudcontents/journal/")], where
    return found == after


@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_crash_at_every_call(server, store, crash, name):
    before, after, calls = await both_ends(server, store, name)
    ends = set()
    for nth in range(1, calls + 1):
        for late in (False, True):
            where = f"{name}: dead {'after' if late else 'before'} call {nth} of {calls}"
            await prepare(server(), store, name)
            mount = server(nth, after=late, dead=True)
            assert not await crash(mount, OPERATIONS[name](mount)), where
            if name not in DELETIONS:
                assert texts(store) == {*FILES.values(), *OURS.values(), *OTHERS.values()}, where
            await server().tree.recover()
            ends.add(check(store, name, before, after, where))
            assert await server().tree.recover() == [], where
    assert ends == {False, True}


async def pairs(server, store, crash, name, choose):
    """A second crash during the recovery from a first one; `choose` says which of them are played."""
    before, after, calls = await both_ends(server, store, name)
    for nth in range(1, calls + 1):
        for late in (False, True):
            await prepare(server(), store, name)
            mount = server(nth, after=late, dead=True)
            assert not await crash(mount, OPERATIONS[name](mount))
            crashed = dict(store._objects), list(store._keys)
            probe = server()
            await probe.tree.recover()
            for second in range(1, len(probe.faults.calls) + 1):
                for second_late in (False, True):
                    if not choose():
                        continue
                    where = f"{name}: dead at call {nth} ({late}) of {calls}, its recovery at {second} ({second_late})"
                    store._objects, store._keys = dict(crashed[0]), list(crashed[1])
                    mount = server(second, after=second_late, dead=True)
                    await crash(mount, mount.tree.recover())
                    await server().tree.recover()
                    check(store, name, before, after, where)


@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_sample_of_two_crashes(server, store, crash, name):
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    await pairs(server, store, crash, name, lambda: chance.random() < 0.03)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", OPERATIONS)
async def test_every_two_crashes(server, store, crash, name):
    await pairs(server, store, crash, name, lambda: True)
