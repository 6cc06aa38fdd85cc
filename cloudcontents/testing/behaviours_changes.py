"""Behaviours of change: delete, copy, rename, races between writers, cancelled calls, the event loop left free."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from cloudcontents.backends.interface import IF_ABSENT, Backend, BulkDelete, IfVersion, LocalPath, Rename
from cloudcontents.errors import (
    AlreadyExistsError,
    ConflictError,
    NotFoundError,
    UnsupportedError,
    WrongTypeError,
)

from .calls import endless_stream, files, put_all, read, stream

#: What Python reports of a thread that waits for the disk, the network or a clock.
_BLOCKING = ("open", "os.", "socket.connect", "socket.getaddrinfo", "sqlite3.connect", "time.sleep", "fcntl.", "subprocess.")


#: Why a store that offers `Rename` is not asked for it: not every bucket of it can.
FLAT = "this bucket's namespace is flat: renames are copies"


class Changes:
    """What happens to objects, and who wins."""

    # --- delete -----------------------------------------------------------------------------------------------------------------

    async def test_delete(self, backend: Backend) -> None:
        await put_all(backend, ["a", "b"])
        await backend.delete("a")
        with pytest.raises(NotFoundError):
            await backend.head("a")
        assert await read(backend, "b") == b"x"

    async def test_deleting_what_is_gone_is_success(self, backend: Backend) -> None:
        await backend.delete("missing")
        await backend.delete("missing/below")
        await backend.put("f", b"x")
        await backend.delete("f")
        await backend.delete("f")

    async def test_delete_means_one_key(self, backend: Backend) -> None:
        await put_all(backend, ["exp/a", "exp2/a", "exp.csv"])
        await backend.delete("exp")
        await backend.delete("ex")
        assert await files(backend) == ["exp.csv", "exp/a", "exp2/a"]

    async def test_delete_if_version(self, backend: Backend) -> None:
        info = await backend.put("f", b"x")
        if not backend.capabilities.delete_if_version:
            with pytest.raises(UnsupportedError):
                await backend.delete("f", if_version=info.version)
            assert await read(backend, "f") == b"x"
            return
        await backend.delete("f", if_version=info.version)
        assert await files(backend) == []

    async def test_delete_refuses_another_version(self, backend: Backend) -> None:
        info = await backend.put("f", b"one")
        await backend.put("f", b"two")
        with pytest.raises(ConflictError if backend.capabilities.delete_if_version else UnsupportedError):
            await backend.delete("f", if_version=info.version)
        assert await read(backend, "f") == b"two"

    async def test_delete_if_version_of_what_is_gone(self, backend: Backend) -> None:
        info = await backend.put("f", b"one")
        await backend.delete("f")
        with pytest.raises(ConflictError if backend.capabilities.delete_if_version else UnsupportedError):
            await backend.delete("f", if_version=info.version)

    async def test_delete_many(self, backend: Backend) -> None:
        if not isinstance(backend, BulkDelete):
            pytest.skip("optional: BulkDelete")
        await put_all(backend, [f"k/{n}" for n in range(25)] + ["k2"])
        failed = await backend.delete_many([*((f"k/{n}", None) for n in range(25)), ("missing", None)])
        assert list(failed) == []
        assert await files(backend) == ["k2"]
        assert list(await backend.delete_many([])) == []

    async def test_delete_many_tells_what_failed(self, backend: Backend) -> None:
        if not isinstance(backend, BulkDelete):
            pytest.skip("optional: BulkDelete")
        old = await backend.put("changed", b"one")
        await backend.put("changed", b"two")
        same = await backend.put("same", b"x")
        failed = dict(await backend.delete_many([("changed", old.version), ("same", same.version)]))
        assert set(failed) == ({"changed"} if backend.capabilities.delete_if_version else {"changed", "same"})
        assert isinstance(failed["changed"], ConflictError if backend.capabilities.delete_if_version else UnsupportedError)
        assert await read(backend, "changed") == b"two"

    # --- copy -------------------------------------------------------------------------------------------------------------------

    async def test_copy(self, backend: Backend) -> None:
        source = await backend.put("a", b"hello", content_type="text/x-test", metadata={"m": "1"})
        target = await backend.copy("a", "d/b")
        assert (target.key, target.size or 5) == ("d/b", 5)
        head = await backend.head("d/b")
        assert (head.size, head.modified) == (5, target.modified)
        assert (head.version, head.content_type, dict(head.metadata or {})) == (target.version, "text/x-test", {"m": "1"})
        assert await read(backend, "d/b") == b"hello"
        assert (await backend.head("a")).version == source.version

    async def test_a_copy_is_independent(self, backend: Backend) -> None:
        await backend.put("a", b"one")
        await backend.copy("a", "b")
        await backend.put("a", b"two")
        assert await read(backend, "b") == b"one"
        await backend.put("b", b"three")
        assert await read(backend, "a") == b"two"

    async def test_copy_of_a_large_object(self, backend: Backend) -> None:
        data = os.urandom(9 << 20)
        await backend.put("a", data)
        await backend.copy("a", "b")
        assert await read(backend, "b") == data

    async def test_copy_replaces(self, backend: Backend) -> None:
        await backend.put("a", b"new")
        old = await backend.put("b", b"old")
        assert (await backend.copy("a", "b")).version != old.version
        assert await read(backend, "b") == b"new"

    async def test_copy_of_what_is_missing(self, backend: Backend) -> None:
        await backend.put("b", b"old")
        with pytest.raises(NotFoundError):
            await backend.copy("missing", "b")
        with pytest.raises(NotFoundError):
            await backend.copy("missing", "new")
        assert await read(backend, "b") == b"old"
        assert await files(backend) == ["b"]

    async def test_copy_onto_itself_keeps_the_content(self, backend: Backend) -> None:
        await backend.put("a", b"hello")
        await backend.copy("a", "a")
        assert await read(backend, "a") == b"hello"
        assert await files(backend) == ["a"]

    async def test_copy_of_one_version(self, backend: Backend) -> None:
        old = await backend.put("a", b"one")
        await backend.copy("a", "b", src_version=old.version)
        await backend.put("a", b"two")
        with pytest.raises(ConflictError):
            await backend.copy("a", "c", src_version=old.version)
        assert await files(backend) == ["a", "b"]

    async def test_copy_if_absent(self, backend: Backend) -> None:
        await put_all(backend, ["a"], b"new")
        if not backend.capabilities.copy_if:
            with pytest.raises(UnsupportedError):
                await backend.copy("a", "b", when=IF_ABSENT)
            return
        await backend.copy("a", "b", when=IF_ABSENT)
        await backend.put("b", b"mine")
        with pytest.raises(AlreadyExistsError):
            await backend.copy("a", "b", when=IF_ABSENT)
        with pytest.raises(AlreadyExistsError):
            await backend.copy("a", "a", when=IF_ABSENT)
        assert await read(backend, "b") == b"mine"

    async def test_copy_if_version(self, backend: Backend) -> None:
        await backend.put("a", b"new")
        old = await backend.put("b", b"one")
        if not backend.capabilities.copy_if:
            with pytest.raises(UnsupportedError):
                await backend.copy("a", "b", when=IfVersion(old.version))
            return
        await backend.copy("a", "b", when=IfVersion(old.version))
        with pytest.raises(ConflictError):
            await backend.copy("a", "b", when=IfVersion(old.version))
        with pytest.raises(ConflictError):
            await backend.copy("a", "missing", when=IfVersion(old.version))
        assert await read(backend, "b") == b"new"
        assert await files(backend) == ["a", "b"]

    # --- rename and real paths ---------------------------------------------------------------------------------------------------

    async def test_rename_an_object(self, backend: Backend) -> None:
        if not isinstance(backend, Rename):
            pytest.skip("optional: Rename")
        await backend.put("a", b"x", metadata={"m": "1"})
        await rename(backend, "a", "b")
        assert await files(backend) == ["b"]
        assert dict((await backend.head("b")).metadata or {}) == {"m": "1"}

    async def test_rename_a_directory(self, backend: Backend) -> None:
        if not isinstance(backend, Rename):
            pytest.skip("optional: Rename")
        await put_all(backend, ["exp/a", "exp/b/c", "exp2/a", "exp.csv"])
        await rename(backend, "exp/", "other/")
        assert await files(backend) == ["exp.csv", "exp2/a", "other/a", "other/b/c"]

    async def test_rename_takes_only_a_free_name(self, backend: Backend) -> None:
        if not isinstance(backend, Rename):
            pytest.skip("optional: Rename")
        await put_all(backend, ["a", "b", "c/x", "d/y", "e/"])
        for src, dst in (("a", "b"), ("c/", "d/"), ("c/", "e/")):
            with pytest.raises(AlreadyExistsError):
                await rename(backend, src, dst)
        assert await files(backend) == ["a", "b", "c/x", "d/y"]

    async def test_rename_of_what_is_missing(self, backend: Backend) -> None:
        if not isinstance(backend, Rename):
            pytest.skip("optional: Rename")
        for src, dst in (("missing", "b"), ("missing/", "b/")):
            with pytest.raises(NotFoundError):
                await rename(backend, src, dst)
        assert await files(backend) == []

    async def test_rename_race_has_one_winner(self, backend: Backend, second_backend: Backend) -> None:
        if not isinstance(backend, Rename) or not isinstance(second_backend, Rename):
            pytest.skip("optional: Rename")
        await put_all(backend, [f"f{n}" for n in range(8)])
        calls = [(backend, second_backend)[n % 2].rename(f"f{n}", "target") for n in range(8)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        if all(isinstance(result, UnsupportedError) for result in results):
            pytest.skip(FLAT)
        assert [type(result) for result in results].count(AlreadyExistsError) == 7
        assert len(await files(backend)) == 8

    async def test_local_path_is_the_file(self, backend: Backend) -> None:
        if not isinstance(backend, LocalPath):
            pytest.skip("optional: LocalPath")
        await backend.put("d/f", b"hello")
        path = backend.local_path("d/f")
        assert path is not None
        assert await asyncio.to_thread(_read_file, path) == b"hello"
        directory = backend.local_path("d")
        assert directory is not None
        assert path == os.path.join(directory, "f")

    async def test_local_path_stays_inside(self, backend: Backend) -> None:
        if not isinstance(backend, LocalPath):
            pytest.skip("optional: LocalPath")
        for key in ("../x", "a/../../x", "..", "a//b", "/etc/passwd"):
            assert backend.local_path(key) is None

    # --- an object where a directory should be ------------------------------------------------------------------------------------

    async def test_an_object_beside_its_prefix(self, backend: Backend) -> None:
        await backend.put("d", b"object")
        if not backend.capabilities.object_beside_prefix:
            with pytest.raises(WrongTypeError):
                await backend.put("d/f", b"below")
            assert await read(backend, "d") == b"object"
            return
        await backend.put("d/f", b"below")
        assert await read(backend, "d") == b"object"
        assert await read(backend, "d/f") == b"below"
        await backend.delete("d")
        assert await files(backend) == ["d/f"]

    async def test_an_object_in_a_directorys_place(self, backend: Backend) -> None:
        if backend.capabilities.object_beside_prefix:
            pytest.skip("both can exist in this store")
        await backend.put("d/f", b"below")
        with pytest.raises(WrongTypeError):
            await backend.put("d", b"object")
        with pytest.raises(WrongTypeError):
            await backend.copy("d/f", "d")
        with pytest.raises(AlreadyExistsError):
            await backend.put("d", b"object", when=IF_ABSENT)
        assert await files(backend) == ["d/f"]

    # --- races ------------------------------------------------------------------------------------------------------------------

    async def test_counter_of_eight_workers(self, backend: Backend, second_backend: Backend) -> None:
        if not backend.capabilities.put_if_version:
            pytest.skip("this store has no compare-and-swap")
        await backend.put("counter", b"0")

        async def work(mine: Backend) -> None:
            done = 0
            while done < 25:
                async with await mine.get("counter") as reader:
                    value = int(b"".join([piece async for piece in reader]))
                try:
                    await mine.put("counter", str(value + 1).encode(), when=IfVersion(reader.info.version))
                    done += 1
                except ConflictError:
                    continue

        await asyncio.gather(*(work((backend, second_backend)[n % 2]) for n in range(8)))
        assert await read(backend, "counter") == b"200"

    async def test_create_race_of_sixteen_has_one_winner(self, backend: Backend, second_backend: Backend) -> None:
        if not backend.capabilities.put_if_absent:
            pytest.skip("this store has no conditional create")
        for turn in range(10):
            calls = [(backend, second_backend)[n % 2].put(f"race{turn}", str(n).encode(), when=IF_ABSENT) for n in range(16)]
            results = await asyncio.gather(*calls, return_exceptions=True)
            winners = [n for n, result in enumerate(results) if not isinstance(result, BaseException)]
            assert len(winners) == 1, results
            assert [r for r in results if isinstance(r, BaseException) and not isinstance(r, AlreadyExistsError)] == []
            assert await read(backend, f"race{turn}") == str(winners[0]).encode()

    async def test_copy_race_of_eight_has_one_winner(self, backend: Backend, second_backend: Backend) -> None:
        if not backend.capabilities.copy_if:
            pytest.skip("this store has no conditional copy")
        await put_all(backend, [f"f{n}" for n in range(8)])
        calls = [(backend, second_backend)[n % 2].copy(f"f{n}", "target", when=IF_ABSENT) for n in range(8)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results].count(AlreadyExistsError) == 7

    async def test_delete_race_has_one_winner(self, backend: Backend, second_backend: Backend) -> None:
        if not backend.capabilities.delete_if_version:
            pytest.skip("this store has no conditional delete")
        info = await backend.put("f", b"x")
        calls = [(backend, second_backend)[n % 2].delete("f", if_version=info.version) for n in range(8)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results].count(ConflictError) == 7

    async def test_readers_see_whole_objects_while_writers_write(self, backend: Backend) -> None:
        texts = [bytes([n]) * 300_000 for n in range(4)]
        await backend.put("f", texts[0])
        writing = True

        async def write() -> None:
            nonlocal writing
            for turn in range(24):
                await backend.put("f", stream(texts[turn % 4]))
            writing = False

        async def look() -> None:
            while writing:
                assert await read(backend, "f") in texts

        await asyncio.gather(write(), look(), look())

    async def test_many_writes_at_once(self, backend: Backend) -> None:
        keys = [f"d{n % 7}/e/f{n}" for n in range(100)]
        await asyncio.gather(*(backend.put(key, key.encode()) for key in keys))
        assert await files(backend) == sorted(keys)
        for key in keys[::10]:
            assert await read(backend, key) == key.encode()

    async def test_writes_beside_a_directory_that_comes_and_goes(self, backend: Backend) -> None:
        marker = f"d{backend.capabilities.directory_marker}"

        async def remove() -> None:
            for _ in range(30):
                await backend.delete(marker)

        async def write() -> None:
            for turn in range(30):
                await backend.put("d/f", str(turn).encode())
                await backend.delete("d/f")

        await asyncio.gather(remove(), write())
        assert await files(backend) == []

    # --- cancelled calls and the event loop ----------------------------------------------------------------------------------------

    async def test_a_cancelled_write_leaves_the_old_object(self, backend: Backend) -> None:
        await backend.put("f", b"old")
        for key in ("f", "new"):
            started = asyncio.Event()
            task = asyncio.create_task(_put(backend, key, started))
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await backend.close()
        assert await read(backend, "f") == b"old"
        assert await files(backend) == ["f"]

    async def test_a_write_cancelled_at_once_is_whole_or_not_there(self, backend: Backend) -> None:
        old, new = b"o" * 100_000, b"n" * 100_000
        await backend.put("f", old)
        for _ in range(20):
            task = asyncio.create_task(backend.put("f", new))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert await read(backend, "f") in (old, new)
        await backend.close()
        assert await files(backend) == ["f"]

    async def test_a_cancelled_read_leaves_the_backend_usable(self, backend: Backend) -> None:
        await backend.put("f", b"x" * (9 << 20))
        for _ in range(10):
            task = asyncio.create_task(read(backend, "f"))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert len(await read(backend, "f")) == 9 << 20

    async def test_the_event_loop_is_never_blocked(self, backend: Backend) -> None:
        async def use(name: str) -> None:
            await backend.put(name, b"x")
            await backend.put(name, stream(b"x" * 3_000_000))
            await backend.head(name)
            await read(backend, name)
            await backend.list("")
            await backend.copy(name, f"{name}-copy")
            await backend.delete(name)

        await use("first")  # lazy imports and connections may read files once
        with _watched() as seen:
            await use("second")
        assert seen() == [], "blocking calls in the event loop's thread"


async def _put(backend: Backend, key: str, started: asyncio.Event) -> None:
    await backend.put(key, endless_stream(b"new" * 1_000_000, started))


def _read_file(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


class _Watch:
    """Notes blocking calls of one thread. An audit hook cannot be taken out, so there is one, and it is mostly idle."""

    thread: int | None = None
    seen: list[str] = []  # noqa: RUF012
    installed = False

    @classmethod
    def hook(cls, event: str, _arguments: object) -> None:
        if cls.thread is not None and event.startswith(_BLOCKING) and threading.get_ident() == cls.thread:
            cls.seen.append(event)


@contextmanager
def _watched() -> Iterator[Callable[[], list[str]]]:
    if not _Watch.installed:
        sys.addaudithook(_Watch.hook)
        _Watch.installed = True
    _Watch.seen = []
    _Watch.thread = threading.get_ident()
    try:
        yield lambda: list(_Watch.seen)
    finally:
        _Watch.thread = None


async def rename(backend: Rename, src: str, dst: str) -> None:
    """Rename natively, or skip the test where this bucket cannot."""
    try:
        await backend.rename(src, dst)
    except UnsupportedError:
        pytest.skip(FLAT)
