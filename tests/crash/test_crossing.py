"""Moves from one mount to another: a crash or another writer at any call to either store loses nothing, and what is damaged is not taken.

Promise G4, where two stores share no journal: every object is whole in the one or the other at every moment, and the source goes last.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import itertools
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
from cloudcontents.errors import AlreadyExistsError, ChecksumError, CloudContentsError, ConflictError, NotFoundError, PermissionDeniedError
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


@pytest.mark.parametrize("breaks", [3, 40])
async def test_a_line_that_breaks_is_taken_up_where_it_broke(stores, breaks):
    """Three times in a row is borne, or any number of times where something comes in between; more is a failure, and nothing has moved."""
    await fill(stores)
    left = breaks

    class Breaking(FaultBackend):
        async def get(self, key, **options):
            reader = await super().get(key, **options)
            if key == "exp/deep/large.bin":
                reader._data, whole = b"" if breaks == 40 else reader._data[: 1 << 20], reader._data
                nonlocal left
                left -= 1
                if left < 0:
                    reader._data = whole
            return reader

    source, target = mounted(stores, Breaking)
    if breaks == 40:
        with pytest.raises(CloudContentsError):
            await move_across(source, target, companions=COMPANIONS)
        assert contents(stores[0]) == EVERYTHING
        assert contents(stores[1]) == {}
        assert left == 40 - 4
    else:
        await move_across(source, target, companions=COMPANIONS)
        assert contents(stores[0]) == {}
        assert contents(stores[1]) == MOVED


# --- real servers -------------------------------------------------------------------------------------------------------------


def memory(server, what):
    """Bytes that a server's process holds now (VmRSS), or held at most since its peak was forgotten (VmHWM)."""
    return int(re.search(rf"^{what}:\s+(\d+) kB", Path(f"/proc/{server.pid}/status").read_text(), re.MULTILINE)[1]) * 1024


def forget_peak(server):
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")


def write_random(path, size):
    """A file that cannot be compressed, no two blocks of it alike; its SHA-256."""
    digest, block = hashlib.sha256(), secrets.token_bytes((1 << 20) - 8)
    with path.open("wb") as file:
        for number in range(size >> 20):
            piece = number.to_bytes(8, "big") + block
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def digest_of(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file)


def _digest(file):
    digest = hashlib.sha256()
    while piece := file.read(1 << 20):
        digest.update(piece)
    return digest.hexdigest()


@pytest.mark.parametrize(
    ("files", "size"),
    [(4, 64 << 20), pytest.param(1, 2 << 30, marks=LONG), pytest.param(4, 2 << 30, marks=LONG)],
    ids=["4 files, 64 MiB", "1 file, 2 GiB", "4 files, 2 GiB"],
)
def test_a_move_around_all_stores_holds_little(outside, jupyter, tmp_path, files, size):
    """From a disk to MinIO, Azurite, fake-gcs-server and back: at most 64 MiB over an idle server, every byte the same, the source gone."""
    disk = tmp_path / "disk"
    (disk / "big").mkdir(parents=True)
    (disk / "warm.txt").write_text("small")
    clouds = {name: outside(name) for name in ("minio", "azurite", "fake_gcs")}
    server = jupyter(mounts={"disk": disk.as_uri(), **{name: cloud.url for name, cloud in clouds.items()}})
    server.start()
    session = server.session(1800)
    way = ["disk", *clouds, "disk"]
    for here, there in itertools.pairwise(way):  # connections are open, and the SDKs loaded
        assert session.rename(f"{here}/warm.txt", f"{there}/warm.txt").status == 200
    digests = {name: write_random(disk / "big" / name, size // files) for name in (f"{n}.bin" for n in range(files))}
    wanted = {f"big/{name}": size // files for name in digests}
    peaks = {}
    for here, there in itertools.pairwise(way):
        forget_peak(server)
        idle, started = memory(server, "VmRSS"), time.monotonic()
        answer = session.rename(f"{here}/big", f"{there}/big")
        assert answer.status == 200, answer.body
        took, peaks[there] = time.monotonic() - started, memory(server, "VmHWM") - idle
        print(f"{size >> 20} MiB in {files}, {here} to {there}: {peaks[there] / 2**20:.1f} MiB over idle, {took:.1f} s", flush=True)
        if there != "disk":
            assert {key: found for key, found in clouds[there].list().items() if key.startswith("big/")} == wanted
        if here != "disk":
            assert not any(key.startswith("big/") for key in clouds[here].list())
        else:
            assert not (disk / "big").exists()
    assert {path.name: digest_of(path) for path in (disk / "big").iterdir()} == digests
    shutil.rmtree(disk)
    assert max(peaks.values()) <= 64 << 20, peaks


@pytest.mark.parametrize(
    ("here", "there", "size", "kills"),
    [
        ("minio", "azurite", 8 << 20, 2),
        pytest.param("minio", "azurite", 64 << 20, 10, marks=LONG),
        pytest.param("azurite", "fake_gcs", 64 << 20, 10, marks=LONG),
        pytest.param("fake_gcs", "minio", 64 << 20, 10, marks=LONG),
    ],
)
def test_killed_at_random_moments(outside, jupyter, killed, chance, here, there, size, kills):
    source, target = outside(here), outside(there)
    files = {f"exp/f{n:02}.txt": f"content {n}".encode() * (n + 1) for n in range(24)} | {"exp/deep/large.bin": secrets.token_bytes(size)}
    kept = {f".cloudcontents/checkpoints/{name}/.cloudcontents/20260101T000000000000Z-aaaaaa": b"kept" for name in list(files)[:4]}
    everything = files | kept
    server = jupyter(mounts={"here": source.url, "there": target.url}, delete_to_trash=False, always_delete_dir=True)
    server.start()

    def reset():
        target.clear()
        left = source.list()
        source.put_all({key: data for key, data in everything.items() if key not in left})

    def check(where):
        left, arrived = source.list(), target.list()
        assert left.items() | arrived.items() == {(key, len(data)) for key, data in everything.items()}, where
        assert target.read_all(list(arrived)) == {key: everything[key] for key in arrived}, where
        assert left.keys() == everything.keys() or arrived.keys() == everything.keys(), f"{where}: a source is gone before all has arrived"
        return left, arrived

    reset()
    started = time.monotonic()
    assert server.session().rename("here/exp", "there/exp").status == 200
    seconds = time.monotonic() - started
    for number in range(kills):
        reset()
        assert server.session().names("there") == []  # the connections are open
        moment = chance.random() * seconds
        where = f"kill {number} at {moment:.3f} of {seconds:.3f} s"
        killed(server, "here/exp", "there/exp", moment)
        left, arrived = check(where)
        print(f"{here} to {there}, {where}: {len(left)} of {len(everything)} at the source, {len(arrived)} at the target", flush=True)
        server.start()
    if left.keys() == everything.keys() and arrived:  # what a user does then
        assert server.session().request("DELETE", "/api/contents/there/exp").status == 204
        assert server.session().rename("here/exp", "there/exp").status == 200
        assert {key for key in target.list() if not key.startswith(".")} == files.keys()


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_two_gib_killed_at_random_moments(outside, jupyter, killed, chance, tmp_path):
    """From a disk to MinIO: the file is whole on the disk, or whole in the bucket."""
    size = 2 << 30
    disk, bucket = tmp_path / "disk", outside("minio")
    disk.mkdir()
    file = disk / "big.bin"
    digest = write_random(file, size)
    server = jupyter(mounts={"here": disk.as_uri(), "there": bucket.url})
    server.start()
    started = time.monotonic()
    assert server.session(1800).rename("here/big.bin", "there/big.bin").status == 200
    seconds = time.monotonic() - started
    assert server.session(1800).rename("there/big.bin", "here/big.bin").status == 200
    for number in range(6):
        moment = seconds * (chance.random() if number % 2 else 1 + chance.random() / 20)
        status = killed(server, "here/big.bin", "there/big.bin", moment)
        there, here = bucket.list().get("big.bin"), file.exists()
        print(f"kill {number} at {moment:.2f} of {seconds:.2f} s: answer {status}, on the disk {here}, in the bucket {there}", flush=True)
        assert there in (None, size)
        assert here or there, "lost"
        if here:
            assert digest_of(file) == digest
        server.start()
        if here and there:
            bucket.delete("big.bin")
        elif there:
            assert server.session(1800).rename("there/big.bin", "here/big.bin").status == 200
            assert digest_of(file) == digest
    shutil.rmtree(disk)
