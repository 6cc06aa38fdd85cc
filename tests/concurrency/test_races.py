"""Many at once on one bucket: nothing is lost, one of two gets the name, and a listing holds what was there all the time.

Between threads with event loops of their own on memory and on ``file://``, and between processes on ``file://``.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from cloudcontents import CloudContentsManager
from cloudcontents.backends.interface import IF_ABSENT, IfVersion
from cloudcontents.backends.memory import drop_memory_store
from cloudcontents.bucket import Bucket
from cloudcontents.errors import AlreadyExistsError, CloudContentsError, ConflictError
from cloudcontents.keys import companion_prefix
from cloudcontents.namespace import COMPANIONS, Namespace
from cloudcontents.registry import open_backend

WORKER = Path(__file__).with_name("race_worker.py")


@pytest.fixture(params=["memory", "file"])
def url(request, tmp_path):
    if request.param == "file":
        yield f"file://{tmp_path}"
        return
    name = f"races-{secrets.token_hex(4)}"
    yield f"memory://{name}"
    drop_memory_store(name)


@pytest.fixture
def chance():
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    return random.Random(seed)


def in_threads(*works):
    """Run each coroutine function in a thread with a loop of its own, all beginning at one moment; their results."""
    together = threading.Barrier(len(works))
    results = [None] * len(works)
    failures = []

    async def life(work):
        return await work()

    def run(number, work):
        together.wait()
        try:
            results[number] = asyncio.run(life(work))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return results


def in_processes(count, *arguments):
    running = [subprocess.Popen([sys.executable, str(WORKER), *arguments], stdout=subprocess.PIPE) for _ in range(count)]
    outputs = [process.communicate()[0].decode() for process in running]
    assert [process.returncode for process in running] == [0] * count
    return outputs


def once(work):
    """Run a coroutine function on a loop of its own."""
    return asyncio.run(work())


async def with_bucket(url, work):
    bucket = Bucket(open_backend(url))
    try:
        return await work(bucket)
    finally:
        await bucket.close()


async def count_up(bucket, steps):
    for _ in range(steps):
        while True:
            info, data = await bucket.read("counter")
            try:
                await bucket.put("counter", str(int(data) + 1).encode(), when=IfVersion(info.version))
                break
            except ConflictError:
                continue


def test_counter_in_threads(url):
    once(lambda: with_bucket(url, lambda bucket: bucket.put("counter", b"0")))
    in_threads(*[lambda: with_bucket(url, lambda bucket: count_up(bucket, 100))] * 8)
    _, data = once(lambda: with_bucket(url, lambda bucket: bucket.read("counter")))
    assert data == b"800"


def test_counter_in_processes(tmp_path):
    url = f"file://{tmp_path}"
    once(lambda: with_bucket(url, lambda bucket: bucket.put("counter", b"0")))
    in_processes(8, url, "count", "100")
    _, data = once(lambda: with_bucket(url, lambda bucket: bucket.read("counter")))
    assert data == b"800"


def test_creation_race(url):
    for number in range(10):

        async def create(bucket, number=number):
            mine = secrets.token_hex(8)
            try:
                await bucket.put(f"race-{number}", mine.encode(), when=IF_ABSENT)
            except AlreadyExistsError:
                return None
            return mine

        winners = [mine for mine in in_threads(*[lambda: with_bucket(url, create)] * 16) if mine]
        assert len(winners) == 1
        _, data = once(lambda number=number: with_bucket(url, lambda bucket: bucket.read(f"race-{number}")))
        assert data.decode() == winners[0]


def test_creation_race_of_processes(tmp_path):
    outputs = in_processes(16, f"file://{tmp_path}", "create", "raced")
    winners = [text for text in outputs if text]
    assert len(winners) == 1
    assert (tmp_path / "raced").read_text() == winners[0]


def test_untitled_race(url):
    """New files of one directory never share a name."""

    async def make():
        manager = CloudContentsManager(url=url)
        manager.notary.db_file = ":memory:"
        try:
            return [(await manager.new_untitled(type="file", ext=".txt"))["path"] for _ in range(5)]
        finally:
            await manager.close()

    names = [name for found in in_threads(*[make] * 6) for name in found]
    assert len(set(names)) == 30


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_rename_onto_a_name_that_is_created_at_that_moment(url, chance, kind):
    """Either the rename gets the name or the creator does; both contents are there afterwards."""
    outcomes = set()
    for number in range(40):
        pauses = [chance.random() / 500, chance.random() / 500]
        source, target = f"source-{number}", f"target-{number}"
        held = f"{source}/f.txt" if kind == "directory" else source

        async def prepare(bucket, held=held):
            await bucket.put(held, b"renamed")

        async def rename(source=source, target=target, pause=pauses[0]):
            namespace = Namespace(open_backend(url))
            await asyncio.sleep(pause)
            try:
                await namespace.mounts[0].tree.rename(source, target, companions=COMPANIONS)
            except (AlreadyExistsError, ConflictError):
                return False
            finally:
                await namespace.close()
            return True

        async def create(target=target, pause=pauses[1]):
            namespace = Namespace(open_backend(url))
            await asyncio.sleep(pause)
            try:
                await namespace.mounts[0].bucket.put(target, b"created", when=IF_ABSENT)
                await namespace.mounts[0].bucket.put(f"{companion_prefix('checkpoints', target)}one", b"its checkpoint")
            except CloudContentsError:
                return False
            finally:
                await namespace.close()
            return True

        async def texts(bucket):
            return {info.key: (await bucket.read(info.key))[1] async for info in bucket.objects("") if not info.key.endswith("/")}

        once(lambda: with_bucket(url, prepare))
        renamed, created = in_threads(rename, create)
        everything = once(lambda: with_bucket(url, texts))
        found = {key: data for key, data in everything.items() if key.partition("/")[0] in (source, target)}
        there = f"{target}/f.txt" if kind == "directory" else target
        wanted = {there if renamed else held: b"renamed"} | ({target: b"created"} if created else {})
        assert found == wanted, (number, renamed, created)
        assert renamed or created
        if created and not renamed:
            assert everything[f"{companion_prefix('checkpoints', target)}one"] == b"its checkpoint", number
        outcomes.add((renamed, created))
    print(outcomes)


def test_two_directories_that_want_one_name(url, chance):
    """One gets it, the other one stays what it was; they are never mixed."""
    for number in range(20):
        sources = [f"{side}-{number}" for side in ("left", "right")]

        async def prepare(bucket, sources=sources):
            for source in sources:
                for n in range(3):
                    await bucket.put(f"{source}/{source}-{n}.txt", source.encode())

        async def rename(source, pause, number=number):
            namespace = Namespace(open_backend(url))
            await asyncio.sleep(pause)
            try:
                await namespace.mounts[0].tree.rename(source, f"both-{number}")
            except AlreadyExistsError:
                return False
            finally:
                await namespace.close()
            return True

        async def names(bucket):
            return {info.key async for info in bucket.objects("") if not info.key.endswith("/") and not info.key.startswith(".cloud")}

        once(lambda: with_bucket(url, prepare))
        done = in_threads(*(partial(rename, source, chance.random() / 500) for source in sources))
        assert sorted(done) == [False, True], number
        winner, loser = (sources[done.index(side)] for side in (True, False))
        wanted = {f"{at}/{source}-{n}.txt" for at, source in ((f"both-{number}", winner), (loser, loser)) for n in range(3)}
        found = {name for name in once(lambda: with_bucket(url, names)) if name.partition("/")[0].endswith(f"-{number}")}
        assert found == wanted, number


def test_saves_and_deletions_in_a_directory_being_renamed(url, chance):
    """A text whose save was answered is there, under the old name or the new one; one that was deleted may be."""
    for number in range(8):
        names = [f"old-{number}/f{n}.txt" for n in range(12)]

        async def prepare(bucket, names=names):
            for name in names:
                await bucket.put(name, b"0")

        async def rename(number=number):
            namespace = Namespace(open_backend(url))
            try:
                await namespace.mounts[0].tree.rename(f"old-{number}", f"new-{number}")
            except ConflictError:
                pass  # what was written at both names stays at both
            finally:
                await namespace.close()

        async def save(bucket, seed, names=names):
            mine = random.Random(seed)
            saved = {}
            for step in range(30):
                name = mine.choice(names[:6])
                text = f"{seed} {step}"
                try:
                    info = await bucket.head(name)
                    await bucket.put(name, text.encode(), when=IfVersion(info.version))
                except (FileNotFoundError, ConflictError):
                    continue
                saved[name] = text
            return saved

        async def delete(bucket, names=names):
            for name in names[9:]:
                await bucket.delete(name)

        async def texts(bucket, number=number):
            found = {}
            for top in (f"old-{number}/", f"new-{number}/"):
                async for info in bucket.objects(top):
                    if not info.key.endswith("/"):
                        found.setdefault(info.key.partition("/")[2], []).append((await bucket.read(info.key))[1].decode())
            return found

        once(lambda: with_bucket(url, prepare))
        seed = chance.randrange(10**6)
        saver = lambda seed=seed: with_bucket(url, lambda bucket: save(bucket, seed))  # noqa: E731
        _, saved, _ = in_threads(rename, saver, lambda: with_bucket(url, delete))
        found = once(lambda: with_bucket(url, texts))
        for name in names[:6]:
            assert saved.get(name, "0") in found[name.partition("/")[2]], (number, seed, name)
        for name in names[6:9]:
            assert found[name.partition("/")[2]] == ["0"], (number, seed, name)


def test_listing_under_change(url, chance):
    """Keys that are there all the time appear exactly once, whatever comes and goes between two pages."""

    async def prepare(bucket):
        names = [f"d/k{n:05}" for n in range(0, 10_000, 2)]
        work = asyncio.Semaphore(32)

        async def put(name):
            async with work:
                await bucket.backend.put(name, b"")

        await asyncio.gather(*(put(name) for name in names))
        return names

    async def walk(bucket):
        names = await prepare(bucket)
        gone = set(chance.sample(names, 300))
        new = [f"d/k{n:05}" for n in chance.sample(range(1, 10_000, 2), 300)]
        doomed, coming = sorted(gone, key=lambda _: chance.random()), iter(new)
        seen = []
        async for page in bucket.pages("d/", delimiter=chance.choice([None, "/"])):
            seen += [info.key for info in page.objects if not info.key.endswith("/")]
            for _ in range(50):
                if doomed:
                    await bucket.delete(doomed.pop())
                if (name := next(coming, None)) is not None:
                    await bucket.backend.put(name, b"")
        return names, gone, seen

    names, gone, seen = once(lambda: with_bucket(url, walk))
    assert len(seen) == len(set(seen))
    assert set(names) - gone <= set(seen)
    assert seen == sorted(seen)
