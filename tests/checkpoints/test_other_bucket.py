"""Checkpoints in another bucket: streamed in bounded memory, verified, and still the same verbs."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace

import pytest
from tornado.web import HTTPError

from cloudcontents.backends.interface import IfVersion, SizedStream
from cloudcontents.bucket import Bucket
from cloudcontents.checkpoints import BucketCheckpoints
from cloudcontents.errors import ChecksumError, ConflictError
from cloudcontents.keys import companion_prefix
from cloudcontents.registry import open_backend
from cloudcontents.transfer import transfer as copy_over

PIECE = random.Random(7).randbytes(1 << 20)


@pytest.fixture
def checkpoints(manager, other_url, jp_asyncio_loop):
    made = BucketCheckpoints(parent=manager, url=other_url)
    yield made
    jp_asyncio_loop.run_until_complete(made.close())


@pytest.fixture
def other(other_url, jp_asyncio_loop):
    bucket = Bucket(open_backend(other_url))
    yield bucket
    jp_asyncio_loop.run_until_complete(bucket.close())


async def keys_of(bucket):
    """The files and checkpoints of a bucket; what a store keeps for itself is its own affair."""
    found = [info.key async for info in bucket.objects("") if not info.key.endswith("/")]
    return [key for key in found if not key.startswith(".cloudcontents/") or key.startswith(".cloudcontents/checkpoints/")]


async def test_it_does_not_share_the_managers_bucket(checkpoints):
    assert not checkpoints.shares_bucket
    assert await checkpoints.recover() == []


async def test_create_restore_delete(checkpoints, manager, bucket, other, text):
    await bucket.put("d/a.txt", b"one", content_type="text/x-test", metadata={"mine": "yes"})
    made = await checkpoints.create_checkpoint(manager, "d/a.txt")
    assert await checkpoints.list_checkpoints("d/a.txt") == [made]
    assert await keys_of(bucket) == ["d/a.txt"]
    assert companion_prefix("checkpoints", "d/a.txt") + made["id"] in await keys_of(other)
    await bucket.put("d/a.txt", b"two")
    await checkpoints.restore_checkpoint(manager, made["id"], "d/a.txt")
    assert await text("d/a.txt") == b"one"
    info = await bucket.head("d/a.txt")
    assert (info.content_type, info.metadata["mine"]) == ("text/x-test", "yes")
    undo = (await checkpoints.list_checkpoints("d/a.txt"))[-1]
    await checkpoints.restore_checkpoint(manager, undo["id"], "d/a.txt")
    assert await text("d/a.txt") == b"two"
    await checkpoints.delete_checkpoint(made["id"], "d/a.txt")
    await checkpoints.delete_all_checkpoints("d")
    assert await checkpoints.list_checkpoints("d/a.txt") == []


async def test_a_large_file_is_streamed(checkpoints, manager, bucket, other, monkeypatch):
    async def pieces():
        for _ in range(9):
            yield PIECE

    await bucket.put("big.bin", SizedStream(pieces(), 9 << 20))
    bodies = []
    for which in (checkpoints._own_tree().bucket, bucket):
        monkeypatch.setattr(which.backend, "put", _noting(which.backend.put, bodies))
    made = await checkpoints.create_checkpoint(manager, "big.bin")
    await bucket.delete("big.bin")
    await checkpoints.restore_checkpoint(manager, made["id"], "big.bin")
    assert [type(body) for body in bodies] == [SizedStream, SizedStream]
    _, data = await bucket.read("big.bin")
    assert hashlib.sha256(data).digest() == hashlib.sha256(PIECE * 9).digest()


async def test_they_follow_files_and_directories(checkpoints, manager, bucket):
    made = {}
    for path in ("exp/a.txt", "exp/sub/b.txt", "exp2/a.txt", "x.txt"):
        await bucket.put(path, b"x")
        made[path] = await checkpoints.create_checkpoint(manager, path)
    await checkpoints.rename_all_checkpoints("exp", "new")
    await checkpoints.rename_all_checkpoints("x.txt", "y.txt")
    assert await checkpoints.list_checkpoints("new/sub/b.txt") == [made["exp/sub/b.txt"]]
    assert await checkpoints.list_checkpoints("y.txt") == [made["x.txt"]]
    assert await checkpoints.list_checkpoints("exp2/a.txt") == [made["exp2/a.txt"]]
    assert await checkpoints.list_checkpoints("exp/a.txt") == []


async def test_a_save_during_a_restore_wins(checkpoints, manager, bucket, text, monkeypatch):
    await bucket.put("a.txt", b"one")
    made = await checkpoints.create_checkpoint(manager, "a.txt")
    put = bucket.backend.put
    saved = []

    async def save_first(key, body, **kwargs):
        if not saved:
            saved.append(await put("a.txt", b"saved meanwhile"))
        return await put(key, body, **kwargs)

    monkeypatch.setattr(bucket.backend, "put", save_first)
    with pytest.raises(HTTPError) as caught:
        await checkpoints.restore_checkpoint(manager, made["id"], "a.txt")
    assert caught.value.status_code == 409
    assert await text("a.txt") == b"saved meanwhile"


@pytest.mark.parametrize("size", [3, 9 << 20], ids=["small", "large"])
async def test_a_copy_that_differs_is_an_error_and_goes(bucket, other, size, monkeypatch):
    """A store that keeps other bytes than it was sent, and says so."""
    await bucket.put("a.bin", b"x" * size)
    put = other.backend.put

    async def wrong(key, body, **kwargs):
        info = await put(key, b"y" * size, **{**kwargs, "checksum": None})
        return replace(info, checksum=f"sha256:{hashlib.sha256(b'y' * size).hexdigest()}")

    monkeypatch.setattr(other.backend, "put", wrong)
    with pytest.raises(ChecksumError):
        await copy_over(bucket, await bucket.head("a.bin"), other, "copy.bin")
    assert await keys_of(other) == []


async def test_a_file_that_was_there_is_never_deleted(bucket, other, monkeypatch):
    await bucket.put("a.bin", b"xxx")
    present = await other.put("a.bin", b"old")
    put = other.backend.put

    async def wrong(key, body, **kwargs):
        return replace(await put(key, b"yy", **{**kwargs, "checksum": None}), size=2)

    monkeypatch.setattr(other.backend, "put", wrong)
    with pytest.raises(ChecksumError):
        await copy_over(bucket, await bucket.head("a.bin"), other, "a.bin", IfVersion(present.version))
    assert await keys_of(other) == ["a.bin"]


async def test_the_version_that_was_looked_at_is_the_one_that_is_copied(bucket, other):
    info = await bucket.put("a.bin", b"one")
    await bucket.put("a.bin", b"and another")
    with pytest.raises(ConflictError):
        await copy_over(bucket, info, other, "a.bin")
    assert await keys_of(other) == []


async def test_without_conditional_writes_it_still_copies(bucket, other, monkeypatch):
    info = await bucket.put("a.bin", b"one")
    present = await other.put("a.bin", b"old")
    monkeypatch.setattr(other.backend, "capabilities", replace(other.backend.capabilities, put_if_version=False))
    await copy_over(bucket, info, other, "a.bin", IfVersion(present.version))
    assert (await other.read("a.bin"))[1] == b"one"


def _noting(put, bodies):
    async def call(key, body, **kwargs):
        bodies.append(body)
        return await put(key, body, **kwargs)

    return call
