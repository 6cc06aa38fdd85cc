"""Uploads in parts to Azure: blocks of a private blob, what a crash leaves, and what goes over the wire."""

from __future__ import annotations

import asyncio

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.storage.blob import BlobBlock

from cloudcontents.backends import azure, azure_writes
from cloudcontents.backends.interface import ALWAYS, IF_ABSENT, IfVersion
from cloudcontents.backends.multipart import Multipart, ReadParts
from cloudcontents.bucket import Bucket, Patience
from cloudcontents.errors import (
    AlreadyExistsError,
    BucketNotFoundError,
    ChecksumError,
    ConflictError,
    InvalidPathError,
    PartsChangedError,
    UnavailableError,
)
from cloudcontents.parts import Parts
from cloudcontents.registry import open_backend
from cloudcontents.testing.behaviours_parts import begin, checksum, leftovers, some
from cloudcontents.testing.calls import files, read

DESCRIBED = {"content_type": "text/x-big", "metadata": {"cc-write": "me"}}


@pytest.fixture
def container(azurite, monkeypatch):
    for name, value in azurite.environment().items():
        monkeypatch.setenv(name, value)
    return f"az://{azurite.account}/{azurite.new_bucket()}"


@pytest.fixture
def wire(azurite, faultproxy, container, monkeypatch):
    proxy = faultproxy(azurite)
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string(proxy.url))
    return proxy


@pytest.fixture
def backend(container):
    opened = open_backend(container)
    yield opened
    asyncio.run(opened.close())


@pytest.fixture
def blob(azurite, container, backend):
    """The private blob, by the store's own SDK."""
    with azurite.client() as client:
        yield client.get_blob_client(container.rpartition("/")[2], ".cloudcontents/uploads/u1/parts/blob")


async def sent(backend, count):
    """An upload of small parts that have all arrived."""
    store, upload = await begin(backend)
    pieces = [some(50, number) for number in range(count)]
    return upload, [await store.put_part(upload, n, data, checksum=checksum(data)) for n, data in enumerate(pieces, 1)], b"".join(pieces)


def test_containers_take_parts_that_cannot_be_read(container):
    for url in (container, f"{container}/home"):
        opened = open_backend(url)
        assert isinstance(opened, Multipart)
        assert not isinstance(opened, ReadParts)
        assert (opened.part_rules.max_bytes, opened.part_rules.most) == (4_000 << 20, 50_000)


async def test_how_many_requests(wire, backend):
    upload, parts, data = await sent(backend, 3)
    assert [(found.method, found.status) for found in wire.requests] == [("PUT", 201)] * 3
    wire.forget()
    assert await backend.list_parts(upload) == parts
    assert wire.count() == 1, "a list of blocks tells everything of the parts"
    wire.forget()
    await backend.complete(upload, parts, **DESCRIBED)
    # Its blocks, the commit, a look, a copy (twice: Azurite lacks Put Blob From URL), and the private blob without blocks, and deleted.
    assert [found.method for found in wire.requests] == ["GET", "PUT", "HEAD", "PUT", "PUT", "PUT", "DELETE"]
    assert await read(backend, "d/big") == data
    assert await leftovers(backend) == []


async def test_a_save_of_the_target_takes_no_part_away(backend):
    """As it would if the parts were blocks of the target."""
    upload, parts, data = await sent(backend, 2)
    await backend.put("d/big", b"saved meanwhile")
    assert await backend.list_parts(upload) == parts
    await backend.complete(upload, parts, **DESCRIBED)
    assert await read(backend, "d/big") == data


async def test_a_crash_between_commit_and_copy(wire, backend, blob):
    upload, parts, data = await sent(backend, 3)
    wire.answer(503, "ServerBusy", method="PUT", path="/d/big")
    with pytest.raises(UnavailableError):
        await backend.complete(upload, parts, when=IF_ABSENT, **DESCRIBED)
    assert blob.get_blob_properties().size == len(data), "it is committed"
    wire.heal()
    wire.forget()
    another = open_backend(backend.url)
    assert await another.list_parts(upload) == parts, "committed blocks are parts as well"
    wire.forget()
    await another.complete(upload, parts, when=IF_ABSENT, **DESCRIBED)
    assert wire.count("PUT", "comp=blocklist") == 1, "it is not committed again, only emptied at the end"
    info = await another.head("d/big")
    assert (info.content_type, dict(info.metadata)) == ("text/x-big", {"cc-write": "me"})
    assert await read(another, "d/big") == data
    assert await leftovers(another) == []
    await another.close()


async def test_a_part_that_comes_after_a_condition_that_failed(backend):
    """Committed and uncommitted blocks make one list."""
    upload, parts, data = await sent(backend, 2)
    theirs = await backend.put("d/big", b"theirs")
    with pytest.raises(AlreadyExistsError):
        await backend.complete(upload, parts, when=IF_ABSENT, **DESCRIBED)
    with pytest.raises(ConflictError) as caught:
        await backend.complete(upload, parts, when=IfVersion("0x1"), **DESCRIBED)
    assert not isinstance(caught.value, PartsChangedError)
    third = await backend.put_part(upload, 3, b"more", checksum=checksum(b"more"))
    assert await backend.list_parts(upload) == [*parts, third]
    await backend.complete(upload, [*parts, third], when=IfVersion(theirs.version), **DESCRIBED)
    assert await read(backend, "d/big") == data + b"more"
    assert await leftovers(backend) == []


async def test_a_part_that_is_gone_when_the_blocks_are_committed(backend, monkeypatch):
    upload, parts, _ = await sent(backend, 2)
    blocks = backend.complete.__self__._blocks

    async def lose(of):
        held = await blocks(of)
        await backend.abort(of)
        return held

    monkeypatch.setattr(backend.complete.__self__, "_blocks", lose)
    with pytest.raises(PartsChangedError):
        await backend.complete(upload, parts, **DESCRIBED)
    assert await files(backend) == []


@pytest.mark.parametrize("change", ["gone", "replaced"])
@pytest.mark.parametrize("when", [ALWAYS, IF_ABSENT], ids=["always", "if absent"])
async def test_a_private_blob_that_somebody_else_completes_is_no_failed_condition(backend, monkeypatch, change, when):
    upload, parts, _ = await sent(backend, 2)
    copy = backend.copy_seen

    async def change_first(made, key, when):
        await (backend.delete(made.key) if change == "gone" else backend.put(made.key, b"other bytes"))
        return await copy(made, key, when)

    monkeypatch.setattr(backend, "copy_seen", change_first)
    with pytest.raises(PartsChangedError):
        await backend.complete(upload, parts, when=when, **DESCRIBED)
    assert await files(backend, "d/") == []


async def test_abort_of_blocks_that_were_never_committed(backend, blob):
    """The service knows no blob to delete there, and Azurite keeps the blocks of one that it deletes."""
    upload, parts, _ = await sent(backend, 2)
    await backend.abort(upload)
    with pytest.raises(ResourceNotFoundError):
        blob.get_block_list("all")
    with pytest.raises(HttpResponseError) as refused:
        blob.commit_block_list([BlobBlock(part.version) for part in parts])
    assert refused.value.error_code == "InvalidBlockList"
    await backend.abort(upload)
    assert await backend.list_parts(upload) == []
    assert await files(backend) == []


async def test_what_others_stage_there_is_no_part(backend, blob):
    upload, parts, data = await sent(backend, 2)
    blob.stage_block("x" * len(parts[0].version), b"rubbish")
    assert await backend.list_parts(upload) == parts
    await backend.complete(upload, parts, **DESCRIBED)
    assert await read(backend, "d/big") == data


async def test_parts_of_one_number_are_all_told(backend):
    upload, parts, _ = await sent(backend, 2)
    other = await backend.put_part(upload, 1, b"other", checksum=checksum(b"other"))
    assert sorted(await backend.list_parts(upload), key=str) == sorted([*parts, other], key=str)
    await backend.complete(upload, [other, parts[1]], **DESCRIBED)
    assert await read(backend, "d/big") == b"other" + some(50, 1)


async def test_a_part_damaged_on_its_way_is_refused(wire, backend):
    _, upload = await begin(backend)
    wire.flip(1, request=True, method="PUT")
    with pytest.raises(ChecksumError):
        await backend.put_part(upload, 1, b"hello", checksum=checksum(b"hello"))
    wire.heal()
    assert await backend.list_parts(upload) == []


async def test_a_reply_that_is_lost_anywhere_while_completing(wire, backend):
    parts_of = Parts(Bucket(backend, patience=Patience(first_pause=0.001)))
    for number, path in enumerate(("comp=blocklist", "/d/", "/parts/blob$"), 1):
        upload, _ = await parts_of.begin(f"d/{number}", place=f".cloudcontents/uploads/u{number}/parts", part_size=50)
        part = await parts_of.put(upload, 1, b"hello", checksum=checksum(b"hello"))
        wire.lose_reply(path=path, method="PUT", times=1)
        info = await parts_of.complete(upload, [part], when=IF_ABSENT, **DESCRIBED)
        wire.heal()
        assert (await backend.head(f"d/{number}")).version == info.version
        assert await read(backend, f"d/{number}") == b"hello"
        assert await leftovers(backend) == [], path


async def test_a_tier_is_for_the_object_and_not_for_its_private_blob(wire, container):
    backend = open_backend(f"{container}?tier=cool")
    upload, parts, _ = await sent(backend, 1)
    wire.forget()
    await backend.complete(upload, parts, **DESCRIBED)
    tiers = [({n.lower(): v for n, v in found.headers.items()}.get("x-ms-access-tier"), found.target) for found in wire.requests]
    assert {tier for tier, target in tiers if "/parts/blob" in target} == {None}
    assert "Cool" in {tier for tier, target in tiers if "/d/big" in target}
    await backend.close()


async def test_what_is_too_large_for_one_copy_goes_by_blocks(wire, backend, monkeypatch):
    monkeypatch.setattr(azure, "ONE_REQUEST", 100)
    monkeypatch.setattr(azure_writes, "_COPIED_BLOCK", 60)
    upload, parts, data = await sent(backend, 3)
    await backend.put("d/big", b"theirs")
    with pytest.raises(AlreadyExistsError):
        await backend.complete(upload, parts, when=IF_ABSENT, **DESCRIBED)
    wire.forget()
    await backend.complete(upload, parts, **DESCRIBED)
    assert wire.count("PUT", "comp=block&") == 3
    assert await read(backend, "d/big") == data
    assert dict((await backend.head("d/big")).metadata) == {"cc-write": "me"}
    assert await leftovers(backend) == []


async def test_a_container_that_is_missing(azurite, container):
    backend = open_backend(f"az://{azurite.account}/no-such-container")
    upload = await backend.begin("f", place="p", part_size=50)
    for call in (
        backend.put_part(upload, 1, b"x", checksum=checksum(b"x")),
        backend.list_parts(upload),
        backend.complete(upload, []),
        backend.abort(upload),
    ):
        with pytest.raises(BucketNotFoundError):
            await call
    await backend.close()


async def test_names_that_the_store_would_alter(backend):
    with pytest.raises(InvalidPathError):
        await backend.begin("a/../b", place="p", part_size=50)
