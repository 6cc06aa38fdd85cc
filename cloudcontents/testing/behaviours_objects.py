"""Behaviours of one object: round trips, ranges, readers, write modes, bodies that are not what they said."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
from datetime import datetime, timedelta, timezone

import pytest

from cloudcontents.backends.interface import ALWAYS, IF_ABSENT, Backend, IfVersion
from cloudcontents.errors import (
    AlreadyExistsError,
    BucketNotFoundError,
    ChecksumError,
    CloudContentsError,
    ConflictError,
    DeadlineError,
    NotFoundError,
    RangeError,
    TruncatedError,
    UnavailableError,
    UnsupportedError,
)

from .calls import failing_stream, files, read, stream

MIB = 1 << 20
BIG = bytes(range(256)) * 4096 * 8 + b"tail"
assert len(BIG) == 8 * MIB + 4


class Objects:
    """One object at a time."""

    # --- round trips ----------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("size", [0, 1, 1000, MIB, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1])
    async def test_bytes_come_back_as_they_were(self, backend: Backend, size: int) -> None:
        info = await backend.put("f.bin", BIG[:size])
        assert info.size == size
        assert await read(backend, "f.bin") == BIG[:size]

    @pytest.mark.parametrize("size", [0, 1, 8 * MIB + 1])
    async def test_a_stream_comes_back_as_it_was(self, backend: Backend, size: int) -> None:
        info = await backend.put("f.bin", stream(BIG[:size]))
        assert info.size == size
        assert await read(backend, "f.bin") == BIG[:size]

    async def test_a_stream_of_tiny_and_empty_pieces(self, backend: Backend) -> None:
        await backend.put("f", stream(b"0123456789", piece=1))
        assert await read(backend, "f") == b"0123456789"

    async def test_put_head_get_and_list_tell_the_same(self, backend: Backend) -> None:
        put = await backend.put("d/f.txt", b"hello")
        head = await backend.head("d/f.txt")
        async with await backend.get("d/f.txt") as reader:
            got = reader.info
        (listed,) = [info for info in (await backend.list("d/")).objects if info.key == "d/f.txt"]
        for info in (head, got, listed):
            assert (info.key, info.size, info.version, info.modified) == (put.key, 5, put.version, put.modified)

    async def test_modified_is_aware_and_about_now(self, backend: Backend) -> None:
        info = await backend.put("f", b"x")
        assert info.modified.tzinfo is not None
        # Clocks of stores differ; a day off is a wrong time zone or unit.
        assert abs(datetime.now(timezone.utc) - info.modified) < timedelta(days=1)

    async def test_modified_does_not_go_backwards(self, backend: Backend) -> None:
        times = [(await backend.put("f", bytes([n]))).modified for n in range(20)]
        assert times == sorted(times)

    async def test_a_missing_key_is_not_found(self, backend: Backend) -> None:
        with pytest.raises(NotFoundError):
            await backend.head("missing")
        with pytest.raises(NotFoundError):
            await backend.get("missing")
        with pytest.raises(NotFoundError):
            await backend.head("missing/below")

    async def test_a_prefix_of_a_key_is_not_an_object(self, backend: Backend) -> None:
        await backend.put("d/file.txt", b"x")
        for key in ("d", "d/file", "d/file.tx", "d/file.txt.", "file.txt"):
            with pytest.raises(NotFoundError):
                await backend.head(key)

    async def test_errors_tell_no_traceback_and_no_other_key(self, backend: Backend) -> None:
        await backend.put("secret-name", b"x")
        with pytest.raises(NotFoundError) as caught:
            await backend.head("missing")
        assert "secret-name" not in str(caught.value)
        assert "Traceback" not in str(caught.value)

    async def test_the_url_holds_a_scheme(self, backend: Backend) -> None:
        scheme, separator, _ = backend.url.partition("://")
        assert scheme
        assert separator

    # --- content type, metadata, checksum ---------------------------------------------------------------------------------------

    async def test_the_content_type_is_kept(self, backend: Backend) -> None:
        await backend.put("f", b"{}", content_type="application/x-test+json")
        assert (await backend.head("f")).content_type == "application/x-test+json"

    async def test_metadata_are_kept(self, backend: Backend) -> None:
        sent = {"cc-note": "written by a test", "n": "1"}
        put = await backend.put("f", b"x", metadata=sent)
        assert dict((await backend.head("f")).metadata or {}) == sent
        assert dict(put.metadata or {}) == sent

    async def test_metadata_go_with_their_content(self, backend: Backend) -> None:
        await backend.put("f", b"old", metadata={"a": "1", "b": "2"})
        await backend.put("f", b"new", metadata={"a": "3"})
        assert dict((await backend.head("f")).metadata or {}) == {"a": "3"}
        await backend.put("f", b"newer")
        assert dict((await backend.head("f")).metadata or {}) == {}

    async def test_metadata_do_not_outlive_their_object(self, backend: Backend) -> None:
        await backend.put("f", b"x", metadata={"a": "1"})
        await backend.delete("f")
        await backend.put("f", b"x")
        assert dict((await backend.head("f")).metadata or {}) == {}

    async def test_a_right_checksum_is_taken(self, backend: Backend) -> None:
        checksum = f"sha256:{hashlib.sha256(b'hello').hexdigest()}"
        await backend.put("f", b"hello", checksum=checksum)
        await backend.put("g", stream(b"hello"), checksum=checksum)
        assert await read(backend, "g") == b"hello"

    async def test_a_wrong_checksum_stores_nothing(self, backend: Backend) -> None:
        await backend.put("f", b"old")
        checksum = f"sha256:{hashlib.sha256(b'other').hexdigest()}"
        with pytest.raises(ChecksumError):
            await backend.put("f", b"hello", checksum=checksum)
        with pytest.raises(ChecksumError):
            await backend.put("f", stream(b"hello"), checksum=checksum)
        with pytest.raises(ChecksumError):
            await backend.put("new", b"hello", checksum=checksum)
        assert await read(backend, "f") == b"old"
        assert await files(backend) == ["f"]

    async def test_equal_checksums_mean_equal_content(self, backend: Backend) -> None:
        one = await backend.put("a", b"same")
        two = await backend.put("b", b"same")
        other = await backend.put("c", b"diff")
        if one.checksum is not None and two.checksum is not None:
            assert one.checksum == two.checksum
            assert ":" in one.checksum
        assert one.checksum is None or one.checksum != other.checksum

    # --- ranges -----------------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("start", "length", "expected"),
        [
            (0, None, b"0123456789"),
            (3, None, b"3456789"),
            (3, 4, b"3456"),
            (9, None, b"9"),
            (9, 1, b"9"),
            (8, 100, b"89"),
            (0, 10, b"0123456789"),
            (0, 11, b"0123456789"),
            (-1, None, b"9"),
            (-5, None, b"56789"),
            (-5, 2, b"56"),
            (-10, None, b"0123456789"),
            (-100, None, b"0123456789"),
        ],
    )
    async def test_a_range(self, backend: Backend, start: int, length: int | None, expected: bytes) -> None:
        await backend.put("f", b"0123456789")
        async with await backend.get("f", start=start, length=length) as reader:
            assert reader.info.size == 10, "the info is the whole object's"
            assert reader.length == len(expected)
            assert b"".join([piece async for piece in reader]) == expected

    @pytest.mark.parametrize("start", [10, 11, 1_000_000])
    async def test_a_range_past_the_end_is_refused(self, backend: Backend, start: int) -> None:
        await backend.put("f", b"0123456789")
        with pytest.raises(RangeError):
            await backend.get("f", start=start)

    async def test_an_empty_object_can_be_read_from_its_start(self, backend: Backend) -> None:
        await backend.put("f", b"")
        assert await read(backend, "f") == b""
        with pytest.raises(RangeError):
            await backend.get("f", start=1)

    async def test_a_range_across_the_pieces_of_a_large_object(self, backend: Backend) -> None:
        await backend.put("f", BIG)
        assert await read(backend, "f", start=MIB - 7, length=3 * MIB) == BIG[MIB - 7 : 4 * MIB - 7]
        assert await read(backend, "f", start=-(MIB + 3)) == BIG[-(MIB + 3) :]

    async def test_pieces_are_small(self, backend: Backend) -> None:
        await backend.put("f", BIG)
        async with await backend.get("f") as reader:
            assert max([len(piece) async for piece in reader]) <= 8 * MIB

    # --- readers ----------------------------------------------------------------------------------------------------------------

    async def test_get_if_version(self, backend: Backend) -> None:
        first = await backend.put("f", b"one")
        async with await backend.get("f", if_version=first.version) as reader:
            assert b"".join([piece async for piece in reader]) == b"one"
        await backend.put("f", b"two")
        with pytest.raises(ConflictError):
            await backend.get("f", if_version=first.version)

    async def test_a_reader_never_mixes_two_versions(self, backend: Backend) -> None:
        old, new = b"a" * (8 * MIB), b"b" * (8 * MIB)
        await backend.put("f", old)
        async with await backend.get("f") as reader:
            pieces = reader.__aiter__()
            got = [await pieces.__anext__()]
            # Some stores (MinIO) let a writer wait for those who read, and give up: then nothing was replaced.
            with contextlib.suppress(UnavailableError, DeadlineError):
                await backend.put("f", new)
            try:
                got += [piece async for piece in pieces]
            except (ConflictError, TruncatedError):
                return  # honest too: it could not keep the old one
        assert b"".join(got) == old

    async def test_a_reader_outlives_a_delete_or_says_so(self, backend: Backend) -> None:
        await backend.put("f", BIG)
        async with await backend.get("f") as reader:
            pieces = reader.__aiter__()
            got = [await pieces.__anext__()]
            with contextlib.suppress(UnavailableError, DeadlineError):  # it may wait for readers, too
                await backend.delete("f")
            try:
                got += [piece async for piece in pieces]
            except CloudContentsError:
                return
        assert b"".join(got) == BIG

    async def test_a_reader_can_be_left_early_and_closed_twice(self, backend: Backend) -> None:
        await backend.put("f", BIG)
        reader = await backend.get("f")
        async for _ in reader:
            break
        await reader.aclose()
        await reader.aclose()
        assert await read(backend, "f", length=3) == BIG[:3]

    async def test_two_readers_do_not_disturb_each_other(self, backend: Backend) -> None:
        await backend.put("f", BIG)
        async with await backend.get("f") as one, await backend.get("f", start=5) as two:
            first, second = one.__aiter__(), two.__aiter__()
            a, b = [await first.__anext__()], [await second.__anext__()]
            a += [piece async for piece in first]
            b += [piece async for piece in second]
        assert b"".join(a) == BIG
        assert b"".join(b) == BIG[5:]

    # --- write modes ------------------------------------------------------------------------------------------------------------

    async def test_always_replaces(self, backend: Backend) -> None:
        one = await backend.put("f", b"one", when=ALWAYS)
        two = await backend.put("f", b"two", when=ALWAYS)
        assert one.version != two.version
        assert await read(backend, "f") == b"two"

    async def test_if_absent_takes_a_free_name(self, backend: Backend) -> None:
        if not backend.capabilities.put_if_absent:
            with pytest.raises(UnsupportedError):
                await backend.put("f", b"x", when=IF_ABSENT)
            return
        await backend.put("f", b"x", when=IF_ABSENT)
        assert await read(backend, "f") == b"x"

    async def test_if_absent_leaves_what_is_there(self, backend: Backend) -> None:
        await backend.put("f", b"old")
        with pytest.raises(AlreadyExistsError if backend.capabilities.put_if_absent else UnsupportedError):
            await backend.put("f", b"new", when=IF_ABSENT)
        with pytest.raises(AlreadyExistsError if backend.capabilities.put_if_absent else UnsupportedError):
            await backend.put("f", stream(b"new"), when=IF_ABSENT)
        assert await read(backend, "f") == b"old"

    async def test_if_absent_after_a_delete(self, backend: Backend) -> None:
        await backend.put("f", b"old")
        await backend.delete("f")
        if backend.capabilities.put_if_absent:
            await backend.put("f", b"new", when=IF_ABSENT)
            assert await read(backend, "f") == b"new"

    async def test_if_version_replaces_its_version(self, backend: Backend) -> None:
        one = await backend.put("f", b"one")
        if not backend.capabilities.put_if_version:
            with pytest.raises(UnsupportedError):
                await backend.put("f", b"two", when=IfVersion(one.version))
            return
        two = await backend.put("f", b"two", when=IfVersion(one.version))
        three = await backend.put("f", stream(b"three"), when=IfVersion(two.version))
        assert len({one.version, two.version, three.version}) == 3
        assert await read(backend, "f") == b"three"

    async def test_if_version_refuses_another_version(self, backend: Backend) -> None:
        one = await backend.put("f", b"one")
        await backend.put("f", b"two")
        with pytest.raises(ConflictError if backend.capabilities.put_if_version else UnsupportedError):
            await backend.put("f", b"three", when=IfVersion(one.version))
        assert await read(backend, "f") == b"two"

    async def test_if_version_refuses_a_missing_object(self, backend: Backend) -> None:
        one = await backend.put("f", b"one")
        await backend.delete("f")
        with pytest.raises(ConflictError if backend.capabilities.put_if_version else UnsupportedError):
            await backend.put("f", b"two", when=IfVersion(one.version))
        assert await files(backend) == []

    async def test_if_version_refuses_a_made_up_version(self, backend: Backend) -> None:
        await backend.put("f", b"one")
        with pytest.raises(ConflictError if backend.capabilities.put_if_version else UnsupportedError):
            await backend.put("f", b"two", when=IfVersion("0"))
        assert await read(backend, "f") == b"one"

    async def test_a_version_does_not_come_back_with_the_same_bytes(self, backend: Backend) -> None:
        if not backend.capabilities.distinct_versions:
            pytest.skip("equal bytes may share a version in this store")
        one = await backend.put("f", b"a")
        await backend.put("f", b"b")
        three = await backend.put("f", b"a")
        if backend.capabilities.put_if_version:
            assert one.version != three.version
            with pytest.raises(ConflictError):
                await backend.put("f", b"c", when=IfVersion(one.version))

    async def test_two_thousand_overwrites_have_two_thousand_versions(self, backend: Backend) -> None:
        if not backend.capabilities.distinct_versions:
            pytest.skip("equal bytes may share a version in this store")
        versions = {(await backend.put("f", b"same size")).version for _ in range(2000)}
        assert len(versions) == 2000

    async def test_a_version_does_not_come_back_after_delete_and_create(self, backend: Backend) -> None:
        if not backend.capabilities.distinct_versions:
            pytest.skip("equal bytes may share a version in this store")
        versions = set()
        for _ in range(100):
            versions.add((await backend.put("f", b"same")).version)
            await backend.delete("f")
        assert len(versions) == 100

    # --- bodies that are not what they said --------------------------------------------------------------------------------------

    @pytest.mark.parametrize("said", [11, 1000, 9 * MIB])
    async def test_a_short_stream_stores_nothing(self, backend: Backend, said: int) -> None:
        await backend.put("f", b"old")
        with pytest.raises(TruncatedError):
            await backend.put("f", stream(b"0123456789", size=said))
        with pytest.raises(TruncatedError):
            await backend.put("new", stream(b"0123456789", size=said))
        assert await read(backend, "f") == b"old"
        assert await files(backend) == ["f"]

    @pytest.mark.parametrize("said", [0, 9])
    async def test_a_long_stream_stores_nothing(self, backend: Backend, said: int) -> None:
        await backend.put("f", b"old")
        with pytest.raises(TruncatedError):
            await backend.put("f", stream(b"0123456789", size=said))
        with pytest.raises(TruncatedError):
            await backend.put("new", stream(b"0123456789", size=said))
        assert await read(backend, "f") == b"old"
        assert await files(backend) == ["f"]

    async def test_a_failing_stream_stores_nothing_and_its_error_comes_through(self, backend: Backend) -> None:
        await backend.put("f", b"old")
        for key in ("f", "new"):
            with pytest.raises(ValueError, match="the client went away"):
                await backend.put(key, failing_stream(BIG, ValueError("the client went away")))
        assert await read(backend, "f") == b"old"
        assert await files(backend) == ["f"]

    # --- connections ------------------------------------------------------------------------------------------------------------

    async def test_another_connection_sees_a_write_at_once(self, backend: Backend, second_backend: Backend) -> None:
        for n in range(20):
            info = await backend.put("f", str(n).encode())
            assert (await second_backend.head("f")).version == info.version
            assert await read(second_backend, "f") == str(n).encode()

    async def test_closing_twice_and_using_it_again(self, backend: Backend) -> None:
        await backend.put("f", b"x")
        await backend.close()
        await backend.close()
        assert await read(backend, "f") == b"x"

    async def test_closing_with_an_open_reader(self, backend: Backend) -> None:
        await backend.put("f", BIG)
        async with await backend.get("f") as reader:
            pieces = reader.__aiter__()
            got = [await pieces.__anext__()]
            await backend.close()
            try:
                got += [piece async for piece in pieces]
            except CloudContentsError:
                return
        assert b"".join(got) == BIG

    def test_each_call_may_come_from_another_event_loop(self, backend: Backend) -> None:
        asyncio.run(backend.put("f", b"one"))
        assert asyncio.run(read(backend, "f")) == b"one"
        results: list[bytes] = []

        async def work(n: int) -> None:
            for turn in range(10):
                await backend.put(f"t/{n}", f"{n}-{turn}".encode())
            results.append(await read(backend, f"t/{n}"))

        threads = [threading.Thread(target=lambda n=n: asyncio.run(work(n))) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(results) == [b"0-9", b"1-9", b"2-9", b"3-9"]

    async def test_a_missing_bucket_says_so(self, missing_bucket_backend: Backend | None) -> None:
        if missing_bucket_backend is None:
            pytest.skip("no `missing_bucket_backend` fixture was given")
        backend = missing_bucket_backend
        for call in (backend.list(""), backend.head("f"), backend.get("f"), backend.put("f", b"x")):
            with pytest.raises(BucketNotFoundError):
                await call
