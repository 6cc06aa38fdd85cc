"""The reader that the SDK backends share: the size of its pieces follows the line, and a short body is an error."""

import threading
from datetime import datetime, timezone

import anyio
import pytest

from cloudcontents.backends import sdk
from cloudcontents.backends.interface import ObjectInfo
from cloudcontents.errors import TruncatedError


class Stream:
    """A line of so many bytes a second, on a clock of its own."""

    def __init__(self, data, rate):
        self.data, self.rate, self.now, self.asked = data, rate, 0.0, []

    def monotonic(self):
        return self.now

    def read(self, size):
        self.asked.append(size)
        piece, self.data = self.data[:size], self.data[size:]
        self.now += len(piece) / self.rate
        return piece

    def close(self):
        pass


async def read(stream, length, monkeypatch):
    monkeypatch.setattr(sdk, "time", stream)
    threads = sdk.SdkThreads("test")
    info = ObjectInfo("f", length, "v", datetime.now(timezone.utc))
    try:
        async with sdk.SdkReader(threads, stream, info, length, lambda error: error) as reader:
            return b"".join([piece async for piece in reader])
    finally:
        await threads.close()


async def test_a_fast_line_is_read_in_large_pieces(monkeypatch):
    stream = Stream(b"x" * 5_000_000, 100e6)
    assert await read(stream, 5_000_000, monkeypatch) == b"x" * 5_000_000
    assert stream.asked[:6] == [1 << 16, 1 << 17, 1 << 18, 1 << 19, 1 << 20, 1 << 20]


async def test_a_slow_line_shows_that_it_is_alive(monkeypatch):
    stream = Stream(b"x" * 200_000, 5_000)
    assert await read(stream, 200_000, monkeypatch) == b"x" * 200_000
    assert max(stream.asked) / stream.rate < 15
    assert stream.asked[-2] == 1 << 14


async def test_a_read_that_was_given_up_keeps_nobody_waiting():
    class Silent:
        def __init__(self):
            self.go_on, self.closed = threading.Event(), threading.Event()

        def read(self, size):
            assert self.go_on.wait(60)
            return b""

        def close(self):
            self.closed.set()

    stream, threads = Silent(), sdk.SdkThreads("test")
    reader = sdk.SdkReader(threads, stream, ObjectInfo("f", 9, "v", datetime.now(timezone.utc)), 9, lambda error: error)
    with pytest.raises(TimeoutError):
        with anyio.fail_after(0.05):
            await anext(aiter(reader))
    await reader.aclose()
    assert not stream.closed.is_set()
    stream.go_on.set()
    await threads.close()
    assert stream.closed.is_set()


async def test_a_short_body_is_an_error(monkeypatch):
    with pytest.raises(TruncatedError, match="5 of 9"):
        await read(Stream(b"12345", 1e6), 9, monkeypatch)
