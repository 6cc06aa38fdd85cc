"""Behaviours of uploads in parts: the store's own, or part objects on a store that has none."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random

import pytest

from cloudcontents.backends.interface import IF_ABSENT, Backend, IfVersion
from cloudcontents.backends.multipart import Multipart, Part, ReadParts, Upload
from cloudcontents.backends.part_objects import PartObjects
from cloudcontents.errors import AlreadyExistsError, ChecksumError, ConflictError, NotFoundError, PartsChangedError, UnavailableError

from .calls import files, pages, read

_PLACE = ".cloudcontents/uploads/u1/parts"


def multipart(backend: Backend) -> Multipart:
    """What takes this backend's parts."""
    return backend if isinstance(backend, Multipart) else PartObjects(backend)


def checksum(data: bytes) -> str:
    """As `Multipart.put_part` wants it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


async def begin(backend: Backend, key: str = "d/big", *, place: str = _PLACE) -> tuple[Multipart, Upload]:
    """An upload with the smallest parts that the store takes."""
    store = multipart(backend)
    return store, await store.begin(
        key, place=place, part_size=max(store.part_rules.min_bytes, 1000), content_type="text/x-big", metadata={"cc-write": "me"}
    )


async def finish(store: Multipart, upload: Upload, parts: list[Part], **options: object) -> None:
    """Complete as it was begun."""
    await store.complete(upload, parts, content_type="text/x-big", metadata={"cc-write": "me"}, **options)  # type: ignore[arg-type]


async def leftovers(backend: Backend) -> list[str]:
    """What lies at the places of uploads."""
    found = await pages(backend, ".cloudcontents/uploads/")
    return [info.key for page in found for info in page.objects if not info.key.endswith("/")]


def some(size: int, seed: int) -> bytes:
    """Bytes of a seed."""
    return random.Random(seed).randbytes(size)  # noqa: S311 - not a secret


class Parts:
    """An object that arrives in parts."""

    async def test_parts_in_any_order_become_one_object(self, backend: Backend) -> None:
        store, upload = await begin(backend)
        pieces = [some(upload.part_size, 1), some(upload.part_size, 2), some(77, 3)]
        parts: dict[int, Part] = {}
        for number in (3, 1, 2):
            data = pieces[number - 1]
            parts[number] = await store.put_part(upload, number, data, checksum=checksum(data))
            assert (parts[number].number, parts[number].size) == (number, len(data))
        assert [name for name in await files(backend) if not name.startswith(".cloudcontents/")] == [], "nothing shows before the end"
        await finish(store, upload, [parts[1], parts[2], parts[3]])
        assert await read(backend, "d/big") == b"".join(pieces)
        info = await backend.head("d/big")
        assert info.size == 2 * upload.part_size + 77
        if backend.capabilities.metadata:
            assert (info.content_type, (info.metadata or {}).get("cc-write")) == ("text/x-big", "me")
        assert await files(backend) == ["d/big"]
        assert await leftovers(backend) == []

    async def test_another_process_goes_on_with_what_is_listed(self, backend: Backend, second_backend: Backend) -> None:
        store, upload = await begin(backend)
        first, last = some(upload.part_size, 1), some(5, 2)
        await store.put_part(upload, 1, first, checksum=checksum(first))
        other, same = multipart(second_backend), Upload(upload.key, upload.place, upload.id, upload.part_size)
        held = await other.list_parts(same)
        assert [(part.number, part.size) for part in held] == [(1, upload.part_size)]
        assert held[0].checksum in (None, checksum(first))
        part = await other.put_part(same, 2, last, checksum=checksum(last))
        listed = await other.list_parts(same)
        assert [found.number for found in listed] == [1, 2]
        await finish(other, same, [listed[0], part])
        assert await read(backend, "d/big") == first + last

    async def test_the_old_object_stands_until_the_end(self, backend: Backend) -> None:
        await backend.put("d/big", b"old")
        store, upload = await begin(backend)
        data = some(10, 1)
        part = await store.put_part(upload, 1, data, checksum=checksum(data))
        assert await read(backend, "d/big") == b"old"
        await finish(store, upload, [part])
        assert await read(backend, "d/big") == data

    async def test_the_same_part_again(self, backend: Backend) -> None:
        store, upload = await begin(backend)
        data = some(20, 1)
        await store.put_part(upload, 1, data, checksum=checksum(data))
        again = await store.put_part(upload, 1, data, checksum=checksum(data))
        assert [part.size for part in await store.list_parts(upload)] == [20]
        await finish(store, upload, [again])
        assert await read(backend, "d/big") == data

    async def test_other_bytes_under_a_number(self, backend: Backend) -> None:
        store, upload = await begin(backend)
        old, new = some(20, 1), some(30, 2)
        await store.put_part(upload, 1, old, checksum=checksum(old))
        part = await store.put_part(upload, 1, new, checksum=checksum(new))
        assert 30 in [found.size for found in await store.list_parts(upload)]
        await finish(store, upload, [part])
        assert await read(backend, "d/big") == new
        assert await leftovers(backend) == []

    async def test_a_part_that_somebody_replaced_is_not_taken_for_the_one_confirmed(self, backend: Backend) -> None:
        store, upload = await begin(backend)
        old, new = some(20, 1), some(20, 2)
        confirmed = await store.put_part(upload, 1, old, checksum=checksum(old))
        await store.put_part(upload, 1, new, checksum=checksum(new))
        try:
            await finish(store, upload, [confirmed])
        except PartsChangedError:
            assert await files(backend, "d/") == []
        else:
            assert await read(backend, "d/big") == old, "a store that keeps both uses the one it was told"

    async def test_parts_that_are_not_there(self, backend: Backend) -> None:
        store, upload = await begin(backend)
        data = some(20, 1)
        part = await store.put_part(upload, 1, data, checksum=checksum(data))
        missing = Part(2, 20, part.version[::-1] if part.version else "x", checksum(b"other"))
        with pytest.raises(PartsChangedError):
            await finish(store, upload, [part, missing])
        assert await files(backend, "d/") == []
        # Nothing that is there is lost by it.
        assert [found.size for found in await store.list_parts(upload)] == [20]
        await finish(store, upload, [part])
        assert await read(backend, "d/big") == data

    async def test_a_wrong_checksum_keeps_nothing(self, backend: Backend) -> None:
        store, upload = await begin(backend)
        with pytest.raises(ChecksumError):
            await store.put_part(upload, 1, b"these bytes", checksum=checksum(b"others"))
        assert list(await store.list_parts(upload)) == []

    async def test_no_parts_make_an_empty_object(self, backend: Backend) -> None:
        store, upload = await begin(backend)
        await finish(store, upload, [])
        assert await read(backend, "d/big") == b""
        assert await files(backend) == ["d/big"]
        info = await backend.head("d/big")
        if backend.capabilities.metadata:
            assert (info.content_type, (info.metadata or {}).get("cc-write")) == ("text/x-big", "me")
        if backend.capabilities.put_if_absent:
            store, upload = await begin(backend)
            with pytest.raises(AlreadyExistsError):
                await finish(store, upload, [], when=IF_ABSENT)

    async def test_parts_are_listed_by_number(self, backend: Backend) -> None:
        store, upload = await begin(backend)
        for number in (10, 2, 1):
            data = some(upload.part_size, number)
            await store.put_part(upload, number, data, checksum=checksum(data))
        assert [part.number for part in await store.list_parts(upload)] == [1, 2, 10]
        await store.abort(upload)

    async def test_abort_touches_no_neighbour(self, backend: Backend) -> None:
        data = some(20, 1)
        others = []
        for place in (f"{_PLACE}2", _PLACE.replace("u1", "u10"), f"{_PLACE}-x/parts"):
            store, other = await begin(backend, place=place)
            await store.put_part(other, 1, data, checksum=checksum(data))
            others.append(other)
        store, upload = await begin(backend)
        await store.put_part(upload, 1, data, checksum=checksum(data))
        await store.abort(upload)
        for other in others:
            assert [part.size for part in await store.list_parts(other)] == [20]
            await store.abort(other)

    async def test_two_who_complete_the_same_upload(self, backend: Backend, second_backend: Backend) -> None:
        """One of them makes the object, the other one is told something or finds it made; nobody sees a part of it."""
        store, upload = await begin(backend)
        other = multipart(second_backend)
        pieces = [some(upload.part_size, 1), some(9, 2)]
        parts = [await store.put_part(upload, number, data, checksum=checksum(data)) for number, data in enumerate(pieces, 1)]
        outcomes = await asyncio.gather(finish(store, upload, parts), finish(other, upload, parts), return_exceptions=True)
        for outcome in outcomes:
            assert outcome is None or isinstance(outcome, (PartsChangedError, NotFoundError, UnavailableError)), repr(outcome)
        if None in outcomes:
            assert await read(backend, "d/big") == b"".join(pieces)
            assert await leftovers(backend) == []
        else:
            # Both stood in each other's way: then all is still there.
            await finish(store, upload, list(await store.list_parts(upload)))
            assert await read(backend, "d/big") == b"".join(pieces)

    async def test_completing_if_absent(self, backend: Backend) -> None:
        if not backend.capabilities.put_if_absent:
            pytest.skip("this store has no conditional create")
        store, upload = await begin(backend)
        data = some(20, 1)
        part = await store.put_part(upload, 1, data, checksum=checksum(data))
        await backend.put("d/big", b"another's")
        with pytest.raises(AlreadyExistsError):
            await finish(store, upload, [part], when=IF_ABSENT)
        assert await read(backend, "d/big") == b"another's"
        # The upload is kept, and its owner may decide otherwise.
        assert [found.size for found in await store.list_parts(upload)] == [20]
        await finish(store, upload, [part])
        assert await read(backend, "d/big") == data
        assert await leftovers(backend) == []

    async def test_completing_if_version(self, backend: Backend) -> None:
        if not backend.capabilities.put_if_version:
            pytest.skip("this store has no compare-and-swap")
        seen = await backend.put("d/big", b"seen")
        store, upload = await begin(backend)
        data = some(20, 1)
        part = await store.put_part(upload, 1, data, checksum=checksum(data))
        now = await backend.put("d/big", b"another's text")
        with pytest.raises(ConflictError):
            await finish(store, upload, [part], when=IfVersion(seen.version))
        assert await read(backend, "d/big") == b"another's text"
        await finish(store, upload, [part], when=IfVersion(now.version))
        assert await read(backend, "d/big") == data

    async def test_abort_leaves_nothing_and_may_be_repeated(self, backend: Backend) -> None:
        await backend.put("d/big", b"old")
        store, upload = await begin(backend)
        for number in (1, 2):
            data = some(upload.part_size, number)
            await store.put_part(upload, number, data, checksum=checksum(data))
        await store.abort(upload)
        await store.abort(upload)
        assert await leftovers(backend) == []
        assert await files(backend) == ["d/big"]
        assert await read(backend, "d/big") == b"old"
        with contextlib.suppress(NotFoundError):
            assert list(await store.list_parts(upload)) == []
        assert list(await store.list_uploads("d/big")) == []

    async def test_an_upload_that_nobody_recorded_is_found_or_has_left_nothing(self, backend: Backend) -> None:
        store, upload = await begin(backend)
        for found in await store.list_uploads("d/big"):
            assert (found.key, found.id) == ("d/big", upload.id)
            await store.abort(found)
        assert list(await store.list_uploads("d/big")) == []

    async def test_two_uploads_of_one_name_do_not_mix(self, backend: Backend, second_backend: Backend) -> None:
        store, one = await begin(backend)
        other, two = await begin(second_backend, place=_PLACE.replace("u1", "u2"))
        mine, theirs = some(40, 1), some(50, 2)
        part = await store.put_part(one, 1, mine, checksum=checksum(mine))
        their_part = await other.put_part(two, 1, theirs, checksum=checksum(theirs))
        await finish(other, two, [their_part])
        assert [found.size for found in await store.list_parts(one)] == [40]
        await finish(store, one, [part])
        assert await read(backend, "d/big") == mine

    async def test_many_small_parts_at_once(self, backend: Backend) -> None:
        """More than stores join in one step: GCS composes 32."""
        store = multipart(backend)
        if store.part_rules.min_bytes > 1000:
            pytest.skip("the parts of this store are large")
        _, upload = await begin(backend)
        pieces = [some(upload.part_size, number) for number in range(69)] + [b"tail"]
        parts = await asyncio.gather(
            *(store.put_part(upload, number + 1, data, checksum=checksum(data)) for number, data in enumerate(pieces))
        )
        await finish(store, upload, list(parts))
        assert await read(backend, "d/big") == b"".join(pieces)
        assert await leftovers(backend) == []

    async def test_parts_are_read_before_the_end(self, backend: Backend) -> None:
        store, upload = await begin(backend)
        if not isinstance(store, ReadParts):
            await store.abort(upload)
            pytest.skip("the parts of this store cannot be read")
        pieces = [some(upload.part_size, 1), some(9, 2)]
        for number, data in enumerate(pieces, 1):
            await store.put_part(upload, number, data, checksum=checksum(data))
        for part in await store.list_parts(upload):
            assert b"".join([piece async for piece in store.read_part(upload, part)]) == pieces[part.number - 1]
        with pytest.raises(PartsChangedError):
            async for _ in store.read_part(upload, Part(7, 5, "none", checksum(b"x"))):
                pass
        await store.abort(upload)
