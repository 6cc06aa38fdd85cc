"""A call to the store fails, each kind, each time, before it was done or after: the file arrives all the same, and nothing is left.

Other servers lose bytes here: a part that fails among others leaves a gap that a sum of sizes hides; a state that cannot be read is taken
for none.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from dataclasses import dataclass

import pytest

from cloudcontents.backends import ALWAYS
from cloudcontents.backends.faults import Fault, FaultBackend
from cloudcontents.bucket import Patience
from cloudcontents.errors import ConflictError, SupersededError, UnavailableError, WrongOffsetError
from cloudcontents.namespace import Namespace
from cloudcontents.uploads.chunks import LAST, Chunks, digest_of
from cloudcontents.uploads.engine import Uploads
from rig.leavings import new_bucket, seeded

PATH = "d/big.bin"
OLD = b"the old file"

#: Times that a client goes on before it would give up; far more than the failures of any case.
PATIENCE = 12

#: Smallest part of S3, and small ones elsewhere.
PARTS = {"minio": 5 * 2**20}
SMALL = 64 * 1024

#: Parts that are on their way together at the most, and the one that is being filled.
TOGETHER = 5


@pytest.fixture
def store_of(request, tmp_path):
    """Makes an empty bucket on a store."""
    return lambda kind: new_bucket(kind, request, tmp_path)


@pytest.fixture
def rng(request):
    """Chance; its seed is printed."""
    return seeded(request)


@dataclass
class Case:
    """One interrupted upload.

    Attributes:
        data: The file.
        servers: The server processes' engines; each request goes to the next one.
        part: Bytes of a part.
        step: Bytes that the client sends in one request.
        calm: A bucket without faults.
        sha256: Of the file, where the client tells it: on S3 and Azure the file is then made beside its place, checked and copied.
        sent: Bytes that the client has sent.
    """

    data: bytes
    servers: list[Uploads]
    part: int
    step: int
    calm: object
    sha256: str | None = None
    sent: int = 0
    turn: int = 0

    @property
    def server(self):
        self.turn += 1
        return self.servers[self.turn % len(self.servers)]

    async def stream(self, first, last):
        for at in range(first, last, 50_000):
            piece = self.data[at : min(at + 50_000, last)]
            self.sent += len(piece)
            yield piece


async def by_append(case):
    id = None
    for _ in range(PATIENCE + len(case.data) // case.step):
        try:
            if id is None:
                id = (await case.server.start(PATH, len(case.data), part_size=case.part, sha256=case.sha256, when=ALWAYS)).id
            status = await case.server.status(id)
            if status.state == "complete":
                return
            at = status.offset
            if at < len(case.data):
                await case.server.append(id, at, case.stream(at, min(at + case.step, len(case.data))))
            else:
                await case.server.complete(id)
                return
        except (UnavailableError, WrongOffsetError):
            continue
    raise AssertionError("the upload never ended")


async def by_parts(case):
    id = None
    for _ in range(PATIENCE):
        try:
            if id is None:
                id = (await case.server.start(PATH, len(case.data), part_size=case.part, sha256=case.sha256, when=ALWAYS)).id
            if (await case.server.status(id)).state == "complete":
                return
            needed = (await case.server.resume(id)).needed

            async def put(number, id=id):
                part = case.data[(number - 1) * case.part : number * case.part]
                case.sent += len(part)
                await case.server.put_part(id, number, part)

            done = await asyncio.gather(*map(put, needed), return_exceptions=True)
            for failure in done:
                if failure is not None:
                    raise failure
            await case.server.complete(id)
            return
        except UnavailableError:
            continue
    raise AssertionError("the upload never ended")


async def by_chunks(case):
    """As JupyterLab does: from the first chunk again after any failure. The old file is there whole until the new one is."""
    chunks = {id(server): Chunks(server) for server in case.servers}
    mib = case.step
    for _ in range(PATIENCE):
        server = case.server
        at, number = 0, 0
        try:
            while True:
                end = at + mib
                number = LAST if end >= len(case.data) else number + 1
                case.sent += min(mib, len(case.data) - at)
                piece = case.data[at:end]
                await chunks[id(server)].add(PATH, "browser", number, piece, digest_of(piece), there=None, owner=None)
                if number == LAST:
                    await chunks[id(server)].finish(PATH, "browser", ALWAYS, owner=None)
                    return
                at = end
        except (UnavailableError, ConflictError, KeyError):
            _, there = await case.calm.read(PATH)
            assert there in (OLD, case.data)
            if there == case.data:
                return  # the reply was lost: who looks sees it there
    raise AssertionError("the upload never ended")


CLIENTS = {"append": by_append, "stream": by_append, "verified": by_append, "parts": by_parts, "chunks": by_chunks}


def plan_of(store, protocol, rng):
    """Size of the file, of a part, and of what is sent at once."""
    part = PARTS.get(store.kind, SMALL)
    if protocol == "chunks":
        part = 8 * 2**20
        return 2 * part + rng.randrange(1, part), part, 2**20
    size = 4 * part + rng.randrange(1, part)
    return size, part, size if protocol == "stream" else part


async def interrupted(store, protocol, faults, rng, *, servers=1):
    """One upload under these faults; returns what was called, the case, and what had failed."""
    size, part, step = plan_of(store, protocol, rng)
    data = rng.randbytes(size)
    calm = Namespace(store.backend())
    bucket = calm.mounts[0].bucket
    await bucket.put(PATH, OLD)
    backends = [FaultBackend(store.backend(), faults) for _ in range(servers)]
    engines = [Uploads(Namespace(backend, patience=Patience(attempts=1))) for backend in backends]
    case = Case(data, engines, part, step, bucket, hashlib.sha256(data).hexdigest() if protocol == "verified" else None)
    await CLIENTS[protocol](case)
    assert (await bucket.read(PATH))[1] == data
    # Begun by a request whose reply was lost, so that nobody knew of them; or a call failed after the file was there.
    await Uploads(calm, expire_seconds=0.0).sweep()
    assert store.left() == []
    again = {"append": part, "verified": part, "parts": part, "stream": TOGETHER * part, "chunks": size}[protocol]
    assert case.sent - size <= again * len(faults) * servers
    for engine in engines:
        await engine.close()
    for backend in [*backends, bucket]:
        await backend.close()
    return [[operation for operation, _ in backend.calls] for backend in backends], case


def fault(operation, nth, after):
    return Fault(error=lambda: UnavailableError("the store is away"), operation=operation, nth=nth, after=after)


async def points(store, protocol, rng, *, servers=1):
    """Every call that an undisturbed upload makes, as its kind and its number among those of that kind."""
    found = {}
    for calls in (await interrupted(store, protocol, [], rng, servers=servers))[0]:
        seen = Counter()
        for operation in calls:
            seen[operation] += 1
            found[operation, seen[operation]] = None
    return list(found)


@pytest.mark.parametrize("kind", ["memory", "file"])
@pytest.mark.parametrize("protocol", ["append", "stream", "parts"])
async def test_each_call_fails_once(store_of, kind, protocol, rng):
    store = store_of(kind)
    for operation, nth in await points(store, protocol, rng):
        for after in (False, True):
            _, case = await interrupted(store, protocol, [fault(operation, nth, after)], rng)
            if protocol == "parts":
                assert case.sent - len(case.data) <= case.part, (operation, nth, after)


@pytest.mark.parametrize("kind", ["minio", "fake_gcs", "azurite"])
async def test_some_calls_fail(store_of, kind, rng):
    store = store_of(kind)
    for protocol in ("verified", "parts"):
        for operation, nth in rng.sample(await points(store, protocol, rng, servers=2), 3):
            await interrupted(store, protocol, [fault(operation, nth, rng.random() < 0.5)], rng, servers=2)


async def test_a_chunk_save_whose_store_calls_fail(store_of, rng):
    store = store_of("memory")
    for operation, nth in rng.sample(await points(store, "chunks", rng), 8):
        await interrupted(store, "chunks", [fault(operation, nth, rng.random() < 0.5)], rng)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["memory", "file", "minio", "fake_gcs", "azurite"])
@pytest.mark.parametrize("protocol", CLIENTS)
async def test_twenty_random_calls_fail(store_of, kind, protocol, rng):
    store = store_of(kind)
    known = await points(store, protocol, rng, servers=2)
    sent, kinds = [], set()
    # Each kind at least once, and more of them by chance.
    firsts = list({operation: (operation, nth) for operation, nth in rng.sample(known, len(known))}.values())
    for operation, nth in [*firsts, *(rng.choice(known) for _ in range(20 - len(firsts)))]:
        _, case = await interrupted(store, protocol, [fault(operation, nth, rng.random() < 0.5)], rng, servers=2)
        sent.append((case.sent - len(case.data)) / case.part)
        kinds.add(operation)
    told = f"parts sent again: {max(sent):.2f} at most, {sum(sent) / len(sent):.2f} on average"
    print(f"{kind}, {protocol}: {len(sent)} failed calls ({', '.join(sorted(kinds))}); {told}")


@pytest.mark.parametrize("failing", [1, 2, 3, 4])
async def test_a_part_that_fails_among_others_leaves_no_gap(store_of, failing, rng):
    """tusd: the offset was the sum of the parts held, and the next number their count, so that a gap stayed in the file."""
    store = store_of("memory")
    data = rng.randbytes(6 * SMALL + 99)
    strike = Fault(error=lambda: UnavailableError("no"), operation="put", key=f"/{failing:07d}-", nth=1)
    server = Uploads(Namespace(FaultBackend(store.backend(), [strike]), patience=Patience(attempts=1)))
    id = (await server.start("f", len(data), part_size=SMALL)).id
    with pytest.raises(UnavailableError):
        await server.append(id, 0, data)
    held = [part["number"] for part in (await server.resume(id)).held]
    assert failing not in held
    assert (await server.status(id)).offset == (failing - 1) * SMALL, "what is behind a gap does not count"
    first = (failing - 1) * SMALL
    there = await server.append(id, first, data[first : first + SMALL])
    assert there == max([failing, *held]) * SMALL, "what is behind it counts again once it is filled, and is not sent again"
    await server.append(id, there, data[there:])
    await server.complete(id)
    assert (await server.namespace.mounts[0].bucket.read("f"))[1] == data


@pytest.mark.parametrize("operation", ["list", "get", "head"])
async def test_a_state_that_cannot_be_read_is_never_taken_for_empty(store_of, operation, rng):
    """resumable-upload: a tail that could not be read was taken for none, and bytes that had been acknowledged were gone."""
    store = store_of("memory")
    data = rng.randbytes(3 * SMALL)
    calm = Uploads(Namespace(store.backend()))
    id = (await calm.start("f", len(data), part_size=SMALL)).id
    held = SMALL + 1000
    await calm.append(id, 0, data[:held])
    for nth in range(1, 6):
        strike = Fault(error=lambda: UnavailableError("slow down"), operation=operation, nth=nth)
        server = Uploads(Namespace(FaultBackend(store.backend(), [strike]), patience=Patience(attempts=1)))
        try:
            assert (await server.status(id)).offset == held
            await server.append(id, held, data[held : held + 10])
        except UnavailableError:
            pass
        held = (await calm.status(id)).offset
        assert held >= SMALL + 1000, "no byte that was acknowledged is lost"
    await calm.append(id, held, data[held:])
    await calm.complete(id)
    assert (await calm.namespace.mounts[0].bucket.read("f"))[1] == data


@pytest.mark.parametrize("told", [False, True], ids=["", "sha256"])
async def test_a_newer_request_at_any_moment_loses_nothing(store_of, rng, told):
    store = store_of("memory")
    server = Uploads(Namespace(store.backend()))
    data = rng.randbytes(20 * SMALL + 5)
    sha256 = hashlib.sha256(data).hexdigest() if told else None
    id = (await server.start("f", len(data), part_size=SMALL, sha256=sha256)).id

    async def stream(at):
        while at < len(data):
            size = rng.choice([100, 5_000, 40_000, 3 * SMALL])
            yield data[at : at + size]
            at += size
            await asyncio.sleep(0)

    acknowledged = 0
    for _ in range(60):
        at = (await server.status(id)).offset
        assert at >= acknowledged
        acknowledged = at
        request = asyncio.ensure_future(server.append(id, at, stream(at)))
        for _ in range(rng.randrange(40)):
            await asyncio.sleep(0)
        await server.interrupt(id)
        try:
            acknowledged = await request
        except SupersededError:
            continue
    acknowledged = (await server.status(id)).offset
    await server.append(id, acknowledged, data[acknowledged:])
    await server.complete(id)
    assert (await server.namespace.mounts[0].bucket.read("f"))[1] == data
    assert store.left() == []
    await server.close()
