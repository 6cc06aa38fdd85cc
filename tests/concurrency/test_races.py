"""Many at once on one bucket: nothing is lost, one of two gets the name, and a listing holds what was there all the time.

Between threads with event loops of their own on memory, on ``file://`` and on the clouds' servers, and between processes.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from cloudcontents import CloudContentsManager
from cloudcontents.backends.interface import IF_ABSENT, IfVersion
from cloudcontents.backends.memory import drop_memory_store
from cloudcontents.bucket import Bucket
from cloudcontents.errors import AlreadyExistsError, ConflictError
from cloudcontents.keys import companion_prefix
from cloudcontents.namespace import COMPANIONS, Namespace
from cloudcontents.registry import open_backend

CLOUDS = ["minio", "fake_gcs", "azurite"]
LONG = [pytest.mark.long, pytest.mark.timeout(1800)]


@pytest.fixture
def place():
    """The store; a test that wants others says so by `on`."""
    return "file"


def on(*names, long=()):
    """Play a test on these stores; on `long` only in the long run."""
    return pytest.mark.parametrize("place", [*names, *(pytest.param(name, marks=LONG) for name in long)])


@pytest.fixture
def url(place, bucket_on):
    if place != "memory":
        yield bucket_on(place)
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


def counter(url):
    return once(lambda: with_bucket(url, lambda bucket: bucket.read("counter")))[1]


@pytest.mark.parametrize(("place", "steps"), [("memory", 100), ("file", 100), *((cloud, 8) for cloud in CLOUDS)])
def test_counter_in_threads(url, steps):
    once(lambda: with_bucket(url, lambda bucket: bucket.put("counter", b"0")))
    in_threads(*[lambda: with_bucket(url, lambda bucket: count_up(bucket, steps))] * 8)
    assert counter(url) == str(8 * steps).encode()


@on("file", long=CLOUDS)
def test_counter_in_processes(url, racers):
    once(lambda: with_bucket(url, lambda bucket: bucket.put("counter", b"0")))
    running = racers(url, 8)
    for racer in running:
        racer.tell("count", 100)
    assert [racer.answer() for racer in running] == [True] * 8
    assert counter(url) == b"800"


@pytest.mark.parametrize(("place", "rounds"), [("memory", 10), ("file", 10), *((cloud, 2) for cloud in CLOUDS)])
def test_creation_race(url, rounds):
    for number in range(rounds):

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


@on("file", long=CLOUDS)
def test_creation_race_of_processes(url, racers):
    running = racers(url, 16)
    won = [0] * 16
    for number in range(20):
        for name, racer in enumerate(running):
            racer.tell("create", f"raced-{number}", str(name), 0)
        winners = [name for name, racer in enumerate(running) if racer.answer()]
        assert len(winners) == 1, number
        _, data = once(lambda number=number: with_bucket(url, lambda bucket: bucket.read(f"raced-{number}")))
        assert data.decode() == str(winners[0])
        won[winners[0]] += 1
    print("rounds won by each:", *won)


@on("memory", "file", long=CLOUDS)
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


class Thread:
    """Somebody else on a store in memory; as `racers`' processes."""

    def __init__(self, url):
        self._url, self._pool = url, ThreadPoolExecutor(1)

    def tell(self, command, key, text, pause, *also):
        async def create(bucket):
            await asyncio.sleep(pause)
            try:
                await bucket.put(key, text.encode(), when=IF_ABSENT)
            except AlreadyExistsError:
                return False
            for other, words in also:
                await bucket.put(other, words.encode())
            return True

        self._told = self._pool.submit(once, lambda: with_bucket(self._url, create))

    def answer(self):
        return self._told.result()


async def rename(namespace, source, target):
    """Whether it was renamed."""
    try:
        await namespace.mounts[0].tree.rename(source, target, companions=COMPANIONS)
    except (AlreadyExistsError, ConflictError):
        return False
    return True


@pytest.fixture
def namespaces(url):
    """Opens the bucket as one server more; each is closed at the end."""
    opened = []

    def open_one():
        opened.append(Namespace(open_backend(url)))
        return opened[-1]

    yield open_one
    for namespace in opened:
        once(namespace.close)


# Not on fake-gcs-server, which ignores the condition of a copy: that one overwrites what was created (see test_moments).
@pytest.mark.parametrize("kind", ["file", "directory"])
@pytest.mark.parametrize(
    ("place", "rounds"),
    [("memory", 40), ("file", 40), ("minio", 6), ("azurite", 6), *(pytest.param(name, 200, marks=LONG) for name in ("minio", "azurite"))],
)
def test_rename_onto_a_name_that_another_process_creates_at_that_moment(url, namespaces, racers, chance, place, kind, rounds):
    """Either the rename gets the name or the creator does; both contents are there afterwards."""
    other = Thread(url) if place == "memory" else racers(url, 1)[0]
    mine = namespaces()
    outcomes = Counter()
    seconds = 0.0
    for number in range(rounds):
        source, target = f"source-{number}", f"target-{number}"
        held, there = (f"{name}/f.txt" if kind == "directory" else name for name in (source, target))
        checkpoint = f"{companion_prefix('checkpoints', target)}one"

        async def prepare(bucket, held=held):
            await bucket.put(held, b"renamed")

        async def texts(bucket, names=(held, there, target, checkpoint)):
            # Not by a listing: on MinIO a file of a directory's name hides that from every listing.
            return {name: (await bucket.read(name))[1] for name in names if await bucket.find(name)}

        once(lambda: with_bucket(url, prepare))
        if number:  # the first one alone, to see how long it takes
            other.tell("create", target, "created", chance.random() * seconds, [checkpoint, "its checkpoint"])
        started = time.monotonic()
        renamed = once(partial(rename, mine, source, target))
        seconds = seconds or time.monotonic() - started
        created = bool(number) and other.answer()
        found = once(lambda: with_bucket(url, texts))
        wanted = {there if renamed else held: b"renamed"} | ({target: b"created"} if created else {})
        assert renamed or created, number
        assert {name: data for name, data in found.items() if name != checkpoint} == wanted, (number, renamed, created)
        if created and not renamed:
            assert found[checkpoint] == b"its checkpoint", number
        outcomes["both" if renamed and created else "renamed" if renamed else "created"] += 1
    print(f"{place}, {kind}: {dict(outcomes)}")


@pytest.mark.parametrize(("place", "rounds"), [("memory", 20), ("file", 20), *((cloud, 3) for cloud in CLOUDS)])
def test_two_directories_that_want_one_name(url, namespaces, chance, rounds):
    """One gets it, the other one stays what it was; they are never mixed."""
    both = namespaces(), namespaces()
    for number in range(rounds):
        sources = [f"{side}-{number}" for side in ("left", "right")]

        async def prepare(bucket, sources=sources):
            for source in sources:
                for n in range(3):
                    await bucket.put(f"{source}/{source}-{n}.txt", source.encode())

        async def take(namespace, source, pause, number=number):
            await asyncio.sleep(pause)
            return await rename(namespace, source, f"both-{number}")

        async def names(bucket):
            return {info.key async for info in bucket.objects("") if not info.key.endswith("/") and not info.key.startswith(".cloud")}

        once(lambda: with_bucket(url, prepare))
        done = in_threads(*(partial(take, one, source, chance.random() / 500) for one, source in zip(both, sources, strict=True)))
        assert sorted(done) == [False, True], number
        winner, loser = (sources[done.index(side)] for side in (True, False))
        wanted = {f"{at}/{source}-{n}.txt" for at, source in ((f"both-{number}", winner), (loser, loser)) for n in range(3)}
        found = {name for name in once(lambda: with_bucket(url, names)) if name.partition("/")[0].endswith(f"-{number}")}
        assert found == wanted, number


# Not where the server ignores the condition of a deletion: MinIO, fake-gcs-server (see test_moments).
@pytest.mark.parametrize(("place", "rounds"), [("memory", 8), ("file", 8), ("azurite", 3)])
def test_saves_and_deletions_in_a_directory_being_renamed(url, namespaces, chance, rounds):
    """A text whose save was answered is there, under the old name or the new one; one that was deleted may be."""
    mine = namespaces()
    for number in range(rounds):
        names = [f"old-{number}/f{n}.txt" for n in range(12)]

        async def prepare(bucket, names=names):
            for name in names:
                await bucket.put(name, b"0")

        async def move(number=number):
            await rename(mine, f"old-{number}", f"new-{number}")  # what was written at both names stays at both

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
        _, saved, _ = in_threads(move, saver, lambda: with_bucket(url, delete))
        found = once(lambda: with_bucket(url, texts))
        for name in names[:6]:
            assert saved.get(name, "0") in found[name.partition("/")[2]], (number, seed, name)
        for name in names[6:9]:
            assert found[name.partition("/")[2]] == ["0"], (number, seed, name)


@on("memory", "file")
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
