"""What nobody asks for any more goes: uploads of lost replies, of servers that died at the end, of cancellations in between."""

from __future__ import annotations

import asyncio

import pytest

from cloudcontents.backends import ALWAYS, IF_ABSENT
from cloudcontents.backends.faults import Fault, FaultBackend
from cloudcontents.backends.read_only import ReadOnlyBackend
from cloudcontents.bucket import Patience
from cloudcontents.errors import (
    CloudContentsError,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
    UploadGoneError,
    UploadNotFoundError,
)
from cloudcontents.namespace import Namespace
from cloudcontents.uploads.engine import Uploads
from rig.leavings import new_bucket, seeded

STORES = ("memory", "file", "minio", "fake_gcs", "azurite")
PART = 5 * 2**20


@pytest.fixture(params=STORES)
def store(request, tmp_path):
    """An empty bucket on each store."""
    return new_bucket(request.param, request, tmp_path)


@pytest.fixture
def rng(request):
    """Chance; its seed is printed."""
    return seeded(request)


def engine(store, *faults, attempts=1, **settings):
    backend = FaultBackend(store.backend(), faults)
    return Uploads(Namespace(backend, patience=Patience(attempts=attempts, first_pause=0.01)), **settings)


def fails(operation, nth=1, *, after=True, key=""):
    return Fault(error=lambda: UnavailableError("the reply is lost"), operation=operation, nth=nth, after=after, key=key)


async def sweep(store):
    await engine(store, attempts=7, expire_seconds=0.0).sweep()
    return store.left()


@pytest.mark.parametrize("attempts", [1, 3])
async def test_an_upload_whose_beginning_was_not_told(request, tmp_path, attempts):
    store = new_bucket("minio", request, tmp_path)
    other = engine(store)
    living = await other.start("f", 2 * PART, part_size=PART)
    server = engine(store, fails("begin"), attempts=attempts)
    if attempts == 1:
        with pytest.raises(UnavailableError):
            await server.start("f", PART, part_size=PART)
    else:
        begun = await server.start("f", PART, part_size=PART)
        assert sum("multipart" in name for name in store.left()) == 3
        await server.cancel(begun.id)
    assert sum("multipart" in name for name in store.left()) == 1, "the one that a record names lives"
    await other.append(living.id, 0, b"x" * 2 * PART)
    await other.complete(living.id)
    assert store.left() == []


@pytest.mark.parametrize("call", ["put", "delete"])
async def test_a_server_that_dies_between_the_file_and_its_note(store, call):
    """A client that completes again, or only a sweep, finds what was made."""
    for ends in ("complete", "sweep", "cancel"):
        dying = engine(store, fails(call, after=False, key="/finished/" if call == "put" else "/records/"))
        begun = await dying.start(ends, 3)
        await dying.append(begun.id, 0, b"new")
        with pytest.raises(UnavailableError):
            await dying.complete(begun.id)
        server = engine(store)
        if ends == "complete":
            await server.complete(begun.id)
        elif ends == "cancel":
            await server.cancel(begun.id)
        else:
            await sweep(store)
        assert (await server.status(begun.id)).state == "complete"
        assert (await server.namespace.mounts[0].bucket.read(ends))[1] == b"new"
        assert store.left() == []


async def test_two_servers_complete_one_upload_at_once(store):
    data = b"x" * PART + b"y"
    for when in (IF_ABSENT, ALWAYS) if store.kind != "fake_gcs" else (ALWAYS,):
        servers = [engine(store, attempts=3) for _ in range(3)]
        begun = await servers[0].start("f", len(data), part_size=PART, when=when)
        await servers[0].append(begun.id, 0, data)
        await servers[1].status(begun.id)
        done = await asyncio.gather(*(server.complete(begun.id) for server in servers), return_exceptions=True)
        failures = [failure for failure in done if isinstance(failure, BaseException)]
        assert all(isinstance(failure, ConflictError) for failure in failures), failures
        assert len(failures) < len(servers)
        for server in servers:
            assert (await server.complete(begun.id)).state == "complete"
        assert (await servers[0].namespace.mounts[0].bucket.read("f"))[1] == data
        assert await sweep(store) == []


async def test_an_upload_that_ends_elsewhere_while_bytes_come_in(store):
    for ends in ("cancel", "sweep"):
        server, other = engine(store), engine(store, expire_seconds=0.0)
        begun = await server.start(ends, 3 * PART, part_size=PART)
        going, on = asyncio.Event(), asyncio.Event()

        async def stream(going=going, on=on):
            yield b"x" * PART + b"y"
            going.set()
            await on.wait()
            yield b"z" * PART

        request = asyncio.ensure_future(server.append(begun.id, 0, stream()))
        await going.wait()
        if ends == "cancel":
            await other.cancel(begun.id)
        else:
            assert await other.sweep() == 1
        on.set()
        with pytest.raises((UploadGoneError, UploadNotFoundError, ConflictError)):
            await request
        with pytest.raises((UploadGoneError, UploadNotFoundError)):
            await server.put_part(begun.id, 1, b"x" * PART)
        assert (await server.status(begun.id)).state == ("cancelled" if ends == "cancel" else "expired")
        assert await sweep(store) == []


async def test_cancelled_here_while_bytes_come_in_or_the_file_is_made(store):
    server = engine(store)
    for moment in range(6):
        begun = await server.start(f"f{moment}", PART + 1, part_size=PART)
        request = asyncio.ensure_future(server.append(begun.id, 0, b"x" * (PART + 1)))
        await asyncio.sleep(0)
        if moment % 2:
            await request
            request = asyncio.ensure_future(server.complete(begun.id))
        for _ in range(3 * moment):
            await asyncio.sleep(0)
        await server.cancel(begun.id)
        ended = await asyncio.gather(request, return_exceptions=True)
        state = (await server.status(begun.id)).state
        found = await server.namespace.mounts[0].bucket.find(f"f{moment}")
        assert (state, found is not None) in (("cancelled", False), ("complete", True)), ended
    assert await sweep(store) == []


async def test_a_target_that_became_read_only_or_is_gone(request, tmp_path):
    store = new_bucket("minio", request, tmp_path)
    server = engine(store)
    begun = await server.start("f", 10)
    await server.append(begun.id, 0, b"12345")
    reading = Uploads(Namespace(ReadOnlyBackend(store.backend())))
    for call in (reading.status(begun.id), reading.append(begun.id, 5, b"6"), reading.complete(begun.id), reading.cancel(begun.id)):
        with pytest.raises(PermissionDeniedError):
            await call
    assert (await server.status(begun.id)).offset == 5
    minio = request.getfixturevalue("minio")
    client, bucket = minio.client(), store.url.removeprefix("s3://")
    await asyncio.to_thread(_empty, client, bucket)
    with pytest.raises(CloudContentsError) as caught:
        await server.append(begun.id, 5, b"67890")
    assert (caught.value.http_status, isinstance(caught.value, NotFoundError)) in ((502, False), (404, True))
    client.close()


def _empty(client, bucket):
    for entry in client.list_objects_v2(Bucket=bucket).get("Contents", ()):
        client.delete_object(Bucket=bucket, Key=entry["Key"])
    for upload in client.list_multipart_uploads(Bucket=bucket).get("Uploads", ()):
        client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    client.delete_bucket(Bucket=bucket)
