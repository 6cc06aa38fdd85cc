"""Rows of a CSV file in a bucket: every row once, in order, in batches of the size asked for, in bounded memory."""

from __future__ import annotations

import contextlib
import random

import pytest

from cloudcontents.backends.faults import Fault, FaultBackend
from cloudcontents.errors import ConflictError, InvalidContentError, NotFoundError, TruncatedError
from cloudcontents.namespace import Namespace
from cloudcontents.registry import open_backend
from cloudcontents.rows import iter_csv, stream_csv


@pytest.fixture
def namespace():
    return Namespace(open_backend(f"memory://rows-{random.getrandbits(64):x}"))


async def put(namespace, text, path="d/f.csv"):
    await namespace.mounts[0].bucket.put(path, text.encode())


def table(rows):
    return "n,name,value\n" + "".join(f"{n},row {n},{n / 4}\n" for n in range(rows))


@pytest.mark.parametrize(("rows", "size"), [(0, 10), (1, 10), (10, 10), (11, 10), (300_000, 1000), (1000, 1), (5, 100_000)])
async def test_every_row_once_in_batches_of_the_size_asked_for(namespace, rows, size):
    await put(namespace, table(rows))
    seen, sizes = [], []
    async for batch in iter_csv(namespace, "d/f.csv", chunk_size=size):
        sizes.append(batch.num_rows)
        seen += batch.column("n").to_pylist()
    assert seen == list(range(rows))
    assert all(count == size for count in sizes[:-1])


async def test_the_callback_is_told_how_many_rows_there_were(namespace):
    await put(namespace, table(2500))
    told, awaited = [], []

    async def later(batch, rows):
        awaited.append(rows)

    assert await stream_csv(namespace, "d/f.csv", lambda batch, rows: told.append((batch.num_rows, rows))) == 2500
    assert told == [(1000, 1000), (1000, 2000), (500, 2500)]
    assert await stream_csv(namespace, "d/f.csv", later, chunk_size=2000) == 2500
    assert awaited == [2000, 2500]


async def test_an_error_of_the_callback_ends_it(namespace):
    await put(namespace, table(300_000))

    def stop(batch, rows):
        if rows >= 3000:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        await stream_csv(namespace, "d/f.csv", stop)


async def test_what_cannot_be_read(namespace):
    with pytest.raises(NotFoundError):
        await stream_csv(namespace, "none.csv", print)
    await put(namespace, "a,b\n1,2\n3\n", "bad.csv")
    with pytest.raises(InvalidContentError, match="CSV"):
        await stream_csv(namespace, "bad.csv", lambda *_: None)
    await put(namespace, "", "empty.csv")
    assert await stream_csv(namespace, "empty.csv", lambda *_: None) == 0
    for size in (0, -1, "9", True):
        with pytest.raises(InvalidContentError):
            await stream_csv(namespace, "empty.csv", print, size)


async def test_a_stream_that_breaks_goes_on_where_it_stopped_and_ends_if_it_never_does():
    inner = open_backend(f"memory://rows-{random.getrandbits(64):x}")
    await put(Namespace(inner), table(1000))
    once = Namespace(FaultBackend(inner, [Fault(error=lambda: TruncatedError("cut"), operation="get", nth=1)]))
    assert await stream_csv(once, "d/f.csv", lambda *_: None) == 1000
    always = Namespace(FaultBackend(inner, [Fault(error=lambda: TruncatedError("cut"), operation="get")]))
    with pytest.raises(TruncatedError):
        await stream_csv(always, "d/f.csv", lambda *_: None)


async def test_one_version_is_read_or_none(namespace):
    await put(namespace, table(2_000_000))

    async def replaced(batch, rows):
        if rows == 1000:
            await put(namespace, "n,name,value\n1,other,2\n")

    # memory:// keeps what a reader was opened on; a store that cannot says ConflictError. Rows of two versions never mix.
    with contextlib.suppress(ConflictError):
        assert await stream_csv(namespace, "d/f.csv", replaced, chunk_size=1000) == 2_000_000
