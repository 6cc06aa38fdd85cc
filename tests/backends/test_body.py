"""A stream on its way in parts: in order, of one size, a few at once, and none after a failure."""

from __future__ import annotations

import asyncio
import secrets

import pytest

from cloudcontents.backends.body import send_parts


async def in_pieces(data, piece):
    for at in range(0, len(data), piece):
        yield data[at : at + piece]


@pytest.mark.parametrize(("total", "piece"), [(0, 3), (7, 3), (8, 8), (16, 5), (100, 64), (65, 1)])
async def test_parts_are_of_one_size_and_a_few_at_once(total, piece):
    data, got, now, most = secrets.token_bytes(total), {}, 0, 0

    async def send(number, part):
        nonlocal now, most
        now, most = now + 1, max(most, now + 1)
        await asyncio.sleep(0)
        now, got[number] = now - 1, part
        return number

    assert sorted(await send_parts(in_pieces(data, piece), 8, send)) == sorted(got) == list(range(1, len(got) + 1))
    assert b"".join(got[number] for number in sorted(got)) == data
    assert all(len(part) == 8 for number, part in got.items() if number < len(got))
    assert most <= 4


async def test_no_part_is_begun_after_one_that_failed():
    begun, cancelled = [], []

    async def send(number, part):
        begun.append(number)
        if number == 2:
            raise ValueError("not this one")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(number)
            raise

    with pytest.raises(ValueError, match="not this one"):
        await send_parts(in_pieces(bytes(100), 10), 10, send)
    assert len(begun) <= 4
    assert sorted(cancelled) == [number for number in sorted(begun) if number != 2]
